"""Write the trained towers as an open_clip `local-dir:` model that plain open_clip loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.architecture import IMAGE_SIZE, MEAN, STD, config, create, load_text


def held_out(photo_keys: list[str], fonts: list[str]) -> dict[str, Any]:
    """What training never saw, by modality: whole artists, or single images by key."""
    return {
        "drawing": {"artists": ["emojione"]},
        "symbol": {"artists": ["emojione", "lucide"]},
        "word": {"artists": sorted(fonts)},
        "photo": {"keys": sorted(photo_keys)},
    }


def write_held_out(out: Path, photo_keys: list[str], fonts: list[str]) -> None:
    """Write `held_out.json` beside the model: only photographs that the shipped probe set has."""
    import pyarrow.parquet as pq

    from synesthete.probes.builtin import DATA_FOLDER

    shipped = set(pq.read_table(DATA_FOLDER / "concepts" / "manifest.parquet")["key"].to_pylist())
    described = held_out([key for key in photo_keys if key in shipped], fonts)
    (out / "held_out.json").write_text(json.dumps(described, indent=1) + "\n")


def _fold_standardisation(visual: dict[str, Any], eps: float = 1e-5) -> None:
    """Put the output's standardisation into the attention pool's last linear map, exactly."""
    mean = visual.pop("standardise.running_mean")
    scale = (visual.pop("standardise.running_var") + eps).rsqrt()
    visual.pop("standardise.num_batches_tracked")
    weight, bias = "attnpool.c_proj.weight", "attnpool.c_proj.bias"
    visual[bias] = (visual[bias] - mean) * scale
    visual[weight] = visual[weight] * scale[:, None]


def export(trained: Path, out: Path) -> None:
    """Join `text.pt` and `image.pt` of `trained` into `out` (configuration and fp16 safetensors).

    Batch-norm statistics stay fp32: their small variances lose digits in fp16.
    """
    import torch
    from safetensors.torch import save_file

    from training.running import resize_positions

    saved = torch.load(trained / "image.pt")
    model = create(IMAGE_SIZE)
    load_text(model, torch.load(trained / "text.pt"))
    state = model.state_dict()
    visual = saved["visual"]
    key = "attnpool.positional_embedding"
    visual[key] = resize_positions(visual[key], IMAGE_SIZE)
    _fold_standardisation(visual)
    state |= {f"visual.{name}": value for name, value in visual.items()}
    state["logit_scale"] = saved["log_scale"].clone()
    model.load_state_dict(state)
    keep = {}
    for name, value in state.items():
        exact = not value.is_floating_point() or "running_" in name or value.ndim == 0
        keep[name] = (value if exact else value.half()).contiguous().clone()
    out.mkdir(parents=True, exist_ok=True)
    save_file(keep, str(out / "open_clip_model.safetensors"), metadata={"format": "pt"})
    description = {
        "model_cfg": config(IMAGE_SIZE),
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (out / "open_clip_config.json").write_text(json.dumps(description, indent=2) + "\n")
