"""Making the pictures of one part of a run: all strengths, stored as files would be, shown to the unmodified model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.atlas import Atlas, Visualization
from synesthete.atlas.files import disk_errors, entry_of
from synesthete.atlas.visualizations import PLAIN, file_of
from synesthete.models.gradients import GradientTower
from synesthete.visualization.features.facets import Facets, pooled
from synesthete.visualization.features.natural import Natural
from synesthete.visualization.features.optimise import Made, Order, Where, make_pictures
from synesthete.visualization.features.targets import Target, responses
from synesthete.visualization.settings import Settings

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

AGAIN = 2.0
Scored = tuple[Visualization, bytes]


@dataclass(frozen=True)
class Wanted:
    """One picture that was asked for."""

    target: Target
    facet: str
    copy: int

    @property
    def told(self) -> str:
        """What it is, for a message."""
        return f"{self.target.name} {self.facet}" + (f" {self.copy}" if self.copy else "")

    def orders(self, settings: Settings) -> int:
        """How many pictures are made for it."""
        return 1 if self.facet == PLAIN else len(settings.strengths)


class Maker:
    """Makes pictures of an atlas's targets, and says what they reach.

    Parameters
    ----------
    atlas, model, tower, natural
        The atlas, its model, the model's tower for gradients, what its photos are like.
    goal
        `most` or `least`.
    settings
        How pictures are made.
    """

    def __init__(
        self,
        atlas: Atlas,
        model: ImageTextModel,
        tower: GradientTower,
        natural: Natural,
        goal: str,
        settings: Settings,
    ) -> None:
        self.atlas, self.model, self.tower, self.natural = atlas, model, tower, natural
        self.goal, self.settings = goal, settings
        self.reduction = str(atlas.manifest["reduction"])

    def fingerprint(self, one: Wanted, facets: Facets) -> str:
        """Of everything that shaped a picture."""
        settings, more = self.settings, {"weights": self.model.weights_sha256}
        more |= {"images": str(self.atlas.manifest["probes"]["fingerprint"])}
        if one.facet == PLAIN:
            settings = replace(settings, strengths=(0.0,), variant="released")
        else:
            more |= {"probes": facets.fingerprint}
        if one.target.unit < 0:
            more |= {"direction": hashlib.sha256(one.target.direction.tobytes()).hexdigest()}
        return settings.fingerprint(goal=self.goal, reduction=self.reduction, **more)

    def make(
        self, wanted: Sequence[Wanted], facets: Facets, progress: Callable[[int], None]
    ) -> dict[int, Scored]:
        """Make pictures; plain ones that do not excite a second time, with more steps and contrast. Place → the better one.

        All targets must be of one layer, and all units or all directions.
        """
        finished: dict[int, Scored] = {}
        settings, left = self.settings, list(range(len(wanted)))
        for number in range(2):
            report = progress if number == 0 else None
            best = self.attempt([wanted[i] for i in left], facets, settings, number, report)
            for place, found in best.items():
                old = finished.get(left[place])
                if old is None or self.better(found[0], old[0]):
                    finished[left[place]] = found
            left = [i for i, (row, _) in finished.items() if not row.excites and row.facet == PLAIN]
            settings = replace(settings, steps=round(settings.steps * AGAIN), contrast=0.0)
            if not left:
                break
        return finished

    def better(self, new: Visualization, old: Visualization) -> bool:
        """Whether one is to be kept instead of another: what excites, then what is more of its facet, then by activation."""
        if new.excites != old.excites:
            return new.excites
        if new.excites and new.fidelity is not None and old.fidelity is not None:
            return new.fidelity > old.fidelity
        sign = 1 if self.goal == "most" else -1
        return sign * new.activation > sign * old.activation

    def attempt(
        self,
        wanted: Sequence[Wanted],
        facets: Facets,
        settings: Settings,
        number: int,
        progress: Callable[[int], None] | None,
    ) -> dict[int, tuple[Visualization, bytes]]:
        """The best of each over the facet's strengths."""
        names = list(facets.probes)
        orders, belongs = [], []
        for place, one in enumerate(wanted):
            target = one.target
            sign = 1.0 if self.goal == "most" else -1.0
            direction = (sign * target.direction / target.real.std).astype(np.float32)
            for strength in settings.strengths if one.facet != PLAIN else (0.0,):
                facet = -1 if one.facet == PLAIN else names.index(one.facet)
                key = f"{target.name}/{one.facet}/{one.copy}/{self.goal}/{number}"
                group = f"{target.name}/{one.facet}" if settings.copies > 1 else ""
                orders.append(Order(key, direction, facet, strength, group))
                belongs.append((place, strength))
        stacked = np.stack([facets.probes[n].weights for n in names]) if names else None
        where = Where(
            self._read_at(wanted),
            self.reduction,
            facets.layer if names else "",
            stacked,
            self.goal == "least",
        )
        best: dict[int, tuple[Visualization, bytes]] = {}
        for some in _chunks(make_pictures(self.tower, self.natural, where, orders, settings), 32):
            pictures = [made for made in some if made.picture is not None]
            for made, scored in zip(pictures, self._scored(pictures, orders, wanted, belongs, facets), strict=True):  # fmt: skip
                place = belongs[made.order][0]
                if place not in best or self.better(scored[0], best[place][0]):
                    best[place] = scored
            if progress is not None:
                progress(len(best))
        return best

    def _read_at(self, wanted: Sequence[Wanted]) -> str:
        """Units are driven before their ReLU, where there is a slope even when they are silent."""
        layer = wanted[0].target.layer
        before = f"{layer}:pre"
        units = all(one.target.unit >= 0 for one in wanted)
        return before if units and before in self.tower.taps else layer

    def _scored(
        self,
        pictures: Sequence[Made],
        orders: Sequence[Order],
        wanted: Sequence[Wanted],
        belongs: Sequence[tuple[int, float]],
        facets: Facets,
    ) -> Iterator[tuple[Visualization, bytes]]:
        """Store pictures in memory as files would, and show what was stored to the unmodified model."""
        if not pictures:
            return
        import torch

        files = [
            webp(made.picture, self.settings.quality)
            for made in pictures
            if made.picture is not None
        ]
        pixels = torch.stack([self.model.preprocess(unpacked(data)) for data in files])
        ones = [wanted[belongs[made.order][0]] for made in pictures]
        directions = np.stack([one.target.direction for one in ones])
        reached = responses(self.model, pixels, ones[0].target.layer, directions, self.reduction)
        maps = pooled(self.model, pixels, facets.layer) if facets.probes else None
        for place, (made, one, data) in enumerate(zip(pictures, ones, files, strict=True)):
            target, activation = one.target, float(reached[place, place])
            fidelity = None
            if maps is not None and one.facet != PLAIN:
                fidelity = float(facets.probes[one.facet].says(maps[place : place + 1])[0])
            file = file_of(target.layer, target.unit, target.name, one.facet, self.goal, one.copy)
            yield Visualization(
                target=target.name, layer=target.layer, unit=target.unit, facet=one.facet, goal=self.goal, copy=one.copy,
                file=file, sha256=entry_of(data).sha256, activation=activation,
                percentile=target.real.percentile(activation, self.goal), excites=target.real.excites(activation, self.goal),
                strength=belongs[made.order][1], fidelity=fidelity, steps=made.steps,
                settings=self.fingerprint(one, facets),
            ), data  # fmt: skip


def webp(picture: npt.NDArray[np.uint8] | None, quality: int) -> bytes:
    """A picture as a WebP file."""
    stream = io.BytesIO()
    with disk_errors(Path("picture")):
        Image.fromarray(np.asarray(picture)).save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def unpacked(data: bytes) -> Image.Image:
    """The picture in a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def _chunks(made: Iterator[Made], size: int) -> Iterator[list[Made]]:
    some: list[Made] = []
    for one in made:
        some.append(one)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
