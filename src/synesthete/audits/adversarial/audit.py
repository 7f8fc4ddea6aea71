"""The adversarial audit: zero-shot accuracy under changes of pixels too small to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from synesthete._core.arrays import Bool, Float32
from synesthete._core.intervals import Rate
from synesthete.analysis.zero_shot import LOGIT_SCALE, class_embeddings, temperature
from synesthete.audits.adversarial.attacks import (
    Classifier,
    apgd,
    cross_entropy,
    dlr,
    fgsm,
    pgd,
    within,
)
from synesthete.audits.images import load_images
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

EPSILONS = (0.25, 0.5, 1.0, 2.0, 4.0)  # in steps of an 8-bit image
STEPS = 20
LIMIT = 60
BATCH = 16
# Published for comparison: OpenAI's ViT-L/14, mean zero-shot accuracy at 2/255 (arXiv 2402.12336).
PUBLISHED = {
    "model": "ViT-L-14/openai",
    "clean": 0.731,
    "at_2": 0.0,
    "fare4_clean": 0.611,
    "fare4_at_2": 0.459,
}

Attack = Callable[[Classifier, torch.Tensor, torch.Tensor, float], torch.Tensor]
Progress = Callable[[str], None]


def attacks(steps: int, seed: int) -> dict[str, Attack]:
    """Name → attack. `noise`, random signs of the same size, is the control."""

    def noise(
        classifier: Classifier, pixels: torch.Tensor, truth: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, pixels.shape, generator=generator).to(pixels) * 2 - 1
        return within(pixels + epsilon * signs, pixels, epsilon)

    return {
        "noise": noise,
        "fgsm": fgsm,
        "pgd": lambda c, x, y, e: pgd(c, x, y, e, steps=steps, seed=seed),
        "apgd-ce": lambda c, x, y, e: apgd(c, x, y, e, cross_entropy, steps=steps, seed=seed),
        "apgd-dlr": lambda c, x, y, e: apgd(c, x, y, e, dlr, steps=steps, seed=seed),
    }


def robust(
    classifier: Classifier,
    pixels: torch.Tensor,
    truth: torch.Tensor,
    epsilons: Sequence[float],
    tried: dict[str, Attack],
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> dict[str, Bool]:
    """Which images survive which attack at which size.

    An image that fell to an attack within a small box is in every larger one, so it is not attacked again: each row
    of the result is true no oftener than the row before.

    Parameters
    ----------
    epsilons
        Ascending, on the scale 0 to 1.

    Returns
    -------
    dict
        Attack → `[sizes, images]`, whether the answer is still the truth. `clean` has one row; `worst` is what
        survives all attacks but the noise.
    """
    if list(epsilons) != sorted(epsilons) or not epsilons or epsilons[0] <= 0:
        raise SynestheteError("sizes of attacks must be positive and ascending")
    clean = _right(classifier, pixels, truth, batch)
    out = {"clean": clean[None]}
    for name, attack in tried.items():
        standing, rows = clean.copy(), []
        for epsilon in epsilons:
            if progress is not None:
                progress(f"{name} at {epsilon * 255:g}/255, {int(standing.sum())} standing")
            left = np.flatnonzero(standing)
            for start in range(0, len(left), batch):
                some = left[start : start + batch]
                changed = attack(classifier, pixels[some], truth[some], epsilon)
                standing[some] = _right(classifier, changed, truth[some], batch)
            rows.append(standing.copy())
        out[name] = np.stack(rows)
    meant = [rows for name, rows in out.items() if name not in ("clean", "noise")]
    out["worst"] = (
        np.logical_and.reduce(meant) if meant else np.repeat(clean[None], len(epsilons), 0)
    )
    return out


def audit_adversarial(
    model: ImageTextModel,
    images: str | Path | None = None,
    *,
    epsilons: Sequence[float] = EPSILONS,
    steps: int = STEPS,
    limit: int = LIMIT,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Zero-shot accuracy under attack, over the size of the change.

    Parameters
    ----------
    images
        A probe set of the user's, or None for the built-in photos and drawings.
    epsilons
        Largest change of any value of any pixel, in steps of an 8-bit image (of 255).

    Returns
    -------
    dict
        `clean_accuracy`, `robust_accuracy` (at the size nearest to 1/255, all attacks together), `n`, `interval`,
        and `curves`: attack → a rate for each size.

    Raises
    ------
    SynestheteError
        Images that cannot be used, sizes that are not positive and ascending.
    """
    image_set = load_images(model, model.name, images, limit=limit, seed=seed, training=False)
    classifier = PixelClassifier.of(model, class_embeddings(model, image_set.classes))
    pixels = to_pixels(image_set.images).to(model.device)
    truth = torch.from_numpy(image_set.truth).to(model.device)
    sizes = [epsilon / 255 for epsilon in epsilons]
    found = robust(classifier, pixels, truth, sizes, attacks(steps, seed), progress=progress)
    place = int(np.argmin(np.abs(np.asarray(epsilons) - 1.0)))
    worst = Rate.of(found["worst"][place])
    clean = Rate.of(found["clean"][0])
    return {
        "clean_accuracy": clean.as_dict()["rate"],
        "robust_accuracy": worst.as_dict()["rate"],
        "n": worst.n,
        "interval": worst.as_dict()["interval"],
        "at": epsilons[place],
        "clean": clean.as_dict() | {"chance": round(1 / len(image_set.classes), 4)},
        "images": image_set.described(),
        "epsilons": [float(epsilon) for epsilon in epsilons],
        "steps": steps,
        "norm": "Linf, of 255",
        "curves": {
            name: [Rate.of(row).as_dict() for row in rows]
            for name, rows in found.items()
            if name != "clean"
        },
        "published": PUBLISHED,
    }


