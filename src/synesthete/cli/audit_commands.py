"""Commands that audit a model: audit typographic, adversarial, bias, all, compare."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from synesthete.atlas.files import write_file
from synesthete.cli.audit_options import (
    EXIT_FAILED,
    EpsilonOption,
    ImagesOption,
    LayerOption,
    LimitOption,
    ListsOption,
    Reporting,
    StepsOption,
    reporting,
)
from synesthete.cli.console import JsonFlag, err, out, print_json, say, table
from synesthete.cli.model_commands import ModelSpec
from synesthete.errors import SynestheteError

app = typer.Typer(
    help="Audit a model: written words, small changes, associations with groups of people.",
    no_args_is_help=True,
)
PANEL = "Audit and repair"


@app.command()
@reporting
def typographic(
    model: ModelSpec,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="FOLDER",
            help="Your pictures, FOLDER/CONCEPT/IMAGE, or photos of labelled things, FOLDER/OBJECT-LABEL.jpg.",
            show_default=False,
        ),
    ] = None,
    font: Annotated[
        str | None, typer.Option(metavar="F", help="Font family of the words; Caveat without it.", show_default=False)
    ] = None,
    area: Annotated[
        float | None,
        typer.Option(metavar="A", help="Area of a label by that of the picture; 0.1 without it.", show_default=False),
    ] = None,
    limit: LimitOption = None,
    layer: LayerOption = None,
    *,
    told: Reporting,
) -> None:  # fmt: skip
    """Measure how easily a word written on a picture becomes the answer.

    By area, font, place, colour, contrast, case and language; by zero shot and by linear probe; on pictures named right
    without a word, beside an empty label. With the paper's attack table and Stroop test, and the units that carry it.
    """
    from synesthete.audits.labels import Style

    given = {k: v for k, v in (("font", font), ("share", area)) if v is not None}
    _run(
        model, "typographic", told, images=images, limit=limit, layer=layer, style=Style(**given),  # type: ignore[arg-type]
    )  # fmt: skip


@app.command()
@reporting
def adversarial(
    model: ModelSpec,
    images: ImagesOption = None,
    epsilon: EpsilonOption = None,
    steps: StepsOption = 20,
    limit: LimitOption = None,
    *,
    told: Reporting,
) -> None:
    """Measure how many answers survive changes of pixels too small to see: FGSM, PGD and APGD.

    A size of 1 lets every value of every pixel change by one step of an 8-bit picture. Random noise is the control.
    """
    more = {"epsilons": tuple(epsilon)} if epsilon else {}
    _run(model, "adversarial", told, images=images, limit=limit, steps=steps, **more)


@app.command()
@reporting
def bias(
    model: ModelSpec,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="FOLDER",
            help="Your labelled photos of people, FOLDER/GROUP/IMAGE; without it a few drawn persons.",
            show_default=False,
        ),
    ] = None,
    lists: ListsOption = None,
    layer: LayerOption = None,
    *,
    told: Reporting,
) -> None:  # fmt: skip
    """Measure what a model associates with groups of people: texts, units, rankings and harmful labels.

    The package ships no photos of people: without yours, only drawn persons are looked at, which stand for nobody.
    """
    _run(model, "bias", told, people=images, lists=lists, layer=layer)


@app.command("all")
@reporting
def all_(
    model: ModelSpec,
    images: ImagesOption = None,
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Your labelled photos of people, FOLDER/GROUP/IMAGE.", show_default=False
        ),
    ] = None,
    lists: ListsOption = None,
    epsilon: EpsilonOption = None,
    steps: StepsOption = 20,
    limit: LimitOption = None,
    layer: LayerOption = None,
    *,
    told: Reporting,
) -> None:  # fmt: skip
    """Make all three audits, and one report of them: a page, a JSON and a section for a model card."""
    more = {"epsilons": tuple(epsilon)} if epsilon else {}
    _run(model, "all", told, images=images, people=people, lists=lists, limit=limit, layer=layer, steps=steps, **more)  # fmt: skip


@app.command()
def compare(
    before: Annotated[
        Path, typer.Argument(metavar="A", help="A report.json, or its folder.", show_default=False)
    ],
    after: Annotated[
        Path, typer.Argument(metavar="B", help="Another one.", show_default=False)
    ],
    out_path: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it as a page.", show_default=False),
    ] = None,
    fail_on_worse: Annotated[
        bool,
        typer.Option(
            "--fail-on-worse", help=f"End with exit code {EXIT_FAILED} when a number with a limit got worse."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Compare two reports number by number, with the interval of every change. Loads no model."""
    from synesthete.audits.registry import METRICS
    from synesthete.audits.report import compare_reports, comparison_page, read_report
    from synesthete.audits.report.page import span, value

    found = compare_reports(read_report(before), read_report(after))
    if out_path is not None:
        write_file(out_path, comparison_page(found).encode())
        say(f"written: {out_path}")
    if as_json:
        print_json(found)
    else:
        right = ("before", "after", "change", "95 %")
        rows = table("measured", *right, "", right=right)
        for row in found["rows"]:
            name = row["metric"]
            rows.add_row(
                Text(f"{name.partition('.')[0]}: {row['title']}"),
                value(name, row["before"]["value"]),
                value(name, row["after"]["value"]),
                value(name, row["change"]),
                span(name, row["interval"]),
                Text(row["verdict"], style=_style(row["verdict"])),
            )
        out().print(rows)
        for told in found["differences"]:
            out().print(Text(told, style="dim"), soft_wrap=True)
    worse = any(row["verdict"] == "worse" and row["metric"] in METRICS for row in found["rows"])
    if fail_on_worse and worse:
        raise typer.Exit(EXIT_FAILED)


