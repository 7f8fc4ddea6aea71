"""A recording into an object store: shards that commit by one conditional write each, the manifest last.

There are no renames and no locks there. Shards are computed into a folder of this machine and are added under `.recording`, where the first of
several that are the same counts. Whoever finds all of them there fetches what it lacks and completes the atlas.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import parse_json
from synesthete._core.remote_files import NotThere, RemoteFile, RemoteFolder
from synesthete._core.user_files import ANY_SIZE, open_inside, read_inside
from synesthete.atlas.files import disk_errors
from synesthete.atlas.manifest import (
    MANIFEST,
    is_intact,
    listed_files,
    sealed,
)
from synesthete.atlas.mirror import Mirror, place_of
from synesthete.errors import SynestheteError
from synesthete.probes.tar import blocks, members
from synesthete.recording.session import SESSION, WORK, refuse_other

_DRAFT = "atlas.json"
_THERE = "what is there"
_SHARD = re.compile(r"shard-(\d{5,})\.tar")
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RemoteWork:
    """What of a recording is in an object store; it holds no connection, so other processes can be sent it.

    Attributes
    ----------
    url
        Of the atlas.
    inner
        Whether that is the sample in an atlas.
    """

    url: str
    inner: bool = False

    def __truediv__(self, name: str) -> RemoteWork:
        return RemoteWork(f"{self.url}/{name}", inner=True)

    def folder(self, fingerprint: str) -> Path:
        """Where this machine keeps shards, and the atlas until it is published."""
        return place_of(self.url, "recordings") / fingerprint[:16]

    @property
    def _atlas(self) -> RemoteFolder:
        return RemoteFolder(self.url)

    @property
    def _work(self) -> RemoteFolder:
        return RemoteFolder(f"{self.url}/{WORK}")

    def is_complete(self, recipe: Mapping[str, Any]) -> bool:
        """Whether the finished atlas of this recipe is there.

        Raises
        ------
        SynestheteError
            Another atlas is there, or something that is none.
        """
        found = self._atlas.find(MANIFEST)
        if found is not None:
            theirs = _content_of(found)["recipe"]
            refuse_other(recipe, theirs, f"{self.url} holds another atlas", there=_THERE)
            return True
        if self._work.find(SESSION) is None and (names := self._atlas.names()):
            raise SynestheteError(
                f"{self.url} holds something else ({', '.join(list(names)[:3])})",
                hint="name another --out",
            )
        return False

    def settle(self, recipe: Mapping[str, Any], shard_size: int) -> int:
        """Begin a recording or take up the one that was started, by whomever; returns the shard size that holds."""
        content = sealed({"recipe": dict(recipe), "shard_size": shard_size})
        self._work.add(SESSION, content)
        session = self._work.find(SESSION)
        if session is None:
            raise NotThere(f"{self.url}: somebody removed the recording that was started")
        started = _content_of(session)
        what = f"{self.url} holds an unfinished recording that is another"
        refuse_other(recipe, started["recipe"], what, there=_THERE)
        return int(started["shard_size"])

    def committed(self) -> dict[int, RemoteFile]:
        """The shards that are there, by number."""
        found = ((_SHARD.fullmatch(name), file) for name, file in self._work.names().items())
        return {int(match[1]): file for match, file in found if match}

    def commit(self, number: int, shard: Path) -> bool:
        """Add the shard in a folder, in one step; False where another machine was earlier."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(shard.iterdir()):
                info = tarfile.TarInfo(path.name)
                info.size = path.stat().st_size
                with open_inside(shard, path, max_bytes=ANY_SIZE) as file:
                    tar.addfile(info, file)
        return self._work.add(f"shard-{number:05d}.tar", buffer.getbuffer())

    def fetch(self, number: int, file: RemoteFile, shard: Path) -> None:
        """Copy a shard into a folder, which must not be there."""
        aside = shard.with_name(f".{shard.name}.{uuid.uuid4().hex}.tmp")
        with disk_errors(shard), file.open() as source:
            aside.mkdir(parents=True)
            try:
                for member in members(source, file.size, str(file)):
                    if member.other or not _PART.fullmatch(member.name):
                        raise SynestheteError(f"{file} is damaged: {member.name!r} is in it")
                    with (aside / member.name).open("xb") as out:
                        out.writelines(blocks(source, member))
                aside.rename(shard)
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def publish(self, out: Path) -> None:
        """Write the finished atlas of a folder there, its manifest last; where that is, nothing.

        Raises
        ------
        SynestheteError
            Another machine completes it with other bytes, by other versions of the libraries.
        """
        content = read_inside(out, out / MANIFEST)
        files = listed_files(parse_json(content, MANIFEST))
        # Several machines may complete an atlas at once. What the first one means to write, all of them write.
        if not self._work.add(_DRAFT, content):
            draft = self._work.find(_DRAFT)
            content = draft.read() if draft else content
            if listed_files(parse_json(content, _DRAFT)) != files:
                raise SynestheteError(
                    f"{self.url}: another machine completes it, with other versions of the libraries",
                    hint=f"let it finish; if it was killed, delete {self.url}/{WORK}/{_DRAFT} and run the same command again",
                )
        # Slower than another machine, which may have gone on to an analysis: what is there stays.
        if (found := self._atlas.find(MANIFEST)) is not None:
            ours, theirs = parse_json(content, MANIFEST)["recipe"], _content_of(found)["recipe"]
            refuse_other(ours, theirs, f"{self.url} holds another atlas", there=_THERE)
            return
        for name in files:
            with open_inside(out, out / name, max_bytes=ANY_SIZE) as file:
                self._atlas.put(name, file)
        if not self._atlas.add(MANIFEST, content):
            found = self._atlas.find(MANIFEST)
            if found is None or found.read() != content:
                raise SynestheteError(f"{self.url} was changed by somebody else meanwhile")

    def clear(self) -> None:
        """Remove what is left of the recording there."""
        names = list(self._work.names())
        if names:
            self._work.remove(names)

    def hand_over(self, out: Path) -> Path:
        """Make the published atlas of a folder the copy that it is read through; returns where that is.

        Where it was published before, there is nothing in the folder, and what is read is fetched.
        """
        if self.inner:
            shutil.rmtree(out, ignore_errors=True)
            return out
        mirror = Mirror(self.url)
        if (out / MANIFEST).is_file():
            with disk_errors(mirror.folder):
                shutil.rmtree(mirror.folder, ignore_errors=True)
                mirror.folder.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(out, mirror.folder)
        mirror.refresh()
        return mirror.folder


def _content_of(file: RemoteFile) -> dict[str, Any]:
    """Of a sealed file with a recipe."""
    content = parse_json(file.read(), str(file))
    if not isinstance(content, dict) or not is_intact(content):
        raise SynestheteError(f"{file} is damaged", hint="delete it and record again")
    if not isinstance(content.get("recipe"), dict):
        raise SynestheteError(f"{file} is damaged: it has no recipe")
    return content