def _right(classifier: Classifier, pixels: torch.Tensor, truth: torch.Tensor, batch: int) -> Bool:
    parts = []
    with torch.no_grad():
        for start in range(0, len(pixels), batch):
            answers = classifier(pixels[start : start + batch]).argmax(1)
            parts.append((answers == truth[start : start + batch]).cpu().numpy())
    return np.concatenate(parts)


class PixelClassifier(nn.Module):
    """Zero-shot logits `[batch, classes]` of pixels `[batch, 3, side, side]` from 0 to 1.

    The model's own normalisation is inside, so that a bound on a change of pixels is one on what a screen shows
    (1/255 is one step of an 8-bit image), and a gradient with respect to pixels is the true one.

    Parameters
    ----------
    network
        open_clip's network, in evaluation mode.
    mean, std
        Per channel, as the model was trained.
    classes
        Text embeddings of length one `[classes, dim]`.
    scale
        By which cosines are multiplied; the model's own temperature.
    """

    mean: torch.Tensor
    std: torch.Tensor
    classes: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        classes: Float32,
        scale: float = LOGIT_SCALE,
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1))
        self.register_buffer("classes", torch.from_numpy(np.array(classes, np.float32)))

    @classmethod
    def of(cls, model: ImageTextModel, classes: Float32) -> PixelClassifier:
        """The classifier of a loaded model, on its device."""
        classifier = cls(
            model.network,
            model.preprocessing.mean,
            model.preprocessing.std,
            classes,
            temperature(model),
        )
        return classifier.to(model.device).eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        embeddings = self.network.encode_image((pixels - self.mean) / self.std, normalize=True)  # type: ignore[operator]
        logits: torch.Tensor = self.scale * (embeddings @ self.classes.T)
        return logits


def to_pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Images that the model sees as `[batch, 3, side, side]` from 0 to 1.

    Raises
    ------
    SynestheteError
        Images of different sizes.
    """
    if len({image.size for image in images}) > 1:
        raise SynestheteError("images of different sizes cannot be stacked", hint="use geometry")
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(arrays.copy()).permute(0, 3, 1, 2).float() / 255