def _run(model: str, kind: str, told: Reporting, **settings: Any) -> None:
    """Audit, tell, and end as the user wants it."""
    from synesthete.audits import run_audit, write_report
    from synesthete.audits.report import failed, parse_thresholds

    limits = parse_thresholds(told.threshold or [])
    failed([], told.fail_on)
    folder = told.out_path or (_folder(model) if kind == "all" else None)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise SynestheteError(f"{folder} is a file; the report needs a folder")
    report = run_audit(model, kind, limits=limits, seed=told.seed, progress=Teller(), **settings)
    if folder is not None:
        for path in write_report(report, folder).values():
            say(f"written: {path}")
    if told.as_json:
        print_json(_flat(report, kind))
    else:
        _print(report)
    if failed(report["verdicts"], told.fail_on):
        raise typer.Exit(EXIT_FAILED)


def _flat(report: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The report without pictures; of a single audit its fields stand at the top."""
    kinds = ("typographic", "adversarial", "bias")
    told = {
        key: {name: part for name, part in value.items() if name != "examples"} if key in kinds else value
        for key, value in report.items()
    }  # fmt: skip
    return told | told.pop(kind) if kind in told else told


def _print(report: Mapping[str, Any]) -> None:
    from synesthete.audits.registry import notes
    from synesthete.audits.report.page import cost, span, value

    right = ("value", "95 %", "n", "limit")
    rows = table("measured", *right, "", right=right)
    for row in report["verdicts"]:
        name = row["metric"]
        rows.add_row(
            Text(f"{name.partition('.')[0]}: {row['title']}"),
            value(name, row["value"]),
            span(name, row["interval"]),
            "" if row["n"] is None else f"{row['n']:,}",
            ("≤ " if row["better"] == "low" else "≥ ") + value(name, row["limit"]),
            Text(row["verdict"], style=_style(row["verdict"])),
        )
    out().print(rows)
    for note in notes(report):
        out().print(Text(note, style="dim"), soft_wrap=True)
    out().print(cost(report), style="dim", soft_wrap=True)


def _style(verdict: str) -> str:
    return {"fail": "bold red", "worse": "bold red", "pass": "green", "better": "green"}.get(
        verdict, "dim"
    )


def _folder(model: str) -> Path:
    """Where `audit all` writes when nobody says: `MODEL.audit`.

    Examples
    --------
    >>> str(_folder("local-dir:/models/my clip")), str(_folder("RN50/openai"))
    ('my-clip.audit', 'RN50-openai.audit')
    """
    plain = model.rstrip("/").rpartition("local-dir:")[2]
    plain = plain.rsplit("/", 1)[-1] if plain != model.rstrip("/") else plain
    return Path("".join(c if c.isalnum() or c in "._-" else "-" for c in plain) + ".audit")


class Teller:
    """Says on standard error what is being done: in place on a terminal, every ten seconds elsewhere."""

    EVERY = 10.0

    def __init__(self) -> None:
        self._spoken = time.monotonic()
        self._terminal = err().is_terminal

    def __call__(self, told: str) -> None:
        """Say it."""
        now = time.monotonic()
        if self._terminal:
            err().print(Text(told[:100].ljust(100), style="dim"), end="\r", soft_wrap=True)
        elif now - self._spoken >= self.EVERY:
            self._spoken = now
            say(told)
