"""The one training loop of sparse dictionaries: TopK, and JumpReLU by way of BatchTopK; Adam, and unused latents are taken up again.

No library is needed for what is a hundred lines of torch. Overcomplete 0.3 brings opencv, scikit-image, matplotlib and timm and stops at
Python 3.12, and its loop has no fixed seed, no checkpoint to go on from and no latents that are taken up again; SAELens 6 brings
transformer-lens and transformers, and its activation store reads text only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synesthete._core.arrays import Bool, Float32

if TYPE_CHECKING:
    import torch

RATE = 1e-3
FOLLOWS = 0.01  # share of the way to the last batch's threshold that the kept one goes
KINDS = ("topk", "jumprelu")
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dictionary is trained.

    Attributes
    ----------
    latents, k
        How many there are, and how many are not zero at once: with `topk` at most, with `jumprelu` on average.
    kind
        `topk` (Gao et al. 2024, arXiv 2406.04093); or `jumprelu`, trained as BatchTopK (Bussmann et al. 2024, arXiv 2412.06410): the
        `k` times rows largest latents of a batch count, and the smallest of these becomes the threshold.
    seed
        Of everything that is drawn.
    resampled_every
        Steps after which latents that no row used since become the directions of rows that are rebuilt badly (Bricken et al. 2023,
        "Towards monosemanticity"); not in the last third, so that what is taken up again has time to learn.
    """

    latents: int
    k: int
    seed: int
    resampled_every: int
    kind: str = "topk"


def every_tenth(rows: int) -> Bool:
    """`[rows]`: those that no training sees where nothing else says which."""
    return np.asarray(np.arange(rows) % 10 == 9)


class Trainer:
    """A dictionary in training, on rows that were centred and scaled to a mean square length of 1.

    Parameters
    ----------
    encoder, bias, decoder
        Where it starts: `[dim, latents]`, `[latents]`, `[latents, dim]`.
    recipe
        How.

    Attributes
    ----------
    done, resampled
        Steps taken, and latents taken up again.
    threshold
        Of `jumprelu`, in the scale of the rows.
    """

    def __init__(
        self, encoder: Float32, bias: Float32, decoder: Float32, *, recipe: Recipe
    ) -> None:
        import torch

        self.recipe = recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self._parts = {
            name: torch.tensor(part, requires_grad=True)
            for name, part in (("encoder", encoder), ("bias", bias), ("decoder", decoder))
        }
        self._optimizer = torch.optim.Adam(self._parts.values(), lr=RATE)
        self._used = torch.zeros(recipe.latents, dtype=torch.bool)
        self.done, self.resampled, self.threshold = 0, 0, 0.0

    def step(self, batch: torch.Tensor, progress: float) -> None:
        """Learn from some rows.

        Parameters
        ----------
        batch
            `[rows, dim]`.
        progress
            The part of the training that lies behind, from 0; the rate falls in the last third.
        """
        import torch

        encoder, bias, decoder = self._parts.values()
        values = self._sparse(torch.relu(batch @ encoder + bias))
        error = batch - values @ decoder
        self._optimizer.zero_grad()
        error.square().sum(dim=1).mean().backward()  # type: ignore[no-untyped-call]
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 3 * (1 - progress))
        self._optimizer.step()
        self.done += 1
        with torch.no_grad():
            decoder /= decoder.norm(dim=1, keepdim=True)
            self._used |= (values > 0).any(dim=0)
            if self.done % self.recipe.resampled_every == 0:
                if progress <= 2 / 3:
                    self._take_up(~self._used, error.detach())
                self._used.zero_()

    def _sparse(self, positive: torch.Tensor) -> torch.Tensor:
        """The latents that count, the others zero."""
        import torch

        k = self.recipe.k
        if self.recipe.kind == "topk":
            strongest = torch.topk(positive, k)
            return torch.zeros_like(positive).scatter(1, strongest.indices, strongest.values)
        strongest = torch.topk(positive.flatten(), k * len(positive))
        kept = torch.zeros_like(positive).flatten()
        least = float(strongest.values.detach()[-1])
        self.threshold += (least - self.threshold) * (FOLLOWS if self.done else 1.0)
        return kept.scatter(0, strongest.indices, strongest.values).reshape(positive.shape)

    def _take_up(self, dead: torch.Tensor, error: torch.Tensor) -> None:
        """Point unused latents at what is missing from badly rebuilt rows; their past gradients are forgotten."""
        import torch

        encoder, bias, decoder = self._parts.values()
        chances = error.square().sum(dim=1)
        if not dead.any() or not (chances > 0).any():
            return
        chosen = torch.multinomial(
            chances, int(dead.sum()), replacement=True, generator=self.generator
        )
        towards = torch.nn.functional.normalize(error[chosen], dim=1)
        decoder[dead] = towards
        encoder[:, dead] = (
            towards.T * encoder[:, ~dead].norm(dim=0).mean() if (~dead).any() else towards.T
        )
        bias[dead] = 0.0
        for part, place in ((encoder, (slice(None), dead)), (bias, (dead,)), (decoder, (dead,))):
            for name in _MOMENTS:
                self._optimizer.state[part][name][place] = 0.0
        self.resampled += int(dead.sum())

    def parts(self) -> tuple[Float32, Float32, Float32]:
        """Encoder, bias and decoder as they are."""
        encoder, bias, decoder = (part.detach().numpy() for part in self._parts.values())
        return encoder, bias, decoder

    def state(self) -> dict[str, torch.Tensor]:
        """All that a training goes on from, for a safetensors file."""
        import torch

        found = {name: part.detach() for name, part in self._parts.items()}
        for name, part in self._parts.items():
            kept = self._optimizer.state.get(part, {})
            found |= {f"{name}.{key}": value for key, value in kept.items()}
        numbers = [float(self.done), float(self.resampled), self.threshold]
        return {
            **found,
            "used": self._used.to(torch.uint8),
            "generator": self.generator.get_state(),
            "numbers": torch.tensor(numbers, dtype=torch.float64),
        }

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a `state`."""
        import torch

        with torch.no_grad():
            for name, part in self._parts.items():
                part.copy_(state[name])
                if f"{name}.step" in state:
                    self._optimizer.state[part] = {
                        key: state[f"{name}.{key}"].clone() for key in ("step", *_MOMENTS)
                    }
        self._used = state["used"].bool()
        self.generator.set_state(state["generator"])
        done, resampled, self.threshold = state["numbers"].tolist()
        self.done, self.resampled = int(done), int(resampled)


def random_start(dim: int, latents: int, seed: int) -> tuple[Float32, Float32, Float32]:
    """Encoder, bias and decoder of random directions of length 1: where training starts."""
    directions = np.random.default_rng(seed).normal(size=(latents, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    decoder = directions.astype(np.float32)
    return np.ascontiguousarray(decoder.T), np.zeros(latents, np.float32), decoder
