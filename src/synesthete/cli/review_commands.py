"""The group `synesthete reviews`: what people say of neurons."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from synesthete.cli.console import JsonFlag, count, out, print_json, say, share, table
from synesthete.errors import SynestheteError

app = typer.Typer(
    help="What people say of neurons: verdicts on names, labels given blind, flags, notes.",
    no_args_is_help=True,
)

AtlasPath = Annotated[
    Path, typer.Argument(metavar="ATLAS", help="The atlas, such as demo.atlas.", show_default=False)
]
Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS", help="The neuron, such as visual.layer4.1:12.", show_default=False
    ),
]
Rater = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="SYNESTHETE_RATER",
        help="Who says so; without it the name of the user.",
        show_default=False,
    ),
]


def _rater(given: str | None) -> str:
    return given or getpass.getuser()


def _act(atlas: Path, kind: str, address: str, rater: str | None, value: str = "") -> None:
    from synesthete.reviews import say as record

    act = record(atlas, kind, address, rater=_rater(rater), value=value)
    say(f"{act.rater}: {act.kind} {act.address} {act.value}".rstrip())


@app.command()
def accept(atlas: AtlasPath, address: Address, rater: Rater = None) -> None:
    """Accept the name that the machine gave a neuron."""
    _act(atlas, "accept", address, rater)


@app.command()
def rename(
    atlas: AtlasPath,
    address: Address,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is.", show_default=False)],
    rater: Rater = None,
) -> None:
    """Give a neuron another name; the machine's is kept beside it."""
    _act(atlas, "rename", address, rater, name)


@app.command()
def reject(atlas: AtlasPath, address: Address, rater: Rater = None) -> None:
    """Reject the name of a neuron without giving another."""
    _act(atlas, "reject", address, rater)


@app.command()
def flag(
    atlas: AtlasPath,
    address: Address,
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Why.", show_default=False)],
    rater: Rater = None,
) -> None:
    """Flag a neuron as sensitive, with the reason."""
    _act(atlas, "flag", address, rater, reason)


@app.command()
def unflag(atlas: AtlasPath, address: Address, rater: Rater = None) -> None:
    """Take back one's own flag; that it stood is kept."""
    _act(atlas, "unflag", address, rater)


@app.command()
def note(
    atlas: AtlasPath,
    address: Address,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note.", show_default=False)],
    rater: Rater = None,
) -> None:
    """Leave a note on a neuron, for whoever looks at it next."""
    _act(atlas, "note", address, rater, text)


@app.command("list")
def list_reviews(atlas: AtlasPath, as_json: JsonFlag = False) -> None:
    """Show what people say of each neuron, the machine's name beside theirs."""
    from synesthete.atlas import open_atlas
    from synesthete.reviews import current, foreign

    opened = open_atlas(atlas)
    names = {n.address: n.name for n in opened.neurons()} if opened.analysed else {}
    said = {
        address: state.as_dict(names.get(address)) for address, state in current(opened).items()
    }
    away = foreign(opened)
    if as_json:
        print_json({"neurons": said, "of_another_atlas": [act.as_dict() for act in away]})
        return
    rows = table("address", "name", "machine's", "verdict", "raters", "flags", right=("raters",))
    for address, state in sorted(said.items()):
        rows.add_row(
            Text(address),
            Text(state["name"] or "–"),
            Text(state["machine_name"] or "–"),
            Text(f"{state['verdict'] or '–'}{' (disputed)' if state['disputed'] else ''}"),
            str(state["raters"]),
            Text("; ".join(state["flags"].values()) or "–"),
        )
    out().print(rows if said else "nothing was said of this atlas yet")
    if away:
        say(f"{len(away)} reviews are of another atlas or model; they are kept and not counted")


