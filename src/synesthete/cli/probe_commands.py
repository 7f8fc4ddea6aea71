"""Commands about probe sets: list what is built in, and draw contact sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.console import JsonFlag, count, out, print_json, table

app = typer.Typer(help="Probe sets: the images that a model is shown.", no_args_is_help=True)


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List the built-in probe sets, with their counts and licences."""
    from synesthete.probes import list_probes

    rows = list_probes()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        made = table("", "", right=())
        made.show_header = False
        for name, value in row.items():
            made.add_row(name, _told(value))
        out().print(made)


@app.command()
def sheet(
    probes: Annotated[
        str,
        typer.Argument(
            help="concepts, a folder of images, a metadata.csv or .jsonl, or a parquet file."
        ),
    ] = "concepts",
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the sheets.")
    ] = Path("sheets"),
    as_json: JsonFlag = False,
) -> None:
    """Draw contact sheets, concept by modality, to look at what a probe set really holds."""
    from synesthete.probes import load_probes
    from synesthete.probes.sheet import write_contact_sheets

    written = write_contact_sheets(load_probes(probes), out_folder)
    if as_json:
        print_json({"sheets": written})
    else:
        out().print(f"{count(len(written))} contact sheets in {out_folder}", soft_wrap=True)


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_told(item) for item in value)
    return count(value) if isinstance(value, int) else str(value)
