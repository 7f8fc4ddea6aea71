"""`visualize`: pictures of many targets and facets, written into the atlas, taken up again where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.analysis.own_model import own_model
from synesthete.atlas import Atlas, Visualization, open_atlas
from synesthete.atlas.visualizations import (
    PLAIN,
    add_visualizations,
    claim_visualizations,
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
)
from synesthete.visualization.features.making import Maker, Wanted
from synesthete.visualization.features.targets import Target, unit_target
from synesthete.visualization.settings import Settings

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

Progress = Callable[[int, int], None]


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
        Layer of the probes → the facets; empty where none was asked for.
    """

    pictures: list[Visualization]
    made: int
    failed: dict[str, str]
    facets: dict[str, Facets]


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
    alike: dict[tuple[str, bool], list[Target]] = {}
    for target in {t.name: t for t in found}.values():
        alike.setdefault((target.layer, target.unit < 0), []).append(target)
    model = own_model(opened)
    tower = GradientTower(model)
    with claim_visualizations(opened.path):
        natural = load_natural(opened, tower.side, probes)
        maker = Maker(opened, model, tower, natural, goal, settings)
        jobs = [
            (some, _facets(opened, model, tower, layer, names, extra, probes))
            for (layer, _), some in alike.items()
        ]
        return _run(maker, jobs, progress)


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


def _run(
    maker: Maker, jobs: Sequence[tuple[list[Target], Facets]], progress: Progress | None
) -> Visualized:
    path, settings = maker.atlas.path, maker.settings
    every = [
        (facets, [Wanted(target, facet, copy) for target in targets
                  for facet in (PLAIN, *facets.probes) for copy in range(settings.copies)])
        for targets, facets in jobs
    ]  # fmt: skip
    total, done, made = sum(len(wanted) for _, wanted in every), 0, 0
    pictures: list[Visualization] = []
    failed: dict[str, str] = {}

    def report(more: int) -> None:
        if progress is not None:
            progress(done + more, total)

    for facets, wanted in every:
        kept, left = _known(maker, wanted, facets)
        pictures += kept
        done += len(kept)
        for part in _parts(left, settings):
            report(0)
            finished = maker.make(part, facets, report)
            for place, one in enumerate(part):
                if place not in finished:
                    failed[one.told] = "it became not-a-number every time it was begun"
            fresh = [finished[place] for place in sorted(finished)]
            if fresh:
                first = fresh[0][0]
                add_visualizations(path, folder_of(first.layer, first.unit), fresh)
            pictures += [row for row, _ in fresh]
            made, done = made + len(fresh), done + len(part)
        report(0)
    names = [target.name for targets, _ in jobs for target in targets]
    order = {name: place for place, name in enumerate(names)}
    pictures.sort(key=lambda p: (order[p.target], p.facet != PLAIN, p.facet, p.copy))
    return Visualized(pictures, made, failed, {f.layer: f for _, f in jobs if f.layer})


def _known(
    maker: Maker, wanted: Sequence[Wanted], facets: Facets
) -> tuple[list[Visualization], list[Wanted]]:
    """What is there already, made in the same way, and what is not."""
    path, target = maker.atlas.path, wanted[0].target
    table = {
        row.key: row for row in read_visualizations(path, folder_of(target.layer, target.unit))
    }
    kept, left = [], []
    for one in wanted:
        row = table.get((one.target.name, one.facet, maker.goal, one.copy))
        if row is not None and row.settings == maker.fingerprint(one, facets):
            try:
                visualization_bytes(path, row)
            except SynestheteError:
                pass  # Lost or altered: made again.
            else:
                kept.append(row)
                continue
        left.append(one)
    return kept, left


def _parts(wanted: Sequence[Wanted], settings: Settings) -> Iterator[list[Wanted]]:
    """As few pictures at once as fill a wave: after each part files and table are written."""
    part: list[Wanted] = []
    for one in wanted:
        part.append(one)
        if sum(other.orders(settings) for other in part) >= settings.batch:
            yield part
            part = []
    if part:
        yield part
