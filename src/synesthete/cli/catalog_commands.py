"""The group `synesthete catalog`: a shop's items indexed, searched, recommended, aligned and suggested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from synesthete.cli.console import JsonFlag, count, out, print_json, say, share, table
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog import Catalog, Hit, Item, Quarantined, Reason

PANEL = "Put a model to work"
SHOWN = 10

app = typer.Typer(
    help="A catalogue of items with pictures and words: index, search, recommend, align, suggest.",
    no_args_is_help=True,
)

CatalogPath = Annotated[
    Path, typer.Argument(metavar="CATALOG", help="Such as shop.catalog.", show_default=False)
]
Many = Annotated[int, typer.Option("-k", "--limit", min=1, help="At most so many.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILTER",
        help="Only items with this: colour=red, colour=red|white, colour!=red, price<5 (repeat for more).",
        show_default=False,
    ),
]
Cut = Annotated[
    float,
    typer.Option(
        "--min-relevance", min=0.0, max=1.0, help="Leave out what has a lower relevance than this."
    ),
]
ReasonsOption = Annotated[int, typer.Option(min=0, help="Reasons for each item, at most.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PART=NAME",
        help="What the table calls a part, such as id=Artikelnummer (repeat for more).",
        show_default=False,
    ),
]


@app.command()
def index(
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="A .csv, .jsonl or .parquet, or a folder with one, or a folder of pictures and texts.",
            show_default=False,
        ),
    ],
    out_path: Annotated[
        Path,
        typer.Option("--out", metavar="X.catalog", help="The catalogue.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="M",
            help="As for `synesthete record`; for a new catalogue mini without it.",
            show_default=False,
        ),
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(
            metavar="X.atlas",
            help="Of the same model: its tested names and families go into reasons and flags.",
            show_default=False,
        ),
    ] = None,
    column: ColumnOption = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the table's pictures lie; beside it without this.",
            show_default=False,
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also take out items that are not in ITEMS.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Put items into a catalogue: new ones are added, changed ones replaced, unchanged ones passed over.

    Interrupted work is resumed: run the same command again. Items and pictures that cannot be used are set aside
    with the reason, and the rest goes on.
    """
    from synesthete.catalog import Catalog
    from synesthete.catalog.sources import read_items

    source = read_items(items, columns=_pairs(column), pictures=pictures)
    opened = _open_or_create(Catalog, out_path, model, atlas)
    given: set[str] = set()
    with Reporter("indexing", "items") as reporter:
        written = opened.upsert(_noting(source, given) if prune else source, progress=reporter)
    deleted = 0
    if prune:
        gone = [one for one in opened.snapshot().ids if one not in given]
        deleted = opened.delete(gone).deleted
    told = {
        "catalog": str(out_path),
        "items": len(opened),
        **written.as_dict(),
        "deleted": deleted,
        "quarantine": len(opened.quarantine()),
    }
    if as_json:
        print_json(told)
        return
    out().print(
        f"{count(len(opened))} items in {out_path}: {count(written.added)} added, {count(written.changed)} changed, "
        f"{count(written.unchanged)} unchanged, {count(deleted)} deleted",
        soft_wrap=True,
    )
    for one in written.quarantined[:SHOWN]:
        say(f"set aside: {one.id}, {one.what}: {one.reason}")
    if len(written.quarantined) > SHOWN:
        say(
            f"… and {len(written.quarantined) - SHOWN} more: synesthete catalog quarantine {out_path}"
        )


@app.command()
def demo(
    out_path: Annotated[
        Path, typer.Option("--out", metavar="X.catalog", help="The catalogue to make.")
    ] = Path("demo.catalog"),
    model: Annotated[str, typer.Option(metavar="M", help="As for `synesthete record`.")] = "mini",
    as_json: JsonFlag = False,
) -> None:
    """Make the demo catalogue out of the built-in probe set: every second concept, with its pictures, is an item.

    The other concepts stay outside, so that a search for one of them shows what "not here" looks like.
    """
    from synesthete.catalog import Catalog
    from synesthete.catalog.demo import demo_items

    opened = _open_or_create(Catalog, out_path, model, None)
    with Reporter("indexing", "items") as reporter:
        written = opened.upsert(demo_items(), progress=reporter)
    if as_json:
        print_json({"catalog": str(out_path), "items": len(opened), **written.as_dict()})
        return
    out().print(f"{count(len(opened))} items in {out_path}", soft_wrap=True)
    out().print(f"Go on with   synesthete catalog search {out_path} --text fruit", soft_wrap=True)


