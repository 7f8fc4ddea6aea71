"""Many pictures at once: waves of them in one graph, each picture with its own aim, chances and end."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from synesthete.models.gradients import GradientTower
from synesthete.visualization.features.natural import Natural
from synesthete.visualization.features.objective import Aim, penalty, score
from synesthete.visualization.features.parameterization import Spectra, check_kind
from synesthete.visualization.features.views import Robustness, draw, look, schedule, transforms
from synesthete.visualization.settings import Settings

BETAS, EPSILON = (0.9, 0.999), 1e-8
RESTARTS = 3
WARMUP, EVERY, WINDOW = 6, 6, 12


@dataclass(frozen=True)
class Order:
    """One picture to be made.

    Attributes
    ----------
    key
        What it is, for the seed: the same key gives the same start.
    direction
        `[units]`, or `[dim]` of the embedding; see `Aim.directions`.
    facet
        Which probe; -1 for none.
    strength
        Of the facet.
    group
        Orders of the same group shall give different pictures.
    """

    key: str
    direction: npt.NDArray[np.float32]
    facet: int = -1
    strength: float = 0.0
    group: str = ""


@dataclass(frozen=True)
class Made:
    """A picture that was made.

    Attributes
    ----------
    order
        Its number among the orders.
    picture
        `[side, side, 3]`, 8 bits; None when it became not-a-number every time.
    steps
        How many it took.
    restarts
        How often it had to be begun anew.
    """

    order: int
    picture: npt.NDArray[np.uint8] | None
    steps: int
    restarts: int


@dataclass(frozen=True)
class Where:
    """What all pictures of a run share: see `Aim`."""

    layer: str
    reduction: str
    probe_layer: str = ""
    probes: npt.NDArray[np.float32] | None = None
    least: bool = False


@dataclass
class _Slot:
    """One place in a wave."""

    order: int
    restarts: int
    chances: torch.Tensor
    scores: list[float] = field(default_factory=list)
    failed: bool = False


def make_pictures(
    tower: GradientTower,
    natural: Natural,
    where: Where,
    orders: Sequence[Order],
    settings: Settings,
) -> Iterator[Made]:
    """Make pictures in waves, as many at once as the settings say; those that have settled leave their wave.

    A picture's objective and its optimiser know nothing of the others in the wave (but for diversity). One that becomes
    not-a-number leaves and is begun anew, from another seed, in a later wave, while the rest go on.

    Yields
    ------
    Made
        In the order in which they get ready.
    """
    run = _Run(tower, natural, where, orders, settings)
    waiting = [(number, 0) for number in range(len(orders))]
    while waiting:
        wave, waiting = waiting[: settings.batch], waiting[settings.batch :]
        for made in run.wave(wave):
            if made.picture is None and made.restarts < RESTARTS:
                waiting.append((made.order, made.restarts + 1))
            else:
                yield made


class _Run:
    def __init__(
        self,
        tower: GradientTower,
        natural: Natural,
        where: Where,
        orders: Sequence[Order],
        settings: Settings,
    ) -> None:
        self.tower, self.orders, self.settings, self.where = tower, orders, settings, where
        kind = check_kind(settings.kind)
        self.spectra = Spectra(
            tower.side, natural, kind, settings.decay, tower.device, settings.contrast
        )
        share = settings.parts if where.layer and tower.any_size else 0.0
        self.sides = schedule(tower.side, settings.steps, share)
        self.robustness = Robustness(settings.degrees, settings.scale, settings.shift)
        probes = np.zeros((1, 1, 1, 1), np.float32) if where.probes is None else where.probes
        self.probes = torch.as_tensor(probes, device=tower.device)

    def wave(self, numbered: Sequence[tuple[int, int]]) -> Iterator[Made]:
        self._begin(numbered)
        for step, side in enumerate(self.sides):
            scores, sound = self._step(step, side)
            for slot, value, fine in zip(self.slots, scores, sound, strict=True):
                slot.failed = not fine
                if side == self.tower.side:
                    slot.scores.append(value)
            last = step + 1 == len(self.sides)
            look_now = (step + 1) % EVERY == 0 or not all(sound)
            if not (look_now or last):
                continue
            leaving = [
                place for place, slot in enumerate(self.slots)
                if last or slot.failed or self._settled(slot, step + 1)
            ]  # fmt: skip
            for place in leaving:
                yield self._made(place, step + 1)
            self._keep([place for place in range(len(self.slots)) if place not in leaving])
            if not self.slots:
                return

    def _begin(self, numbered: Sequence[tuple[int, int]]) -> None:
        device = self.tower.device
        self.slots: list[_Slot] = []
        starts = []
        for number, restarts in numbered:
            named = f"{self.settings.seed}/{self.orders[number].key}/{restarts}"
            generator = torch.Generator().manual_seed(_number(named))
            starts.append(self.spectra.start(generator))
            self.slots.append(_Slot(number, restarts, draw(generator, len(self.sides))))
        mine = [self.orders[number] for number, _ in numbered]
        self.numbers = torch.stack(starts).to(device)
        self.first, self.second = torch.zeros_like(self.numbers), torch.zeros_like(self.numbers)
        self.directions = torch.as_tensor(np.stack([o.direction for o in mine]), device=device)
        self.facet = torch.tensor([o.facet for o in mine], device=device)
        self.strength = torch.tensor([float(o.strength) for o in mine], device=device)

    def _step(self, step: int, side: int) -> tuple[list[float], list[bool]]:
        chance = torch.stack([slot.chances[step] for slot in self.slots])
        maps = transforms(chance, side / self.tower.side, self.robustness).to(self.tower.device)
        aim = Aim(
            self.where.layer, self.where.reduction, self.directions, self.where.probe_layer,
            self.probes, self.facet, self.strength, self.where.least,
        )  # fmt: skip
        numbers = self.numbers.detach().requires_grad_()
        channels = self.spectra.channels(numbers)
        # Colours only where the view looks: a part costs what it shows.
        share = self.spectra.share(channels)
        views = self.spectra.coloured(look(channels, maps, (side, side)), share)
        gained = score(self.tower, views, maps, aim, self.settings)
        lost = gained.total.new_zeros(())
        if self.settings.regularised:
            groups = [self.orders[s.order].group or f"{n}" for n, s in enumerate(self.slots)]
            lost = penalty(self.spectra.coloured(channels, share), groups, self.settings)
        (gradient,) = torch.autograd.grad((lost - gained.total).sum(), numbers)
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
        # Both means are too small at first, by these shares.
        late, later = 1 - first**count, math.sqrt(1 - second**count)
        spread = self.second.sqrt().add_(EPSILON * later)
        self.numbers = self.numbers.detach().addcdiv_(
            self.first, spread, value=-rate * later / late
        )

    def _settled(self, slot: _Slot, steps: int) -> bool:
        """Whether the score on whole views has stopped rising; views differ, so means are compared."""
        seen = slot.scores
        if not self.settings.settled or steps < self.settings.least_steps or len(seen) < 2 * WINDOW:
            return False
        now, before = (
            float(np.mean(part)) for part in (seen[-WINDOW:], seen[-2 * WINDOW : -WINDOW])
        )
        return now - before < self.settings.settled * abs(before)

    def _made(self, place: int, steps: int) -> Made:
        slot = self.slots[place]
        if slot.failed:
            return Made(slot.order, None, steps, slot.restarts)
        with torch.no_grad():
            picture = self.spectra.pictures(self.numbers[place : place + 1])[0]
        pixels = (picture * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        made = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        return Made(slot.order, made, steps, slot.restarts)

    def _keep(self, places: Sequence[int]) -> None:
        if len(places) == len(self.slots):
            return
        self.slots = [self.slots[place] for place in places]
        for name in ("numbers", "first", "second", "directions", "facet", "strength"):
            setattr(self, name, getattr(self, name)[list(places)])


def _number(text: str) -> int:
    """A seed from a text, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
