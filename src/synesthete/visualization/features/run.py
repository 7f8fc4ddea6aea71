"""`visualize`: images of many targets and facets, optimised, scored and stored in the atlas; an interrupted run resumes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete._core.arrays import Float32, Float64
from synesthete._core.progress import Progress
from synesthete.analysis.provenance import own_model
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
from synesthete.visualization.features.objective import (
    Robustness,
    draw,
    look,
    octaves,
    transforms,
)
from synesthete.visualization.features.optimize import (
    RESTARTS,
    Job,
    Optimized,
    Setup,
    optimize_images,
)
from synesthete.visualization.features.parameterization import Natural
from synesthete.visualization.features.targets import Target, responses, unit_target
from synesthete.visualization.settings import Settings

if TYPE_CHECKING:
    import torch

    from synesthete.models.image_text_model import ImageTextModel

RETRY_STEPS = 2.0  # a second attempt has so many times the steps
AT_ONCE = 32  # images scored at once
VIEWS, HELD_OUT_SEED = 8, 20  # of held-out activations
# Views that differ more than those of an optimisation.
HELD_OUT = Robustness(degrees=12.0, scale=0.15, shift=0.1)
Scored = tuple[Visualization, bytes]


@dataclass(frozen=True)
class Visualized:
    """The result of a run.

    Attributes
    ----------
    visualizations
        Of all targets and facets requested, those found complete included.
    created
        How many of them this run created.
    failed
        Target and facet → why there is no image.
    facets
        Layer of the probes → the facets; empty where none was requested.
    """

    visualizations: list[Visualization]
    created: int
    failed: dict[str, str]
    facets: dict[str, Facets]


@dataclass(frozen=True)
class Request:
    """One image to create."""

    target: Target
    facet: str
    copy: int

    @property
    def label(self) -> str:
        """What it is, for a message."""
        return f"{self.target.name} {self.facet}" + (f" {self.copy}" if self.copy else "")

    def strengths(self, settings: Settings) -> tuple[float, ...]:
        """The facet strengths to try: one image is optimised for each."""
        return (0.0,) if self.facet == PLAIN else settings.strengths


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
    """Optimise images to excite units or directions, once without a facet and once for every facet.

    Every image is scored as it is stored: the file is read again, preprocessed as any image is, and run through the unmodified
    model. Existing results of the same settings and probes are kept, so an interrupted run resumes
    where it stopped.

    Parameters
    ----------
    atlas
        An atlas, whose model and probe set must be available.
    targets
        Addresses, and directions from `synesthete.visualization.features.targets`.
    facets
        `all`, `none`, or names; `plain`, without facet, is always among them.
    folders
        Name → folder of examples, for facets of your own.
    goal
        `most`, or `least` for images that inhibit.
    settings
        Settings of the optimisation.
    probes
        Path of the atlas's probe set, if its name is not enough.
    progress
        Called with (images done, total images).

    Raises
    ------
    SynestheteError
        No target, no such unit, a constant one, no such facet, too few examples, another model than the atlas's,
        a full disk.
    """
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    if goal not in ("most", "least"):
        raise SynestheteError(f"no such goal {goal!r}", hint="expected most or least")
    if not targets:
        raise SynestheteError("no target to visualize was given")
    extra = {name: Path(folder) for name, folder in (folders or {}).items()}
    names = facet_names(facets, extra)
    found = [unit_target(opened, t) if isinstance(t, str) else t for t in targets]
    # Units and directions of a layer are optimised apart: units are read before their ReLU.
    groups: dict[tuple[str, bool], list[Target]] = {}
    for target in {t.name: t for t in found}.values():
        groups.setdefault((target.layer, target.unit < 0), []).append(target)
    model = own_model(opened)
    tower = GradientTower(model)
    with claim_visualizations(opened.path):
        settings = settings or Settings()
        side = tower.side << octaves(tower.side, settings.size)
        natural = load_natural(opened, side, probes)
        renderer = Renderer(opened, model, tower, natural, goal, settings)
        work = []
        for (layer, _), group in groups.items():
            faceted = Facets(layer="", probes={}, left_out={}, fingerprint="")
            if names != [PLAIN]:
                read_at = tower.before(layer)
                faceted = load_facets(opened, model, read_at, names, folders=extra, probes=probes)
            work.append((group, faceted))
        return _run(renderer, work, progress)


def _run(
    renderer: Renderer, work: Sequence[tuple[list[Target], Facets]], progress: Progress | None
) -> Visualized:
    path, settings = renderer.atlas.path, renderer.settings
    by_facets = [
        (
            facets,
            [
                Request(target, facet, copy)
                for target in targets
                for facet in (PLAIN, *facets.probes)
                for copy in range(settings.copies)
            ],
        )
        for targets, facets in work
    ]
    total, done, created = sum(len(requests) for _, requests in by_facets), 0, 0
    rows: list[Visualization] = []
    failed: dict[str, str] = {}

    def report(more: int) -> None:
        if progress is not None:
            progress(done + more, total)

    for facets, requests in by_facets:
        kept, left = _existing(renderer, requests, facets)
        rows += kept
        done += len(kept)
        for part in _parts(left, settings):
            report(0)
            finished = renderer.render(part, facets, report)
            for place, request in enumerate(part):
                if place not in finished:
                    failed[request.label] = f"optimisation diverged (NaN) after {RESTARTS} restarts"
            fresh = [finished[place] for place in sorted(finished)]
            if fresh:
                first = fresh[0][0]
                add_visualizations(path, folder_of(first.layer, first.unit), fresh)
            rows += [row for row, _ in fresh]
            created, done = created + len(fresh), done + len(part)
        report(0)
    names = [target.name for targets, _ in work for target in targets]
    order = {name: place for place, name in enumerate(names)}
    rows.sort(key=lambda row: (order[row.target], row.facet != PLAIN, row.facet, row.copy))
    return Visualized(rows, created, failed, {f.layer: f for _, f in work if f.layer})


def _existing(
    renderer: Renderer, requests: Sequence[Request], facets: Facets
) -> tuple[list[Visualization], list[Request]]:
    """What exists already, created with the same settings, and what does not."""
    path, target = renderer.atlas.path, requests[0].target
    folder = folder_of(target.layer, target.unit)
    table = {row.key: row for row in read_visualizations(path, folder)}
    kept, left = [], []
    for request in requests:
        row = table.get((request.target.name, request.facet, renderer.goal, request.copy))
        if row is not None and row.settings == renderer.fingerprint(request, facets):
            try:
                visualization_bytes(path, row)
            except SynestheteError:
                pass  # Lost or altered: created again.
            else:
                kept.append(row)
                continue
        left.append(request)
    return kept, left


def _parts(requests: Sequence[Request], settings: Settings) -> Iterator[list[Request]]:
    """As few requests at once as fill a batch: after each part files and table are written."""
    part: list[Request] = []
    for request in requests:
        part.append(request)
        if sum(len(other.strengths(settings)) for other in part) >= settings.batch:
            yield part
            part = []
    if part:
        yield part


class Renderer:
    """Creates the images of one run.

    Parameters
    ----------
    atlas, model, tower
        Where, and with what.
    natural
        Statistics of natural images.
    goal
        `most` or `least`.
    settings
        Of the optimisation.
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
        self.sign = 1.0 if goal == "most" else -1.0
        self.reduction = str(atlas.manifest["reduction"])

    def fingerprint(self, request: Request, facets: Facets) -> str:
        """Of everything that shapes an image."""
        settings, more = self.settings, {"weights": self.model.weights_sha256}
        more |= {"images": str(self.atlas.manifest["probes"]["fingerprint"])}
        if request.facet == PLAIN:
            settings = replace(settings, strengths=(0.0,), variant="released")
        else:
            more |= {"probes": facets.fingerprint}
        if request.target.unit < 0:
            direction = request.target.direction.tobytes()
            more |= {"direction": hashlib.sha256(direction).hexdigest()}
        return settings.fingerprint(goal=self.goal, reduction=self.reduction, **more)

    def render(
        self, requests: Sequence[Request], facets: Facets, progress: Callable[[int], None]
    ) -> dict[int, Scored]:
        """Create images. Place of the request → the best one.

        Plain ones that do not excite in `attempts` are attempted again with more steps: with the spectra of photos, whose phases alone are free,
        and where that does not excite either, without a bound on contrast. All targets must be of one layer, and all units or all directions.
        """
        finished: dict[int, Scored] = {}
        left, steps = list(range(len(requests))), round(self.settings.steps * RETRY_STEPS)
        attempts = (
            *[self.settings] * self.settings.attempts,
            replace(self.settings, steps=steps, kind="phase"),
            replace(self.settings, steps=steps, kind="spectrum", contrast=0.0),
        )
        for number, settings in enumerate(attempts):
            report = progress if number == 0 else None
            best = self._attempt([requests[i] for i in left], facets, settings, number, report)
            for place, scored in best.items():
                old = finished.get(left[place])
                if old is None or self._better(scored[0], old[0]):
                    finished[left[place]] = scored
            if number + 1 < self.settings.attempts:
                continue
            left = [i for i, (row, _) in finished.items() if not row.excites and row.facet == PLAIN]
            if not left:
                break
        return finished

    def _better(self, new: Visualization, old: Visualization) -> bool:
        """Whether to keep one instead of another: by exciting at all, then fidelity to the facet, then held-out activation."""
        if new.excites != old.excites:
            return new.excites
        if new.excites and new.fidelity is not None and old.fidelity is not None:
            return new.fidelity > old.fidelity
        assert new.held_out is not None
        assert old.held_out is not None
        return self.sign * new.held_out > self.sign * old.held_out

    def _attempt(
        self,
        requests: Sequence[Request],
        facets: Facets,
        settings: Settings,
        number: int,
        progress: Callable[[int], None] | None,
    ) -> dict[int, Scored]:
        """The best of each over the facet's strengths."""
        names = list(facets.probes)
        jobs, places = [], []
        for place, request in enumerate(requests):
            target = request.target
            direction = (self.sign * target.direction / target.real.std).astype(np.float32)
            for strength in request.strengths(settings):
                job = Job(
                    key=f"{target.name}/{request.facet}/{request.copy}/{self.goal}/{number}",
                    direction=direction,
                    facet=-1 if request.facet == PLAIN else names.index(request.facet),
                    strength=strength,
                    group=f"{target.name}/{request.facet}" if settings.copies > 1 else "",
                )
                jobs.append(job)
                places.append(place)
        setup = Setup(
            layer=self._read_at(requests),
            reduction=self.reduction,
            probe_layer=facets.layer if names else "",
            probes=np.stack([facets.probes[n].weights for n in names]) if names else None,
            least=self.goal == "least",
        )
        best: dict[int, Scored] = {}
        results = optimize_images(self.tower, self.natural, setup, jobs, settings)
        while some := list(islice(results, AT_ONCE)):
            some = [result for result in some if result.image is not None]
            shown = [requests[places[result.job]] for result in some]
            strengths = [jobs[result.job].strength for result in some]
            scored = self._scored(some, shown, strengths, facets)
            for result, candidate in zip(some, scored, strict=True):
                place = places[result.job]
                if place not in best or self._better(candidate[0], best[place][0]):
                    best[place] = candidate
            if progress is not None:
                progress(len(best))
        return best

    def _read_at(self, requests: Sequence[Request]) -> str:
        """Units are driven before their ReLU, where there is a slope even when they are silent."""
        layer = requests[0].target.layer
        before = f"{layer}:pre"
        units = all(request.target.unit >= 0 for request in requests)
        return before if units and before in self.tower.taps else layer

    def _scored(
        self,
        results: Sequence[Optimized],
        requests: Sequence[Request],
        strengths: Sequence[float],
        facets: Facets,
    ) -> Iterator[Scored]:
        """Encode images as files, and show what the files hold to the unmodified model."""
        if not results:
            return
        import torch

        files = [webp(result.image, self.settings.quality) for result in results]
        pixels = torch.stack([self.model.preprocess(decoded(data)) for data in files])
        directions = np.stack([request.target.direction for request in requests])
        layer = requests[0].target.layer
        reached = responses(self.model, pixels, layer, directions, self.reduction)
        held_out = self._held_out(pixels, layer, directions)
        maps = pooled(self.model, pixels, facets.layer) if facets.probes else None
        together = zip(results, requests, strengths, files, strict=True)
        for place, (result, request, strength, data) in enumerate(together):
            target, facet, copy = request.target, request.facet, request.copy
            activation, fidelity = float(reached[place, place]), None
            if maps is not None and facet != PLAIN:
                fidelity = float(facets.probes[facet].margins(maps[place : place + 1])[0])
            row = Visualization(
                target=target.name,
                layer=target.layer,
                unit=target.unit,
                facet=facet,
                goal=self.goal,
                copy=copy,
                file=file_of(target.layer, target.unit, target.name, facet, self.goal, copy),
                sha256=entry_of(data).sha256,
                activation=activation,
                percentile=target.real.percentile(activation, self.goal),
                excites=target.real.excites(activation, self.goal),
                strength=strength,
                fidelity=fidelity,
                steps=result.steps,
                settings=self.fingerprint(request, facets),
                held_out=float(held_out[place]),
            )
            yield row, data

    def _held_out(self, pixels: torch.Tensor, layer: str, directions: Float32) -> Float64:
        """Mean activation of images over `VIEWS` views, the same of all, that no optimisation saw; `[images]`."""
        import torch

        draws = draw(torch.Generator().manual_seed(HELD_OUT_SEED), VIEWS)
        total = np.zeros(len(pixels))
        for one in draws:
            maps = transforms(one.expand(len(pixels), -1), 1.0, HELD_OUT)
            views = look(pixels, maps, (pixels.shape[2], pixels.shape[3]))
            reached = responses(self.model, views, layer, directions, self.reduction)
            total += np.diagonal(reached)
        return total / VIEWS


def webp(image: npt.NDArray[np.uint8] | None, quality: int) -> bytes:
    """An image as a WebP file."""
    stream = io.BytesIO()
    with disk_errors(Path("image")):
        Image.fromarray(np.asarray(image)).save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The image in a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")
