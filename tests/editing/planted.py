"""A small ViT with a planted reading head: what it sees and what it reads are known, and nothing else leads to the answer.

Every class has a pattern that its object shows and another that its word shows. In block 0 a head of the class token looks at object patches and
writes their class into it; in block 1 another looks at the patch with the word and writes the word's class, three times as strongly. All other
heads look and write at random.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from synesthete.editing.defence import Typographic
from synesthete.models import ImageTextModel, load_model
from tests.editing.families import TOWERS, write_model

CLASSES, PATCH, GRID = 4, 16, 3
WIDE = TOWERS["vit"]["head_width"]
SEEING, READING = (0, 1), (1, 2)  # block and head
READER = ("visual.transformer.resblocks.1.attn:cls", READING[1])


def patterns() -> torch.Tensor:
    """Orthonormal patches `[2 * CLASSES, 3, PATCH, PATCH]`: objects, then words."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(3 * PATCH * PATCH, 2 * CLASSES, generator=draw)
    return torch.linalg.qr(noise)[0].T.reshape(-1, 3, PATCH, PATCH)


@torch.no_grad()
def reading_model(folder: Path, seed: int) -> ImageTextModel:
    """The model; the first dimensions of its embeddings are the classes. `seed`: of the other heads."""
    model = load_model(write_model(folder, "vit", seed), device="cpu")
    visual: Any = model.network.visual
    for name, weight in visual.named_parameters():
        if ".ln_" in name or name.startswith("ln_"):
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
        elif not name.endswith(("attn.in_proj_weight", "attn.out_proj.weight")):
            weight.zero_()
        else:
            weight.mul_(0.5)
    # Residual dimensions 0 to 7 of a patch: which object, which word. 8 to 11 of the class token: which class.
    visual.conv1.weight[: 2 * CLASSES] = patterns()
    visual.class_embedding[20] = 1.0
    visual.positional_embedding[1:, 40] = (
        1.0  # so that layer norm does not enlarge what noise there is
    )
    for (place, head), kind, strength in ((SEEING, 0, 1.0), (READING, 1, 3.0)):
        attention = visual.transformer.resblocks[place].attn
        rows = slice(head * WIDE, (head + 1) * WIDE)
        query, key, value = (part[rows] for part in attention.in_proj_weight.chunk(3))
        columns = attention.out_proj.weight[:, rows]
        for part in (query, key, value, columns):
            part.zero_()
        query[0, 20] = 0.5
        for number in range(CLASSES):
            key[0, kind * CLASSES + number] = 1.0
            value[number, kind * CLASSES + number] = 1.0
            columns[8 + number, number] = strength
    for number in range(CLASSES):
        visual.proj[8 + number, number] = 1.0
    return model


def attack(model: ImageTextModel, count: int, seed: int) -> Typographic:
    """Images of an object in four of nine patches, and the same with a word of another class in a fifth."""
    rng, drawn = np.random.default_rng(seed), 3.0 * patterns()
    truth = rng.integers(0, CLASSES, count)
    target = (truth + rng.integers(1, CLASSES, count)) % CLASSES
    draw = torch.Generator().manual_seed(seed)
    plain = 0.02 * torch.randn(count, 3, PATCH * GRID, PATCH * GRID, generator=draw)
    places = [rng.permutation(GRID * GRID).tolist() for _ in range(count)]
    for image, own, thing in zip(plain, places, truth, strict=True):
        for place in own[:4]:
            _part(image, place).add_(drawn[thing])
    marked = plain.clone()
    for image, own, word in zip(marked, places, target, strict=True):
        _part(image, own[4]).add_(drawn[CLASSES + word])
    return Typographic(
        pixels=torch.cat([plain, marked]),
        truth=truth,
        of=np.arange(count),
        target=target,
        right=np.ones(count, bool),
        classes=np.eye(CLASSES, model.embedding_dim, dtype=np.float32),
        scale=20.0,
    )


def _part(image: torch.Tensor, place: int) -> torch.Tensor:
    row, column = (PATCH * one for one in divmod(place, GRID))
    return image[:, row : row + PATCH, column : column + PATCH]
