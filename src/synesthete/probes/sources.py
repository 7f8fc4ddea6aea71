"""Where images come from: files under one folder, and several sources one after another."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image

from synesthete._core.remote_files import RemoteFile
from synesthete._core.user_files import ANY_SIZE, UnusableFile, open_inside, read_inside
from synesthete.probes.decoding import UnreadableImage, decode
from synesthete.probes.probe_set import ImageSource

MAX_FILE_BYTES = 512 * 1024 * 1024
MISSING = "no such file: correct its name or leave it out"
_AT_ONCE, _AHEAD, _AHEAD_BYTES = 8, 16, 8 * 1024 * 1024  # fetched ahead: at once, files, largest
OUTSIDE = "a link that leads out of the probe folder: copy the file into the folder"

V = TypeVar("V")


class FileSource:
    """Images in files under one folder.

    Parameters
    ----------
    root
        The folder that no file may lie outside of, links followed.
    files
        For each row the file's path relative to `root`.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.root = root.resolve()
        self.files = files

    def image(self, row: int) -> Image.Image:
        """The decoded image of a row; raises `UnreadableImage`."""
        # Looked at again each time: files and links may have changed since the folder was listed.
        try:
            data = read_inside(self.root, self._path(row), max_bytes=MAX_FILE_BYTES)
        except UnusableFile as error:
            hint = error.hint or "check the file and its permissions"
            raise UnreadableImage(error.reason, hint=hint) from None
        return decode(data)

    def digest(self, row: int) -> str:
        """SHA-256 of the file's bytes, read in pieces; empty where it cannot be read."""
        try:
            with open_inside(self.root, self._path(row), max_bytes=ANY_SIZE) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except (OSError, UnusableFile):
            return ""

    def _path(self, row: int) -> Path:
        return self.root / self.files[row]


class RemoteSource:
    """Images in files elsewhere, each read whole, a few ahead of their use.

    Parameters
    ----------
    files
        For each row its file as it was listed; None where there is none.
    """

    def __init__(self, files: Sequence[RemoteFile | None]) -> None:
        self.files = files
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Future[bytes]] = {}
        self._lock = threading.Lock()

    def image(self, row: int) -> Image.Image:
        """The decoded image of a row; raises `UnreadableImage`, and `Unreachable` where the store does not answer."""
        file = self.files[row]
        if file is None:
            raise UnreadableImage(MISSING)
        if file.size > MAX_FILE_BYTES:
            raise UnreadableImage(f"a file of {file.size >> 20:,} MiB", hint="make it smaller")
        return decode(self._bytes(row))

    def digest(self, row: int) -> str:
        """SHA-256 of the file's bytes; empty where there is none."""
        file = self.files[row]
        if file is None:
            return ""
        if file.size <= _AHEAD_BYTES:
            return hashlib.sha256(self._bytes(row)).hexdigest()
        with file.open() as content:
            return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]

    def _bytes(self, row: int) -> bytes:
        """The bytes of a row; those of the next rows are fetched meanwhile."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetching")
            wanted = range(row, min(row + _AHEAD, len(self.files)))
            for other in set(self._ahead) - set(wanted):
                self._ahead.pop(other).cancel()
            for other in wanted:
                file = self.files[other]
                if file is None or other in self._ahead:
                    continue
                if other == row or file.size <= _AHEAD_BYTES:
                    self._ahead[other] = self._pool.submit(file.read)
            # Taken out at once: what was read is not kept.
            fetched = self._ahead.pop(row)
        return fetched.result()

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"])  # type: ignore[misc]


class JoinedSource:
    """Several sources as one: the rows of the first, then those of the second, and so on.

    Parameters
    ----------
    parts
        Sources with the number of rows each has.
    """

    def __init__(self, parts: Sequence[tuple[ImageSource, int]]) -> None:
        self.sources = [source for source, _ in parts]
        self.starts = [0, *accumulate(count for _, count in parts)][:-1]

    def image(self, row: int) -> Image.Image:
        """The image of a row, from the source that holds it."""
        source, local = self._find(row)
        return source.image(local)

    def digest(self, row: int) -> str:
        """The digest of a row, from the source that holds it."""
        source, local = self._find(row)
        return source.digest(local)

    def _find(self, row: int) -> tuple[ImageSource, int]:
        part = bisect_right(self.starts, row) - 1
        return self.sources[part], row - self.starts[part]


class RecentlyUsed(Generic[V]):
    """The values used last, as many as fit into a number of bytes, and one at the least.

    Safe for threads; a copy sent to another process starts empty.

    Parameters
    ----------
    budget_bytes
        What the values may weigh together.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], tuple[V, int]]) -> V:
        """The value of a key; `make` gives it and its weight in bytes when it is not at hand."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > 1 and self._weight() > self.budget_bytes:
                self._values.popitem(last=False)
            return self._values[key][0]

    def _weight(self) -> int:
        return sum(weight for _, weight in self._values.values())

    def __getstate__(self) -> dict[str, Any]:
        return {"budget_bytes": self.budget_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["budget_bytes"])  # type: ignore[misc]


def pixel_digest(image: Image.Image) -> str:
    """SHA-256 of decoded RGB pixels and their shape: what an image is when no file holds it alone.

    Examples
    --------
    >>> pixel_digest(Image.new("RGB", (1, 2))) == pixel_digest(Image.new("RGB", (2, 1)))
    False
    """
    return hashlib.sha256(b"%d %d " % image.size + image.tobytes()).hexdigest()
