"""Which units to switch off: predicted by gradients, tried one after another, and at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from synesthete._core.arrays import Float32
from synesthete.editing.defence.objective import Objective
from synesthete.errors import SynestheteError
from synesthete.models.heads import Heads
from synesthete.models.hooks import Tap

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.models.heads import Rewrite

BATCH = 64


class Tail:
    """The part of an image tower from the first of some layers to the embedding, over fixed images.

    What enters that layer's block (or, when all candidates are its output, what leaves it) is kept for every image. A later
    pass runs the tower on one blank image and puts the kept tensors in at that place, so that the rest of it runs
    as in any other pass.

    Parameters
    ----------
    layers
        Where units may be changed; the first of them in the forward pass decides what is kept.
    pixels
        The images.
    """

    def __init__(self, model: ImageTextModel, layers: Sequence[str], pixels: torch.Tensor) -> None:
        self.model = model
        order = [layer.name for layer in model.sites("image")]
        first = min(layers, key=order.index)
        self._module, block = _block(model, first)
        self._after = first == block  # a site within the block would come before it
        side = model.preprocessing.image_size
        self._blank = torch.zeros(1, 3, side, side, device=model.device)
        self._kept = [self._capture(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]

    def embed(
        self, rewrites: Sequence[tuple[str, Rewrite]] = (), *, gradients: bool = False
    ) -> torch.Tensor:
        """Embeddings `[images, dim]` of the model with its responses rewritten."""
        return torch.cat(
            [self.batch(i, rewrites, gradients=gradients) for i in range(len(self._kept))]
        )

    def batch(
        self, index: int, rewrites: Sequence[tuple[str, Rewrite]], *, gradients: bool = False
    ) -> torch.Tensor:
        """Embeddings of one batch of images."""
        kept = self._kept[index]
        network: Any = self.model.network
        # Nothing is hooked before other threads wait; then what is kept comes before it is rewritten.
        with self.model.rewritten(rewrites), nullcontext() if gradients else torch.no_grad():
            if self._after:
                handle = self._module.register_forward_hook(lambda *_: kept, prepend=True)
            else:
                handle = self._module.register_forward_pre_hook(
                    lambda module, args: (kept, *args[1:]), prepend=True
                )
            try:
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
        network: Any = self.model.network
        with self.model.rewritten([]), torch.no_grad():
            handle = register(keep)
            try:
                network.encode_image(pixels.to(self.model.device), normalize=True)
            finally:
                handle.remove()
        return seen[0]


def _block(model: ImageTextModel, layer: str) -> tuple[nn.Module, str]:
    """The block that a site is in, or is, and its name; an attention pool is in none, and is a block itself."""
    for one in model.sites("image"):
        tap = model.site(one.name)
        whole = (
            isinstance(tap, Tap) and tap.source is tap.window and tap.kind in ("block", "residual")
        )
        if whole and (layer == one.name or layer.startswith((f"{one.name}.", f"{one.name}:"))):
            assert isinstance(tap, Tap)
            return tap.window, one.name
    pool = model.site(layer)
    if not isinstance(pool, Heads):
        raise SynestheteError(
            f"{layer} is in no block, and a defence is searched for in units of one",
            hint="give a block's own layer, without a dictionary",
        )
    return pool.attention, ""


SHORTLIST = 10
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Candidates:
    """Layers whose units may be switched off, and what each then gives.

    Attributes
    ----------
    constants
        Layer to `[units]` (heads `[heads, width]`): zero for ablation, means for mean ablation.
    live
        Layer to `[units]`: whether a unit does anything at all.
    """

    constants: dict[str, torch.Tensor]
    live: dict[str, torch.Tensor]

    def rewrites(
        self, chosen: Sequence[tuple[str, int]], gates: dict[str, torch.Tensor] | None = None
    ) -> list[tuple[str, Rewrite]]:
        """Hold `chosen` at their constants; `gates` (1: as it is, 0: at its constant) are for gradients."""
        rewrites: list[tuple[str, Rewrite]] = []
        for layer, constant in self.constants.items():
            units = [unit for name, unit in chosen if name == layer]
            if units or gates is not None:
                kept = torch.ones(len(constant), device=constant.device)
                kept[units] = 0.0
                gate = kept if gates is None else kept * gates[layer]
                rewrites.append((layer, _held(constant, gate)))
        return rewrites

    @property
    def units(self) -> list[tuple[str, int]]:
        """All that do anything."""
        return [
            (layer, int(unit))
            for layer, live in self.live.items()
            for unit in live.nonzero().flatten()
        ]


def _held(constant: torch.Tensor, gate: torch.Tensor) -> Rewrite:
    wide = gate.reshape(-1, *[1] * (constant.ndim - 1))
    return lambda responses: constant + wide * (responses - constant)


def candidates(
    model: ImageTextModel, layers: Sequence[str], pixels: torch.Tensor, *, mean: bool
) -> Candidates:
    """Units of layers that respond to images, with zero or their means over them as what is left of them."""
    from synesthete.editing.edits import layer_totals

    constants, live = {}, {}
    for layer in layers:
        average = layer_totals(model, layer, pixels).float().to(model.device)
        constants[layer] = average if mean else torch.zeros_like(average)
        live[layer] = average.reshape(len(average), -1).abs().amax(1) > 0
    return Candidates(constants, live)


def predicted(
    tail: Tail,
    objective: Objective,
    among: Candidates,
    chosen: Sequence[tuple[str, int]],
    weight: float,
) -> dict[str, torch.Tensor]:
    """First-order change of `harm + weight · kept` for switching off each unit, layer to `[units]`."""
    gates = {
        name: torch.ones(len(constant), device=constant.device, requires_grad=True)
        for name, constant in among.constants.items()
    }
    embeddings = tail.embed(among.rewrites(chosen, gates), gradients=True)
    harm, kept = objective.losses(embeddings)
    found = torch.autograd.grad(harm + weight * kept, list(gates.values()))
    return {name: -gradient for name, gradient in zip(gates, found, strict=True)}


def ranked(scores: dict[str, torch.Tensor], among: Candidates, limit: int) -> list[tuple[str, int]]:
    """Units with the lowest scores first; those that do nothing are left out."""
    rows = [
        (float(values[unit]), layer, unit)
        for layer, values in scores.items()
        for unit in among.live[layer].nonzero().flatten().tolist()
    ]
    return [(layer, unit) for _, layer, unit in sorted(rows)[:limit]]


def greedy(
    tail: Tail,
    objective: Objective,
    among: Candidates,
    *,
    most: int,
    weight: float,
    shortlist: int = SHORTLIST,
    progress: Progress | None = None,
) -> list[tuple[str, int]]:
    """One unit after another: of those that the gradient favours, the one that helps most when it is really switched off.

    Ends early when none of them helps.
    """
    chosen: list[tuple[str, int]] = []
    best = _loss(tail, objective, among, chosen, weight)
    for step in range(most):
        scores = predicted(tail, objective, among, chosen, weight)
        taken = set(chosen)
        options = [u for u in ranked(scores, among, shortlist + len(chosen)) if u not in taken]
        tried = [
            (_loss(tail, objective, among, [*chosen, unit], weight), unit)
            for unit in options[:shortlist]
        ]
        if progress:
            progress(step + 1, most)
        if not tried or min(tried)[0] >= best:
            break
        best, unit = min(tried)
        chosen.append(unit)
    return chosen


def at_random(among: Candidates, most: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Units that do something, drawn evenly."""
    units = among.units
    return [units[i] for i in rng.choice(len(units), min(most, len(units)), replace=False)]


def embedded(tail: Tail, among: Candidates, units: Sequence[tuple[str, int]]) -> Float32:
    """Embeddings `[images, dim]` of a split with units held at their constants."""
    found: Float32 = tail.embed(among.rewrites(units)).float().cpu().numpy()
    return found


def _loss(
    tail: Tail,
    objective: Objective,
    among: Candidates,
    chosen: Sequence[tuple[str, int]],
    weight: float,
) -> float:
    harm, kept = objective.losses(tail.embed(among.rewrites(chosen)))
    return float(harm + weight * kept)
