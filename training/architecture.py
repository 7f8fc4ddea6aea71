"""The shipped model's shape, as an open_clip configuration."""

from __future__ import annotations

from typing import Any

import numpy as np

EMBED_DIM = 192
IMAGE_SIZE = 128
CONTEXT = 77
"""Tokens of a text; the shipped towers had 32 until they were taught sentences."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def config(image_size: int = IMAGE_SIZE) -> dict[str, Any]:
    """open_clip `model_cfg` of mini: a ModifiedResNet 2-2-2-2 of width 32 and a four-layer text transformer."""
    return {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {
            "image_size": image_size,
            "layers": [2, 2, 2, 2],
            "width": 32,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 49408,
            "width": 128,
            "heads": 4,
            "layers": 4,
        },
    }


def pixels(images: np.ndarray) -> Any:
    """What the tower is given for `images` `[n, size, size, 3]` (RGB, 0 to 255): channels first, normalised."""
    import torch

    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    given = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(mean).div_(std)
    return given.contiguous(memory_format=torch.channels_last)


def create(image_size: int = IMAGE_SIZE, seed: int = 0) -> Any:
    """A freshly initialised open_clip CLIP of mini's shape."""
    import torch
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    return CLIP(**config(image_size))


def load_text(model: Any, state: dict[str, Any]) -> None:
    """Load a text tower, or a whole model, whose texts may be shorter: further positions begin as its last one."""
    import torch

    place = "positional_embedding"
    rows = state[place]
    if len(rows) < CONTEXT:
        state = state | {place: torch.cat([rows, rows[-1:].repeat(CONTEXT - len(rows), 1)])}
    model.load_state_dict(state, strict=False)
