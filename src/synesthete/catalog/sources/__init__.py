"""Items out of whatever there is: a table, a shop's export, a database, a folder, or the built-in probe set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from synesthete.catalog.schema import Item, Quarantined
from synesthete.catalog.sources.demo import demo_items
from synesthete.catalog.sources.folders import (
    IMAGE_SUFFIXES,
    TEXT_BYTES,
    folder_items,
    images_under,
)
from synesthete.catalog.sources.reading import LeftOut, Reading
from synesthete.catalog.sources.remote_images import RemoteImages
from synesthete.catalog.sources.sql import database_name, is_database_url, sql_items
from synesthete.catalog.sources.tables import item_rows
from synesthete.catalog.sources.watermark import Watermark
from synesthete.catalog.tables import SUFFIXES
from synesthete.errors import SynestheteError

__all__ = [
    "IMAGE_SUFFIXES",
    "TEXT_BYTES",
    "LeftOut",
    "RemoteImages",
    "Watermark",
    "demo_items",
    "images_under",
    "item_rows",
    "read_items",
    "source_name",
]

METADATA = tuple(f"{stem}{suffix}" for stem in ("metadata", "items") for suffix in SUFFIXES)


def read_items(
    source: str | Path,
    *,
    sql: str | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    remote: RemoteImages | None = None,
    since: Watermark | None = None,
    left_out: LeftOut | None = None,
) -> Iterator[Item | Quarantined]:
    """Items of a table, a folder or a database, one by one, and what could not be read.

    A folder is read as its `metadata` or `items` table (`.csv`, `.jsonl`, `.parquet`), or as its Parquet files. Without
    these every folder in it that has images and no further folders is one item with all its images, called by its
    name, in the category of the folder above; unless all images lie in the outermost folder, or their folder holds
    several items' texts: then every image is an item of its own. `.txt` files are descriptions, in which lines such as
    `Title: Blue mug` fill that part, or an attribute; a `.json` file has the parts by name. A file that leads out of
    the folder through a link is set aside.

    Parameters
    ----------
    source
        A table, a folder, or with `sql` the URL of a database.
    sql
        A query whose rows are items.
    columns, images
        As for `item_rows`.
    remote
        Fetches images on the web; without it their addresses are counted and ignored.
    since
        Reads only rows that changed at or after a time, and notes the latest.
    left_out
        Counts what is left out on purpose.

    Raises
    ------
    SynestheteError
        Nothing there, nothing in it, a table or a database that cannot be read.
    """
    reading = Reading(
        columns=columns or {},
        folder=None if images is None else images.resolve(),
        remote=remote,
        since=since,
        left_out=left_out or LeftOut(),
    )
    found = _items(source, sql, reading)
    return found if remote is None else remote.fetched(found)


def source_name(source: str | Path, sql: str | None = None) -> str:
    """What a catalogue calls a source whose latest change it keeps: its path, or the database and the query's hash."""
    if sql is None:
        return str(Path(source).expanduser().absolute())
    return f"{database_name(str(source))} {hashlib.sha256(sql.encode()).hexdigest()[:16]}"


def _items(source: str | Path, sql: str | None, reading: Reading) -> Iterator[Item | Quarantined]:
    if sql is not None:
        return sql_items(str(source), sql, reading)
    if str(source).lower().startswith(("http:", "https:", "ftp:", "file:")):
        raise SynestheteError("tables are not fetched from the web", hint="download it first")
    if is_database_url(str(source)):
        raise SynestheteError("a database needs a query", hint="add --sql 'SELECT id, title, …'")
    path = Path(source).expanduser()
    if not path.exists():
        raise SynestheteError(f"no such folder or table: '{source}'")
    if path.is_file():
        return item_rows(path, reading)
    for name in METADATA:
        if (path / name).is_file():
            return item_rows(path / name, reading.within(path), root=path)
    if tables := sorted(path.glob("**/*.parquet")):
        return chain.from_iterable(item_rows(one, reading, root=path) for one in tables)
    if reading.since is not None and reading.since.required:
        raise SynestheteError(
            f"the folder '{source}' has no times of change", hint="give a table, or no --since"
        )
    return folder_items(path.resolve())
