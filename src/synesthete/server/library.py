"""The atlases that are served: opened once, and again when they are replaced."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synesthete._core.cache import file_stamp
from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError, near
from synesthete.report.source import Links, Missing, Near, Opened, Source
from synesthete.server.errors import Refused
from synesthete.server.jobs import Jobs

LOOK_EVERY = 0.5  # seconds between two looks at whether an atlas was replaced


@dataclass(frozen=True, kw_only=True)
class Site(Source):
    """One atlas as a site: what reports are gathered from, and where in it a page lies.

    Attributes
    ----------
    path, query
        Of the requested page, without prefix.
    others
        Name → path of the other atlases that are served.
    library
        All atlases that are served; None outside of a server.
    """

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
        return Site(opened=self.library.get(name), links=Links(f"/a/{name}"), library=self.library)


class Library:
    """The atlases of one server.

    Parameters
    ----------
    paths
        Folders of atlases; the first is also at the root.

    Attributes
    ----------
    jobs
        Work in the background for their pages.

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
        self.jobs = Jobs()
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
        """An atlas by its name, opened again when its manifest changed.

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
            stamp = file_stamp(path / "atlas.json")
            if known is None or stamp != known[0]:
                known = (stamp, Opened(name, self._open(path, replaced=known is not None)))
                self._opened[name] = known
            self._looked[name] = now
            return known[1]

    def changed(self, name: str) -> None:
        """The next page looks whether an atlas was replaced, however short ago that was looked for."""
        with self._lock:
            self._looked[name] = float("-inf")

    def _open(self, path: Path, *, replaced: bool) -> Atlas:
        try:
            return open_atlas(path)
        except SynestheteError as error:
            if not replaced:
                raise
            message = (
                f"the atlas was changed while it was served, and cannot be opened now: {error}"
            )
            hint = "when it is complete, load this page again"
            raise Refused(503, message, hint=hint) from error


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
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
