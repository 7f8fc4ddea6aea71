"""The atlases that are served: opened once, opened anew when they are replaced."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError, near
from synesthete.server.bounded import Bounded
from synesthete.server.columns import Columns, read_columns
from synesthete.server.errors import Missing, Near, Refused
from synesthete.server.links import Links
from synesthete.server.opaque import OpaqueIds
from synesthete.server.pictures import Pictures
from synesthete.server.probe_columns import ProbeColumns, read_probe_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import pyarrow as pa

    from synesthete.reviews import State

LOOK_EVERY = 0.5  # seconds between two looks at whether an atlas was replaced
COMPUTED = 2_000
MATRICES = 2  # layers whose activations are kept ready to be compared, 24 MB each
Value = TypeVar("Value")


class Opened:
    """One atlas and what pages keep of it.

    Parameters
    ----------
    name
        What it is called in addresses.
    atlas
        The atlas.
    """

    def __init__(self, name: str, atlas: Atlas) -> None:
        self.name = name
        self.atlas = atlas
        self.pictures = Pictures(atlas)
        self.ids = OpaqueIds(atlas.fingerprint, int(atlas.manifest["probes"]["images"]))
        self._columns: dict[str, Columns] = {}
        self.matrices = Bounded[Any](MATRICES)
        self._computed = Bounded[Any](COMPUTED)
        self._said: tuple[object, dict[str, State]] = (None, {})
        self._lock = threading.RLock()

    @cached_property
    def probes(self) -> ProbeColumns:
        """The images as columns."""
        return read_probe_columns(self.atlas)

    def columns(self, layer: str) -> Columns:
        """The units of a layer as columns.

        Raises
        ------
        Missing
            No such layer.
        """
        if layer not in self.atlas.layers:
            found = self.atlas.layers
            raise Missing(
                f"there is no layer {layer!r} in {self.name}",
                hint=near(layer, found),
                near=[Near(name, Links().layer(name)) for name in found[:8]],
            )
        with self._lock:
            if layer not in self._columns:
                self._columns[layer] = read_columns(self.atlas, layer)
            return self._columns[layer]

    def selectivity(self, layer: str) -> pa.Table:
        """The rows unit × concept that the analysis kept; read once."""
        return self.computed(("selectivity", layer), lambda: self.atlas.selectivity(layer))

    def unit_table(self, layer: str, kind: str) -> pa.Table | None:
        """`Atlas.unit_table`; read once."""
        return self.computed((kind, layer), lambda: self.atlas.unit_table(layer, kind))

    def computed(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What was computed for a page, kept within bounds."""
        value: Value = self._computed.get(key, make)
        return value

    def said(self) -> dict[str, State]:
        """What people say of units, by address; read again when somebody said something."""
        from synesthete.reviews import current

        stamp = tuple(_stamp(self.atlas.path / f"reviews.sqlite{end}") for end in ("", "-wal"))
        with self._lock:
            if self._said[0] != stamp:
                self._said = (stamp, current(self.atlas) if any(stamp) else {})
            return self._said[1]


@dataclass(frozen=True)
class Site:
    """One atlas as a site: the atlas, how its pages link, and where in it a page lies.

    Attributes
    ----------
    opened
        The atlas.
    links
        Addresses of its pages.
    path, query
        The page that was asked for, without prefix.
    others
        Name → path of the other atlases that are served.
    library
        All atlases that are served; None outside of a server.
    """

    opened: Opened
    links: Links
    path: str = "/"
    query: str = ""
    others: tuple[tuple[str, str], ...] = ()
    library: Library | None = None

    def of(self, name: str) -> Site:
        """Another atlas of the same server as a site; this one for an empty name.

        Raises
        ------
        Missing
            No such name.
        """
        if not name or name == self.opened.name or self.library is None:
            return self
        return Site(self.library.get(name), Links(f"/a/{name}"), library=self.library)

    @property
    def atlas(self) -> Atlas:
        """The atlas."""
        return self.opened.atlas


class Library:
    """The atlases of one server.

    Parameters
    ----------
    paths
        Folders of atlases; the first is also at the root.

    Raises
    ------
    SynestheteError
        None given, or one that cannot be opened.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        if not paths:
            raise SynestheteError("no atlas to serve", hint="synesthete serve demo.atlas")
        self._paths: dict[str, Path] = {}
        for path in map(Path, paths):
            self._paths[_free(_name(path), self._paths)] = path
        self._opened: dict[str, tuple[object, Opened]] = {}
        self._looked: dict[str, float] = {}
        self._lock = threading.Lock()
        for name in self._paths:
            self.get(name)

    @property
    def names(self) -> list[str]:
        """What the atlases are called in addresses."""
        return list(self._paths)

    @property
    def first(self) -> str:
        """The atlas at the root."""
        return self.names[0]

    def get(self, name: str) -> Opened:
        """An atlas by its name, opened anew when its manifest changed.

        Raises
        ------
        Missing
            No such name.
        Refused
            503 when it was replaced by something that cannot be opened.
        """
        if name not in self._paths:
            raise Missing(
                f"no atlas {name!r} is served here",
                hint=near(name, self._paths),
                near=[Near(one, f"/a/{one}/") for one in self._paths],
            )
        with self._lock:
            now = time.monotonic()
            known = self._opened.get(name)
            if known is not None and now - self._looked[name] < LOOK_EVERY:
                return known[1]
            path = self._paths[name]
            stamp = _stamp(path / "atlas.json")
            if known is None or stamp != known[0]:
                known = (stamp, Opened(name, self._open(path, replaced=known is not None)))
                self._opened[name] = known
            self._looked[name] = now
            return known[1]

    def _open(self, path: Path, *, replaced: bool) -> Atlas:
        try:
            return open_atlas(path)
        except SynestheteError as error:
            if not replaced:
                raise
            raise Refused(
                503,
                f"the atlas was changed while it was served, and cannot be opened now: {error}",
                hint="when it is complete, load this page again",
            ) from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _name(path: Path) -> str:
    """What a folder is called in addresses.

    Examples
    --------
    >>> _name(Path("/data/My demo.atlas"))
    'My-demo'
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name.removesuffix(".atlas"))
    return plain.strip(".-") or "atlas"


def _free(name: str, taken: dict[str, Path]) -> str:
    """The name, or the name with a number where it is taken."""
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
