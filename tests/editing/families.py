"""Small models of every family of image towers that can be edited, with weights random enough that nothing cancels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.models.conftest import TEXT, scramble

TOWERS: dict[str, dict[str, Any]] = {
    "modified-resnet": {"image_size": 64, "layers": [2, 1, 1, 2], "width": 8, "head_width": 32},
    "vit": {"image_size": 48, "layers": 3, "width": 64, "patch_size": 16, "head_width": 16},
    "vit-layer-scale": {
        "image_size": 48, "layers": 2, "width": 32, "patch_size": 16, "head_width": 8, "ls_init_value": 0.1,
        "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": False,
    },
    # SigLIP's form: no class token, pooled by attention.
    "siglip": {
        "image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "map", "timm_proj": "none",
    },
    "eva": {
        "image_size": 224, "timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "timm_proj": "linear",
    },
    "timm-resnet": {
        "image_size": 96, "timm_model_name": "resnet14t", "timm_pool": "avg", "timm_proj": "linear",
        "timm_proj_bias": True,
    },
    "convnext": {
        "image_size": 64, "timm_model_name": "convnext_atto", "timm_pool": "avg", "timm_proj": "linear",
    },
}  # fmt: skip
DIMENSIONS = {"siglip": 192}


def write_model(folder: Path, family: str, seed: int = 0) -> str:
    """Save a small random model as open_clip's `local-dir:`; returns its spec."""
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    config: dict[str, Any] = {
        "embed_dim": DIMENSIONS.get(family, 24), "vision_cfg": TOWERS[family], "text_cfg": TEXT,
    }  # fmt: skip
    if family == "siglip":
        config["custom_text"] = True
    network = scramble((CustomTextCLIP if family == "siglip" else CLIP)(**{
        key: value for key, value in config.items() if key != "custom_text"
    }), seed)  # fmt: skip
    for weight in network.state_dict().values():
        if family == "modified-resnet" and weight.ndim == 4:
            weight *= 2.0  # so that images still differ at the end
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "resize_mode": "shortest"}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    return f"local-dir:{folder}"
