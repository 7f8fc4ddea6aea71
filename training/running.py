"""A run of the image tower: its weights, its optimiser, how far its schedule has come, and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training import helper
from training.loading import Drawn, Loader
from training.objective import Objective, Parts


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a run, saved with its checkpoint.

    Cosines are multiplied by `scale` at first, by what is learnt later. A step adds up the gradients of `parts` parts
    of the batch; with helpers, of at least as many. `sparsity` weighs the square root of `objective.density` of the last
    block, `votes` the loss of `objective.Votes`, `spread` from how many units a concept's votes come, `letters` that of
    `letters.Letters` on the third stage and `last_letters` on the last block, `looks` that of `looks.Looks`. Of the loss of naming,
    `others` is the share of images and words that belong to no concept.
    """

    minutes: float = 95.0
    samples: int = 0
    peak: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.02
    seed: int = 0
    bf16: bool = True
    batch: int = 128
    scale: float = 20.0
    parts: int = 1
    sparsity: float = 0.0
    votes: float = 0.0
    spread: float = 0.0
    letters: float = 0.0
    last_letters: float = 0.0
    looks: float = 0.0
    others: float = 0.2


def image_size(done: float, stages: tuple[tuple[float, int], ...]) -> int:
    """Image size at a fraction `done` of the run."""
    return [size for start, size in stages if done >= start][-1]


def resize_positions(embedding: Any, size: int) -> Any:
    """Attention-pool positions `[1 + n*n, width]` interpolated to an image of `size` pixels (stride 32)."""
    import torch

    grid, n = int((embedding.shape[0] - 1) ** 0.5), size // 32
    if grid == n:
        return embedding
    cells = embedding[1:].T.reshape(1, -1, grid, grid)
    cells = torch.nn.functional.interpolate(cells, size=(n, n), mode="bicubic", align_corners=False)
    return torch.cat([embedding[:1], cells.reshape(embedding.shape[1], n * n).T])


