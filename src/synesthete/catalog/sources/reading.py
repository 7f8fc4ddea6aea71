"""How a source is read: what columns and images are called, what is skipped on purpose, and how much that was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from synesthete.catalog.schema import ImageSource
from synesthete.catalog.sources.remote_images import RemoteImages
from synesthete.catalog.sources.watermark import Watermark
from synesthete.catalog.tables import inside
from synesthete.errors import SynestheteError

# `C:\a.png` and `mug: blue.png` are names of files; these are not.
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]+):(?=//)|\s*(data|javascript|file|blob|about):", re.I)


@dataclass
class LeftOut:
    """What a source has and was left out on purpose.

    Attributes
    ----------
    unpublished
        Products of a shop's export that are drafts, archived or hidden.
    unchanged
        Rows that did not change since the time that was given.
    image_urls
        Host to the number of images there that were not fetched.
    """

    unpublished: int = 0
    unchanged: int = 0
    image_urls: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the rows of a source become items.

    Attributes
    ----------
    columns
        Part to column, where the table has other names: `{"id": "Artikelnummer"}`.
    folder
        The folder that images are named in; None may lie outside of it.
    remote
        Fetches images on the web; without it they are counted and ignored.
    since
        Which rows changed.
    left_out
        Counts.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    remote: RemoteImages | None = None
    since: Watermark | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    def within(self, folder: Path) -> Reading:
        """The same, with this folder of images where none was given."""
        return replace(self, folder=self.folder or folder.resolve())

    def image(self, name: str) -> ImageSource | str | None:
        """The image of a name or an address; why it is not taken; or None where it is left out."""
        if not (match := _SCHEME.match(name)):
            if self.folder is None:
                return f"'{name[:80]}' is the name of a file, and no folder of images was given"
            return inside(self.folder, name)
        scheme = (match[1] or match[2]).lower()
        if scheme not in ("http", "https"):
            return f"an address of the kind {scheme}: is never fetched"
        if self.remote is not None:
            return self.remote.place(name.strip())
        try:
            host = urlsplit(name.strip()).hostname or ""
        except ValueError:
            return f"'{name[:80]}' is not a valid address"
        hosts = self.left_out.image_urls
        hosts[host] = hosts.get(host, 0) + 1
        return None

    def require_updated(self, table: str, parts: Mapping[str, str]) -> None:
        """Raise where rows are read by their time of change, and a table's `parts` have none."""
        if self.since is not None and self.since.required and "updated" not in parts:
            raise SynestheteError(
                f"'{table}' has no column with times of change",
                hint="name it with --column updated=NAME, or give no --since",
            )

    def is_current(self, *updated: object) -> bool:
        """Whether an item is read whose rows changed at these times (cells of any kind); if not, it is counted."""
        if self.since is None:
            return True
        known = [cell for cell in updated if cell not in (None, "")]
        # Each is looked at, since the latest is kept.
        if True in [self.since.admits(cell) for cell in known or [None]]:
            return True
        self.left_out.unchanged += 1
        return False
