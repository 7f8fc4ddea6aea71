"""Forward hooks that read exactly what a layer computes, and leave nothing behind.

Three things fool a naive hook: a ReLU that works in place (its input is overwritten before anyone looks
at what the hook stored), one activation module called several times in a block, and one activation
module shared by several blocks. So a tap reads the tensor *during* the hook, counts only the calls that
happen while its own block runs, and keeps the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from synesthete.errors import SynestheteError
from synesthete.models.activations import Arranged, Responses
from synesthete.models.dictionaries import SparseDictionary

Kept = TypeVar("Kept")


@dataclass(frozen=True, kw_only=True)
class Tap:
    """Where and how one layer is read.

    Attributes
    ----------
    layer
        The layer's name.
    kind
        As in `Layer.kind`.
    window
        The module inside whose forward pass a call must happen to count.
    source
        The module whose input or output is the layer; may be the window itself.
    side
        Which of the two.
    arranged
        How the tensor is laid out.
    closing
        The source's output must be the very tensor that the window returns. This proves that the last
        activation of a block was found: its input is then the block's value before the non-linearity.
    writer, reader
        Names of the linear layers before and after MLP neurons, and of the linear layer or norm that may add to a block last,
        where they were seen to be (`synesthete.models.places`).
    whole
        A block is all that its writer gives, and no sum.
    dictionary
        Of a layer `LAYER@NAME`: the sparse dictionary whose latents are read in place of the units.
    slope
        Whether those are read before their activation function, where there is a gradient though they are silent.
    """

    layer: str
    kind: str
    window: nn.Module
    source: nn.Module
    side: Literal["input", "output"]
    arranged: Arranged
    closing: bool = False
    writer: str = ""
    reader: str = ""
    whole: bool = False
    dictionary: SparseDictionary | None = None
    slope: bool = False

    def responses(self, raw: torch.Tensor) -> Responses:
        """The layer's responses in the tensor of a forward pass; of a dictionary, its latents'."""
        found = self.arranged.responses(raw, self.layer)
        if self.dictionary is None:
            return found
        read = self.dictionary.pre_activations if self.slope else self.dictionary.encode
        cls = None if found.cls is None else read(found.cls)
        return Responses(read(found.patches), cls, found.grid)


@contextmanager
def capture(
    taps: Sequence[Tap], take: Callable[[Tap, Responses], Kept]
) -> Iterator[dict[str, Kept]]:
    """Read `taps` during the forward pass that runs inside this context.

    Parameters
    ----------
    taps
        The layers to read.
    take
        Makes of the responses `[batch, positions, units]` what shall be kept. It is called while the
        pass is under way, on a view of memory that the pass may overwrite right after.

    Yields
    ------
    dict
        Layer name to what `take` returned; complete when the context ends.

    Raises
    ------
    SynestheteError
        If the pass did not run through a layer, or a block does not end in the activation found.
    """
    taken: dict[str, Kept] = {}
    handles: list[RemovableHandle] = []
    try:
        for tap in taps:
            _Reader(tap, take, taken).install(handles)
        yield taken
    finally:
        for handle in handles:
            handle.remove()
    missed = [tap.layer for tap in taps if tap.layer not in taken]
    if missed:
        raise SynestheteError(f"the forward pass never reached {', '.join(missed)}")


class _Reader(Generic[Kept]):
    """One tap's hooks and what they have seen in the pass under way."""

    def __init__(
        self, tap: Tap, take: Callable[[Tap, Responses], Kept], taken: dict[str, Kept]
    ) -> None:
        self.tap, self.take, self.taken = tap, take, taken
        self.running = False
        self.seen: list[Kept] = []
        self.last_output: object = None

    def install(self, handles: list[RemovableHandle]) -> None:
        """Register the hooks, each handle appended at once so that none is lost on an exception."""
        tap = self.tap
        handles.append(tap.window.register_forward_pre_hook(self.window_before))
        if tap.source is not tap.window:
            handles.append(tap.source.register_forward_pre_hook(self.source_before))
            handles.append(tap.source.register_forward_hook(self.source_after))
        # A closing tap looks at what the block itself gives, before an intervention makes it another.
        handles.append(tap.window.register_forward_hook(self.window_after, prepend=tap.closing))

    def keep(self, raw: object) -> None:
        tensor = _tensor(raw, self.tap.layer)
        # What is read of a pass in bfloat16 is reduced in float32, and so are the latents of a dictionary.
        self.seen = [self.take(self.tap, self.tap.responses(tensor.float()))]

    def window_before(self, module: nn.Module, args: Any) -> None:
        self.running, self.seen, self.last_output = True, [], None

    def source_before(self, module: nn.Module, args: Any) -> None:
        if self.running and self.tap.side == "input":
            self.keep(args)

    def source_after(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.running:
            self.last_output = output
            if self.tap.side == "output":
                self.keep(output)

    def window_after(self, module: nn.Module, args: Any, output: Any) -> None:
        tap = self.tap
        if tap.source is tap.window:
            self.keep(output if tap.side == "output" else args)
        if tap.closing and self.last_output is not output:
            raise SynestheteError(f"{tap.layer} cannot be read: its block ends in no activation")
        for kept in self.seen:
            self.taken[tap.layer] = kept
        # Holding on to tensors would keep their memory until the whole pass has run.
        self.running, self.seen, self.last_output = False, [], None


def _tensor(value: object, layer: str) -> torch.Tensor:
    """The tensor a module was given or returned; of a tuple, its first element."""
    found = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(found, torch.Tensor):
        raise SynestheteError(f"{layer} gives {type(found).__name__}, not a tensor")
    return found