class Run:
    """The weights, the optimiser and how far the schedule has come."""

    def __init__(
        self,
        objective: Objective,
        recipe: Recipe,
        checkpoint: Path,
        stages: tuple[tuple[float, int], ...],
    ) -> None:
        self.objective, self.recipe, self.checkpoint, self.stages = (
            objective, recipe, checkpoint, stages,
        )  # fmt: skip
        self.spent, self.seen, self.step = 0.0, 0, 0
        self.readers: dict[str, list[Any]] = objective.readers
        self.optimiser = self._make_optimiser(self.readers)
        self.earlier: dict[str, float] | None = None
        self._shown = Shown()

    def load(self, path: Path, *, continued: bool = True) -> None:
        """Weights and moments of a checkpoint, and its place in the schedule if that is `continued`."""
        import torch

        saved = torch.load(path)
        visual, log_scale = self.objective.visual, self.objective.log_scale
        _set_size(visual, saved["size"])
        visual.load_state_dict(saved["visual"])
        log_scale.data = saved["log_scale"]
        # A checkpoint may be of a run with other readers, or with readers of another size: those begin again.
        found: dict[str, list[Any]] = {}
        for name, values in saved.get("readers", {}).items():
            found[name] = [torch.nn.Parameter(value) for value in values]
            mine = self.readers.get(name, [])
            if [p.shape for p in mine] == [value.shape for value in values]:
                for p, value in zip(mine, values, strict=True):
                    p.data = value
                found[name] = mine
        self.optimiser = self._make_optimiser(found)
        self.optimiser.load_state_dict(saved["optimiser"])
        self.optimiser = self._make_optimiser(self.readers, self.optimiser)
        if continued:
            self.spent, self.seen, self.step = saved["spent"], saved["seen"], saved["step"]
            self.earlier = saved.get("earlier")
        elif saved["seen"]:
            before = saved.get("earlier") or {"samples": 0, "minutes": 0.0}
            self.earlier = {
                "samples": saved["seen"] + before["samples"],
                "minutes": saved["spent"] / 60 + before["minutes"],
            }

    def save(self, spent: float) -> None:
        """Write the state beside the checkpoint and rename it into place, so that a kill leaves the last one whole."""
        import torch

        state = {
            "visual": self.objective.visual.state_dict(),
            "log_scale": self.objective.log_scale.data,
            "optimiser": self.optimiser.state_dict(),
            "size": self.objective.visual.attnpool_size,
            "readers": {n: [p.data for p in params] for n, params in self.readers.items()},
            "spent": spent,
            "seen": self.seen,
            "step": self.step,
            "earlier": self.earlier,
            "recipe": asdict(self.recipe),
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.rename(self.checkpoint)

    def _parameters(self) -> list[Any]:
        trained = [p for p in self.objective.visual.parameters() if p.requires_grad]
        return [*trained, self.objective.log_scale, *_flat(self.readers)]

    def _make_optimiser(self, readers: dict[str, list[Any]], old: Any = None) -> Any:
        visual, log_scale = self.objective.visual, self.objective.log_scale
        return make_optimiser(visual, log_scale, self.recipe, readers=_flat(readers), old=old)

    def resize(self, size: int) -> None:
        """See images of `size` pixels from now on."""
        _set_size(self.objective.visual, size)
        self.optimiser = self._make_optimiser(self.readers, self.optimiser)
        self.optimiser.zero_grad(set_to_none=True)

    def go(self, loader: Loader | Drawn, helpers: frozenset[int]) -> None:
        """Train until the schedule is done."""
        recipe, visual = self.recipe, self.objective.visual
        count = max(2, recipe.batch // recipe.parts)
        started, saved = time.monotonic() - self.spent, time.monotonic()
        crew: helper.Crew | None = None
        parts = 0

        def done() -> float:
            return (
                self.seen / recipe.samples
                if recipe.samples
                else (time.monotonic() - started) / (60 * recipe.minutes)
            )

        for images, labels in loader.batches(lambda: (image_size(done(), self.stages), count)):
            if (at := done()) >= 1:
                break
            if images.shape[1] < visual.attnpool_size:
                continue  # ordered before the images grew
            if images.shape[1] > visual.attnpool_size:
                if crew:
                    crew.dismiss()
                crew, parts = None, 0
                self.resize(images.shape[1])
            if helpers and crew is None:
                batches = loader.batches(lambda: (visual.attnpool_size, count))
                crew = helper.Crew(self.objective, self._parameters(), batches, helpers)
            loss, measured = self.objective(images, labels)
            loss.backward()
            parts += 1
            self._shown.add(measured)
            if parts + (crew.shared.given if crew else 0) < recipe.parts:
                continue
            if crew:
                parts += crew.shared.take(self._parameters())
            self._update(at, parts)
            if crew:
                crew.shared.publish(self._parameters())
            self.seen, self.step, parts = self.seen + parts * count, self.step + 1, 0
            if self.step % 50 == 0:
                left = (1 - at) * (time.monotonic() - started) / max(at, 1e-6) / 60
                scale = float(self.objective.log_scale.detach().exp())
                print(
                    f"step {self.step} samples {self.seen} {at:.1%} size {images.shape[1]} "
                    f"{self._shown.line(self.seen)} scale {scale:.1f} {left:.0f} min left",
                    flush=True,
                )
            if time.monotonic() - saved > 240:
                self.save(time.monotonic() - started)
                saved = time.monotonic()
        self.save(time.monotonic() - started)
        minutes = (time.monotonic() - started) / 60
        print(f"trained on {self.seen} samples in {minutes:.1f} minutes", flush=True)

    def _update(self, done: float, parts: int) -> None:
        """One step of the optimiser on the mean gradient of `parts` parts."""
        import torch

        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.peak * min(1.0, done / self.recipe.warmup + 0.01) * (1 - done)
        for p in self._parameters():
            if p.grad is not None:
                p.grad /= parts
        torch.nn.utils.clip_grad_norm_(self.objective.visual.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


class Shown:
    """Running means of what the batches measured, and the speed since the last line."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._count, self._at, self._seen = 0, time.monotonic(), -1

    def add(self, parts: Parts) -> None:
        self._count += 1
        for key, value in asdict(parts).items():
            self._means[key] = 0.99 * self._means.get(key, 0.0) + 0.01 * value

    def line(self, seen: int) -> str:
        now, weight = time.monotonic(), 1 - 0.99**self._count
        rate = (seen - self._seen) / (now - self._at) if self._seen >= 0 else float("nan")
        self._at, self._seen = now, seen
        means = " ".join(f"{key} {value / weight:.3f}" for key, value in self._means.items())
        return f"{rate:.0f} images/s {means}"


def _flat(readers: dict[str, list[Any]]) -> list[Any]:
    return [p for parameters in readers.values() for p in parameters]


def _set_size(visual: Any, size: int) -> None:
    import torch

    pool = visual.attnpool
    pool.positional_embedding = torch.nn.Parameter(
        resize_positions(pool.positional_embedding.data, size)
    )
    visual.image_size = (size, size)
    visual.attnpool_size = size


def make_optimiser(
    visual: Any, log_scale: Any, recipe: Recipe, *, readers: Sequence[Any] = (), old: Any = None
) -> Any:
    """AdamW with weight decay on the tower's matrices only; moments of unchanged parameters are kept from `old`."""
    import torch

    decay = [p for p in visual.parameters() if p.ndim >= 2]
    plain = [p for p in visual.parameters() if p.ndim < 2] + [log_scale]
    new = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
            *([{"params": list(readers), "weight_decay": 0.0}] if readers else []),
        ],
        lr=recipe.peak,
        betas=(0.9, 0.98),
        fused=True,
    )
    if old is not None:
        for group in new.param_groups:
            for p in group["params"]:
                if p in old.state:
                    new.state[p] = old.state[p]
    return new
