"""Commands that change a model: edit units and export the checkpoint; search the edits that defend it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.files import write_together
from synesthete.cli.command import AtlasArgument, Output, Positive, Share, command
from synesthete.cli.console import Note, bounds, count, dim, percent, say, table
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.editing import Edits
    from synesthete.editing.defence import Defence, Frontier, Measured
    from synesthete.editing.effect import Effect
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

PANEL = "Edit a model"

app = typer.Typer()


@command(app, panel=PANEL)
def stickers(atlas: AtlasArgument, limit: Positive = 256, seed: int = 0) -> Output:
    """Write a word on each photo of an atlas, count the answers that it turns, and find the three units that carry it.

    The word is the name of another concept, drawn for each photo that the model classifies correctly. Counted is how often it becomes the
    answer, and how often the answer is the photo's again without three units at most, beside as many random ones. The clearest pairs are
    kept in the atlas, as the examples of the microscope's first page. Loads the model.

    Parameters
    ----------
    limit
        At most so many photos; those that the model was not trained on, where that is known.
    seed
        Draws the photos, the words and the random units.

    Returns
    -------
    the counts, and the examples under `examples`.

    See Also
    --------
    microscope.md

    Examples
    --------
    synesthete stickers demo.atlas
    """
    from synesthete.editing.sticker_survey import survey_stickers

    with Reporter("words on photos", unit="photos") as reporter:
        found = survey_stickers(atlas.path, limit=limit, seed=seed, progress=reporter)
    outcomes = ("the word became the answer", "turned back by three units", "by three random units")
    lines: list[RenderableType] = [
        f"{count(found.pairs)} of {count(found.photos)} photos are classified correctly, each with another concept's name on it"
    ]
    for name, rate in zip(outcomes, found.rates, strict=True):
        low, high = rate.interval
        lines.append(
            f"{name}: {count(rate.successes)} of {count(rate.n)} ({percent(low)} to {percent(high)})"
        )
    return Output(asdict(found), lines)


@command(app, panel=PANEL)
def edit(
    atlas: AtlasArgument,
    ablate: list[str] | None = None,
    mean_ablate: list[str] | None = None,
    scale: list[str] | None = None,
    steer: list[str] | None = None,
    edits: Path | None = None,
    save: Path | None = None,
    export: Path | None = None,
    probes: str | None = None,
    images: Annotated[int, typer.Option(min=2)] = 128,
) -> Output:
    """Switch neurons off, scale or steer them; see what it does; export the edited model.

    Images are named before and after, and beside that after the same edits of random units of the same layers. A checkpoint
    is written only when, on the images, its plain library gives with it the embeddings of the edited model. Loads the model.

    Parameters
    ----------
    ablate : NEURON
        Switch a unit off. Repeat it, as the next three, for more.
    mean_ablate : NEURON
        Hold a unit at its mean over the images.
    scale : NEURON=S
        Multiply a unit's response by S.
    steer : NEURON=T
        Add T to a unit's response, everywhere.
    edits : FILE
        Edits from a file, with those named here. They fit the very weights that they were made for.
    save : FILE
        Write the edits to a file, to review and to use again.
    export : DIR
        Fold them into the weights and write a checkpoint of the model's own library (local-dir:DIR). DIR is new, empty, or holds this very
        checkpoint.
    probes : SET
        Where the images are, when the atlas's own set is not to be found.
    images
        Images to measure and to check on.

    Returns
    -------
    `edits`, `effect` (null for a model of images only), and `saved` and `export` where asked for.

    See Also
    --------
    editing.md

    Examples
    --------
    synesthete edit demo.atlas --ablate visual.layer4.1:12 --scale visual.layer4.1:40=0.5 --save edits.json --images 16 --probes my-images
    synesthete edit demo.atlas --edits edits.json --export edited --images 16 --probes my-images --json
    """
    import torch

    from synesthete.analysis.provenance import own_model
    from synesthete.editing import export_edits, load_edits, plan_edits, save_edits
    from synesthete.editing.edits import parse_pairs
    from synesthete.editing.effect import draw_images, measure_effect

    given = load_edits(edits) if edits is not None else None
    scales, steers = parse_pairs(scale or [], "--scale"), parse_pairs(steer or [], "--steer")
    if not (given or ablate or mean_ablate or scales or steers):
        hint = "name units: --ablate, --mean-ablate, --scale, --steer, or --edits FILE"
        raise SynestheteError("there is nothing to edit", hint=hint)
    model = own_model(atlas)
    if given is not None:
        given.check(model)
    drawn, labels = draw_images(_probes(atlas, probes), images)
    pixels = torch.stack([model.preprocess(image) for image in drawn])
    planned = plan_edits(
        model,
        ablate=[_address(atlas, unit) for unit in ablate or ()],
        mean_ablate=[_address(atlas, unit) for unit in mean_ablate or ()],
        scale=_addressed(atlas, scales),
        steer=_addressed(atlas, steers),
        pixels=pixels,
    )
    if given is not None:
        planned = given.with_(planned.edits, planned.dictionaries)
    # A model of images only has no names to choose among.
    effect = measure_effect(model, planned, pixels, labels) if model.reads_texts else None
    data: dict[str, Any] = {"edits": planned.as_dict(), "effect": effect and effect.as_dict()}
    if save is not None:
        data["saved"] = str(save_edits(planned, save))

    def exported() -> dict[str, Any]:
        if export is None:
            return data
        result = export_edits(model, planned, export, drawn)
        say(
            f"exported: {result.spec} ({result.images} images: the plain library differs from the edited model by at most "
            f"{result.difference:.1e}; the edits move embeddings by up to {result.effect:.1e})"
        )
        return data | {"export": result.as_dict()}

    def view() -> Iterator[RenderableType]:
        yield from _edits_view(planned, effect)
        if save is not None:
            yield Note(f"edits: {save}")
        exported()  # last, so that what was measured is seen though the export fails

    return Output(exported, view)


@command(app, panel=PANEL)
def defend(
    target: Annotated[str, typer.Argument(metavar="ATLAS|MODEL")],
    out: Path | None = None,
    probes: str | None = None,
    axis: Path | None = None,
    method: str = "greedy",
    layer: list[str] | None = None,
    do: str = "ablate",
    units: Positive = 12,
    budget: Share = 0.01,
    images: Annotated[int, typer.Option(min=30)] = 200,
    classes: Positive = 100,
    seed: int = 0,
) -> Output:
    """Find the few units whose switching off makes a model harder to fool by written words.

    Ranked on one split, and as many chosen as a second allows; reported on a third with other images, other words and other fonts, beside
    random units and a linear map of the embedding. Loads the model.

    Parameters
    ----------
    target
        An atlas, or a model's name.
    out : DIR
        Write edits.json (for `synesthete edit --edits`), report.json and pareto.svg there.
    probes : SET
        Images with their concepts; without it the atlas's own, or the built-in ones.
    axis : FILE
        An axis of bias (JSON) to defend against, instead of written words.
    method : METHOD
        greedy, or dyslexify: the heads by which the class token (of a ResNet, the attention pool) looks at the written label; only what they
        write into that token is taken away.
    layer : L
        Look for units there (repeat for more); without it the default layers, and all attention heads.
    do : EDIT
        ablate or mean-ablate.
    units
        At most so many units.
    budget
        What the proposal may cost in clean accuracy, on the validation split.
    images
        Images of each split, at most.
    classes
        Concepts that images are named among, at most.
    seed
        Of splits, words and random units.

    Returns
    -------
    the report, as in `report.json`.

    See Also
    --------
    editing.md

    Examples
    --------
    synesthete defend demo.atlas --out defence
    synesthete defend demo.atlas --method dyslexify --json
    """
    from synesthete.editing.defence import defend as search
    from synesthete.editing.defence import load_axis

    given = load_axis(axis) if axis is not None else None
    model, probe_set = _target(target, probes)
    with Reporter("searching", "units") as reporter:
        found = search(
            model,
            probe_set,
            axis=given,
            method=method,
            layers=layer,
            how=do,
            most=units,
            budget=budget,
            limit=images,
            classes=classes,
            seed=seed,
            progress=reporter,
        )
    if out is not None:
        report = json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n"
        files = {
            "edits.json": found.edits.as_bytes(),
            "pareto.svg": _chart(model, found).encode(),
            "report.json": report.encode(),
        }
        write_together(out, files)
        say(f"written: {out}/edits.json, report.json, pareto.svg")
    return Output(found.as_dict, lambda: _defence_view(found))


def _address(atlas: Atlas, unit: str) -> str:
    """An address as it is, since the model may have layers that the atlas has not; else of the neuron with this name."""
    return unit if ":" in unit else atlas.address(unit)


def _addressed(atlas: Atlas, values: Mapping[str, float]) -> dict[str, float]:
    """The same values by address; one unit under two names is refused."""
    found: dict[str, float] = {}
    for unit, value in values.items():
        address = _address(atlas, unit)
        if found.setdefault(address, value) != value:
            raise SynestheteError(f"{address} was given two values")
    return found


def _probes(atlas: Atlas, spec: str | None) -> ProbeSet:
    from synesthete.analysis.provenance import own_probes
    from synesthete.probes import load_probes

    return own_probes(atlas).part(texts=False) if spec is None else load_probes(spec, texts=False)


def _target(target: str, probes: str | None) -> tuple[ImageTextModel, ProbeSet]:
    """The model and the images of an atlas, or of a model by name."""
    from synesthete.analysis.provenance import own_model
    from synesthete.models import load_model
    from synesthete.probes import load_probes

    if (Path(target) / "atlas.json").is_file():
        atlas = open_atlas(Path(target))
        return own_model(atlas), _probes(atlas, probes)
    return load_model(target), load_probes(probes or "concepts", texts=False)


def _chart(model: ImageTextModel, found: Defence) -> str:
    from synesthete.report.charts import Line, pareto_chart

    lines = [
        Line(one.name, [(p.units, p.kept.value, p.harm.value) for p in one.points])
        for one in found.series
    ]
    harm, kept = found.after.harm, found.after.kept
    more = " …" if len(found.layers) > 2 else ""
    return pareto_chart(
        f"Fewer units, less harm: {model.name}",
        f"{found.how} in {', '.join(found.layers[:2])}{more}; test split, n = {harm.n} and {kept.n}; bar: 95 % interval",
        lines,
        kept=found.kept_name,
        harm=found.harm_name,
        proposal=(len(found.edits), kept.value, harm.value, harm.low, harm.high),
    )


def _edits_view(planned: Edits, effect: Effect | None) -> Iterator[RenderableType]:
    def number(value: object) -> str:
        if isinstance(value, tuple):
            return f"{len(value)} numbers"
        return f"{value:.4g}" if isinstance(value, float | int) else str(value or "")

    edits = ((one.address, one.op, number(one.value)) for one in planned.edits)
    yield table("address", "op", "value", right=("value",), rows=edits)
    if effect is None:
        yield dim("the model reads no texts: there are no names that the edits could change\n")
        return
    right = ("named right", "95 %", "other answers")
    yield table(
        "",
        *right,
        right=right,
        rows=[
            ("before", percent(effect.before), bounds(effect.before_interval), ""),
            (
                "after",
                percent(effect.after),
                bounds(effect.after_interval),
                percent(effect.changed),
            ),
            ("random units", percent(effect.control_after), "", percent(effect.control_changed)),
        ],
    )
    yield dim(f"{effect.n} images, {effect.classes} names to choose among\n")


def _defence_view(found: Defence) -> Iterator[RenderableType]:
    def cells(*measured: Measured) -> list[str]:
        return [
            text
            for one in measured
            for text in (f"{one.value:.3f}", f"{one.low:.3f}–{one.high:.3f}", count(one.n))
        ]

    harm, kept = found.random_after
    columns = ("", found.harm_name, "95 %", "n", found.kept_name, "95 % ", "n ")
    validation = found.validation_before, found.validation_after
    yield table(
        *columns,
        right=("n", "n "),
        rows=[
            ("validation split, before", *cells(validation[0].harm, validation[0].kept)),
            ("validation split, after", *cells(validation[1].harm, validation[1].kept)),
            ("test split, before", *cells(found.before.harm, found.before.kept)),
            ("test split, after", *cells(found.after.harm, found.after.kept)),
            ("test split, random units", f"{harm:.3f}", "", "", f"{kept:.3f}", "", ""),
        ],
    )
    if found.series[0].points[0].frontier is not None:
        yield from _frontier_view(found)
    edits = ", ".join(f"{edit.op} {edit.address}" for edit in found.edits.edits) or "no edit pays"
    yield f"{len(found.edits)} of {found.considered:,} units: {edits}"
    if found.attention:
        heads = (
            f"{one.address} {one.share:.1%} ({one.elsewhere:.1%})" for one in found.attention[:3]
        )
        yield dim(f"attention to the label (where another image has its own): {', '.join(heads)}")
    ways = found.carriers
    if ways.strongest:
        address, share = ways.strongest[0]
        yield dim(
            f"by first order, half of the {found.harm_name} goes by {ways.half} of {ways.of:,} units; the strongest, "
            f"{address}, has {share:.1%}"
        )


def _frontier_view(found: Defence) -> Iterator[RenderableType]:
    """Changes from the unedited model on the test split, paired, at every size but none; beside them the spans of random draws."""
    drawn: dict[tuple[str, int], list[Frontier]] = {}
    for series in found.series:
        for point in series.points:
            if series.name.startswith("random") and point.frontier is not None:
                drawn.setdefault((series.name, point.units), []).append(point.frontier)

    def moved(one: Measured) -> str:
        return f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"

    def span(draws: list[Frontier], part: str) -> str:
        values = [getattr(one, part).value for one in draws]
        return f"{min(values):+.3f} to {max(values):+.3f}" if values else ""

    rows = []
    for series in found.series:
        control = "random subspace" if series.name == "subspace" else "random"
        for point in series.points:
            one = point.frontier
            if point.units and one is not None and not series.name.startswith("random"):
                draws = drawn.get((control, point.units), [])
                cells = (moved(one.gain), span(draws, "gain"), moved(one.kept), span(draws, "kept"))
                rows.append((series.name, str(point.units), *cells))
    columns = ("", "size", "attacked accuracy", "random", found.kept_name, "random ")
    yield table(*columns, right=("size",), rows=rows)
    rank = "" if found.rank is None else f"; of the subspace rank {found.rank}"
    n = found.before.kept.n
    yield dim(
        f"changes on the test split, n = {n}; the validation split chooses {len(found.edits)} units{rank}"
    )
