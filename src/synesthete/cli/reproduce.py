"""The command that measures the whole article: reproduce."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from synesthete.cli.command import ModelSpec, Output, command, here
from synesthete.cli.console import Note, count, table
from synesthete.cli.progress import StatusLine
from synesthete.cli.workers import Workers
from synesthete.reproduction.settings import Settings

PANEL = "Make an atlas"

app = typer.Typer()


@command(app, panel=PANEL)
def reproduce(
    model: ModelSpec,
    *,
    out: Path,
    sections: str | None = None,
    probes: str | None = None,
    atlas: Annotated[Path | None, typer.Option(parser=here)] = None,
    settings: Settings,
    workers: Workers,
) -> Output:
    """Measure on a model what the article on multimodal neurons measured, with the published values beside.

    Without --atlas the model is first recorded on the probe set, analysed and named, whichever sections are asked for (a quarter of an hour and more
    with the built-in one). Each section is written as soon as it is measured, and a second run measures what is missing. The triage needs a person: its
    section writes a blind task, and prints no number until it is filled in.

    Parameters
    ----------
    out : DIR
        Folder of the report, report.html and report.json.
    sections : NAMES
        Some of controls,triage,conditional,words,families,regions,emotions,classes,texts,visualizations,typographic,stroop,text,joint; all without it.
    probes : P
        The probe set to record, as `synesthete record` takes it; the built-in concepts by default.
    atlas : X.atlas
        An analysed atlas of the model, in place of recording one from --probes.

    Returns
    -------
    a list of `section`, `measure`, `n`, `value`, `interval`, `published`, `control` and `note`.

    See Also
    --------
    reproduction.md

    Examples
    --------
    synesthete reproduce mini --atlas demo.atlas --sections stroop --out report
    synesthete reproduce mini --atlas demo.atlas --sections stroop,controls --out report --json
    synesthete reproduce mini --atlas demo.atlas --sections stroop --executor processes --workers 2 --out report
    """
    from synesthete.reproduction.run import reproduce as measure

    names = [name.strip() for name in (sections or "").split(",") if name.strip()]
    report = measure(
        model,
        out,
        sections=names,
        probes=probes,
        atlas=atlas,
        settings=settings,
        executor=workers.opened(),
        say=StatusLine(),
    )
    chosen = {name: one for name, one in report["sections"].items() if not names or name in names}
    rows = [row for one in chosen.values() for row in one["rows"]]
    return Output(rows, lambda: _view(rows, out))


def _view(rows: list[Mapping[str, Any]], out: Path) -> Iterator[RenderableType]:
    lines = [
        (
            row["section"],
            row["measure"],
            count(row["n"]),
            _number(row["value"]),
            "–" if row["interval"] is None else " to ".join(map(_number, row["interval"])),
            _number(row["published"]),
            _number(row["control"]),
        )
        for row in rows
    ]
    columns = ("section", "measured", "n", "ours", "95 %", "published", "control")
    yield table(*columns, right=columns[2:], rows=lines)
    yield Note(f"written: {out / 'report.html'}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
