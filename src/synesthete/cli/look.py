"""The command `look`: from a folder of somebody's photos to the microscope."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from synesthete.atlas import Atlas, open_atlas
from synesthete.cli.atlas import summary_view
from synesthete.cli.command import Output, command
from synesthete.cli.console import count, dim, say, table
from synesthete.cli.progress import Reporter
from synesthete.cli.record import (
    MODEL,
    PANEL,
    Recording,
    analyze_atlas,
    has_screen,
    lay_out_if_needed,
    name_if_needed,
    program,
    record_set,
    unless,
)
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.probes import ProbeSet
    from synesthete.server.library import Site

SHOWN, EACH = 12, 3

app = typer.Typer()


@command(app, panel=PANEL)
def look(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS")],
    model: str = MODEL,
    out: Path | None = None,
    serve: bool | None = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> Output:
    """Show a model your own photos, and open the microscope on what they excite.

    PHOTOS is a folder: of folders named by concept, or of images as they lie. An image without a folder gets the concept of the built-in set whose name
    the model holds nearest, a guess that is marked "(zero-shot)" wherever it is shown. The concepts' names are drawn as written words, and drawings and symbols of
    the same concepts are added from the built-in set. What so few images can show is printed before the work; then they are recorded, analysed
    with controls, and named. Interrupted work is resumed by the same command; a second run only shows it.

    Parameters
    ----------
    photos : PHOTOS
        A folder of images. Nested folders count by the innermost; movies and other files are left out, and images that cannot be read are set aside.
    model : MODEL
        As for `record`.
    out : X.atlas
        Where the atlas is written; without it beside you, under the name of the folder.
    serve
        Open the microscope at the end; without it only on a terminal.
    port : P
        Of the microscope; without it 8765, or the next that is free.

    Returns
    -------
    the summary, and under `photos` of each image its `key`, `concept` and the `neurons` that it excites most.

    See Also
    --------
    probes.md

    Examples
    --------
    synesthete look my-photos
    synesthete look my-photos --model RN50/openai --out photos.atlas --no-serve
    """
    from synesthete.probes.photos import load_photos

    found = load_photos(photos)
    out = out or Path(f"{photos.expanduser().resolve().name}.atlas")
    path = record_set(model, lambda loaded: _labelled(photos, found, loaded), out, Recording())
    unless("analysis", analyze_atlas)(path)
    # Too few images for a name or a place on the map are no reason to show nothing.
    _if_possible("names", lambda: name_if_needed(path))
    _if_possible("the map", lambda: lay_out_if_needed(path))
    atlas = open_atlas(path)
    return Output(
        lambda: atlas.summary() | {"photos": _excited(path)[0]}, lambda: _view(atlas, serve, port)
    )


def _labelled(photos: Path, found: ProbeSet, model: ImageTextModel) -> ProbeSet:
    """The photos with a concept each, after what they can show is printed."""
    from synesthete.analysis.cells import cells_in_words
    from synesthete.analysis.design import Design
    from synesthete.probes.photos import load_photos, unlabelled

    rows = unlabelled(found)
    if rows and model.reads_texts:
        found = load_photos(photos, _zero_shot(found, rows, model))
    for note in found.notes:
        say(f"note: {note}")
    if rows:
        what = f"note: images in no folder that names a concept: {count(len(rows))}"
        say(
            f"{what}; their concepts are guesses of {model.name}, marked (zero-shot)"
            if model.reads_texts
            else f"{what}; {model.name} reads no text, and cannot guess one"
        )
    columns = (found.labels[name].to_pylist() for name in ("concept", "modality", "artist"))
    labels = [
        label
        for row, label in zip(found.rows.tolist(), zip(*columns, strict=True), strict=True)
        if row not in found.problems and label[0]
    ]
    if labels:
        say("What so few images can show:")
        for line in cells_in_words(Design.of(*zip(*labels, strict=True), at_least=1)):
            say(f"  {line}")
    return found


def _zero_shot(
    found: ProbeSet, rows: list[int], model: ImageTextModel
) -> dict[str, tuple[str, str]]:
    """Key → concept and caption, of images in no folder."""
    from synesthete.analysis.zero_shot import zero_shot_labels
    from synesthete.probes.builtin import load_builtin
    from synesthete.probes.photos import zero_shot_concept

    with Reporter("labelling") as reporter:
        nearest = zero_shot_labels(model, found, rows, load_builtin().concepts, progress=reporter)
    keys = found.labels["key"].to_pylist()
    return {
        keys[row]: (
            zero_shot_concept(best),
            f"zero-shot label: {best} (cosine {cosine:.2f}), then {other} ({less:.2f})",
        )
        for row, ((best, cosine), (other, less)) in nearest.items()
    }


def _if_possible(what: str, work: Callable[[], object]) -> None:
    try:
        work()
    except SynestheteError as error:
        say(f"note: {what} left out: {error.message}")


def _site(path: Path) -> Site:
    from synesthete.report.source import Links
    from synesthete.server.library import Library, Site

    library = Library([path])
    return Site(opened=library.get(library.first), links=Links())


def _excited(path: Path, most: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The photos, `most` of them, each with the neurons that it excites most; and how many there are."""
    from synesthete.server.pages.images import excited

    site = _site(path)
    rows = [
        (number, row)
        for number, row in enumerate(site.atlas.probes.to_pylist())
        if row["source"] == "" and row["modality"] != "word" and row["status"] == "ok"
    ]
    found = [
        {
            "key": row["key"],
            "concept": row["concept"],
            "neurons": [
                {
                    "address": one.neuron.address,
                    "name": one.neuron.name,
                    "activation": one.activation,
                    "z": one.z,
                }
                for one in excited(site, number, EACH) or ()
            ],
        }
        for number, row in rows[:most]
    ]
    return found, len(rows)


def _view(atlas: Atlas, serve: bool | None, port: int | None) -> Iterator[RenderableType]:
    shown, photos = _excited(atlas.path, SHOWN)
    rows = ((row["key"], row["concept"] or None, Text("\n").join(_lines(row))) for row in shown)
    yield table("photo", "concept", "excites most", rows=rows)
    more = f"; {count(photos - SHOWN)} more photos have their pages" if photos > SHOWN else ""
    yield dim(
        f"with its tested name, if it has one; in standard deviations above the neuron's mean over the {atlas.probes.num_rows:,} images here{more}"
    )
    yield ""
    yield from summary_view(atlas)
    if sys.stdin.isatty() if serve is None else serve:
        from synesthete.cli.serve import serve as open_microscope

        open_microscope([atlas.path], port=port, browser=has_screen())
    else:
        yield f"See it with  {program()} serve {atlas.path}"


def _lines(row: dict[str, Any]) -> list[Text]:
    return [
        Text(f"{one['address']} {one['name'] or ''}".ljust(24) + f" +{one['z']:.1f}")
        for one in row["neurons"]
    ] or [Text("–")]
