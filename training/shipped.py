"""The shipped model as the beginning of a new training: its towers, and the teacher turned onto its axes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from training import image_tower, running, teacher
from training.architecture import EMBED_DIM, create, load_text


def load(folder: Path) -> Any:
    """The model of `folder` (an open_clip `local-dir:`), in fp32."""
    from safetensors.torch import load_file

    model = create()
    weights = load_file(folder / "open_clip_model.safetensors")
    load_text(model, {name: value.float() for name, value in weights.items()})
    return model.eval()


def write(folder: Path, out: Path) -> None:
    """Write `text.pt` and `image.pt` to start from; the optimiser's moments, which do not ship, begin again.

    The standardisation of the output is in the weights already, so here it changes nothing.
    """
    import torch

    model = load(folder)
    result = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["training"]
    out.mkdir(parents=True, exist_ok=True)
    text = {k: v for k, v in model.state_dict().items() if not k.startswith("visual.")}
    torch.save(text, out / "text.pt")
    visual = model.visual
    visual.standardise = torch.nn.BatchNorm1d(EMBED_DIM, affine=False)
    visual.standardise.running_var.fill_(1 - visual.standardise.eps)
    scale = torch.nn.Parameter(model.logit_scale.detach().clone())
    optimiser = running.make_optimiser(visual, scale, running.Recipe())
    state = {
        "visual": visual.state_dict(),
        "log_scale": scale.data,
        "optimiser": optimiser.state_dict(),
        "size": visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size,
        "spent": result["minutes"] * 60,
        "seen": result["samples"],
        "earlier": result.get("earlier"),
        "step": 0,
    }
    torch.save(state, out / "image.pt")


def turn_teacher(folder: Path, data: Path) -> tuple[float, float]:
    """Turn the targets of `data/teacher.npz` onto the axes of the shipped text tower (orthogonal Procrustes).

    Whitening leaves signs and order of the axes to the eigenvectors, which differ between builds. Returns the mean cosine of
    the targets and the tower's embeddings of names and words, before and after.
    """
    texts, kinds, targets = teacher.lookup(data)
    rows = [i for i, kind in enumerate(kinds) if kind in ("names", "words")]
    got = image_tower.name_targets(load(folder), [texts[i] for i in rows]).numpy()
    left, _, right = np.linalg.svd(targets[rows].T @ got)
    turned = targets @ (left @ right).astype(np.float32)
    np.savez(data / "teacher.npz", texts=np.array(texts), kinds=np.array(kinds), targets=turned)
    before, after = ((t[rows] * got).sum(1).mean() for t in (targets, turned))
    return float(before), float(after)
