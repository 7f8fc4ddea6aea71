"""What the commands of `synesthete catalog` share: the group, common options, and opening a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog import Catalog

PANEL = "Put a model to work"

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


def open_catalog(path: Path) -> Catalog:
    """An existing catalogue."""
    from synesthete.catalog import Catalog

    return Catalog.open(path)


def pairs_of(options: Sequence[str] | None) -> dict[str, str]:
    """PART=NAME options as a mapping."""
    pairs = {}
    for option in options or []:
        part, mark, name = option.partition("=")
        if not mark:
            raise SynestheteError(
                f"{option!r} is no PART=NAME", hint="write --column id=Artikelnummer"
            )
        pairs[part.strip()] = name.strip()
    return pairs


def need_folder(path: Path) -> None:
    """Refuse a folder that is not there."""
    if not path.is_dir():
        raise SynestheteError(f"there is no folder {path}")
