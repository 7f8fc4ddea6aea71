"""Dyslexify: the heads by which the class token looks at the written label, and what they write into it taken away.

Hufe et al. 2025 (arXiv 2508.20570; ICLR 2026). Heads are ranked by the share of their attention, from the class token to the
positions of the image, that the label has. In this order each is ablated on top of those kept before, in the class token alone, and kept
where more attacked images are classified correctly; the search ends when that costs more clean accuracy than is allowed, or when
ten heads in a row were not kept. On a ModifiedResNet the attention pool's query stands for the class token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete.editing.defence.search import BATCH, Candidates, Progress, Tail, embedded
from synesthete.editing.defence.typographic import Typographic
from synesthete.errors import SynestheteError
from synesthete.models.attention import class_attention

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel

Unit = tuple[str, int]
PATIENCE = 10


def class_heads(model: ImageTextModel, layers: Sequence[str] | None) -> list[str]:
    """The sites whose heads write into a class token or a pooled one: those given, or all.

    Raises
    ------
    SynestheteError
        There are none, or one of those given is another place.
    """
    known = [one.name for one in model.sites("image") if one.kind == "class heads"]
    if not known:
        raise SynestheteError(
            f"{model.name} has no attention heads that write into a class token or a pooled one: dyslexify has nothing to take away",
            hint="--method greedy",
        )
    for layer in layers or ():
        model.site(layer)
        if layer not in known:
            raise SynestheteError(
                f"the units of {layer} are no heads that write into the class token",
                hint=f"dyslexify looks in {', '.join(known)}",
            )
    return list(layers) if layers else known


@dataclass(frozen=True)
class Looking:
    """How much of a head's attention to the positions of the image the label has.

    Attributes
    ----------
    address
        The head.
    share
        Over all attacked images; a position that the label covers in part counts by that part.
    elsewhere
        The control: the same where the label of another image is.
    """

    address: str
    share: float
    elsewhere: float


def label_attention(
    model: ImageTextModel, layers: Sequence[str], objective: Typographic
) -> dict[Unit, Looking]:
    """Of every head of class-head sites, its attention to the label."""
    plain = len(objective.truth)
    shares: dict[tuple[int, int], torch.Tensor] = {}
    sums: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    for start in range(plain, len(objective.pixels), BATCH):
        pixels = objective.pixels[start : start + BATCH]
        here = slice(start - plain, start - plain + len(pixels))
        for layer, weights in class_attention(model, layers, pixels).items():
            grid = (int(weights.shape[2]), int(weights.shape[3]))
            if grid not in shares:
                shares[grid] = objective.label_shares(grid)
            covered = shares[grid]
            parts = (covered[here], covered.roll(1, 0)[here], torch.ones(1, *grid))
            sums[layer].append(
                torch.stack([(weights * part[:, None]).sum((0, 2, 3)) for part in parts])
            )
    found: dict[Unit, Looking] = {}
    for layer, batches in sums.items():
        share, elsewhere, whole = torch.stack(batches).double().sum(0).unbind()
        for head in range(len(whole)):
            looks = (float(part[head] / whole[head]) for part in (share, elsewhere))
            found[layer, head] = Looking(f"{layer}:{head}", *looks)
    return found


def keep_heads(
    tail: Tail,
    objective: Typographic,
    among: Candidates,
    order: Sequence[Unit],
    *,
    most: int,
    budget: float,
    progress: Progress | None = None,
) -> list[Unit]:
    """Of heads in the order of their attention to the label, those whose ablation helps, within the budget."""

    def rates(units: Sequence[Unit]) -> tuple[float, float]:
        embeddings = embedded(tail, among, units)
        survived = float(objective.survived(embeddings).mean())
        return survived, objective.evaluate(embeddings).kept.value

    best, unedited = rates([])
    kept: list[Unit] = []
    skipped = 0
    for place, unit in enumerate(order, 1):
        survived, clean = rates([*kept, unit])
        if progress:
            progress(place, len(order))
        if survived <= best:
            skipped += 1
            if skipped >= PATIENCE:
                break
            continue
        if clean < unedited - budget or len(kept) == most:
            break
        kept, best, skipped = [*kept, unit], survived, 0
    return kept
