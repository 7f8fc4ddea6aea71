"""What a defence is for: a harm to be lowered and something to be kept, as losses to search by and rates to report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from synesthete._core.arrays import Bool, Float32
from synesthete._core.intervals import wilson_interval

if TYPE_CHECKING:
    import torch

RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """A rate or an effect with its 95 % interval, on `n` images."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Evaluation:
    """The harm and what was kept, on one split."""

    harm: Measured
    kept: Measured


class Objective(Protocol):
    """One split's images, and what their embeddings say."""

    @property
    def harm_name(self) -> str:
        """What the harm is called in reports."""
        ...

    @property
    def kept_name(self) -> str:
        """What is to be kept."""
        ...

    @property
    def pixels(self) -> torch.Tensor:
        """All images, `[n, 3, height, width]`."""
        ...

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Differentiable losses `(harm, kept)` of embeddings `[n, dim]`; both are to be small."""
        ...

    def evaluate(self, embeddings: Float32) -> Evaluation:
        """What is reported of embeddings `[n, dim]`."""
        ...


def rate_of(outcomes: Bool) -> Measured:
    """The share of what is true, with its Wilson interval; NaN where nothing was counted."""
    n, count = len(outcomes), int(outcomes.sum())
    low, high = wilson_interval(count, n)
    return Measured(count / n if n else float("nan"), low, high, n)
