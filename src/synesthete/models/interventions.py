"""Changing what units answer while a model runs: the same hooks that read a layer, giving back another value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from synesthete.errors import SynestheteError
from synesthete.models.taps import Tap


@dataclass(frozen=True)
class Change:
    """What becomes of the responses of some units of a layer, at every position.

    Attributes
    ----------
    layer
        The layer, after its non-linearity.
    units
        Which units.
    scale, add
        A response `a` becomes `scale * a + add`: `scale=0` switches a unit off, `add=2.0` raises it.
    """

    layer: str
    units: tuple[int, ...]
    scale: float = 1.0
    add: float = 0.0


@contextmanager
def intervene(changes: Sequence[tuple[Tap, Change]]) -> Iterator[None]:
    """Make `changes` in every forward pass inside this context, in their order.

    Raises
    ------
    SynestheteError
        A layer before its non-linearity or of a side that cannot be changed, a unit that is not there (while a pass runs).
    """
    handles: list[RemovableHandle] = []
    try:
        for tap, change in changes:
            _install(tap, change, handles)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _install(tap: Tap, change: Change, handles: list[RemovableHandle]) -> None:
    if tap.layer.endswith(":pre"):
        raise SynestheteError(
            f"{tap.layer} cannot be changed",
            hint=f"change what the layer gives after its non-linearity: {tap.layer.removesuffix(':pre')}",
        )
    if tap.side == "input":
        handles.append(
            tap.source.register_forward_pre_hook(
                lambda module, args: (_changed(args[0], tap, change), *args[1:])
            )
        )
    else:
        handles.append(
            tap.source.register_forward_hook(
                lambda module, args, output: _changed_output(output, tap, change)
            )
        )


def _changed_output(output: Any, tap: Tap, change: Change) -> Any:
    if isinstance(output, tuple):
        return (_changed(output[0], tap, change), *output[1:])
    return _changed(output, tap, change)


def _changed(raw: torch.Tensor, tap: Tap, change: Change) -> torch.Tensor:
    axis = 1 if tap.arranged.arrangement == "NCHW" else raw.ndim - 1
    count = raw.shape[axis]
    wrong = [unit for unit in change.units if not 0 <= unit < count]
    if wrong:
        raise SynestheteError(f"{tap.layer} has units 0 to {count - 1}, not {wrong[0]}")
    # A copy, since what came before may still be needed as it was (a residual branch, an in-place ReLU).
    out = raw.clone()
    part = out.movedim(axis, -1)
    units = list(change.units)
    part[..., units] = part[..., units] * change.scale + change.add
    return out
