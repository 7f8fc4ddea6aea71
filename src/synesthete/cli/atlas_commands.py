"""Commands that read an atlas: summary, neurons, show, verify. None of them loads a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli import views
from synesthete.cli.console import JsonFlag, out, print_json, say

PANEL = "Look at an atlas"
SHOWN = 25

AtlasPath = Annotated[
    Path, typer.Argument(metavar="ATLAS", help="The atlas, such as demo.atlas.", show_default=False)
]


def summary(atlas: AtlasPath, as_json: JsonFlag = False) -> None:
    """Say what an atlas holds: model, images, and how many neurons are multimodal.

    The count of multimodal neurons always stands next to the same count for a randomly initialised
    twin of the model and for shuffled concept labels.
    """
    from synesthete.atlas import open_atlas

    opened = open_atlas(atlas)
    if as_json:
        print_json(opened.summary())
    else:
        views.print_summary(opened)


def neurons(
    atlas: AtlasPath,
    multimodal: Annotated[
        bool, typer.Option("--multimodal", help="Only neurons that pass the test.")
    ] = False,
    concept: Annotated[
        str | None,
        typer.Option(help="Only neurons of this concept, such as apple.", show_default=False),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Only neurons of this layer, such as visual.layer4.1.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"At most this many; without it {SHOWN} in the table, and all with --json.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List neurons, the most multimodal first.

    A neuron's multimodality is its AUC in its weakest modality, for the concept that was chosen on one
    half of the artists, measured on the other half.
    """
    from synesthete.atlas import open_atlas

    opened = open_atlas(atlas)
    found = opened.neurons(layer, multimodal=True if multimodal else None, concept=concept)
    if as_json:
        said = views.reviewed(opened)
        print_json([views.neuron_row(neuron, said) for neuron in found[:limit]])
    else:
        views.print_neurons(opened, found, limit or SHOWN)


def show(
    atlas: AtlasPath,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="layer:unit, such as visual.layer4.1:12.", show_default=False
        ),
    ],
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the card.")
    ] = Path(),
    as_json: JsonFlag = False,
) -> None:
    """Write the card of one neuron as a self-contained HTML page and a PNG picture.

    The card shows how well the neuron tells its concept from the rest in each modality, the images
    that excite it most and least with the region that it answers to, and the controls.
    """
    from synesthete.atlas import open_atlas
    from synesthete.report import neuron_report, source_of
    from synesthete.report.card import write_report

    opened = open_atlas(atlas)
    neuron = opened.neuron(address)
    report = neuron_report(source_of(opened), neuron.address)
    written = write_report(report, opened.thumbnail, out_folder)
    if as_json:
        row = views.neuron_row(neuron, views.reviewed(opened))
        print_json({**row, "html": written.html, "png": written.png})
    else:
        views.print_report(opened, report)
        out().print(f"  {written.html}\n  {written.png}", soft_wrap=True)


def verify(atlas: AtlasPath, as_json: JsonFlag = False) -> None:
    """Check every file of an atlas against the hash that was recorded with it.

    Exit code 0 when all files are as recorded, 1 when something differs.
    """
    from synesthete.atlas import open_atlas

    differences = open_atlas(atlas).verify()
    if as_json:
        print_json({"intact": not differences, "differences": differences})
    elif not differences:
        say(f"{atlas}: every file is as it was recorded")
    else:
        for difference in differences:
            out().print(difference, soft_wrap=True, markup=False)
    if differences:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (summary, neurons, show, verify):
        app.command(rich_help_panel=PANEL)(command)
