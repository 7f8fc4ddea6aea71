"""Atlases elsewhere, read through folders of this machine that hold what was read of them, checked against their manifests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from synesthete._core.json_reader import read_json
from synesthete._core.remote_files import (
    NotThere,
    RemoteFile,
    RemoteFolder,
    check_url,
    find_file,
    shown,
)
from synesthete._core.user_files import ANY_SIZE, open_inside
from synesthete.atlas.files import FileEntry, disk_errors, inside, write_file
from synesthete.atlas.manifest import MANIFEST, SAMPLE, listed_files, read_manifest
from synesthete.errors import SynestheteError

CACHE_GB = 50
_MOST_MANIFEST = 64 * 1024 * 1024


def cache_folder() -> Path:
    """Where copies of what is elsewhere are: `XDG_CACHE_HOME/synesthete`, by default `~/.cache/synesthete`."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def place_of(url: str, kind: str, *, data: bool = False) -> Path:
    """The folder of this machine that stands for a URL: its name, and the hash of the URL."""
    root = _xdg("XDG_DATA_HOME", ".local/share") if data else cache_folder()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", shown(url).rpartition("/")[2]).strip(".-") or "atlas"
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return root / kind / digest / name


class Mirror:
    """An atlas at a URL, and the folder that stands for it.

    Parameters
    ----------
    url
        Of the atlas.
    folder
        By default the one of the cache.
    """

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self.url = check_url(url)
        if "?" in self.url:
            raise SynestheteError(
                f"{shown(url)}: a signed URL is of one file, and an atlas has many"
            )
        self.folder = folder or place_of(self.url, "atlases")
        self._seen: RemoteFile | None = None

    def __str__(self) -> str:
        return shown(self.url)

    def refresh(self) -> None:
        """Fetch the manifest; copies of files that it lists otherwise than before are removed.

        Raises
        ------
        SynestheteError
            There is no atlas at the URL, or it cannot be reached.
        """
        try:
            self._seen = find_file(f"{self.url}/{MANIFEST}")
        except NotThere:
            raise SynestheteError(f"there is no atlas at {self}") from None
        if self._seen.size > _MOST_MANIFEST:
            raise SynestheteError(f"{self} is no atlas: its manifest has {self._seen.size:,} bytes")
        content = self._seen.read()
        path = self.folder / MANIFEST
        # Beside the folder, and whole before the first file in it.
        if self.folder == place_of(self.url, "atlases"):
            write_file(self.folder.with_name("url"), json.dumps({"url": self.url}).encode())
        try:
            with open_inside(self.folder, path) as file:
                if file.read() == content:
                    return
            before = listed_files(read_manifest(self.folder))
        except SynestheteError:
            before = {}
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Looked at aside first, as its names decide which files are removed.
            aside = self.folder / ".incoming" / uuid.uuid4().hex
            write_file(aside / MANIFEST, content, sync=False)
            try:
                now = listed_files(read_manifest(aside))
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            for name in before.keys() | now.keys():
                if before.get(name) != now.get(name):
                    inside(self.folder, name).unlink(missing_ok=True)
            write_file(path, content)

    def fetch(self, name: str, entry: FileEntry) -> None:
        """Have a file that the manifest lists in the folder, as the manifest says it is.

        Raises
        ------
        SynestheteError
            It is another, or cannot be read; nothing is left of it then.
        """
        path = inside(self.folder, name)
        if path.is_file() and path.stat().st_size == entry.bytes:
            with contextlib.suppress(OSError):
                os.utime(path)  # used now
            return
        found = find_file(f"{self.url}/{name}")
        if found.size != entry.bytes:
            raise self._other(name)
        digest = hashlib.sha256()
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with aside.open("wb") as out:
                    for block in found.blocks():
                        digest.update(block)
                        out.write(block)
                if digest.hexdigest() != entry.sha256:
                    raise self._other(name)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
        trim(keep=path)

    def fetch_again(self, name: str, entry: FileEntry) -> None:
        """As `fetch`, without regard to the copy that is there."""
        inside(self.folder, name).unlink(missing_ok=True)
        self.fetch(name, entry)

    def difference(self, name: str, entry: FileEntry) -> str:
        """What differs between a file at the URL, whatever the copy of it is, and its entry, in words; empty when nothing does.

        Raises
        ------
        Unreachable
            It cannot be read.
        """
        digest = hashlib.sha256()
        try:
            found = find_file(f"{self.url}/{name}")
        except NotThere:
            return f"{name} is missing"
        if found.size != entry.bytes:
            return f"{name} has {found.size:,} bytes instead of {entry.bytes:,}"
        for block in found.blocks():
            digest.update(block)
        if digest.hexdigest() != entry.sha256:
            return f"{name} has other content than when it was written (SHA-256 differs)"
        return ""

    def has_sample(self) -> bool:
        """Whether there is an atlas in the atlas."""
        try:
            find_file(f"{self.url}/{SAMPLE}/{MANIFEST}")
        except NotThere:
            return False
        return True

    def push(self, name: str) -> None:
        """Write a file of the folder to the URL.

        Raises
        ------
        SynestheteError
            The manifest there is not the one that was pushed, or read, last.
        """
        if self._seen is None or RemoteFolder(self.url).find(MANIFEST) != self._seen:
            raise self._changed()
        with open_inside(self.folder, self.folder / name, max_bytes=ANY_SIZE) as file:
            RemoteFolder(self.url).put(name, file)

    def push_manifest(self, content: bytes) -> None:
        """Put a manifest in place of the one that was read.

        Raises
        ------
        SynestheteError
            Somebody else has changed it since.
        """
        remote = RemoteFolder(self.url)
        if self._seen is None:
            self._seen = find_file(f"{self.url}/{MANIFEST}")
            with open_inside(self.folder, self.folder / MANIFEST) as file:
                known = file.read() == self._seen.read()
        else:
            known = True
        if not known or not remote.put(MANIFEST, content, instead_of=self._seen):
            raise self._changed()
        self._seen = remote.find(MANIFEST)
        if self._seen is None or self._seen.read() != content:
            raise self._changed()

    def _changed(self) -> SynestheteError:
        return SynestheteError(
            f"{self} was changed by somebody else meanwhile", hint="run the same command again"
        )

    def _other(self, name: str) -> SynestheteError:
        return SynestheteError(
            f"damaged atlas {self}: {name} has other content than its manifest says",
            hint="is somebody writing it just now? else record it again",
        )


