"""Commands that change a model: edit units and export the checkpoint; search the edits that defend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from synesthete.atlas.files import write_together
from synesthete.cli.console import JsonFlag, out, percent, print_json, say, table
from synesthete.cli.naming_commands import AtlasPath
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.editing import Edits
    from synesthete.editing.defence import Defence, Measured
    from synesthete.editing.effect import Effect
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

PANEL = "Edit a model"
PROBES = typer.Option(
    metavar="SET", help="Where the pictures are, when the atlas's own set is not to be found.", show_default=False
)  # fmt: skip


def _many(letter: str, help_: str) -> Any:
    return typer.Option(metavar=letter, help=help_, show_default=False)


def edit(
    atlas: AtlasPath,
    ablate: Annotated[list[str] | None, _many("ADDRESS", "Switch a unit off (repeat for more).")] = None,
    mean_ablate: Annotated[list[str] | None, _many("ADDRESS", "Hold a unit at its mean over the pictures.")] = None,
    scale: Annotated[list[str] | None, _many("ADDRESS=S", "Multiply a unit's response by S.")] = None,
    steer: Annotated[list[str] | None, _many("ADDRESS=T", "Add T to a unit's response, everywhere.")] = None,
    edits: Annotated[Path | None, _many("FILE", "Edits from a file, with those named here.")] = None,
    save: Annotated[Path | None, _many("FILE", "Write the edits to a file, to review and to use again.")] = None,
    export: Annotated[Path | None, _many("DIR", "Fold them into the weights and write an open_clip checkpoint.")] = None,
    probes: Annotated[str | None, PROBES] = None,
    images: Annotated[int, typer.Option(min=2, help="Pictures to measure and to check on.")] = 128,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Switch neurons off, scale or steer them; see what it does; export the edited model.

    A checkpoint is written only when, on the pictures, plain open_clip gives with it the embeddings of the edited model. Loads
    the model.
    """
    import torch

    from synesthete.analysis.provenance import own_model
    from synesthete.atlas import open_atlas
    from synesthete.editing import export_edits, load_edits, plan_edits, save_edits
    from synesthete.editing.edits import parse_pairs
    from synesthete.editing.effect import draw_images, measure_effect

    given = load_edits(edits) if edits is not None else None
    scales, steers = parse_pairs(scale or [], "--scale"), parse_pairs(steer or [], "--steer")
    if not (given or ablate or mean_ablate or scales or steers):
        hint = "name units: --ablate, --mean-ablate, --scale, --steer, or --edits FILE"
        raise SynestheteError("there is nothing to edit", hint=hint)
    opened = open_atlas(atlas)
    model = own_model(opened)
    if given is not None:
        given.check(model)
    pictures, labels = draw_images(_probes(opened, probes), images)
    pixels = torch.stack([model.preprocess(one) for one in pictures])
    planned = plan_edits(
        model, ablate=ablate or [], mean_ablate=mean_ablate or [], scale=scales, steer=steers, pixels=pixels
    )  # fmt: skip
    if given is not None:
        planned = given.with_(planned.edits)
    effect = measure_effect(model, planned, pixels, labels)
    told: dict[str, Any] = {"edits": planned.as_dict(), "effect": effect.as_dict()}
    if save is not None:
        told["saved"] = str(save_edits(planned, save))
    if not as_json:
        _print_edits(planned, effect)
        if save is not None:
            say(f"edits: {save}")
    if export is not None:
        made = export_edits(model, planned, export, pictures)
        told["export"] = made.as_dict()
        say(
            f"exported: {made.spec} ({made.images} pictures: plain open_clip differs from the edited model by at most "
            f"{made.difference:.1e}; the edits move embeddings by up to {made.effect:.1e})"
        )
    if as_json:
        print_json(told)


