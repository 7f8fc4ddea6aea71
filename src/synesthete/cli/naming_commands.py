"""Commands that say what neurons are about: name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli import views
from synesthete.cli.console import JsonFlag, print_json, say
from synesthete.cli.progress import Reporter

PANEL = "Say what neurons are about"

AtlasPath = Annotated[
    Path, typer.Argument(metavar="ATLAS", help="The atlas, such as demo.atlas.", show_default=False)
]


def name(
    atlas: AtlasPath,
    vocabulary: Annotated[
        str,
        typer.Option(
            metavar="V",
            help="Words to name by: concepts, those of the probe images; english, the 20,000 commonest "
            "English words; or a text file, a word a line. The last two load the model.",
        ),
    ] = "concepts",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="AUC on held-out images that a name needs; without it, what at most 5 % of the random "
            "twin's neurons reach.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the shuffled control.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Name the neurons of an atlas; a name is chosen on some artists and tested on the others.

    Neurons whose best name does not hold are unknown. The same is counted for the random twin and for
    shuffled images.
    """
    from synesthete.analysis.naming import name_neurons

    with Reporter("naming", unit="steps") as reporter:
        notes = name_neurons(
            atlas, vocabulary=vocabulary, threshold=threshold, seed=seed, progress=reporter
        )
    if as_json:
        print_json(notes)
    else:
        views.print_names(notes)
        say(f"next: synesthete neurons {atlas}")


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    app.command(rich_help_panel=PANEL)(name)
