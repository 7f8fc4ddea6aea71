"""What edits do to a model's answers, beside as many edits of random units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float32, Int64
from synesthete._core.intervals import wilson_interval
from synesthete.audits.images import readable
from synesthete.editing.edits import Edit, Edits
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

DRAWS, BATCH = 3, 64


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Zero-shot answers before and after.

    Attributes
    ----------
    n, classes
        Images, and names to choose among.
    before, after
        Share classified correctly, with the 95 % Wilson intervals `before_interval` and `after_interval`.
    changed
        Share of images that get another name.
    control_after, control_changed
        The same two for the same edits of random units of the same layers, mean over draws.
    moved
        Largest change of a component of an image's embedding.
    """

    n: int
    classes: int
    before: float
    before_interval: tuple[float, float]
    after: float
    after_interval: tuple[float, float]
    changed: float
    control_after: float
    control_changed: float
    moved: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def draw_images(probes: ProbeSet, limit: int, seed: int = 0) -> tuple[list[Image.Image], list[str]]:
    """Readable images of a probe set, evenly drawn, with their concepts."""
    concept = probes.labels["concept"].to_pylist()
    rows = np.random.default_rng(seed).permutation(len(probes)).tolist()
    found = list(islice(readable(probes, rows, lambda image: image), limit))
    if not found:
        raise SynestheteError(f"no image of {probes.name} can be read")
    return [image for _, image in found], [concept[row] for row, _ in found]


def measure_effect(
    model: ImageTextModel,
    edits: Edits,
    pixels: torch.Tensor,
    labels: Sequence[str],
    *,
    seed: int = 0,
) -> Effect:
    """Name images before and after edits, and after the same edits of random units.

    Parameters
    ----------
    pixels
        From `model.preprocess`, `[n, 3, height, width]`.
    labels
        What each shows; they are the names to choose among.

    Raises
    ------
    SynestheteError
        Edits of another model.
    """
    from synesthete.analysis.zero_shot import class_embeddings

    names = sorted(set(labels))
    truth = np.array([names.index(label) for label in labels])
    unedited = class_embeddings(model, names)
    of_text = {one.name for one in model.sites("text")}

    def answers(planned: Edits) -> tuple[Int64, Float32]:
        reads = any(edit.layer in of_text for edit in planned.edits)
        with model.edited(planned):
            texts = class_embeddings(model, names) if reads else unedited
            found = np.concatenate(
                [model.encode_images(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
            )
        return (found @ texts.T).argmax(1), found

    before, embedded = answers(replace(edits, edits=()))
    after, moved = answers(edits)
    rng = np.random.default_rng(seed)
    controls = [answers(_elsewhere(model, edits, rng))[0] for _ in range(DRAWS)]
    right, still = int((before == truth).sum()), int((after == truth).sum())
    n = len(truth)
    return Effect(
        n=n,
        classes=len(names),
        before=right / n,
        before_interval=wilson_interval(right, n),
        after=still / n,
        after_interval=wilson_interval(still, n),
        changed=float((after != before).mean()),
        control_after=float(np.mean([(one == truth).mean() for one in controls])),
        control_changed=float(np.mean([(one != before).mean() for one in controls])),
        moved=float(np.abs(moved - embedded).max()),
    )


def _elsewhere(model: ImageTextModel, edits: Edits, rng: np.random.Generator) -> Edits:
    """The same edits of as many other units of the same layers, where there are others."""
    units = {one.name: one.units for one in model.sites()}
    moved: list[Edit] = []
    for layer in dict.fromkeys(edit.layer for edit in edits.edits):
        own = [edit for edit in edits.edits if edit.layer == layer]
        others = np.setdiff1d(np.arange(units[layer]), [edit.unit for edit in own])
        if len(others) < len(own):
            others = np.arange(units[layer])
        drawn = rng.choice(others, len(own), replace=False)
        moved += [
            replace(edit, address=f"{layer}:{unit}") for edit, unit in zip(own, drawn, strict=True)
        ]
    return replace(edits, edits=tuple(moved))
