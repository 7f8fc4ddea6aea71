"""Files of rows: CSV, JSON lines and Parquet, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synesthete._core.row_reader import Row, Rows, csv_rows, jsonl_rows
from synesthete._core.user_files import ANY_SIZE, open_inside, open_named
from synesthete.errors import SynestheteError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_BATCH = 64


def read_rows(path: Path, *, root: Path | None = None) -> Iterator[tuple[int, Row]]:
    """Rows of a table with their line numbers (from 1; a CSV's first line is its header).

    Parameters
    ----------
    path, root
        As for `rows_and_errors`.

    Raises
    ------
    SynestheteError
        What `rows_and_errors` raises, and the first row that cannot be read.
    """
    for line, row in rows_and_errors(path, root=root):
        if isinstance(row, SynestheteError):
            raise row
        yield line, row


def rows_and_errors(path: Path, *, root: Path | None = None) -> Rows:
    """As `read_rows`; in place of a row that cannot be read, why not.

    Parameters
    ----------
    path
        A file that the user named or, with `root`, one of the user's folder `root`.

    Raises
    ------
    SynestheteError
        No such file, another kind of file, one that leads out of `root`; none of its rows can be read.
    """
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, ".ndjson"):
        raise SynestheteError(f"'{path}' is no table", hint=f"give one of {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        found = _parquet(path, root)
    elif suffix in (".jsonl", ".ndjson"):
        found = jsonl_rows(path, root=root)
    else:
        _, found = csv_rows(path, root=root)
    first: SynestheteError | None = None
    some = False
    try:
        for line, row in found:
            if isinstance(row, SynestheteError):
                first = first or row
            else:
                some = True
            yield line, row
    except OSError as error:
        raise SynestheteError(f"cannot read '{path}': {error.strerror or error}") from None
    if first is not None and not some:
        raise first


def _parquet(path: Path, root: Path | None) -> Rows:
    number = 0
    raw = (
        open_named(path, max_bytes=ANY_SIZE)
        if root is None
        else open_inside(root, path, max_bytes=ANY_SIZE)
    )
    with raw:
        try:
            file = pq.ParquetFile(raw, pre_buffer=False)
            counts = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, error) from None
        for group, rows in enumerate(counts):
            start = number
            try:
                for batch in file.iter_batches(_BATCH, row_groups=[group], use_threads=False):
                    for row in _rows(path.name, batch, number):
                        number += 1
                        yield number, row
            except (pa.ArrowException, OSError) as error:
                yield number + 1, _damaged(path, error, f", rows {number + 1} to {start + rows}")
                number = start + rows


def _rows(name: str, batch: pa.RecordBatch, before: int) -> Iterator[Row | SynestheteError]:
    """Rows of a batch one by one: a value that Python cannot hold spoils its own row."""
    columns = list(zip(batch.schema.names, batch.columns, strict=True))
    for place in range(batch.num_rows):
        row: Row = {}
        for column, values in columns:
            try:
                row[column] = values[place].as_py()
            # Arrow's conversions raise what datetime, decimal and the codecs raise.
            except Exception as error:  # noqa: BLE001
                told = (str(error).splitlines() or [type(error).__name__])[0][:120]
                where = f"{name}, line {before + place + 1}"
                yield SynestheteError(f"{where}: the column {column!r} cannot be read: {told}")
                break
        else:
            yield row


def _damaged(path: Path, error: Exception, where: str = "") -> SynestheteError:
    told = (str(error).splitlines() or [type(error).__name__])[0]
    return SynestheteError(f"'{path}'{where} cannot be read as Parquet: {told}")
