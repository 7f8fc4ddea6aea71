"""`visualize`: pictures of many targets and facets, written into the atlas, taken up again where they stopped."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.analysis.own_model import own_model
from synesthete.atlas import Atlas, Visualization, open_atlas
from synesthete.atlas.files import disk_errors, entry_of
from synesthete.atlas.visualizations import (
    PLAIN,
    add_visualizations,
    claim_visualizations,
    file_of,
    folder_of,
    read_visualizations,
    visualization_bytes,
)
from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower
from synesthete.visualization.features.facets import (
    Facets,
    facet_names,
    load_facets,
    load_natural,
    pooled,
)
from synesthete.visualization.features.natural import Natural
from synesthete.visualization.features.optimise import Made, Order, Where, make_pictures
from synesthete.visualization.features.settings import Settings
from synesthete.visualization.features.targets import Target, responses, unit_target

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

Progress = Callable[[int, int], None]
AGAIN = 2.0


@dataclass(frozen=True)
class Visualized:
    """What a run came to.

    Attributes
    ----------
    pictures
        Of all targets and facets asked for, those found complete included.
    made
        How many of them were made now.
    failed
        Target and facet → why there is no picture.
    facets
        Layer → the facets' probes.
    """

    pictures: list[Visualization]
    made: int
    failed: dict[str, str]
    facets: dict[str, Facets]


@dataclass(frozen=True)
class _Wanted:
    target: Target
    facet: str
    copy: int

    @property
    def told(self) -> str:
        return f"{self.target.name} {self.facet}" + (f" {self.copy}" if self.copy else "")


def visualize(
    atlas: Atlas | str | Path,
    targets: Sequence[str | Target],
    *,
    facets: str | Sequence[str] = "all",
    folders: Mapping[str, str | Path] | None = None,
    goal: str = "most",
    settings: Settings | None = None,
    probes: str | Path | None = None,
    progress: Progress | None = None,
) -> Visualized:
    """Make pictures that excite units or directions most, once plainly and once for every facet.

    Every picture is judged as it is stored: the file is read again, prepared as any image is, and shown to the unmodified
    model. What exists already, made with the same settings from the same probes, is left as it is, so an interrupted run goes on
    where it stopped.

    Parameters
    ----------
    atlas
        An atlas, whose model and probe set must be here.
    targets
        Addresses, and directions from `synesthete.visualization.features.targets`.
    facets
        `all`, `none`, or names; `plain`, without facet, is always among them.
    folders
        Name → folder of examples, for facets of one's own.
    goal
        `most`, or `least` for what inhibits.
    settings
        How they are made.
    probes
        Where the atlas's probe set is, when its name does not say it.
    progress
        Called with (pictures done, pictures in all).

    Raises
    ------
    SynestheteError
        No target, no such unit, a constant one, no such facet, too few examples, another model than the atlas's,
        a disk that is full.
    """
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    settings = settings or Settings()
    if goal not in ("most", "least"):
        raise SynestheteError(f"no such goal {goal!r}", hint="expected most or least")
    if not targets:
        raise SynestheteError("nothing was named to make pictures of")
    extra = {name: Path(folder) for name, folder in (folders or {}).items()}
    names = facet_names(facets, extra)
    found = [unit_target(opened, t) if isinstance(t, str) else t for t in targets]
    by_layer: dict[str, list[Target]] = {}
    for target in {t.name: t for t in found}.values():
        by_layer.setdefault(target.layer, []).append(target)
    model = own_model(opened)
    tower = GradientTower(model)
    with claim_visualizations(opened.path):
        natural = load_natural(opened, tower.side, probes)
        run = _Run(opened, model, tower, natural, goal, settings)
        jobs = [
            (layer, some, _facets(opened, model, tower, layer, names, extra, probes))
            for layer, some in by_layer.items()
        ]
        return run.all(jobs, progress)


def _facets(
    atlas: Atlas,
    model: ImageTextModel,
    tower: GradientTower,
    layer: str,
    names: Sequence[str],
    folders: Mapping[str, Path],
    probes: str | Path | None,
) -> Facets:
    if list(names) == [PLAIN]:
        return Facets("", {}, {}, "")
    return load_facets(atlas, model, tower.before(layer), names, folders=folders, probes=probes)


class _Run:
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
        self.failed: dict[str, str] = {}
        self.reduction = str(atlas.manifest["reduction"])

    def all(
        self, jobs: Sequence[tuple[str, list[Target], Facets]], progress: Progress | None
    ) -> Visualized:
        copies = range(self.settings.copies)
        wanted = [
            (facets, [_Wanted(t, facet, copy) for facet in (PLAIN, *facets.probes) for copy in copies], t)
            for _, targets, facets in jobs for t in targets
        ]  # fmt: skip
        total, done, made = sum(len(some) for _, some, _ in wanted), 0, 0
        pictures: list[Visualization] = []
        for part in self._parts(wanted):
            for facets in {id(f): f for f, _, _ in part}.values():
                some = [one for f, ones, _ in part if f is facets for one in ones]
                kept, left = self._known(some, facets)
                done += len(kept)
                if progress is not None:
                    progress(done, total)

                def one_more(count: int, before: int = done) -> None:
                    if progress is not None:
                        progress(before + count, total)

                fresh = self._made(left, facets, one_more) if left else []
                done += len(left)
                made += len(fresh)
                pictures += kept + fresh
        order = {t.name: i for i, (_, _, t) in enumerate(wanted)}
        pictures.sort(key=lambda p: (order[p.target], p.facet != PLAIN))
        return Visualized(pictures, made, self.failed, {layer: f for layer, _, f in jobs})

    def _parts(
        self, wanted: Sequence[tuple[Facets, list[_Wanted], Target]]
    ) -> Iterator[list[tuple[Facets, list[_Wanted], Target]]]:
        """As few targets at once as fill a wave: after each part the table is written."""
        part: list[tuple[Facets, list[_Wanted], Target]] = []
        for facets, some, target in wanted:
            part.append((facets, some, target))
            pictures = sum(len(ones) for _, ones, _ in part)
            if pictures * len(self.settings.strengths) >= self.settings.batch:
                yield part
                part = []
        if part:
            yield part

    def fingerprint(self, facet: str, facets: Facets) -> str:
        """Of everything that shaped a picture."""
        more: dict[str, Any] = {"weights": self.model.weights_sha256, "reduction": self.reduction}
        if facet != PLAIN:
            more |= {"probes": facets.fingerprint}
        settings = self.settings
        if facet == PLAIN:
            settings = replace(settings, strengths=(0.0,), variant="released")
        return settings.fingerprint(goal=self.goal, **more)

    def _known(
        self, some: Sequence[_Wanted], facets: Facets
    ) -> tuple[list[Visualization], list[_Wanted]]:
        """What is there already, and what is not."""
        tables = {
            folder: {row.key: row for row in read_visualizations(self.atlas.path, folder)}
            for folder in {folder_of(one.target.layer, one.target.unit) for one in some}
        }
        kept, left = [], []
        for one in some:
            table = tables[folder_of(one.target.layer, one.target.unit)]
            row = table.get((one.target.name, one.facet, self.goal, one.copy))
            if row is not None and row.settings == self.fingerprint(one.facet, facets):
                try:
                    visualization_bytes(self.atlas.path, row)
                except SynestheteError:
                    pass  # Lost or altered: made again.
                else:
                    kept.append(row)
                    continue
            left.append(one)
        return kept, left

    def _made(
        self, wanted: Sequence[_Wanted], facets: Facets, progress: Callable[[int], None]
    ) -> list[Visualization]:
        """Make pictures, plain ones that do not excite a second time with more steps, and write them."""
        finished: dict[int, tuple[Visualization, bytes]] = {}
        settings, again = self.settings, list(range(len(wanted)))
        for attempt in range(2):
            best = self._attempt(
                [wanted[i] for i in again],
                facets,
                settings,
                attempt,
                progress if not attempt else None,
            )
            for place, (row, data) in best.items():
                number = again[place]
                old = finished.get(number)
                if old is None or self._better(row, old[0]):
                    finished[number] = (row, data)
            again = [i for i, (row, _) in finished.items() if not (row.excites or row.strength)]
            settings = replace(settings, steps=round(settings.steps * AGAIN))
            if not again:
                break
        progress(len(wanted))
        for number, one in enumerate(wanted):
            if number not in finished:
                self.failed[one.told] = "it became not-a-number every time it was begun"
        by_folder: dict[str, list[tuple[Visualization, bytes]]] = {}
        for row, data in finished.values():
            by_folder.setdefault(folder_of(row.layer, row.unit), []).append((row, data))
        for folder, rows in by_folder.items():
            add_visualizations(self.atlas.path, folder, rows)
        return [finished[i][0] for i in sorted(finished)]

    def _better(self, new: Visualization, old: Visualization) -> bool:
        if new.excites != old.excites:
            return new.excites
        if new.excites and new.fidelity is not None and old.fidelity is not None:
            return new.fidelity > old.fidelity
        sign = 1 if self.goal == "most" else -1
        return sign * new.activation > sign * old.activation

    def _attempt(
        self,
        wanted: Sequence[_Wanted],
        facets: Facets,
        settings: Settings,
        attempt: int,
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
                key = f"{target.name}/{one.facet}/{one.copy}/{self.goal}/{attempt}"
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
                if place not in best or self._better(scored[0], best[place][0]):
                    best[place] = scored
            if progress is not None:
                progress(len(best))
        return best

    def _read_at(self, wanted: Sequence[_Wanted]) -> str:
        """Units are driven before their ReLU, where there is a slope even when they are silent."""
        layer = wanted[0].target.layer
        before = f"{layer}:pre"
        units = all(one.target.unit >= 0 for one in wanted)
        return before if units and before in self.tower.taps else layer

    def _scored(
        self,
        pictures: Sequence[Made],
        orders: Sequence[Order],
        wanted: Sequence[_Wanted],
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
                settings=self.fingerprint(one.facet, facets),
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
