"""Options that the commands of `synesthete catalog` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from synesthete.catalog import Catalog
from synesthete.errors import SynestheteError


def folder(path: str) -> Path:
    """The folder of a catalogue, which need not be one yet.

    Raises
    ------
    SynestheteError
        No such folder.
    """
    if not Path(path).is_dir():
        raise SynestheteError(f"there is no folder {path}")
    return Path(path)


CatalogArgument = Annotated[
    Catalog, typer.Argument(parser=Catalog.open, metavar="CATALOG", help="Such as my.catalog.")
]
FolderArgument = Annotated[
    Path, typer.Argument(parser=folder, metavar="CATALOG", help="Such as my.catalog.")
]
Limit = Annotated[int, typer.Option("-k", "--limit", min=1, help="Results at most.")]
Count = Annotated[int, typer.Option(min=0)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILTER",
        help="Only items with this: colour=red, colour=red|white, colour!=red, price<5 (repeat for more).",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=NAME",
        help="What the table calls a field, such as id=Artikelnummer (repeat for more).",
    ),
]
Alpha = Annotated[
    float,
    typer.Option(
        min=0.0001, max=0.5, help="Probability of a false verdict, at any number of looks."
    ),
]
Hours = Annotated[
    float,
    typer.Option(
        min=0, help="Attribution window in hours; visitors still inside it do not count yet."
    ),
]
Cap = Annotated[float | None, typer.Option(help="For value: the most of a visitor that counts.")]


def columns_of(options: Sequence[str] | None) -> dict[str, str]:
    """FIELD=NAME options as a mapping."""
    columns = {}
    for option in options or []:
        field, equals, name = option.partition("=")
        if not equals:
            hint = "write --column id=Artikelnummer"
            raise SynestheteError(f"{option!r} is not FIELD=NAME", hint=hint)
        columns[field.strip()] = name.strip()
    return columns