def mirror_at(path: Path) -> Mirror | None:
    """The mirror whose folder a path is; None for other folders.

    Only a folder of the cache can be one: what a downloaded atlas says of itself is not believed.
    """
    folder = Path(path)
    try:
        copies = cache_folder() / "atlases"
    except SynestheteError:
        return None  # without a home folder there is no cache
    if folder.parent.parent != copies:
        above = folder.parent
        outer = mirror_at(above) if folder.name == SAMPLE and above != folder else None
        return outer and Mirror(f"{outer.url}/{SAMPLE}", folder)
    try:
        url = read_json(folder.with_name("url"))["url"]
        mirror = Mirror(url)
    except (SynestheteError, KeyError, TypeError):
        return None
    return mirror if mirror.folder == folder else None


def people_folder(path: Path) -> Path:
    """Where the reviews of an atlas are: in it, or of one elsewhere in `XDG_DATA_HOME/synesthete/reviews` on this machine."""
    mirror = mirror_at(path)
    if mirror is None:
        return path
    folder = place_of(mirror.url, "reviews", data=True)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def trim(*, keep: Path | None = None) -> None:
    """Remove the copies that were used longest ago, beyond `SYNESTHETE_CACHE_GB` (50) of them; they are fetched again when they are needed."""
    try:
        most = float(os.environ.get("SYNESTHETE_CACHE_GB", CACHE_GB)) * 1e9
    except ValueError:
        raise SynestheteError("SYNESTHETE_CACHE_GB is no number") from None
    copies = sorted(_copies(), key=lambda copy: copy[0])
    total = sum(size for _, size, _ in copies)
    for _, size, path in copies:
        if total <= most:
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size


def _copies() -> Iterator[tuple[float, int, Path]]:
    """Files of the cache that their manifests list: when they were used, bytes, path."""
    for marker in (cache_folder() / "atlases").glob("*/url"):
        for manifest in marker.parent.glob(f"*/**/{MANIFEST}"):
            try:
                names = listed_files(read_manifest(manifest.parent))
            except SynestheteError:
                continue
            for name in names:
                path = manifest.parent / name
                with contextlib.suppress(OSError):
                    status = path.stat()
                    yield status.st_mtime, status.st_size, path


def _xdg(variable: str, otherwise: str) -> Path:
    named = os.environ.get(variable, "")
    # As the specification has it: a relative path is ignored.
    try:
        root = Path(named) if Path(named).is_absolute() else Path.home() / otherwise
    except RuntimeError:
        raise SynestheteError(
            "this machine has no home folder for you", hint=f"set HOME or {variable}"
        ) from None
    return root / "synesthete"
