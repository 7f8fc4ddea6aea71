"""Options that the commands of `synesthete catalog` share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete._core.environment import EVENTS_URL
from synesthete.catalog import Catalog
from synesthete.cli.console import Note, count
from synesthete.errors import SynestheteError


def folder(path: str) -> Path:
    """The folder of a catalogue, which need not be one yet.

    Raises
    ------
    SynestheteError
        No such folder.
    """
    if not Path(path).is_dir():
        raise SynestheteError(f"no such folder: {path}")
    return Path(path)


def field_and_name(option: str) -> tuple[str, str]:
    """A field and what the table calls it, from FIELD=NAME."""
    field, equals, name = option.partition("=")
    if not equals:
        hint = "write --column id=Artikelnummer"
        raise SynestheteError(f"{option!r} is not FIELD=NAME", hint=hint)
    return field.strip(), name.strip()


CatalogArgument = Annotated[
    Catalog, typer.Argument(parser=Catalog.open, metavar="CATALOG", help="Such as my.catalog.")
]
FolderArgument = Annotated[
    Path, typer.Argument(parser=folder, metavar="CATALOG", help="Such as my.catalog.")
]
Count = Annotated[int, typer.Option(min=0)]
EventsUrl = Annotated[
    str | None,
    typer.Option(
        envvar=EVENTS_URL,
        metavar="URL",
        help=f"The PostgreSQL database that events are kept in; without it (or {EVENTS_URL}) SQLite in the folder.",
    ),
]
Limit = Annotated[int, typer.Option("-k", "--limit", min=1, help="Results at most.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILTER",
        help="Only items with this: colour=red, colour=red|white, colour!=red, price<5 (repeat for more).",
    ),
]
Columns = Annotated[
    list[Any] | None,
    typer.Option(
        parser=field_and_name,
        metavar="FIELD=NAME",
        help="What the table calls a field, such as id=Artikelnummer (repeat for more).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How two variants are compared.

    Attributes
    ----------
    metric
        What counts: click, add, conversion, dismissal or value; in `catalog metrics` also interleaved, for rankers in one list.
    alpha
        Probability of a false verdict, at any number of looks.
    window
        Attribution window in hours; visitors still inside it do not count yet.
    cap
        For value: the most of a visitor that counts.
    """

    metric: str = "conversion"
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5)] = 0.05
    window: Annotated[float, typer.Option(min=0)] = 24.0
    cap: float | None = None

    def arguments(self) -> dict[str, Any]:
        """As `compare` and `run_pilot` take them."""
        return asdict(self) | {"window": timedelta(hours=self.window)}


def set_aside(
    what: Iterable[str], total: int, *, shown: int = 10, more: str = ""
) -> Iterator[Note]:
    """The first of what could not be used, with the reasons, and how many there are besides."""
    for one in islice(what, shown):
        yield Note(f"set aside: {one}")
    if total > shown:
        yield Note(f"… and {count(total - shown)} more{more}")
