"""Settings of feature visualization, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from synesthete.errors import SynestheteError

Variant = Literal["released", "published"]
Precision = Literal["fp32", "bf16"]
Kind = Literal["spectrum", "phase"]
RECIPE = 4
MOST_SIZE = 1024  # pixels
STRENGTHS = (1.0, 3.0, 10.0)  # worth trying


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a run; every image is stored with their fingerprint.

    Attributes
    ----------
    steps
        At most so many steps for an image.
    least_steps
        At least so many before early stopping.
    settled
        Early stopping: an image ends when its mean score over twelve whole views rose by less than this share; 0 to make all steps.
    rate
        Step size of Adam.
    size
        Side of the image in pixels: the model's resolution, or the power of two times it that is nearest; 0 for the model's resolution. What is
        larger than that is seen from several distances in the steps of `parts`, and whole in the others.
    kind
        `spectrum` or `phase` (MACO).
    decay
        Exponent of the fall of a spectrum with frequency: higher is smoother.
    contrast
        Contrast of a spectrum's image is at most this times that of natural images; 0 for no bound.
    focus
        Sharpness of the softmax over positions, whose logits are this times the response in standard deviations. 0 is the mean
        of all positions.
    total_variation, grey
        Weights of the regularisers: differences of neighbouring pixels, and distance from mid-grey.
    diversity
        Weight of the similarity among the images of one unit (`copies` above 1).
    attempts
        How many starts of each image; the one with the largest held-out activation is kept.
    copies
        How many different images of each facet.
    degrees, scale, shift
        Largest rotation, relative change of size and shift of a view.
    parts
        Share of the steps, the first ones, in which a convolutional tower looks at quarters of the image; at most 80.
    variant
        The facet objective: `released` (gradients cut off below zero and held, as in the paper's code) or `published` (as in the
        paper, differentiated).
    strengths
        Facet strengths to try; the best is kept. 1, 3 and 10 take twice as long as one.
    precision
        `fp32` or `bf16`.
    batch
        How many images are optimised at once.
    quality
        Quality of the WebP file.
    seed
        Seed of everything drawn at random.
    """

    steps: int = 96
    least_steps: int = 48
    settled: float = 0.01
    rate: float = 0.2
    size: int = 0
    kind: str = "spectrum"
    decay: float = 1.2
    contrast: float = 1.0
    focus: float = 1.0
    total_variation: float = 0.0
    grey: float = 0.0
    diversity: float = 0.0
    attempts: int = 1
    copies: int = 1
    degrees: float = 8.0
    scale: float = 0.1
    shift: float = 0.06
    parts: float = 0.85
    variant: str = "released"
    strengths: tuple[float, ...] = STRENGTHS[:1]
    precision: str = "fp32"
    batch: int = 24
    quality: int = 90
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {"variant": Variant, "precision": Precision, "kind": Kind}
        for name, literal in choices.items():
            known = get_args(literal)
            if getattr(self, name) not in known:
                raise SynestheteError(
                    f"no such {name} {getattr(self, name)!r}", hint=f"expected {' or '.join(known)}"
                )
        for name in ("steps", "attempts", "copies", "batch"):
            if getattr(self, name) < 1:
                raise SynestheteError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.strengths:
            raise SynestheteError("no facet strength was given")
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(n, float) and not (math.isfinite(n) and n >= 0) for n in numbers):
                raise SynestheteError(f"{field.name} must be a number of at least 0, not {value}")
        if not 0 <= self.size <= MOST_SIZE:
            raise SynestheteError(f"size is {self.size}, expected 0 to {MOST_SIZE} pixels")
        if self.parts > 1:
            raise SynestheteError("parts is a share, at most 1")
        if self.rate <= 0:
            raise SynestheteError("rate must be above 0")

    @property
    def regularised(self) -> bool:
        """Whether images themselves, not only what the model makes of them, count."""
        return bool(self.total_variation or self.grey or self.diversity)

    def fingerprint(self, **more: object) -> str:
        """SHA-256 of the settings and of whatever else shaped an image (16 digits); speed settings are left out.

        Examples
        --------
        >>> Settings().fingerprint() == Settings(batch=2).fingerprint() != Settings(steps=9).fingerprint()
        True
        """
        shaping = (
            {k: v for k, v in asdict(self).items() if k != "batch"} | more | {"recipe": RECIPE}
        )
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]
