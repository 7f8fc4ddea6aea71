"""Rows of CSV and JSON lines of unknown origin: a bad row becomes one error with its line, and the next row is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from synesthete._core.json_reader import json_lines
from synesthete._core.text import has_lone_surrogate
from synesthete._core.user_files import ANY_SIZE, open_inside, open_named
from synesthete.errors import SynestheteError

FIELD_CHARACTERS = LINE_CHARACTERS = 64 * 1024 * 1024

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | SynestheteError]]


def csv_rows(
    path: Path, *, root: Path | None = None, field_characters: int = FIELD_CHARACTERS
) -> tuple[list[str], Rows]:
    """The columns of a CSV file, and its rows with their line numbers; in place of a bad row, what is wrong with it.

    The delimiter is the comma, semicolon or tab that the first line has most of.

    Parameters
    ----------
    path
        A file that the user named or, with `root`, one of the user's folder `root`.
    field_characters
        Length above which a field is refused.

    Raises
    ------
    UnusableFile
        As for `open_inside`; the iterator may raise it, too.
    SynestheteError
        A header that cannot be read.
    """
    file = _text(path, root)
    header = file.readline()
    if has_lone_surrogate(header) or "\0" in header:
        file.close()
        raise SynestheteError(f"'{path.name}' is not UTF-8", hint="save it as UTF-8")
    file.seek(0)
    delimiter = max(",;\t", key=header.count)
    csv.field_size_limit(field_characters)  # of the whole process
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        file.close()
        raise SynestheteError(f"{path.name}, after line {reader.line_num}: {error}") from None

    def rows() -> Rows:
        with file:
            while True:
                csv.field_size_limit(field_characters)
                before = reader.line_num
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    # The reader begins again at the next line.
                    where = f"{path.name}, after line {before}"
                    yield before + 1, SynestheteError(f"{where}: {error}")
                    continue
                if fields:
                    yield (
                        reader.line_num,
                        _row(f"{path.name}, line {reader.line_num}", columns, fields),
                    )

    return columns, rows()


def jsonl_rows(
    path: Path,
    *,
    root: Path | None = None,
    hint: str = "",
    line_characters: int = LINE_CHARACTERS,
) -> Rows:
    """The objects of a file of JSON lines with their line numbers; in place of a bad line, what is wrong with it.

    Parameters
    ----------
    path, root
        As for `csv_rows`.
    hint
        What a line should look like.
    line_characters
        Length above which a line is refused.
    """
    with _text(path, root, newline="\n") as file:
        yield from json_lines(file, path.name, hint=hint, max_bytes=line_characters)


def _row(where: str, columns: list[str], fields: list[str]) -> Row | SynestheteError:
    if len(fields) > len(columns):
        hint = 'write a text with a delimiter in it as "a, b"'
        return SynestheteError(f"{where}: more fields than columns ({len(columns)})", hint=hint)
    if any(map(has_lone_surrogate, fields)):
        return SynestheteError(f"{where} is not UTF-8", hint="save it as UTF-8")
    return dict(zip(columns, [*fields, *[""] * (len(columns) - len(fields))], strict=True))


def _text(path: Path, root: Path | None, newline: str = "") -> TextIO:
    """What is not UTF-8 becomes lone surrogates, so that one bad row does not hide the others."""
    if root is None:
        file = open_named(path, max_bytes=ANY_SIZE)
    else:
        file = open_inside(root, path, max_bytes=ANY_SIZE)
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=newline)
