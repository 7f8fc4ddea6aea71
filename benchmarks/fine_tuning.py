"""The dense upper reference of a defence: the image tower itself trained on images with words on them, texts frozen.

The gap to training all weights is what a defence of few units gives up. Every step shows plain images that the model was trained on (of a
model that does not say which these are, the fitting split's) and the same with the word of another class (words and fonts of the fitting split,
several draws of each image), with the image's own name as the target among all classes. The weights that do best on the validation split are
taken; the test split is seen by none of this.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from synesthete.analysis.zero_shot import class_embeddings, held_out_rows
from synesthete.editing.defence import Typographic
from synesthete.editing.defence.typographic import (
    MODALITIES,
    attacked,
    choose_classes,
    splits,
)
from synesthete.models import ImageTextModel
from synesthete.probes import ProbeSet

BATCH, DRAWS, LOOKS = 48, 3, 8
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tuned:
    """A trained image tower.

    Attributes
    ----------
    network
        The whole model, as open_clip has it.
    images, step
        How many plain images it was trained on, and after how many steps it did best on those kept back.
    parameters
        How many numbers were trained.
    """

    network: Any
    images: int
    step: int
    parameters: int

    def embed(self, pixels: torch.Tensor) -> Float32:
        """Embeddings `[n, dim]`."""
        return embed(self.network, pixels).numpy()  # type: ignore[no-any-return]


def lessons(
    model: ImageTextModel, probes: ProbeSet, limit: int, classes: int, seed: int
) -> tuple[list[Typographic], Typographic]:
    """Draws of images to train on, and the validation split."""
    unseen = held_out_rows(model.name, probes.labels)
    names = choose_classes(probes, unseen, classes, seed)
    texts = class_embeddings(model, names)
    fitting, back, _ = splits(probes, unseen, names, seed)
    concept, modality = (np.array(probes.labels[c].to_pylist()) for c in ("concept", "modality"))
    seen = np.flatnonzero(np.isin(modality, MODALITIES) & np.isin(concept, names) & ~unseen)
    shuffled = np.random.default_rng(seed).permutation(seen).tolist()
    rest = replace(fitting, rows=shuffled or fitting.rows)
    drawn = [
        attacked(model, probes, rest, names, texts, limit=limit, seed=seed + 2 + draw)
        for draw in range(DRAWS)
    ]
    return drawn, attacked(model, probes, back, names, texts, limit=limit // 4, seed=seed + 1)


def fine_tune(
    model: ImageTextModel,
    drawn: Sequence[Typographic],
    back: Typographic,
    *,
    steps: int,
    rate: float,
    seed: int,
) -> Tuned:
    """Train all weights of the image tower for some steps; take those that do best on the images kept back."""
    network: Any = copy.deepcopy(model.network).eval()
    tower = network.visual.requires_grad_(True)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    texts, rng = torch.from_numpy(drawn[0].classes), np.random.default_rng(seed)
    best, chosen, at = _loss(network, back), copy.deepcopy(tower.state_dict()), 0
    for step in range(1, steps + 1):
        lesson = drawn[step % len(drawn)]
        truth = np.concatenate([lesson.truth, lesson.truth[lesson.of]])
        rows = torch.from_numpy(rng.choice(len(truth), min(BATCH, len(truth)), replace=False))
        found = network.encode_image(lesson.pixels[rows], normalize=True)
        target = torch.from_numpy(truth)[rows]
        loss = torch.nn.functional.cross_entropy(lesson.scale * found @ texts.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % max(1, steps // LOOKS) == 0 or step == steps:
            kept = _loss(network, back)
            if kept < best:
                best, chosen, at = kept, copy.deepcopy(tower.state_dict()), step
        print(
            f"\rfine-tune {step}/{steps} loss {float(loss.detach()):.3f}", end="", file=sys.stderr
        )
    print("\r", end="", file=sys.stderr)
    tower.load_state_dict(chosen)
    return Tuned(network, len(drawn[0].truth), at, sum(p.numel() for p in tower.parameters()))


def embed(network: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings `[n, dim]`, a batch at a time."""
    with torch.inference_mode():
        return torch.cat(
            [
                network.encode_image(pixels[i : i + 64], normalize=True)
                for i in range(0, len(pixels), 64)
            ]
        )


def _loss(network: Any, lesson: Typographic) -> float:
    """The search's own: truth against word on attacked images, truth among all on plain ones."""
    harm, kept = lesson.losses(embed(network, lesson.pixels))
    return float(harm + kept)
