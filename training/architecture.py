"""The shipped model's shape, as an open_clip configuration."""

from __future__ import annotations

from typing import Any

EMBED_DIM = 192
IMAGE_SIZE = 128
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
            "context_length": 32,
            "vocab_size": 49408,
            "width": 128,
            "heads": 4,
            "layers": 4,
        },
    }


def create(image_size: int = IMAGE_SIZE, seed: int = 0) -> Any:
    """A freshly initialised open_clip CLIP of mini's shape."""
    import torch
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    return CLIP(**config(image_size))
