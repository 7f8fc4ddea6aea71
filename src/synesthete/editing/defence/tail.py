"""Running the end of a tower again and again: everything before the first candidate is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from synesthete.models.hooks import Tap

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.models.interventions import Rewrite

BATCH = 64


class Tail:
    """The part of an image tower from the first of some layers to the embedding, over fixed pictures.

    What enters that layer's block (or, when all candidates are its output, what leaves it) is kept for every picture. A later
    pass runs the tower on one blank picture and puts the kept tensors in at that place, so that the rest of it runs
    as in any other pass.

    Parameters
    ----------
    layers
        Where units may be changed; the first of them in the forward pass decides what is kept.
    pixels
        The pictures.
    """

    def __init__(self, model: ImageTextModel, layers: Sequence[str], pixels: torch.Tensor) -> None:
        self.model, self.pictures = model, len(pixels)
        order = [layer.name for layer in model.sites()]
        first = min(layers, key=order.index)
        block = _block(model, first)
        self._module = block.window
        self._after = all(name == block.layer for name in layers)
        side = model.preprocessing.image_size
        self._blank = torch.zeros(1, 3, side, side, device=model.device)
        self._kept = [self._capture(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]

    def embed(
        self, rewrites: Sequence[tuple[str, Rewrite]] = (), *, gradients: bool = False
    ) -> torch.Tensor:
        """Embeddings `[pictures, dim]` of the model with its responses rewritten."""
        return torch.cat(
            [self.batch(i, rewrites, gradients=gradients) for i in range(len(self._kept))]
        )

    def batch(
        self, index: int, rewrites: Sequence[tuple[str, Rewrite]], *, gradients: bool = False
    ) -> torch.Tensor:
        """Embeddings of one batch of pictures."""
        kept = self._kept[index]
        if self._after:
            handle = self._module.register_forward_hook(lambda module, args, output: kept)
        else:
            handle = self._module.register_forward_pre_hook(lambda module, args: (kept, *args[1:]))
        network: Any = self.model.network
        try:
            with self.model.rewritten(rewrites), nullcontext() if gradients else torch.no_grad():
                found: torch.Tensor = network.encode_image(self._blank, normalize=True)
        finally:
            handle.remove()
        return found

    def _capture(self, pixels: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def keep(module: Any, args: Any, output: Any = None) -> None:
            seen.append((output if self._after else args[0]).detach().clone())

        register: Any = (
            self._module.register_forward_hook
            if self._after
            else self._module.register_forward_pre_hook
        )
        handle = register(keep)
        network: Any = self.model.network
        try:
            with self.model.rewritten([]), torch.no_grad():
                network.encode_image(pixels.to(self.model.device), normalize=True)
        finally:
            handle.remove()
        return seen[0]


def _block(model: ImageTextModel, layer: str) -> Tap:
    """The block that a site lies in, or is."""
    for one in model.sites():
        tap = model.site(one.name)
        whole = (
            isinstance(tap, Tap) and tap.source is tap.window and tap.kind in ("block", "residual")
        )
        if whole and (layer == one.name or layer.startswith((f"{one.name}.", f"{one.name}:"))):
            assert isinstance(tap, Tap)
            return tap
    raise AssertionError(f"{layer} lies in no block")
