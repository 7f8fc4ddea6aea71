"""Changing what units answer while a model runs: the same places that are read, giving on another value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from synesthete.errors import SynestheteError
from synesthete.models.architectures import Site
from synesthete.models.heads import Heads, Rewrite
from synesthete.models.hooks import Tap


@dataclass(frozen=True)
class Change:
    """What becomes of the responses of some units of a layer, at every position.

    Attributes
    ----------
    layer
        The layer; `:pre` at its end means before its non-linearity.
    units
        Which units; of an attention layer, which heads.
    scale, add
        A response `a` becomes `scale * a + add`: `scale=0` switches a unit off, `add=2.0` raises it. For a head
        `add` is one value per output dimension.
    """

    layer: str
    units: tuple[int, ...]
    scale: float = 1.0
    add: float | tuple[float, ...] = 0.0


@contextmanager
def intervene(changes: Sequence[tuple[Site, Change]]) -> Iterator[None]:
    """Make `changes` in every forward pass inside this context, in their order.

    Raises
    ------
    SynestheteError
        A unit that is not there, or a layer that its block computes several times (while a pass runs).
    """
    with rewriting([(site, _changer(site, change)) for site, change in changes]):
        yield


@contextmanager
def rewriting(rewrites: Sequence[tuple[Site, Rewrite]]) -> Iterator[None]:
    """Let the network go on with what each function makes of the responses at its place."""
    handles: list[RemovableHandle] = []
    of_module: dict[nn.Module, tuple[Heads, list[Rewrite]]] = {}
    try:
        for site, rewrite in rewrites:
            if isinstance(site, Heads):
                _, chain = of_module.setdefault(site.attention, (site, []))
                chain.append(site.within(rewrite))
            else:
                _Writer(site, rewrite).install(handles)
        for heads, chain in of_module.values():
            heads.install(_in_turn(chain), handles)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _in_turn(chain: Sequence[Rewrite]) -> Rewrite:
    def rewrite(responses: torch.Tensor) -> torch.Tensor:
        for one in chain:
            responses = one(responses)
        return responses

    return rewrite


class _Writer:
    """The hooks of one rewritten layer; like a reader, it counts only the calls within its own block."""

    def __init__(self, tap: Tap, rewrite: Rewrite) -> None:
        self.tap, self.rewrite = tap, rewrite
        self.running, self.calls = tap.source is tap.window, 0

    def install(self, handles: list[RemovableHandle]) -> None:
        tap = self.tap
        if tap.source is not tap.window:
            handles.append(tap.window.register_forward_pre_hook(self.window_before))
            handles.append(tap.window.register_forward_hook(self.window_after))
        if tap.side == "input":
            handles.append(tap.source.register_forward_pre_hook(self.source_before))
        else:
            handles.append(tap.source.register_forward_hook(self.source_after))

    def window_before(self, module: nn.Module, args: Any) -> None:
        self.running, self.calls = True, 0

    def window_after(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running = False

    def source_before(self, module: nn.Module, args: Any) -> Any:
        return (self._rewritten(args[0]), *args[1:]) if self.running else None

    def source_after(self, module: nn.Module, args: Any, output: Any) -> Any:
        if not self.running:
            return None
        if isinstance(output, tuple):
            return (self._rewritten(output[0]), *output[1:])
        return self._rewritten(output)

    def _rewritten(self, raw: torch.Tensor) -> torch.Tensor:
        tap = self.tap
        self.calls += 1
        if self.calls > 1 and tap.source is not tap.window:
            raise SynestheteError(
                f"{tap.layer} cannot be changed: its block calls that activation several times",
                hint="change what the whole block gives",
            )
        axis = 1 if tap.arranged.arrangement == "NCHW" else raw.ndim - 1
        responses = raw.movedim(axis, -1)
        if tap.dictionary is None:
            return self.rewrite(responses).movedim(-1, axis)
        before = tap.dictionary.encode(responses)
        after = self.rewrite(before)
        return tap.dictionary.changed(responses, before, after).movedim(-1, axis)


def _changer(site: Site, change: Change) -> Rewrite:
    """Heads keep their unit on the axis before the last."""
    by_head = isinstance(site, Heads)
    if isinstance(change.add, tuple) and not (by_head and len(change.add) == site.width):  # type: ignore[union-attr]
        raise SynestheteError(
            f"{len(change.add)} values cannot be added to a unit of {change.layer}"
        )

    def rewrite(responses: torch.Tensor) -> torch.Tensor:
        count = responses.shape[-2 if by_head else -1]
        wrong = [unit for unit in change.units if not 0 <= unit < count]
        if wrong:
            raise SynestheteError(f"{change.layer} has units 0 to {count - 1}, not {wrong[0]}")
        # A copy, since what came before may still be needed as it was (a residual branch, an in-place ReLU).
        out = responses.clone()
        part = out if by_head else out[..., None]
        units = list(change.units)
        part[..., units, :] = part[..., units, :] * change.scale + out.new_tensor(change.add)
        return out

    return rewrite