def defend(
    target: Annotated[
        str, typer.Argument(metavar="ATLAS|MODEL", help="An atlas, or a model's name.", show_default=False)
    ],
    out_dir: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write edits.json, report.json and pareto.svg there.", show_default=False)] = None,
    probes: Annotated[str | None, typer.Option(metavar="SET", help="Pictures with their concepts; an atlas's own, or the built-in ones.", show_default=False)] = None,
    axis: Annotated[Path | None, typer.Option(metavar="FILE", help="An axis of bias (JSON) to defend against, instead of written words.", show_default=False)] = None,
    layer: Annotated[list[str] | None, typer.Option(metavar="L", help="Look for units there (repeat for more); without it the default layers, and all attention heads.", show_default=False)] = None,
    how: Annotated[str, typer.Option("--do", metavar="KIND", help="ablate or mean-ablate.")] = "ablate",
    units: Annotated[int, typer.Option(min=1, help="At most so many units.")] = 12,
    budget: Annotated[float, typer.Option(min=0, max=1, help="What the proposal may cost in clean accuracy, on the search split.")] = 0.01,
    images: Annotated[int, typer.Option(min=30, help="Pictures of each split, at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Of splits, words and random units.")] = 0,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Find the few units whose switching off makes a model harder to fool by written words.

    Chosen on one split; reported on another with other pictures, other words and other fonts, beside random units. Loads
    the model.
    """
    from synesthete.editing.defence import defend as search
    from synesthete.editing.defence import load_axis

    given = load_axis(axis) if axis is not None else None
    model, pictures = _target(target, probes)
    with Reporter("searching", "units") as reporter:
        found = search(
            model, pictures, axis=given, layers=layer, how=how, most=units, budget=budget, limit=images,
            seed=seed, progress=reporter,
        )  # fmt: skip
    if out_dir is not None:
        report = json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n"
        write_together(
            out_dir,
            {
                "edits.json": found.edits.as_bytes(),
                "pareto.svg": _chart(model, found).encode(),
                "report.json": report.encode(),
            },
        )
        say(f"written: {out_dir}/edits.json, report.json, pareto.svg")
    if as_json:
        print_json(found.as_dict())
        return
    _print_defence(found)


def _probes(opened: Any, spec: str | None) -> ProbeSet:
    from synesthete.analysis.provenance import own_probes
    from synesthete.probes import load_probes

    return own_probes(opened) if spec is None else load_probes(spec)


def _target(target: str, probes: str | None) -> tuple[ImageTextModel, ProbeSet]:
    """The model and the pictures of an atlas, or of a model by name."""
    from synesthete.models import load_model
    from synesthete.probes import load_probes

    if (Path(target) / "atlas.json").is_file():
        from synesthete.analysis.provenance import own_model
        from synesthete.atlas import open_atlas

        opened = open_atlas(Path(target))
        return own_model(opened), _probes(opened, probes)
    return load_model(target), load_probes(probes or "concepts")


def _chart(model: ImageTextModel, found: Defence) -> str:
    from synesthete.report.charts import Line, pareto_chart

    lines = [
        Line(one.name, [(p.units, p.kept.value, p.harm.value) for p in one.points])
        for one in found.series
    ]
    after = found.after
    return pareto_chart(
        f"Fewer units, less harm: {model.name}",
        f"{found.how} in {', '.join(found.layers[:2])}{' …' if len(found.layers) > 2 else ''}; held-out split, "
        f"n = {after.harm.n} and {after.kept.n}; bar: 95 % interval",
        lines,
        kept=found.kept_name,
        harm=found.harm_name,
        proposal=(
            len(found.edits), after.kept.value, after.harm.value, after.harm.low, after.harm.high
        ),
    )  # fmt: skip


def _print_edits(planned: Edits, effect: Effect) -> None:
    rows = table("address", "do", "value", right=("value",))
    for one in planned.edits:
        value = f"{len(one.value)} numbers" if isinstance(one.value, tuple) else one.value
        told = "" if value is None else value if isinstance(value, str) else f"{value:.4g}"
        rows.add_row(Text(one.address), one.op, told)
    out().print(rows)
    made = table(
        "", "named right", "95 %", "other answers", right=("named right", "95 %", "other answers")
    )
    made.add_row("before", percent(effect.before), _interval(*effect.before_interval), "")
    made.add_row(
        "after", percent(effect.after), _interval(*effect.after_interval), percent(effect.changed)
    )
    made.add_row("random units", percent(effect.control_after), "", percent(effect.control_changed))
    out().print(made)
    out().print(
        f"{effect.n} pictures, {effect.classes} names to choose among\n",
        style="dim",
        soft_wrap=True,
    )


def _print_defence(found: Defence) -> None:
    rows = table(
        "", found.harm_name, "95 %", "n", found.kept_name, "95 % ", "n ", right=("n", "n ")
    )
    for told, one in (
        ("search split, before", found.search_before), ("search split, after", found.search_after),
        ("held out, before", found.before), ("held out, after", found.after),
    ):  # fmt: skip
        rows.add_row(told, *_measured(one.harm), *_measured(one.kept))
    harm, kept = found.random_after
    rows.add_row("held out, random units", f"{harm:.3f}", "", "", f"{kept:.3f}", "", "")
    out().print(rows)
    told = ", ".join(f"{edit.op} {edit.address}" for edit in found.edits.edits) or "no edit pays"
    out().print(Text(f"{len(found.edits)} of {found.considered:,} units: {told}"), soft_wrap=True)


def _measured(one: Measured) -> tuple[str, str, str]:
    return f"{one.value:.3f}", f"{one.low:.3f}–{one.high:.3f}", f"{one.n:,}"


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}"


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (edit, defend):
        app.command(rich_help_panel=PANEL)(command)
