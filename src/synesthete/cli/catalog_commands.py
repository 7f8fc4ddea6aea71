"""What a catalogue is asked: `synesthete catalog search`, `recommend`, `align`, `suggest`, `mcp`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from synesthete.cli.catalog_options import (
    CatalogPath,
    Cut,
    Many,
    ReasonsOption,
    WhereOption,
    open_catalog,
)
from synesthete.cli.console import JsonFlag, out, print_json, say, share, table
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog import Hit, Reason


def search(
    catalog: CatalogPath,
    text: Annotated[
        str | None, typer.Option(metavar="T", help="What is wanted, in words.", show_default=False)
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="F", help="What is wanted, as a picture.", show_default=False),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="What is not wanted (repeat for more).", show_default=False),
    ] = None,
    without_image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="F",
            help="What is not wanted, as a picture (repeat for more).",
            show_default=False,
        ),
    ] = None,
    where: WhereOption = None,
    limit: Many = 10,
    min_relevance: Cut = 0.0,
    group: Annotated[
        bool, typer.Option(help="Put near-duplicates under the first of them.")
    ] = True,
    reasons: ReasonsOption = 3,
    as_json: JsonFlag = False,
) -> None:
    """Find the items nearest to a text, a picture or both.

    The relevance of an item is the share of unrelated queries whose best item scores lower: with 0.9, one
    unrelated query in ten would have found something. Loads the model.
    """
    found = open_catalog(catalog).search(
        text,
        image,
        without=[*(without or []), *(without_image or [])],
        where=where or [],
        limit=limit,
        cut=min_relevance,
        only_relevant=min_relevance > 0,
        group=group,
        reasons=reasons,
    )
    _tell_hits(found, as_json)


def recommend(
    catalog: CatalogPath,
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="An item that is liked (repeat).", show_default=False),
    ] = None,
    dislike: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="An item that is not (repeat).", show_default=False),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="A phrase that is liked (repeat).", show_default=False),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="F", help="A picture that is liked (repeat).", show_default=False),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="A phrase that is not (repeat).", show_default=False),
    ] = None,
    mute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONCEPT",
            help="A concept that shall play no part (repeat).",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Signals as JSON lines: side, one of item, text and image, weight, age_days.",
            show_default=False,
        ),
    ] = None,
    where: WhereOption = None,
    limit: Many = 10,
    diversity: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="0: by score alone; 1: as different as possible."),
    ] = 0.3,
    half_life: Annotated[
        float, typer.Option(min=0.01, help="Days after which a signal counts half.")
    ] = 30.0,
    reasons: ReasonsOption = 3,
    as_json: JsonFlag = False,
) -> None:
    """Recommend items for a taste: liked and disliked items, phrases and pictures.

    One phrase is enough to begin with. Loads the model only for phrases and pictures that are new to it.
    """
    from synesthete.catalog import Signal
    from synesthete.catalog.tables import read_signals

    signals = [
        *(Signal("like", item=one) for one in like or []),
        *(Signal("dislike", item=one) for one in dislike or []),
        *(Signal("like", text=one) for one in text or []),
        *(Signal("like", image=one) for one in image or []),
        *(Signal("dislike", text=one) for one in without or []),
        *(read_signals(profile) if profile else []),
    ]
    found = open_catalog(catalog).recommend(
        signals,
        mute=mute or [],
        where=where or [],
        limit=limit,
        diversity=diversity,
        half_life_days=half_life,
        reasons=reasons,
    )
    _tell_hits(found, as_json)


def align(
    catalog: CatalogPath,
    copy: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="A copy (repeat for variants).", show_default=False),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="F", help="A picture (repeat for more).", show_default=False),
    ] = None,
    campaign: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A folder of pictures and texts of the same name, or with a campaign.csv (image, copy).",
            show_default=False,
        ),
    ] = None,
    reasons: Annotated[int, typer.Option(min=0, help="Units and words on each side.")] = 5,
    as_json: JsonFlag = False,
) -> None:
    """Say how well copies match pictures, judged by the catalogue's own pairs, and what makes it so.

    A match that hangs on writing in the picture, or on units that answer to people, is flagged and left to a
    person. Loads the model.
    """
    from synesthete.catalog.align import read_campaign

    opened = open_catalog(catalog)
    if campaign is not None:
        if copy or image:
            raise SynestheteError(
                "a campaign brings its own copies and pictures", hint="leave out --copy and --image"
            )
        found = [
            one
            for pair in read_campaign(campaign)
            for one in opened.align(pair.copies, pair.images, reasons=reasons)
        ]
    else:
        found = opened.align(copy or [], image or [], reasons=reasons)
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    shown = table(
        "verdict",
        "score",
        "own pairs",
        "others",
        "image",
        "copy",
        "because",
        right=("score", "own pairs", "others"),
    )
    for one in found:
        shown.add_row(
            one.verdict, f"{one.score:+.3f}", _part(one.among_pairs), _part(one.among_others),
            Path(one.image).name, one.copy[:60], _because(one.agreeing[:3]),
        )  # fmt: skip
        for flag in one.flags:
            say(
                f"{Path(one.image).name}: {flag.kind} unit {flag.address} ({flag.text}) adds {flag.weight:+.3f}"
                + (" and decides the match" if flag.decides else "")
            )
    out().print(shown)


def suggest(
    catalog: CatalogPath,
    image: Annotated[
        Path | None, typer.Option(metavar="F", help="A picture.", show_default=False)
    ] = None,
    brief: Annotated[
        str | None, typer.Option(metavar="T", help="A brief description.", show_default=False)
    ] = None,
    limit: Many = 5,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Below this confidence the machine abstains.")
    ] = 0.6,
    as_json: JsonFlag = False,
) -> None:
    """Answer a picture with a brief description: items, categories, attributes, and what to ask next.

    Loads the model.
    """
    found = open_catalog(catalog).suggest(image, brief, limit=limit, threshold=threshold)
    if as_json:
        print_json(found.as_dict())
        return
    _tell_hits(found.items, False)
    kinds = "; ".join(f"{c.value} ({share(c.confidence)})" for c in found.categories)
    others = "; ".join(f"{c.name}: {c.value} ({share(c.confidence)})" for c in found.attributes)
    for name, told in (("category", kinds), ("attributes", others)):
        if told:
            out().print(Text(f"{name}, by share of the evidence: {told}"), soft_wrap=True)
    for question in found.questions:
        out().print(Text(question.text), soft_wrap=True)
    verdict = "abstains: a person should answer" if found.abstained else "answers"
    kind = (
        "how often such an answer is right"
        if found.calibrated
        else "no probability: `catalog calibrate` makes it one"
    )
    out().print(
        f"confidence {share(found.confidence)} ({kind}): the machine {verdict}", style="dim"
    )


def mcp(catalog: CatalogPath) -> None:
    """Serve a catalogue to an assistant over standard input and output (Model Context Protocol).

    Its tools are suggest, search, recommend and align. Loads the model at the first question.
    """
    from synesthete.catalog.assistant import serve

    serve(open_catalog(catalog))


def _tell_hits(found: Sequence[Hit], as_json: bool) -> None:
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    shown = table("relevance", "score", "id", "title", "because", right=("relevance", "score"))
    for one in found:
        more = f" (+ {len(one.duplicates)} nearly the same)" if one.duplicates else ""
        shown.add_row(
            share(one.relevance), f"{one.score:.3f}", Text(one.id), Text(one.title[:50] + more), Text(_because(one.reasons)),
        )  # fmt: skip
    out().print(shown)


def _because(reasons: Sequence[Reason]) -> str:
    names = {"unit": "unit ", "concept": "concept "}
    return "; ".join(f"{names.get(one.kind, '')}{one.text}" for one in reasons)


def _part(value: float | None) -> str:
    return "–" if value is None else share(value)


def add_to(group: typer.Typer) -> None:
    """Put these commands into the group `catalog`."""
    for command in (search, recommend, align, suggest, mcp):
        group.command()(command)
