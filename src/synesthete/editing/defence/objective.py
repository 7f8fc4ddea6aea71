"""What a defence is for: a harm to be lowered and something to be kept, as losses to search by and rates to report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import bootstrap_interval, paired_change, wilson_interval

if TYPE_CHECKING:
    import torch

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """A rate or an effect with its 95 % interval, on `n` pictures."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Judged:
    """The harm and what was kept, on one split."""

    harm: Measured
    kept: Measured


class Objective(Protocol):
    """One split's pictures, and what their embeddings say."""

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
        """All pictures, `[n, 3, height, width]`."""
        ...

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Differentiable losses `(harm, kept)` of embeddings `[n, dim]`; both are to be small."""
        ...

    def judge(self, embeddings: Float32) -> Judged:
        """What is reported of embeddings `[n, dim]`."""
        ...


@dataclass(frozen=True)
class Typographic:
    """Pictures, and the same pictures with another class's word on them.

    Harm: how often the word is preferred to the truth, of the two, on pictures where the unedited model prefers the
    truth without the word. Kept: how often the plain pictures are named right among all classes.

    Attributes
    ----------
    pixels
        The plain pictures, then the attacked ones.
    truth
        `[plain]` class of each plain picture.
    of, target
        `[attacked]` the plain picture that each attacked one was made of, and the class of the word.
    right
        `[attacked]` whether the unedited model prefers the truth on the plain picture; the others are left out of the
        harm.
    classes
        Text embeddings `[classes, dim]`.
    scale
        The model's logit scale.
    """

    pixels: torch.Tensor
    truth: Int64
    of: Int64
    target: Int64
    right: Bool
    classes: Float32
    scale: float
    harm_name: str = "attack success"
    kept_name: str = "clean accuracy"

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of truth against word on attacked pictures, and of the truth among all classes on plain ones."""
        import torch
        import torch.nn.functional as F

        plain = len(self.truth)
        scores = self.scale * embeddings @ torch.from_numpy(self.classes).to(embeddings).T
        truth = torch.from_numpy(self.truth).to(scores.device)
        kept = F.cross_entropy(scores[:plain], truth)
        rows = np.flatnonzero(self.right)
        attacked = scores[plain + torch.from_numpy(rows)]
        word, own = (
            attacked.gather(1, torch.from_numpy(c[rows]).to(scores.device)[:, None])
            for c in (self.target, self.truth[self.of])
        )
        return F.softplus(word - own).mean(), kept

    def outcomes(self, embeddings: Float32) -> tuple[Bool, Bool]:
        """Which attacks on pictures that count succeed, and which plain pictures are named right."""
        plain = len(self.truth)
        scores = embeddings @ self.classes.T
        rows = np.arange(len(self.of)) + plain
        fooled = scores[rows, self.target] >= scores[rows, self.truth[self.of]]
        return fooled[self.right], scores[:plain].argmax(1) == self.truth

    def judge(self, embeddings: Float32) -> Judged:
        """Rates with Wilson intervals."""
        fooled, named = self.outcomes(embeddings)
        return Judged(_rate(fooled), _rate(named))

    def change(self, before: Float32, after: Float32) -> Judged:
        """How far the rates move from one model's embeddings to another's, of the same pictures."""
        pairs = zip(self.outcomes(before), self.outcomes(after), strict=True)
        harm, kept = (Measured(*paired_change(one, other), len(one)) for one, other in pairs)
        return Judged(harm, kept)


@dataclass(frozen=True)
class Association:
    """How much nearer pictures of one group are to some texts than pictures of another: an axis of bias.

    Harm: the size of the effect, |d| of Caliskan et al. (2017, eq. 1 and 3): the difference of the groups' mean
    associations, in standard deviations of all. Kept: accuracy on labelled pictures.

    Attributes
    ----------
    pixels
        Pictures of the first group, of the second, and labelled ones.
    first, second
        How many there are of each group.
    direction
        `[dim]`: mean text embedding of one attribute minus that of the other.
    truth
        `[labelled]` their classes.
    """

    pixels: torch.Tensor
    first: int
    second: int
    direction: Float32
    truth: Int64
    classes: Float32
    scale: float
    harm_name: str = "effect size"
    kept_name: str = "clean accuracy"

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The squared effect, and cross-entropy on the labelled pictures."""
        import torch
        import torch.nn.functional as F

        said = embeddings @ torch.from_numpy(self.direction).to(embeddings)
        both = said[: self.first + self.second]
        gap = both[: self.first].mean() - both[self.first :].mean()
        harm = (gap / both.std(correction=1).clamp(min=1e-6)) ** 2
        scores = self.scale * embeddings[self.first + self.second :]
        scores = scores @ torch.from_numpy(self.classes).to(embeddings).T
        return harm, F.cross_entropy(scores, torch.from_numpy(self.truth).to(scores.device))

    def judge(self, embeddings: Float32) -> Judged:
        """The effect with a bootstrap interval over pictures, the accuracy with Wilson's."""
        said = embeddings[: self.first + self.second] @ self.direction
        one, other = said[: self.first], said[self.first :]
        low, high = bootstrap_interval(_effect, one, other, draws=RESAMPLES)
        effect = Measured(_effect(one, other), low, high, len(said))
        found = (embeddings[len(said) :] @ self.classes.T).argmax(1)
        return Judged(effect, _rate(found == self.truth))


def _effect(one: Float32, other: Float32) -> float:
    spread = max(np.concatenate([one, other]).std(ddof=1), 1e-9)
    return abs(float((one.mean() - other.mean()) / spread))


def _rate(outcomes: Bool) -> Measured:
    n, count = len(outcomes), int(outcomes.sum())
    low, high = wilson_interval(count, n)
    return Measured(count / n if n else float("nan"), low, high, n)
