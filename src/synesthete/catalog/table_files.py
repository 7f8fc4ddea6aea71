"""Files of rows: CSV, JSON lines and Parquet, row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synesthete._core.json_reader import json_objects
from synesthete.errors import SynestheteError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
FIELD_BYTES = 64 * 1024 * 1024

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a table with their line numbers (from 1; a CSV's first line is its header).

    Raises
    ------
    SynestheteError
        No such file, another kind of file, not UTF-8, not CSV, not JSON.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SynestheteError(f"'{path}' is no table", hint=f"give one of {', '.join(SUFFIXES)}")
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        elif suffix == ".jsonl":
            yield from _jsonl(path)
        else:
            yield from _csv(path)
    except UnicodeDecodeError as error:
        raise SynestheteError(
            f"'{path}' is not UTF-8 ({error.reason})", hint="save it as UTF-8"
        ) from None
    except OSError as error:
        raise SynestheteError(f"cannot read '{path}': {error.strerror or error}") from None


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(FIELD_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=header.count)
        reader = csv.DictReader(file, delimiter=delimiter, strict=True, restkey="\0rest")
        try:
            for row in reader:
                if "\0rest" in row:
                    raise SynestheteError(
                        f"{path.name}, line {reader.line_num}: more fields than columns",
                        hint='write a text with a delimiter in it as "a, b"',
                    )
                yield reader.line_num, {(name or "").strip(): value for name, value in row.items()}
        except csv.Error as error:
            raise SynestheteError(f"{path.name}, after line {reader.line_num}: {error}") from None


def _jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig") as file:
        yield from json_objects(file, path.name)


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        told = str(error).splitlines()[0]
        raise SynestheteError(f"'{path}' cannot be read as Parquet: {told}") from None
