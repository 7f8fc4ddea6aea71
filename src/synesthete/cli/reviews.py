"""The group `synesthete reviews`: what people say of neurons."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from synesthete._core.environment import RATER
from synesthete._core.remote_files import is_url
from synesthete.atlas import Atlas, open_atlas
from synesthete.cli.command import Address, AtlasArgument, Output, Positive, command
from synesthete.cli.console import Note, and_more, count, out, say, share, table
from synesthete.errors import SynestheteError

PANEL = "Say what neurons are about"

app = typer.Typer(
    help="What people say of neurons: verdicts on names, labels given blind, flags, notes.",
    no_args_is_help=True,
)

Rater = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar=RATER,
        help="Who says so; without it the name of the user.",
    ),
]


def folder(path: str) -> Path:
    """The folder of an atlas or of a catalogue.

    Raises
    ------
    SynestheteError
        Neither.
    """
    from synesthete.reviews.acts import NEURONS, log_of

    if is_url(path):
        return open_atlas(path).path
    if log_of(path).subjects is NEURONS:
        open_atlas(path)
    return Path(path)


Folder = Annotated[
    Path, typer.Argument(parser=folder, metavar="FOLDER", help="Of the atlas, or of a catalogue.")
]


def _record(atlas: Atlas, kind: str, address: str, rater: str | None, value: str = "") -> None:
    from synesthete.reviews import say as record

    act = record(atlas.path, kind, address, rater=rater or getpass.getuser(), value=value)
    say(f"{act.rater}: {act.kind} {act.address} {act.value}".rstrip())


@command(app)
def accept(atlas: AtlasArgument, address: Address, rater: Rater = None) -> None:
    """Accept the name that the machine gave a neuron. Reviews lie in the atlas and are never overwritten.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews accept demo.atlas visual.layer4.1:12 --rater ann
    """
    _record(atlas, "accept", address, rater)


@command(app)
def rename(atlas: AtlasArgument, address: Address, name: str, rater: Rater = None) -> None:
    """Give a neuron another name; the machine's is kept beside it.

    Parameters
    ----------
    name : NAME
        What it is.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews rename demo.atlas visual.layer4.1:13 "red fruit" --rater ann
    """
    _record(atlas, "rename", address, rater, name)


@command(app)
def reject(atlas: AtlasArgument, address: Address, rater: Rater = None) -> None:
    """Reject the name of a neuron without giving another.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews reject demo.atlas visual.layer4.1:14 --rater ann
    """
    _record(atlas, "reject", address, rater)


@command(app)
def flag(atlas: AtlasArgument, address: Address, reason: str, rater: Rater = None) -> None:
    """Flag a neuron as sensitive, with the reason.

    Parameters
    ----------
    reason : REASON
        Why.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews flag demo.atlas visual.layer4.1:13 "skin colour" --rater ann
    """
    _record(atlas, "flag", address, rater, reason)


@command(app)
def unflag(atlas: AtlasArgument, address: Address, rater: Rater = None) -> None:
    """Take back your own flag; that it stood is kept.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews unflag demo.atlas visual.layer4.1:13 --rater ann
    """
    _record(atlas, "unflag", address, rater)


@command(app)
def note(atlas: AtlasArgument, address: Address, text: str, rater: Rater = None) -> None:
    """Leave a note on a neuron, for whoever looks at it next.

    Parameters
    ----------
    text : TEXT
        The note.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews note demo.atlas visual.layer4.1:13 "compare with unit 12"
    """
    _record(atlas, "note", address, rater, text)


@command(app, "list")
def list_reviews(atlas: AtlasArgument) -> Output:
    """Show what people say of each neuron, the machine's name beside theirs.

    Returns
    -------
    `neurons`, by address, and `of_another_atlas`: reviews that are not counted here.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews list demo.atlas
    """
    from synesthete.reviews import current, foreign

    names = {n.address: n.name for n in atlas.neurons()} if atlas.analysed else {}
    states = {
        address: state.as_dict(names.get(address)) for address, state in current(atlas).items()
    }
    others = foreign(atlas)
    rows = (
        (
            address,
            state["name"] or "–",
            state["machine_name"] or "–",
            f"{state['verdict'] or '–'}{' (disputed)' if state['disputed'] else ''}",
            state["raters"],
            "; ".join(state["flags"].values()) or "–",
        )
        for address, state in sorted(states.items())
    )
    columns = ("address", "name", "machine's", "verdict", "raters", "flags")
    shown = table(*columns, right=("raters",), rows=rows)
    away = f"{len(others)} reviews are of another atlas or model; they are kept and not counted"
    return Output(
        {"neurons": states, "of_another_atlas": [act.as_dict() for act in others]},
        [shown if states else "no reviews of this atlas yet", *([Note(away)] if others else [])],
    )


@command(app, "queue")
def show_queue(atlas: AtlasArgument, limit: Positive = 20) -> Output:
    """Show which neurons a review would settle most, first.

    Parameters
    ----------
    limit
        At most this many.

    Returns
    -------
    a list of `address`, `name`, `score` and what the score is made of.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews queue demo.atlas --limit 5
    """
    from synesthete.reviews import queue

    items = queue(atlas, limit=limit)
    reasons = ("requested", "disputed", "undecided", "sensitive", "use")
    rows = (
        (item.address, item.name or "–", share(item.score), *(share(item.why[r]) for r in reasons))
        for item in items
    )
    right = ("score", *reasons)
    shown = table("address", "name", *right, right=right, rows=rows)
    return Output(
        [{"address": i.address, "name": i.name, "score": i.score, **i.why} for i in items],
        [shown if items else "no neuron is waiting for a review"],
    )


@command(app)
def label(
    atlas: AtlasArgument,
    address: Address,
    question: str = "what does this image show?",
    folder: Path = Path("to-label"),
    seed: int = 0,
    rater: Rater = None,
) -> None:
    """Label images of a neuron blind: neither its name nor its activation is shown.

    Images are spread over its activations and mixed with others. For each prints its file and reads a line from standard
    input. An empty line skips, q ends.

    Parameters
    ----------
    question
        What to answer of each image; free words such as yes and no are labels.
    folder
        Where the images are put, as PNG, to be looked at.
    seed
        Which images; raters whose agreement is measured use the same.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews label demo.atlas visual.layer4.1:12 --question "is it a fruit?" --rater ann
    """
    from synesthete.reviews import say as record
    from synesthete.reviews import session

    neuron = atlas.neuron(address).address
    images = session(atlas, neuron, seed=seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SynestheteError(f"{folder} is a file; the images need a folder") from None
    say(f"{question} ({len(images)} images; empty skips, q ends)")
    given = 0
    for place, image in enumerate(images, start=1):
        path = folder / f"{place:03d}.png"
        atlas.thumbnail(image).resize((384, 384)).save(path)
        say(f"{place} of {len(images)}: {path}")
        answer = sys.stdin.readline()
        if not answer or answer.strip() == "q":
            break
        if answer.strip():
            record(
                atlas.path,
                "label",
                neuron,
                rater=rater or getpass.getuser(),
                value=answer.strip(),
                image=image,
                question=question,
            )
            given += 1
    out().print(f"{given} labels given")


@command(app, "agreement")
def show_agreement(folder: Folder) -> Output:
    """Measure how far raters agree: on labels of the same image, and on verdicts on the same neuron or case of a catalogue.

    Krippendorff's alpha, with an interval.

    Returns
    -------
    `labels` and `verdicts`: `items`, `raters`, `percent`, `alpha`, `low`, `high`.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews agreement demo.atlas
    """
    from synesthete.reviews import agreement, ratings

    found = {kind: agreement(given) for kind, given in ratings(folder).items()}
    rows = (
        (
            kind,
            count(value.items),
            count(value.raters),
            share(value.percent),
            share(value.alpha),
            f"{share(value.low)} to {share(value.high)}",
        )
        for kind, value in found.items()
    )
    right = ("items", "raters", "agree", "alpha")
    return Output(found, [table("of", *right, "95 % interval", right=right, rows=rows)])


@command(app, "export")
def export_file(folder: Folder, path: Path) -> None:
    """Write all reviews of an atlas, or of a catalogue's queue, to a file: .jsonl to be imported again, .csv for a spreadsheet.

    Parameters
    ----------
    path : FILE
        A .jsonl or .csv.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews export demo.atlas reviews.jsonl
    synesthete reviews export my.catalog cases.csv
    """
    from synesthete.reviews import export_reviews

    out().print(f"{count(export_reviews(folder, path))} reviews written to {path}")


@command(app, "import")
def import_file(folder: Folder, path: Path) -> None:
    """Add the reviews of a file to an atlas, or to a catalogue's queue; what is there already is not doubled.

    Lines that are not reviews are set aside with the reason.

    Parameters
    ----------
    path : FILE
        A .jsonl of `reviews export`.

    See Also
    --------
    reviews.md

    Examples
    --------
    synesthete reviews import demo.atlas reviews.jsonl
    """
    from synesthete.reviews import import_reviews

    done = import_reviews(folder, path)
    out().print(f"{count(done.added)} reviews added, {count(done.known)} known before")
    for number, reason in list(done.aside.items())[:10]:
        say(f"line {number} set aside: {reason}")
    if len(done.aside) > 10:
        say(and_more(len(done.aside) - 10))
