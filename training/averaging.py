"""The mean of several trained image towers, weight by weight.

Runs that went on from one another, each to the end of its own schedule, stop in different corners of one wide valley; its middle
names images of other artists better than any corner does (Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better
Generalization; Wortsman et al. 2022, Model soups). Nothing is learnt here and nothing chosen: every checkpoint counts as its share says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCALE = "log_scale"


def average(checkpoints: Sequence[Path], out: Path, shares: Sequence[float] = ()) -> None:
    """Write the weighted mean of `checkpoints` (`image.pt` of the same architecture and image size) to `out`.

    Tower, statistics of the batch normalisation and scale are averaged; readers, optimiser, schedule and counts are the last one's, so
    that a run may go on from `out` and `export` can ship it. Without `shares` all count alike; their sum need not be 1.

    Raises
    ------
    ValueError
        If a share is missing or not above nothing, or the checkpoints have other parts or image sizes.
    """
    import torch

    shares = list(shares) or [1.0] * len(checkpoints)
    if len(shares) != len(checkpoints) or min(shares) <= 0:
        raise ValueError(
            f"{len(checkpoints)} checkpoints need as many shares, all above 0: {shares}"
        )
    total: dict[str, Any] = {}
    saved: dict[str, Any] = {}
    for path, share in zip(checkpoints, shares, strict=True):
        saved = torch.load(path, map_location="cpu")
        now = saved["visual"] | {SCALE: saved[SCALE]}
        if total and _shapes(now) != _shapes(total):
            raise ValueError(f"{path} is of another architecture or image size")
        for name, value in now.items():
            # What is not a number with a fraction is a count, and the last one's.
            if value.is_floating_point():
                value = total.get(name, 0) + share / sum(shares) * value
            total[name] = value
    saved[SCALE] = total.pop(SCALE)
    torch.save({**saved, "visual": total, "averaged": len(checkpoints)}, out)


def _shapes(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.shape for name, tensor in tensors.items()}
