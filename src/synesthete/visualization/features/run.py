"""`visualize`: images of many targets and facets, optimised, scored and stored in the atlas; an interrupted run resumes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
    pack_visualizations,
    read_visualizations,
    unpack_visualizations,
    visualization_bytes,
)
from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower
from synesthete.recording.pieces import compute_pieces
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
    from synesthete.recording.executors import Executor
    from synesthete.recording.pieces import Compute

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

    def key(self, goal: str) -> tuple[str, str, str, int]:
        """That of its row."""
        return (self.target.name, self.facet, goal, self.copy)

    def strengths(self, settings: Settings) -> tuple[float, ...]:
        """The facet strengths to try: one image is optimised for each."""
        return (0.0,) if self.facet == PLAIN else settings.strengths

    def steps(self, settings: Settings) -> int:
        """At most so many steps are made for it, those after its attempts apart."""
        return len(self.strengths(settings)) * settings.steps * settings.attempts


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the images of one run share.

    Attributes
    ----------
    natural
        Statistics of natural images.
    goal
        `most` or `least`.
    settings
        Of the optimisation.
    reduction
        Of the atlas.
    weights, images
        Fingerprints of the model and of the atlas's images.
    """

    natural: Natural
    goal: str
    settings: Settings
    reduction: str
    weights: str
    images: str

    def fingerprint(self, request: Request, facets: Facets) -> str:
        """Of everything that shapes an image."""
        settings, more = self.settings, {"weights": self.weights, "images": self.images}
        if request.facet == PLAIN:
            settings = replace(settings, strengths=(0.0,), variant="released")
        else:
            more |= {"probes": facets.fingerprint}
        if request.target.unit < 0:
            direction = request.target.direction.tobytes()
            more |= {"direction": hashlib.sha256(direction).hexdigest()}
        return settings.fingerprint(goal=self.goal, reduction=self.reduction, **more)


