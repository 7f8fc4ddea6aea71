"""What goes into a catalogue and out of it: `synesthete catalog index`, `demo`, `items`, `delete`, `adapt`, `quarantine`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from synesthete.cli.catalog_options import CatalogPath, ColumnOption, open_catalog, pairs_of
from synesthete.cli.console import JsonFlag, count, out, print_json, say, table
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog import Catalog, Item, Quarantined

SHOWN = 10


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

    source = read_items(items, columns=pairs_of(column), images=pictures)
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
    from synesthete.catalog.sources import demo_items

    opened = _open_or_create(Catalog, out_path, model, None)
    with Reporter("indexing", "items") as reporter:
        written = opened.upsert(demo_items(), progress=reporter)
    if as_json:
        print_json({"catalog": str(out_path), "items": len(opened), **written.as_dict()})
        return
    out().print(f"{count(len(opened))} items in {out_path}", soft_wrap=True)
    out().print(f"Go on with   synesthete catalog search {out_path} --text fruit", soft_wrap=True)


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

    opened = open_catalog(catalog)
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
            "" if one.price is None else f"{one.price:g}", Text(told[:60]), str(len(one.images)),
        )  # fmt: skip
    out().print(shown)
    out().print(f"{count(len(found))} of {count(len(opened))} items", style="dim")


def delete(
    catalog: CatalogPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Items.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Take items out of a catalogue; ids that are not there are passed over."""
    gone = open_catalog(catalog).delete(ids).deleted
    if as_json:
        print_json({"deleted": gone})
        return
    out().print(f"{count(gone)} deleted")


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
    from synesthete.catalog.sources import images_under

    count_read = open_catalog(catalog).adapt(one for path in photos for one in images_under(path))
    if as_json:
        print_json({"photos": count_read})
        return
    out().print(f"learnt from {count(count_read)} photos")


def quarantine(catalog: CatalogPath, as_json: JsonFlag = False) -> None:
    """Show what could not be indexed, with the reasons."""
    found = open_catalog(catalog).quarantine()
    if as_json:
        print_json([{"id": one.id, "what": one.what, "reason": one.reason} for one in found])
        return
    shown = table("id", "what", "reason")
    for one in found:
        shown.add_row(*(Text(part) for part in (one.id, one.what, one.reason)))
    out().print(shown)


def _open_or_create(
    kind: type[Catalog], path: Path, model: str | None, atlas: Path | None
) -> Catalog:
    from synesthete.catalog.store.manifest import FILE

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


def _noting(source: Iterable[Item | Quarantined], given: set[str]) -> Iterator[Item | Quarantined]:
    """Hand items on and note their ids."""
    for one in source:
        given.add(one.id.strip() if isinstance(one.id, str) else "")
        yield one


def add_to(group: typer.Typer) -> None:
    """Put these commands into the group `catalog`."""
    for command in (index, demo, items, delete, adapt, quarantine):
        group.command()(command)
