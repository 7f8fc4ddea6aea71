"""Where probe sets are: a path, a URL, or a pattern that names several files, in an order that is always the same."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, TypeAlias

from synesthete._core.remote_files import (
    RemoteFile,
    check_url,
    find_file,
    is_url,
    list_files,
    shown,
)
from synesthete._core.user_files import ANY_SIZE, open_file
from synesthete.errors import SynestheteError

Located: TypeAlias = Path | RemoteFile
MOST_FILES = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
_WILD = re.compile(r"[*?\[]")


def is_pattern(spec: str) -> bool:
    """Whether a path or URL names several files, by `{000..009}`, `{a,b}`, `*`, `?` or `[0-9]`.

    Examples
    --------
    >>> is_pattern("shards/{000..009}.tar"), is_pattern("photos")
    (True, False)
    """
    return bool(_BRACES.search(spec) or _WILD.search(_without_query(spec)))


def braces(spec: str) -> list[str]:
    """Every text that braces stand for, in their order.

    Raises
    ------
    SynestheteError
        More than 100,000.

    Examples
    --------
    >>> braces("{08..10}.{tar,parquet}")[:3]
    ['08.tar', '08.parquet', '09.tar']
    """
    pieces = _BRACES.split(spec)  # text, inside, text, inside, ..., text
    options: list[list[str]] = [
        _inside(piece) if number % 2 else [piece] for number, piece in enumerate(pieces)
    ]
    count = 1
    for several in options:
        count *= len(several)
        if count > MOST_FILES:
            raise _too_many(spec)
    return ["".join(parts) for parts in itertools.product(*options)]


def expanded(spec: str) -> list[Located]:
    """The files that a pattern or a URL names: braces in their order, wildcards sorted by name.

    Raises
    ------
    SynestheteError
        One of the names that are spelled out has no file, a wildcard has none, or there are more than 100,000.
    """
    remote = is_url(spec)
    found: list[Located] = []
    for one in braces(check_url(spec) if remote else spec):
        several: list[Located] = [*_remote(one)] if remote else [*_local(one)]
        if not several:
            raise SynestheteError(f"there is no file like '{shown(one) if remote else one}'")
        found += several
        if len(found) > MOST_FILES:
            raise _too_many(spec)
    return found


def opened(file: Located) -> BinaryIO:
    """A file object of either kind."""
    return file.open() if isinstance(file, RemoteFile) else open_file(file, max_bytes=ANY_SIZE)


def size_of(file: Located, handle: BinaryIO) -> int:
    """Bytes of an opened file."""
    if isinstance(file, RemoteFile):
        return file.size
    end = handle.seek(0, 2)
    handle.seek(0)
    return end


def _inside(piece: str) -> list[str]:
    numbers = _NUMBERS.fullmatch(piece)
    if not numbers:
        return piece.split(",")
    first, last = numbers.groups()
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    if int(last) - int(first) >= MOST_FILES:
        raise _too_many(piece)
    values = range(int(first), int(last) + 1)
    if not values:
        raise SynestheteError(f"{{{piece}}} counts down: write the smaller number first")
    return [f"{value:0{width}d}" for value in values]


def _local(spec: str) -> Iterator[Path]:
    if not _WILD.search(spec):
        if Path(spec).expanduser().is_file():
            yield Path(spec).expanduser()
        return
    whole = Path(spec).expanduser()
    start = Path(whole.anchor)
    pattern = str(whole.relative_to(start)) if whole.anchor else str(whole)
    yield from sorted(path for path in start.glob(pattern) if path.is_file())


def _remote(url: str) -> Iterator[RemoteFile]:
    wild = _WILD.search(_without_query(url))
    if not wild:
        yield find_file(url)
        return
    folder = url[: wild.start()].rpartition("/")[0]
    pattern = url.removeprefix(f"{folder}/")
    if not is_url(folder) or not folder.partition("://")[2]:
        raise SynestheteError(f"{shown(url)}: a bucket cannot be a pattern")
    # In the order of paths here, where a folder counts before what its name begins.
    for name, file in sorted(list_files(folder).items(), key=lambda found: found[0].split("/")):
        # As in a shell, a wildcard stops at a slash.
        if name.count("/") == pattern.count("/") and fnmatchcase(name, pattern):
            yield file


def _without_query(spec: str) -> str:
    return spec.partition("?")[0] if spec.startswith(("https://", "http://")) else spec


def _too_many(spec: str) -> SynestheteError:
    return SynestheteError(f"'{shown(spec)[:100]}' names more than {MOST_FILES:,} files")
