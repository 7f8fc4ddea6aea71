"""A segment: a folder of items written once and never changed, as Parquet tables and arrays of half precision."""

from __future__ import annotations

import contextlib
import errno
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synesthete._core.arrays import Float16, Int64
from synesthete._core.user_files import leads_out
from synesthete.catalog.encode import Batch
from synesthete.catalog.schema import Item, image_name
from synesthete.errors import SynestheteError

ITEMS, THUMBNAILS = "items.parquet", "thumbnails.parquet"
ARRAYS = {"images": "pictures", "texts": "texts", "units": "units"}  # and their names on disk
ROW_GROUP = 256
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.large_string()),
        ("description", pa.large_string()),
        ("category", pa.large_string()),
        ("reviews", pa.large_list(pa.large_string())),
        ("price", pa.float64()),
        ("attributes", pa.map_(pa.large_string(), pa.large_list(pa.large_string()))),
        ("pictures", pa.list_(pa.large_string())),
    ]
)
THUMBNAIL_SCHEMA = pa.schema([("thumbnail", pa.large_binary())])


def write_segment(folder: Path, batch: Batch) -> None:
    """Write a batch into a folder that exists."""
    _write(folder, len(batch.items), [_Part(table_of(batch.items), _thumbs(batch), batch)])


def table_of(items: Sequence[Item]) -> pa.Table:
    """Items as rows of `SCHEMA`."""
    rows = [
        {
            **item.as_dict(),
            "attributes": [(key, list(values)) for key, values in item.attributes.items()],
            "pictures": [image_name(image) for image in item.images],
        }
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def item_of(row: dict[str, Any]) -> Item:
    """A row of `SCHEMA` as an item."""
    return Item(
        row["id"],
        title=row["title"],
        description=row["description"],
        category=row["category"],
        reviews=tuple(row["reviews"]),
        price=row["price"],
        attributes={key: tuple(values) for key, values in row["attributes"]},
        images=tuple(Path(name) for name in row["pictures"]),
    )


class _File:
    """A Parquet file, mapped; one thread reads at a time, because two at once end the process (pyarrow 26)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = pq.ParquetFile(pa.memory_map(str(path)))
        self._guard = threading.Lock()
        self.rows = int(self._file.metadata.num_rows)
        self.groups = int(self._file.num_row_groups)

    def group(self, group: int) -> pa.Table:
        with self._guard, _damage(self._path):
            return self._file.read_row_group(group, use_threads=False)

    def columns(self, names: Sequence[str]) -> pa.Table:
        with self._guard, _damage(self._path):
            return self._file.read(columns=list(names), use_threads=False)


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise SynestheteError(f"{path} is damaged: {error}") from None


class Segment:
    """Reads one segment; its files stay readable when the folder is removed.

    Parameters
    ----------
    folder
        Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        try:
            self._items = _File(_inside(folder, ITEMS))
            self._thumbnails = _File(_inside(folder, THUMBNAILS))
            self._arrays: dict[str, Any] = {
                name: _map(_inside(folder, f"{file}.npy"), len(self))
                for name, file in ARRAYS.items()
            }
        except (pa.ArrowException, ValueError, ArithmeticError) as error:
            raise SynestheteError(f"{folder} is damaged: {error}") from None

    def __len__(self) -> int:
        return self._items.rows

    def array(self, name: str) -> Float16:
        """`images`, `texts` or `units`, memory-mapped."""
        found: Float16 = self._arrays[name]
        return found

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Whole columns."""
        return self._items.columns(names)

    def rows(self, rows: Sequence[int]) -> list[Item]:
        """Some items, in the order asked for; only their row groups are read."""
        found = _take(self._items, rows)
        return [item_of(found[row]) for row in rows]

    def thumbnail(self, row: int) -> bytes | None:
        """The thumbnail of a row."""
        found: bytes | None = _take(self._thumbnails, [row])[row]["thumbnail"]
        return found

    def parts(self, keep: Int64) -> Iterator[_Part]:
        """What is kept of it, row group by row group, for merging; `keep` is ascending."""
        for group in range(self._items.groups):
            start = group * ROW_GROUP
            local = keep[(keep >= start) & (keep < start + ROW_GROUP)]
            if not len(local):
                continue
            chosen = pa.array(local - start)
            arrays = {name: np.asarray(self._arrays[name][local]) for name in ARRAYS}
            yield _Part(
                self._items.group(group).take(chosen),
                self._thumbnails.group(group).take(chosen),
                _Arrays(**arrays),
            )


@dataclass(frozen=True)
class _Arrays:
    images: Float16
    texts: Float16
    units: Float16


@dataclass(frozen=True)
class _Part:
    items: pa.Table
    thumbnails: pa.Table
    arrays: Batch | _Arrays


def merge_segments(folder: Path, parts: Sequence[tuple[Segment, Int64]]) -> list[str]:
    """Write what is kept of several segments as one; returns the ids in order. Memory stays at a row group."""
    total = sum(len(keep) for _, keep in parts)
    return _write(folder, total, (part for one, keep in parts for part in one.parts(keep)))


def _write(folder: Path, total: int, parts: Iterable[_Part]) -> list[str]:
    ids: list[str] = []
    arrays: dict[str, Any] = {}
    waiting: list[_Part] = []
    with (
        pq.ParquetWriter(folder / ITEMS, SCHEMA, compression="zstd") as items,
        pq.ParquetWriter(folder / THUMBNAILS, THUMBNAIL_SCHEMA, compression="none") as thumbnails,
    ):

        def flush(least: int) -> None:
            """Write full row groups: readers find a row by dividing."""
            while sum(len(part.items) for part in waiting) >= max(least, 1):
                tables = pa.concat_tables([part.items for part in waiting])
                small = pa.concat_tables([part.thumbnails for part in waiting])
                items.write_table(tables.slice(0, ROW_GROUP).combine_chunks(), ROW_GROUP)
                thumbnails.write_table(small.slice(0, ROW_GROUP).combine_chunks(), ROW_GROUP)
                rest = _Part(tables.slice(ROW_GROUP), small.slice(ROW_GROUP), waiting[-1].arrays)
                waiting[:] = [rest] if len(rest.items) else []

        for part in parts:
            for name, file in ARRAYS.items():
                values = getattr(part.arrays, name)
                if name not in arrays:
                    arrays[name] = np.lib.format.open_memmap(
                        folder / f"{file}.npy", "w+", np.float16, (total, values.shape[1])
                    )
                arrays[name][len(ids) : len(ids) + len(values)] = values
            ids += part.items["id"].to_pylist()
            waiting.append(part)
            flush(ROW_GROUP)
        flush(1)
    for values in arrays.values():
        values.flush()
    return ids


def _inside(folder: Path, name: str) -> Path:
    """A file of a segment; raises `OSError` where a link leads out of the catalogue, or it is no regular file."""
    path = folder / name
    # One look, which says so with `FileNotFoundError` where it is merged away meanwhile.
    regular = stat.S_ISREG(path.stat().st_mode)
    if not regular or leads_out(folder.parent.parent, path):
        raise OSError(errno.EINVAL, "a link that leads out, or not a regular file", str(path))
    return path


def _map(path: Path, rows: int) -> Float16:
    """Map a `.npy` of `rows` rows of half precision.

    By the length of its header alone: `numpy.load` parses the header with `ast.literal_eval`, which fails at random when
    several threads do so at once (CPython 3.11, "AST constructor recursion depth mismatch").
    """
    with path.open("rb") as file:
        start = file.read(10)
    offset = 10 + int.from_bytes(start[8:10], "little")
    width = (path.stat().st_size - offset) // (2 * rows)
    return np.memmap(path, np.float16, "r", offset, (rows, width))


def _thumbs(batch: Batch) -> pa.Table:
    return pa.table({"thumbnail": pa.array(batch.thumbnails, pa.large_binary())})


def _take(file: _File, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Rows of a file whose row groups, but for the last, have `ROW_GROUP` rows each."""
    found: dict[int, dict[str, Any]] = {}
    for group in sorted({row // ROW_GROUP for row in rows}):
        wanted = sorted({row for row in rows if row // ROW_GROUP == group})
        table = file.group(group).take(pa.array([row % ROW_GROUP for row in wanted]))
        found.update(zip(wanted, table.to_pylist(), strict=True))
    return found