@app.command("queue")
def show_queue(
    atlas: AtlasPath,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show which neurons a review would settle most, first."""
    from synesthete.atlas import open_atlas
    from synesthete.reviews import queue

    items = queue(open_atlas(atlas), limit=limit)
    if as_json:
        print_json(
            [{"address": i.address, "name": i.name, "score": i.score, **i.why} for i in items]
        )
        return
    reasons = ("requested", "disputed", "undecided", "sensitive", "use")
    rows = table("address", "name", "score", *reasons, right=("score", *reasons))
    for item in items:
        told = (share(item.why[reason]) for reason in reasons)
        rows.add_row(Text(item.address), Text(item.name or "–"), share(item.score), *told)
    out().print(rows if items else "nothing waits for a review")


@app.command()
def label(
    atlas: AtlasPath,
    address: Address,
    question: Annotated[
        str,
        typer.Option(
            help="What to answer of each image; free words such as yes and no are labels."
        ),
    ] = "what does this image show?",
    folder: Annotated[
        Path, typer.Option(help="Where the images are put, as PNG, to be looked at.")
    ] = Path("to-label"),
    seed: Annotated[
        int, typer.Option(help="Which images; raters who shall agree use the same.")
    ] = 0,
    rater: Rater = None,
) -> None:
    """Label images of a neuron blind: neither its name nor its activation is told.

    For each image prints its file and reads a line from standard input. An empty line skips, q ends.
    """
    from synesthete.atlas import open_atlas
    from synesthete.reviews import say as record
    from synesthete.reviews import session

    opened = open_atlas(atlas)
    images = session(opened, address, seed=seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SynestheteError(f"{folder} is a file; the images need a folder") from None
    say(f"{question} ({len(images)} images; empty skips, q ends)")
    given = 0
    for place, image in enumerate(images, start=1):
        path = folder / f"{place:03d}.png"
        opened.thumbnail(image).resize((384, 384)).save(path)
        say(f"{place} of {len(images)}: {path}")
        answer = sys.stdin.readline()
        if not answer or answer.strip() == "q":
            break
        if answer.strip():
            record(
                atlas, "label", address, rater=_rater(rater), value=answer.strip(), image=image,
                question=question,
            )  # fmt: skip
            given += 1
    out().print(f"{given} labels given")


@app.command("agreement")
def show_agreement(atlas: AtlasPath, as_json: JsonFlag = False) -> None:
    """Say how far raters agree: on labels of the same image, and on verdicts on the same neuron."""
    from dataclasses import asdict

    from synesthete.atlas import open_atlas
    from synesthete.reviews import agreement, current, read
    from synesthete.reviews.state import belongs

    opened = open_atlas(atlas)
    labelled: dict[str, dict[str, str]] = {}
    for act in read(atlas):
        if act.kind == "label" and belongs(act, opened):
            key = f"{act.address} {act.question} {act.image}"
            labelled.setdefault(key, {})[act.rater] = act.value
    verdicts = {
        address: {rater: " ".join(said).strip() for rater, said in state.verdicts.items()}
        for address, state in current(opened).items()
    }
    found = {"labels": agreement(labelled), "verdicts": agreement(verdicts)}
    if as_json:
        print_json({key: asdict(value) for key, value in found.items()})
        return
    right = ("items", "raters", "agree", "alpha")
    rows = table("of", *right, "95 % interval", right=right)
    for key, value in found.items():
        rows.add_row(
            key, count(value.items), count(value.raters), share(value.percent), share(value.alpha),
            f"{share(value.low)} to {share(value.high)}",
        )  # fmt: skip
    out().print(rows)


@app.command("export")
def export_file(
    atlas: AtlasPath,
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .jsonl or .csv.", show_default=False)
    ],
) -> None:
    """Write all reviews of an atlas to a file: .jsonl to be imported again, .csv for a spreadsheet."""
    from synesthete.atlas import open_atlas
    from synesthete.reviews import export_reviews

    open_atlas(atlas)
    out().print(f"{count(export_reviews(atlas, path))} reviews written to {path}")


@app.command("import")
def import_file(
    atlas: AtlasPath,
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .jsonl of `export`.", show_default=False)
    ],
) -> None:
    """Add the reviews of a file to an atlas; what is there already is not doubled."""
    from synesthete.atlas import open_atlas
    from synesthete.reviews import import_reviews

    open_atlas(atlas)
    done = import_reviews(atlas, path)
    out().print(f"{count(done.added)} reviews added, {count(done.known)} known before")
    for number, reason in list(done.aside.items())[:10]:
        say(f"line {number} set aside: {reason}")
    if len(done.aside) > 10:
        say(f"… and {len(done.aside) - 10} more lines")