def visualize(
    atlas: Atlas | str | Path,
    targets: Sequence[str | Target],
    *,
    facets: str | Sequence[str] = "all",
    folders: Mapping[str, str | Path] | None = None,
    goal: str = "most",
    settings: Settings | None = None,
    probes: str | Path | None = None,
    executor: Executor | None = None,
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
    executor
        Who optimises (`synesthete.recording.Executor`); this process without it. The files are those of one process with as many threads.
    progress
        Called with (steps done, total steps); an image that ends early counts as all of its steps, and those after its attempts do not count.

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
        recipe = Recipe(
            natural=natural,
            goal=goal,
            settings=settings,
            reduction=str(opened.manifest["reduction"]),
            weights=model.weights_sha256,
            images=str(opened.manifest["probes"]["fingerprint"]),
        )
        work = []
        for (layer, _), group in groups.items():
            faceted = Facets(layer="", probes={}, left_out={}, fingerprint="")
            if names != [PLAIN]:
                read_at = tower.before(layer)
                faceted = load_facets(opened, model, read_at, names, folders=extra, probes=probes)
            work.append((group, faceted))
        return _run(recipe, work, model, opened.path, executor=executor, progress=progress)


def _run(
    recipe: Recipe,
    work: Sequence[tuple[list[Target], Facets]],
    model: ImageTextModel,
    path: Path,
    *,
    executor: Executor | None,
    progress: Progress | None,
) -> Visualized:
    """Create what is missing, a part at a time, whoever does; each is stored as it is done."""
    settings = recipe.settings
    rows: list[Visualization] = []
    parts: list[tuple[tuple[Request, ...], Facets]] = []
    total = 0
    for targets, facets in work:
        requests = [
            Request(target, facet, copy)
            for target in targets
            for facet in (PLAIN, *facets.probes)
            for copy in range(settings.copies)
        ]
        kept, left = _existing(path, recipe, requests, facets)
        rows += kept
        total += sum(one.steps(settings) for one in requests)
        parts += [(part, facets) for part in _parts(left, settings)]
    done = total - sum(one.steps(settings) for part, _ in parts for one in part)
    created = 0

    def seen(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    seen(0)
    parted = Parts(recipe=recipe, parts=tuple(parts))
    for _, result in compute_pieces(parted, range(len(parts)), model, executor, path, seen):
        fresh = unpack_visualizations(result)
        if not fresh:
            continue
        first = fresh[0][0]
        add_visualizations(path, folder_of(first.layer, first.unit), fresh)
        rows += [row for row, _ in fresh]
        created += len(fresh)
    finished = {row.key for row in rows}
    failed = {
        request.label: f"optimisation diverged (NaN) after {RESTARTS} restarts"
        for part, _ in parts
        for request in part
        if request.key(recipe.goal) not in finished
    }
    names = [target.name for targets, _ in work for target in targets]
    order = {name: place for place, name in enumerate(names)}
    rows.sort(key=lambda row: (order[row.target], row.facet != PLAIN, row.facet, row.copy))
    return Visualized(rows, created, failed, {f.layer: f for _, f in work if f.layer})


def _existing(
    path: Path, recipe: Recipe, requests: Sequence[Request], facets: Facets
) -> tuple[list[Visualization], list[Request]]:
    """What exists already, created with the same settings, and what does not."""
    target = requests[0].target
    folder = folder_of(target.layer, target.unit)
    table = {row.key: row for row in read_visualizations(path, folder)}
    kept, left = [], []
    for request in requests:
        row = table.get(request.key(recipe.goal))
        if row is not None and row.settings == recipe.fingerprint(request, facets):
            try:
                visualization_bytes(path, row)
            except SynestheteError:
                pass  # Lost or altered: created again.
            else:
                kept.append(row)
                continue
        left.append(request)
    return kept, left


def _parts(requests: Sequence[Request], settings: Settings) -> Iterator[tuple[Request, ...]]:
    """As few requests at once as fill a batch: after each part files and table are written."""
    part: list[Request] = []
    for request in requests:
        part.append(request)
        if sum(len(other.strengths(settings)) for other in part) >= settings.batch:
            yield tuple(part)
            part = []
    if part:
        yield tuple(part)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Images to create, as another process can be sent them (`synesthete.recording.pieces.Pieces`).

    Attributes
    ----------
    recipe
        What they share.
    parts
        The images of each piece, and the facets of their layer.
    """

    recipe: Recipe
    parts: tuple[tuple[tuple[Request, ...], Facets], ...]

    def title(self, number: int) -> str:
        """The first and the last image of a piece, for messages."""
        requests, _ = self.parts[number]
        return f"images {requests[0].label} to {requests[-1].label}"

    def start(self, model: ImageTextModel) -> Compute:
        """A renderer, whose copy of the tower serves every piece."""
        return partial(self._compute, Renderer(self.recipe, model))

    def _compute(
        self, renderer: Renderer, number: int, seen: Callable[[int], None] | None
    ) -> bytes:
        """Rows and files of the images of a piece, without those that diverged; `seen` is called with numbers of steps."""
        requests, facets = self.parts[number]
        left = sum(one.steps(self.recipe.settings) for one in requests)

        def report(steps: int) -> None:
            nonlocal left
            left -= steps
            if seen is not None:
                seen(steps)

        finished = renderer.render(requests, facets, report)
        report(left)
        return pack_visualizations([finished[place] for place in sorted(finished)])


class Renderer:
    """Creates images in one process.

    Parameters
    ----------
    recipe
        What they share.
    model
        What they are of.
    """

    def __init__(self, recipe: Recipe, model: ImageTextModel) -> None:
        self.recipe, self.model, self.tower = recipe, model, GradientTower(model)
        self.natural, self.goal, self.settings = recipe.natural, recipe.goal, recipe.settings
        self.sign = 1.0 if self.goal == "most" else -1.0
        self.reduction = recipe.reduction

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
            report = progress if number < self.settings.attempts else lambda _: progress(0)
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
        progress: Callable[[int], None],
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
        results = optimize_images(self.tower, self.natural, setup, jobs, settings, progress)
        while some := list(islice(results, AT_ONCE)):
            some = [result for result in some if result.image is not None]
            shown = [requests[places[result.job]] for result in some]
            strengths = [jobs[result.job].strength for result in some]
            scored = self._scored(some, shown, strengths, facets)
            for result, candidate in zip(some, scored, strict=True):
                place = places[result.job]
                if place not in best or self._better(candidate[0], best[place][0]):
                    best[place] = candidate
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
                settings=self.recipe.fingerprint(request, facets),
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