@app.command()
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
    found = _open(catalog).search(
        text,
        image,
        without=[*(without or []), *(without_image or [])],
        where=where or [],
        k=limit,
        cut=min_relevance,
        only_relevant=min_relevance > 0,
        group=group,
        reasons=reasons,
    )
    _tell_hits(found, as_json)


@app.command()
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
            help="Signals as JSON lines: side, one of item, text and picture, weight, age_days.",
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
    from synesthete.catalog.profiles import read_signals

    signals = [
        *(Signal("like", item=one) for one in like or []),
        *(Signal("dislike", item=one) for one in dislike or []),
        *(Signal("like", text=one) for one in text or []),
        *(Signal("like", picture=one) for one in image or []),
        *(Signal("dislike", text=one) for one in without or []),
        *(read_signals(profile) if profile else []),
    ]
    found = _open(catalog).recommend(
        signals,
        mute=mute or [],
        where=where or [],
        k=limit,
        diversity=diversity,
        half_life_days=half_life,
        reasons=reasons,
    )
    _tell_hits(found, as_json)


@app.command()
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
            help="A folder of pictures and texts of the same name, or with a campaign.csv (picture, copy).",
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
    from synesthete.catalog.campaigns import read_campaign

    opened = _open(catalog)
    if campaign is not None:
        if copy or image:
            raise SynestheteError(
                "a campaign brings its own copies and pictures", hint="leave out --copy and --image"
            )
        found = [
            one
            for pair in read_campaign(campaign)
            for one in opened.align(pair.copies, pair.pictures, reasons=reasons)
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
        "picture",
        "copy",
        "because",
        right=("score", "own pairs", "others"),
    )
    for one in found:
        shown.add_row(
            one.verdict, f"{one.score:+.3f}", _part(one.among_pairs), _part(one.among_others),
            Path(one.picture).name, one.copy[:60], _because(one.agreeing[:3]),
        )  # fmt: skip
        for flag in one.flags:
            say(
                f"{Path(one.picture).name}: {flag.kind} unit {flag.address} ({flag.text}) adds {flag.weight:+.3f}"
                + (" and decides the match" if flag.decides else "")
            )
    out().print(shown)


@app.command()
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
    found = _open(catalog).suggest(image, brief, k=limit, threshold=threshold)
    if as_json:
        print_json(found.as_dict())
        return
    _tell_hits(found.items, False)
    for name, choices in (("category", found.categories), ("attributes", found.attributes)):
        told = "; ".join(f"{c.name} {c.value} ({share(c.confidence)})" for c in choices)
        if told:
            out().print(Text(f"{name}: {told}"), soft_wrap=True)
    for question in found.questions:
        out().print(Text(question.text), soft_wrap=True)
    verdict = "abstains: a person should answer" if found.abstained else "answers"
    kind = (
        "as often right" if found.calibrated else "no probability: `catalog calibrate` makes it one"
    )
    out().print(
        f"confidence {share(found.confidence)} ({kind}): the machine {verdict}", style="dim"
    )


