"""Commands that say what neurons are about: name, families, words, conditional."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from synesthete.cli import views
from synesthete.cli.console import JsonFlag, out, print_json, say, share, table
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS", help="The neuron, such as visual.layer4.1:12.", show_default=False
    ),
]
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
            "English words; wordnet-nouns; or a text file, a word a line. All but the first load the model.",
        ),
    ] = "concepts",
    method: Annotated[
        str,
        typer.Option(
            metavar="M",
            help="Who proposes names: ours, or softwpmi, wpmi, rank-reorder or cos-cubed of CLIP-Dissect, "
            "which load the model. All are tested alike.",
        ),
    ] = "ours",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L",
            help="Name the neurons of this layer only (repeat for more); the other layers keep their names.",
            show_default=False,
        ),
    ] = None,
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
            atlas,
            vocabulary=vocabulary,
            method=method,
            layers=layer,
            threshold=threshold,
            seed=seed,
            progress=reporter,
        )
    if as_json:
        print_json(notes)
    else:
        views.print_names(notes)
        say(f"next: synesthete neurons {atlas}")


def families(
    atlas: AtlasPath,
    families_file: Annotated[
        Path | None,
        typer.Option(
            "--families",
            metavar="FILE",
            help="A JSON file of families; without it those of the paper.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Assign them anew, though the atlas has families.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the shuffled control.")] = 0,
    out_path: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Draw the counts to a .svg or .png.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Give the neurons families: region, person, emotion and the others of the paper, or your own.

    From a neuron's tested names, or from whole families of images; beside the random twin and shuffled
    images. Shows them when they were assigned before.
    """
    from synesthete.analysis.families import assign_families
    from synesthete.atlas import open_atlas

    notes = open_atlas(atlas).manifest.get("families")
    if notes is None or again or families_file is not None:
        with Reporter("families", unit="steps") as reporter:
            notes = assign_families(atlas, families=families_file, seed=seed, progress=reporter)
    if out_path is not None:
        views.draw_families(notes, out_path)
    if as_json:
        print_json(notes)
    else:
        views.print_families(open_atlas(atlas), notes)


def words(
    atlas: AtlasPath,
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]", help="The neuron, such as visual.layer4.1:12.", show_default=False
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="V",
            help="Draw these words first: concepts, english, wordnet-nouns, or a file. Without it the "
            "words drawn before, or concepts the first time.",
            show_default=False,
        ),
    ] = None,
    font: Annotated[
        str | None, typer.Option(help="Font family to draw in.", show_default=False)
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="SUM",
            help='Instead of a neuron: words whose pictures mean what a sum means, "king - man + woman".',
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many words.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Say which written words excite a neuron most, or what a sum of written words means.

    Every word of a vocabulary is drawn at two sizes and several places and shown to the model once;
    after that no model is loaded.
    """
    from synesthete.analysis.rendered_words import draw_words, nearest_words, top_words
    from synesthete.atlas import open_atlas

    if (address is None) == (like is None):
        raise SynestheteError("give the address of a neuron, or --like with a sum of words")
    opened = open_atlas(atlas)
    if address is not None:
        opened.neuron(address)
    if vocabulary is not None or font is not None or "words" not in opened.manifest:
        with Reporter("drawing", unit="words") as reporter:
            notes = draw_words(
                atlas, vocabulary=vocabulary or "concepts", font=font, progress=reporter
            )
        if notes["skipped"]:
            one, why = next(iter(notes["skipped"].items()))
            say(f"{len(notes['skipped'])} words were not drawn, such as {one}: {why}")
        opened = open_atlas(atlas)
    if address is not None:
        found, value = top_words(opened, address, limit=limit), "activation"
    else:
        found, value = nearest_words(opened, str(like), limit=limit), "cosine"
    if as_json:
        print_json(found)
        return
    rows = table("word", value, right=(value,))
    for row in found:
        rows.add_row(Text(row["word"]), share(row[value]))
    out().print(rows)


def conditional(
    atlas: AtlasPath,
    address: Address,
    by: Annotated[str, typer.Option(help="Categories: concept, family or modality.")] = "concept",
    category: Annotated[
        list[str] | None,
        typer.Option(
            help="A category to show (repeat for more); without it the five commonest at the top.",
            show_default=False,
        ),
    ] = None,
    bins: Annotated[int, typer.Option(min=2, max=200, help="How many bins of activation.")] = 12,
    out_path: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Draw it to a .svg or .png.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how probable a category is, given how strongly a neuron answers, with intervals.

    The bins have equal widths over the whole range of activations, in standard deviations from zero.
    """
    from synesthete.analysis.conditional import conditional as measure
    from synesthete.atlas import open_atlas
    from synesthete.report.charts import conditional_chart
    from synesthete.report.svg import write_drawing

    found = measure(open_atlas(atlas), address, by=by, categories=category, bins=bins)
    if out_path is not None:
        say(f"drawn: {write_drawing(conditional_chart(found), out_path)}")
    if as_json:
        print_json(found.as_dict())
        return
    names = [curve.category for curve in found.curves]
    rows = table("activation (SD)", "images", *names, right=("images", *names))
    for i, images in enumerate(found.images):
        told = [
            "–" if not images else f"{c.share[i]:.2f} ({c.low[i]:.2f}–{c.high[i]:.2f})"
            for c in found.curves
        ]
        bounds = f"{found.edges[i]:+.1f} to {found.edges[i + 1]:+.1f}"
        rows.add_row(bounds, f"{images:,}", *told)
    out().print(rows)


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (name, families, words, conditional):
        app.command(rich_help_panel=PANEL)(command)
