"""Batched optimisation of images, with per-image objectives and early stopping."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import avg_pool2d

from synesthete._core.arrays import Float32
from synesthete.models.gradients import GradientTower
from synesthete.visualization.features.objective import (
    MOST_PARTS,
    Objective,
    Robustness,
    draw,
    look,
    octaves,
    penalty,
    schedule,
    score,
    transforms,
)
from synesthete.visualization.features.parameterization import Natural, Spectra
from synesthete.visualization.settings import Settings

BETAS, EPSILON = (0.9, 0.999), 1e-8
RESTARTS = 3
WARMUP, EVERY, WINDOW = 6, 6, 12


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to optimise.

    Attributes
    ----------
    key
        For the seed: the same key gives the same start and the same views.
    direction
        `[units]`, or `[dim]` of the embedding; see `Objective.directions`.
    facet
        Which probe; -1 for none.
    strength
        Of the facet.
    group
        Images of the same group are pushed apart.
    """

    key: str
    direction: Float32
    facet: int = -1
    strength: float = 0.0
    group: str = ""


@dataclass(frozen=True)
class Optimized:
    """The result of a job.

    Attributes
    ----------
    job
        Its number.
    image
        `[side, side, 3]`, 8 bits; None when the optimisation diverged (NaN) after every restart.
    steps
        How many it took.
    restarts
        How many times it diverged.
    """

    job: int
    image: npt.NDArray[np.uint8] | None
    steps: int
    restarts: int


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all images of a run share: see `Objective`."""

    layer: str
    reduction: str
    probe_layer: str = ""
    probes: Float32 | None = None
    least: bool = False


@dataclass(kw_only=True)
class _Slot:
    """One image of a batch."""

    job: int
    restarts: int
    draws: torch.Tensor
    scores: list[float] = field(default_factory=list)
    failed: bool = False


def optimize_images(
    tower: GradientTower,
    natural: Natural,
    setup: Setup,
    jobs: Sequence[Job],
    settings: Settings,
    stepped: Callable[[int], None] | None = None,
) -> Iterator[Optimized]:
    """Optimise images in batches of `settings.batch`; an image that has converged leaves its batch early.

    Images of a batch share a forward and a backward pass and nothing else (but for diversity). One that diverges (NaN)
    leaves, and restarts with another seed in a later batch.

    Parameters
    ----------
    stepped
        Called with numbers of steps, `settings.steps` of each image in all: an image that ends early has then done the rest. Steps
        of a restart do not count.

    Yields
    ------
    Optimized
        In the order in which they end.
    """
    optimizer = _Optimizer(tower, natural, setup, jobs, settings, stepped)
    waiting = [(number, 0) for number in range(len(jobs))]
    while waiting:
        batch, waiting = waiting[: settings.batch], waiting[settings.batch :]
        for result in optimizer.run(batch):
            if result.image is None and result.restarts < RESTARTS:
                waiting.append((result.job, result.restarts + 1))
            else:
                yield result


class _Optimizer:
    def __init__(
        self,
        tower: GradientTower,
        natural: Natural,
        setup: Setup,
        jobs: Sequence[Job],
        settings: Settings,
        stepped: Callable[[int], None] | None = None,
    ) -> None:
        self.stepped = stepped
        self.tower, self.jobs, self.settings, self.setup = tower, jobs, settings, setup
        self.octaves = octaves(tower.side, settings.size)
        self.spectra = Spectra(
            tower.side << self.octaves,
            natural,
            kind=settings.kind,
            decay=settings.decay,
            contrast=settings.contrast,
            device=tower.device,
        )
        share = settings.parts if setup.layer and tower.any_size else 0.0
        self.sides = schedule(tower.side, settings.steps, share)
        self.near = min(round(settings.steps * settings.parts), MOST_PARTS)
        self.robustness = Robustness(settings.degrees, settings.scale, settings.shift)
        probes = np.zeros((1, 1, 1, 1), np.float32) if setup.probes is None else setup.probes
        self.probes = torch.as_tensor(probes, device=tower.device)

    def run(self, numbered: Sequence[tuple[int, int]]) -> Iterator[Optimized]:
        self._start(numbered)
        for step, side in enumerate(self.sides):
            scores, sound = self._step(step, side)
            for slot, value, fine in zip(self.slots, scores, sound, strict=True):
                slot.failed = not fine
                if side == self.tower.side and not self._closer(step):
                    slot.scores.append(value)
            last = step + 1 == len(self.sides)
            self._count(self.slots, 1)
            if (step + 1) % EVERY and all(sound) and not last:
                continue
            ended = [last or slot.failed or self._converged(slot, step + 1) for slot in self.slots]
            leaving = [slot for slot, end in zip(self.slots, ended, strict=True) if end]
            self._count(leaving, len(self.sides) - step - 1)
            for place in np.flatnonzero(ended):
                yield self._result(int(place), step + 1)
            self._keep([place for place, over in enumerate(ended) if not over])
            if not self.slots:
                return

    def _count(self, slots: Sequence[_Slot], steps: int) -> None:
        if self.stepped is not None:
            self.stepped(steps * sum(slot.restarts == 0 for slot in slots))

    def _start(self, numbered: Sequence[tuple[int, int]]) -> None:
        device = self.tower.device
        self.slots: list[_Slot] = []
        starts = []
        for number, restarts in numbered:
            named = f"{self.settings.seed}/{self.jobs[number].key}/{restarts}"
            generator = torch.Generator().manual_seed(_number(named))
            starts.append(self.spectra.start(generator))
            draws = draw(generator, len(self.sides))
            self.slots.append(_Slot(job=number, restarts=restarts, draws=draws))
        mine = [self.jobs[number] for number, _ in numbered]
        self.parameters = torch.stack(starts).to(device)
        self.first, self.second = (
            torch.zeros_like(self.parameters),
            torch.zeros_like(self.parameters),
        )
        self.directions = torch.as_tensor(np.stack([job.direction for job in mine]), device=device)
        self.facet = torch.tensor([job.facet for job in mine], device=device)
        self.strength = torch.tensor([float(job.strength) for job in mine], device=device)

    def _closer(self, step: int) -> int:
        """From how many octaves nearer than whole an image is seen."""
        return step % (self.octaves + 1) if step < self.near else 0

    def _step(self, step: int, side: int) -> tuple[list[float], list[bool]]:
        draws = torch.stack([slot.draws[step] for slot in self.slots])
        closer = self._closer(step)
        cover = side / (self.tower.side << closer)
        maps = transforms(draws, cover, self.robustness).to(self.tower.device)
        objective = Objective(
            layer=self.setup.layer,
            reduction=self.setup.reduction,
            directions=self.directions,
            probe_layer=self.setup.probe_layer,
            probes=self.probes,
            facet=self.facet,
            strength=self.strength,
            least=self.setup.least,
        )
        parameters = self.parameters.detach().requires_grad_()
        channels = self.spectra.channels(parameters)
        # Colours only where the view looks: a part costs what it shows.
        share = self.spectra.share(channels)
        # Seen from afar, neighbouring pixels are one.
        afar = self.octaves - closer
        seen = avg_pool2d(channels, 1 << afar) if afar else channels
        views = self.spectra.coloured(look(seen, maps, (side, side)), share)
        gained = score(self.tower, views, maps, objective, self.settings)
        lost = gained.total.new_zeros(())
        if self.settings.regularised:
            groups = [self.jobs[slot.job].group or f"{n}" for n, slot in enumerate(self.slots)]
            lost = penalty(self.spectra.coloured(channels, share), groups, self.settings)
        (gradient,) = torch.autograd.grad((lost - gained.total).sum(), parameters)
        self._move(gradient, step + 1)
        total = gained.total.detach()
        sound = torch.isfinite(total) & torch.isfinite(gradient.flatten(1).sum(1))
        return total.tolist(), sound.tolist()

    def _move(self, gradient: torch.Tensor, count: int) -> None:
        """One step of Adam (Kingma & Ba 2015); its rate falls to a fifth over the steps."""
        first, second = BETAS
        self.first.lerp_(gradient, 1 - first)
        self.second.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        rate = self.settings.rate * min(count / WARMUP, 1.0) * (1 - 0.8 * count / len(self.sides))
        # Bias corrections: both means are too small at first.
        late, later = 1 - first**count, math.sqrt(1 - second**count)
        spread = self.second.sqrt().add_(EPSILON * later)
        self.parameters = self.parameters.detach().addcdiv_(
            self.first, spread, value=-rate * later / late
        )

    def _converged(self, slot: _Slot, steps: int) -> bool:
        """Early stopping: whether the score on whole views has stopped rising; views differ, so means are compared."""
        seen = slot.scores
        if not self.settings.settled or steps < self.settings.least_steps or len(seen) < 2 * WINDOW:
            return False
        now, before = (
            float(np.mean(part)) for part in (seen[-WINDOW:], seen[-2 * WINDOW : -WINDOW])
        )
        return now - before < self.settings.settled * abs(before)

    def _result(self, place: int, steps: int) -> Optimized:
        slot, image = self.slots[place], None
        if not slot.failed:
            with torch.no_grad():
                values = self.spectra.images(self.parameters[place : place + 1])[0]
            pixels = (values * 255).round().clamp(0, 255).to("cpu", torch.uint8)
            image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        return Optimized(slot.job, image, steps, slot.restarts)

    def _keep(self, places: Sequence[int]) -> None:
        if len(places) == len(self.slots):
            return
        self.slots = [self.slots[place] for place in places]
        for name in ("parameters", "first", "second", "directions", "facet", "strength"):
            setattr(self, name, getattr(self, name)[list(places)])


def _number(text: str) -> int:
    """A seed from a text, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