@app.command()
def calibrate(
    catalog: CatalogPath,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="What customers ask, with the answers, as for evaluate; without it the catalogue's own items.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds by which it is measured.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Measure how often suggestions are right, so that their confidence is a probability.

    Without a table each item is asked for by its own picture with itself left out: that tells of pictures like the
    catalogue's, and customers' photos are harder. Loads the model for a table only.
    """
    found = _open(catalog).calibrate(queries, seed=seed)
    if as_json:
        print_json(found.as_dict())
        return
    shown = table("told", "right", "95 %", "cases", right=("told", "right", "cases"))
    for one in found.bins:
        shown.add_row(share(one.told), share(one.right), _interval((one.low, one.high)), str(one.n))
    out().print(shown)
    out().print(
        f"{count(found.n)} cases ({found.source}), {share(found.right)} right; calibration error {found.error:.3f}, "
        f"of the bare strength {found.raw_error:.3f}; a right one is stronger than a wrong one in {share(found.order)}",
        style="dim",
        soft_wrap=True,
    )


@app.command()
def evaluate(
    catalog: CatalogPath,
    queries: Annotated[
        Path,
        typer.Option(
            metavar="TABLE",
            help="A .csv, .jsonl or .parquet: text or picture, and relevant (ids) or category.",
            show_default=False,
        ),
    ],
    limit: Many = 10,
    column: ColumnOption = None,
    seed: Annotated[int, typer.Option(help="Of the random control and the intervals.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Measure recall and NDCG on queries with known answers, beside texts alone, pictures alone, and chance.

    Loads the model.
    """
    found = _open(catalog).evaluate(queries, k=limit, seed=seed, columns=_pairs(column))
    if as_json:
        methods = {
            one.method: {
                f"recall@{limit}": one.recall,
                f"recall@{limit}_interval": list(one.recall_interval),
                f"ndcg@{limit}": one.ndcg,
                f"ndcg@{limit}_interval": list(one.ndcg_interval),
                f"mrr@{limit}": one.mrr,
            }
            for one in found
        }
        print_json({**methods["fused"], "k": limit, "n": found[0].n, "methods": methods})
        return
    shown = table("method", f"recall@{limit}", "95 %", f"NDCG@{limit}", "95 % ", "MRR", right=())
    for one in found:
        shown.add_row(
            one.method, share(one.recall), _interval(one.recall_interval),
            share(one.ndcg), _interval(one.ndcg_interval), share(one.mrr),
        )  # fmt: skip
    out().print(shown)
    out().print(f"{count(found[0].n)} queries", style="dim")


@app.command()
def items(
    catalog: CatalogPath,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Some of them.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, help="At most so many.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show items as they were given: all of them by id, or some."""
    from itertools import islice

    opened = _open(catalog)
    found = list(islice(opened.items(ids or None), limit))
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    shown = table(
        "id", "title", "category", "price", "attributes", "pictures", right=("price", "pictures")
    )
    for one in found:
        told = "; ".join(f"{key} {', '.join(values)}" for key, values in one.attributes.items())
        shown.add_row(
            *(Text(part) for part in (one.id, one.title[:60], one.category)),
            "" if one.price is None else f"{one.price:g}", Text(told[:60]), str(len(one.pictures)),
        )  # fmt: skip
    out().print(shown)
    out().print(f"{count(len(found))} of {count(len(opened))} items", style="dim")


@app.command()
def delete(
    catalog: CatalogPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Items.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Take items out of a catalogue; ids that are not there are passed over."""
    gone = _open(catalog).delete(ids).deleted
    if as_json:
        print_json({"deleted": gone})
        return
    out().print(f"{count(gone)} deleted")


@app.command()
def adapt(
    catalog: CatalogPath,
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTOS...", help="Picture files, or folders of them.", show_default=False
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Learn what customers' photos have in common, without labels, so that searches look past it.

    A few dozen will do; photos given before are forgotten. Loads the model.
    """
    from synesthete.catalog.sources import pictures_under

    count_read = _open(catalog).adapt(one for path in photos for one in pictures_under(path))
    if as_json:
        print_json({"photos": count_read})
        return
    out().print(f"learnt from {count(count_read)} photos")


@app.command()
def quarantine(catalog: CatalogPath, as_json: JsonFlag = False) -> None:
    """Show what could not be indexed, with the reasons."""
    found = _open(catalog).quarantine()
    if as_json:
        print_json([{"id": one.id, "what": one.what, "reason": one.reason} for one in found])
        return
    shown = table("id", "what", "reason")
    for one in found:
        shown.add_row(*(Text(part) for part in (one.id, one.what, one.reason)))
    out().print(shown)


@app.command()
def mcp(catalog: CatalogPath) -> None:
    """Serve a catalogue to an assistant over standard input and output (Model Context Protocol).

    Its tools are suggest, search, recommend and align. Loads the model at the first question.
    """
    from synesthete.catalog.assistant import serve

    serve(_open(catalog))


def _open(path: Path) -> Catalog:
    from synesthete.catalog import Catalog

    return Catalog.open(path)


def _open_or_create(
    kind: type[Catalog], path: Path, model: str | None, atlas: Path | None
) -> Catalog:
    from synesthete.catalog.manifest import FILE

    if not (path / FILE).exists():
        return kind.create(path, model or "mini", atlas=atlas)
    if atlas is not None:
        raise SynestheteError(
            f"'{path}' is there already", hint="give --atlas when the catalogue is made"
        )
    opened = kind.open(path)
    if model is not None and model != opened.manifest["model"]["name"]:
        from synesthete.models import load_model

        return kind.open(path, model=load_model(model))
    return opened


def _pairs(options: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for option in options or []:
        part, mark, name = option.partition("=")
        if not mark:
            raise SynestheteError(
                f"{option!r} is no PART=NAME", hint="write --column id=Artikelnummer"
            )
        pairs[part.strip()] = name.strip()
    return pairs


def _noting(source: Iterable[Item | Quarantined], given: set[str]) -> Iterator[Item | Quarantined]:
    """Hand items on and note their ids."""
    for one in source:
        given.add(one.id.strip() if isinstance(one.id, str) else "")
        yield one


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


def _interval(values: tuple[float, float]) -> str:
    return f"{values[0]:.2f}–{values[1]:.2f}"
