"""Where a catalogue's tables are, which of them is in use, and whose turn it is to write: a folder, or an object store.

In a folder one small file names the table in use, and writers take turns by a lock on a file. An object store has neither renames nor
locks: there a table of one row says both, and a writer's turn is a lease. LanceDB commits by writing a file that must not exist
yet, so of several machines that change the row at once one succeeds, and the others look at it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from synesthete._core.json_reader import read_json
from synesthete._core.remote_files import ENVIRONMENT, WRITABLE
from synesthete.atlas.files import (
    claim_draft,
    disk_errors,
    open_to_write,
    sync_folder,
    write_file,
)
from synesthete.catalog.store import manifest as manifests
from synesthete.errors import SynestheteError

os.environ.setdefault("LANCEDB_LOG", "error")  # it says on stderr that a new table is new

POINTER, LOCK, ITEMS, STATE = "table.json", "write.lock", "items-", "state"
BUILDING = ".building"  # where a table is built beside the one in use
RETIRED = "embedded again"  # in place of the name of the catalogue
SCHEMES = {
    **{scheme: ENVIRONMENT[scheme] for scheme in WRITABLE},
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
LEASE, RENEWED, LOOKED = 60.0, 15.0, 0.5  # seconds: a turn, until it is renewed, between looks


@dataclass(frozen=True, kw_only=True)
class Building:
    """A table that is built to take the place of the one in use.

    Attributes
    ----------
    database
        LanceDB's, that it is made in.
    turn
        The turn to write, in which it takes that place.
    finish
        Puts it under its name among the catalogue's tables; the turn is held.
    """

    database: Any
    turn: Callable[[], contextlib.AbstractContextManager[None]]
    finish: Callable[[str], None]


class Location(Protocol):
    """What the table of items needs of the place where it is."""

    hint: str

    def __str__(self) -> str: ...

    def connect(self) -> Any:
        """LanceDB's database there."""

    def current(self) -> str:
        """The name of the table in use; raises `SynestheteError` where it is damaged."""

    def switch(self, name: str) -> None:
        """Use another table from now on; the turn to write is held."""

    def retire(self) -> None:
        """Let nobody write the tables any more, since others take their place; the turn to write is held."""

    def retired(self) -> bool:
        """Whether that was done, and the manifest does not say so."""

    def check(self, name: str) -> None:
        """Refuse a table whose files are elsewhere."""

    def refuse_taken(self) -> None:
        """Raise `SynestheteError` where another catalogue's items are."""

    def start(self, name: str) -> None:
        """Make an empty table the one in use, of a new catalogue."""

    def sweep(self, kept_seconds: float) -> None:
        """Remove tables not in use: at once those that never were, later those that a reader may have open."""

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Wait for the turn to write, and hold it."""

    def building(self) -> contextlib.AbstractContextManager[Building]:
        """Build another table, one process at a time; raises `DraftInUse` where another one does."""


class Folder:
    """Tables beside the catalogue's other files.

    Parameters
    ----------
    path
        The folder of the tables.
    catalog
        The catalogue's folder, where that is another one: its lock is the writers'.
    """

    hint = ""

    def __init__(self, path: Path, catalog: Path | None = None) -> None:
        self._path = path
        self._catalog = catalog or path

    def __str__(self) -> str:
        return str(self._path)

    def connect(self) -> Any:
        """LanceDB's database in the folder."""
        return _connected(self._path.absolute())

    def current(self) -> str:
        """The table that the small file names."""
        found = read_json(self._path / POINTER, root=self._path)
        name = found.get("table") if isinstance(found, dict) else None
        return _checked(name, self._path / POINTER)

    def switch(self, name: str) -> None:
        """Name another table, in one step."""
        write_file(self._path / POINTER, json.dumps({"table": name}).encode())

    start = switch

    def refuse_taken(self) -> None:
        """Whoever makes a catalogue in a folder has looked at what is in it."""

    def retire(self) -> None:
        """The manifest alone says it; what a killed process left half built is of no use to the tables that follow."""
        _remove_left(self._path / BUILDING)

    def retired(self) -> bool:
        """The manifest alone says it."""
        return False

    def check(self, name: str) -> None:
        """Refuse links, which lead out of the folder."""
        folder = self._path / f"{name}.lance"
        if any(one.is_symlink() for one in (folder, *folder.rglob("*"))):
            raise SynestheteError(f"{folder} has a link in it, which leads out of it")

    @contextlib.contextmanager
    def building(self) -> Iterator[Building]:
        """In a hidden folder, so that others write, sweep and back up meanwhile."""
        self._refuse_reembedded()
        with claim_draft(self._path / BUILDING) as place:

            def finish(name: str) -> None:
                folder = self._path / f"{name}.lance"
                # Of one who was killed before it was in use.
                shutil.rmtree(folder, ignore_errors=True)
                (place / folder.name).rename(folder)
                sync_folder(self._path)

            yield Building(database=_connected(place.absolute()), turn=self.writing, finish=finish)

    def sweep(self, kept_seconds: float) -> None:
        """Remove folders of tables; the turn to write is held."""
        for place in {self._path, self._catalog}:
            _remove_left(place / BUILDING)
        switched = (self._path / POINTER).stat().st_mtime
        names = [folder.stem for folder in self._path.glob(f"{ITEMS}*.lance")]
        for name in _superfluous(names, self.current(), switched, kept_seconds):
            shutil.rmtree(self._path / f"{name}.lance", ignore_errors=True)
        if self._path != self._catalog:
            replaced = (self._catalog / manifests.FILE).stat().st_mtime
            if time.time() - replaced >= kept_seconds:
                manifests.remove_other_homes(self._catalog, self._path)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of a file, which the system frees when its holder dies."""
        lock = self._catalog / LOCK
        with disk_errors(lock), open_to_write(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._refuse_reembedded()
            yield

    def _refuse_reembedded(self) -> None:
        if (self._catalog / manifests.FILE).exists():
            manifest = manifests.read_manifest(self._catalog, oldest=1)
            if manifests.home_of(self._catalog, manifest) != self._path:
                raise reembedded(self._catalog)


class ObjectStore:
    """Tables under a URL; the catalogue's other files stay in its folder.

    Parameters
    ----------
    path
        The catalogue's folder: its own processes take turns by its lock before they ask for a lease.
    url
        As `check_url` lets it pass.
    catalog
        What tells this catalogue from others: the checksum of its reference.
    home
        The folder with that reference, where it is not the catalogue's own.
    """

    def __init__(self, path: Path, url: str, catalog: str, home: Path | None = None) -> None:
        self.url, self._catalog = check_url(url), catalog
        self.hint = f"is it there, and does the environment say how to reach it: {SCHEMES[urlsplit(url).scheme]}"
        self._turns = Folder(home or path, path)
        self._opened: Any = None
        self._holder = ""

    def __str__(self) -> str:
        return self.url

    def connect(self) -> Any:
        """LanceDB's database at the URL; it reads how to get there from the environment."""
        return _connected(self.url)

    def current(self) -> str:
        """The table that the row names."""
        row = self._row()
        if row["catalog"] not in (self._catalog, RETIRED):
            raise SynestheteError(
                f"{self.url} has the items of another catalogue",
                hint="give every catalogue a URL of its own",
            )
        return _checked(row["table"], self.url)

    def switch(self, name: str) -> None:
        """Name another table, unless another writer has taken over."""
        if not self._changed(table=name, switched=time.time()):
            raise self._lost()

    def retire(self) -> None:
        """Say so in the row, which every machine looks at."""
        if not self._changed(catalog=RETIRED):
            raise self._lost()

    def retired(self) -> bool:
        """Whether the row says so."""
        return bool(self._row()["catalog"] == RETIRED)

    def refuse_taken(self) -> None:
        """Raise where there are items; tables without any are what a killed creation left."""
        database = self.connect()
        if STATE not in database.list_tables().tables:
            return
        row = self._row()
        if database.open_table(_checked(row["table"], self.url)).count_rows():
            raise SynestheteError(
                f"{self.url} has the items of a catalogue already",
                hint="choose another prefix; to share them, copy catalog.json and reference.npz of their catalogue",
            )

    def start(self, name: str) -> None:
        """The row of a new catalogue."""
        row = {
            "table": name,
            "catalog": self._catalog,
            "switched": time.time(),
            "holder": "",
            "until": 0.0,
        }
        self.connect().create_table(STATE, pa.Table.from_pylist([row]), mode="overwrite")

    def check(self, name: str) -> None:
        """There are no links in an object store."""

    @contextlib.contextmanager
    def building(self) -> Iterator[Building]:
        """Beside the others, in one turn: a store has no locks by which other machines could tell it from what a kill left."""
        with self.writing():
            yield Building(
                database=self.connect(), turn=contextlib.nullcontext, finish=lambda name: None
            )

    def sweep(self, kept_seconds: float) -> None:
        """Drop tables, and old versions of the row; the turn to write is held."""
        row = self._row()
        names = [one for one in self.connect().list_tables().tables if one.startswith(ITEMS)]
        for name in _superfluous(names, row["table"], row["switched"], kept_seconds):
            self.connect().drop_table(name)
        self._state().optimize(cleanup_older_than=timedelta(seconds=kept_seconds))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold a lease of the row, renewed while it lasts; that of a writer who was killed ends by itself."""
        with self._turns.writing():
            self._holder, done = uuid.uuid4().hex, threading.Event()
            while not self._take():
                time.sleep(LOOKED)
            renewing = threading.Thread(target=self._renew, args=(done,), daemon=True)
            renewing.start()
            try:
                if self.retired():
                    raise reembedded(self.url)
                yield
            finally:
                done.set()
                renewing.join()
                own = self._changed(until=0.0)
            if not own:
                raise self._lost()

    def _take(self) -> bool:
        now = time.time()
        if self._row()["until"] >= now:  # a change that changes nothing is a version, too
            return False
        values = {"holder": self._holder, "until": now + LEASE}
        return bool(self._state().update(where=f"until < {now!r}", values=values).rows_updated)

    def _renew(self, done: threading.Event) -> None:
        while not done.wait(RENEWED):
            try:
                self._changed(until=time.time() + LEASE)
            except (RuntimeError, ValueError, OSError) as error:
                # Whether the turn was lost shows when it ends.
                logging.getLogger(__name__).warning("%s: not renewed: %s", self.url, error)

    def _changed(self, **values: Any) -> bool:
        """Change the row if it is still this writer's turn; returns whether it was."""
        own = f"holder = '{self._holder}'"
        return bool(self._state().update(where=own, values=values).rows_updated)

    def _lost(self) -> SynestheteError:
        return SynestheteError(
            f"{self.url}: this writer was away for so long that another one took its turn",
            hint="run it again: what is unchanged is skipped",
        )

    def _row(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self._state().search().limit(1).to_arrow().to_pylist()
        if not rows or rows[0].keys() != {"table", "catalog", "switched", "holder", "until"}:
            raise SynestheteError(f"{self.url} is damaged: it names no table")
        return rows[0]

    def _state(self) -> Any:
        if self._opened is None:
            self._opened = self.connect().open_table(STATE)
        return self._opened


def _remove_left(building: Path) -> None:
    """Remove what a killed process left half built; another one's that is at work stays, and a link is none of ours."""
    if building.is_dir() and not building.is_symlink():
        with contextlib.suppress(SynestheteError), claim_draft(building):
            pass  # one in use, too, and one that cannot be removed: neither is in anybody's way


def reembedded(place: Path | str) -> SynestheteError:
    """What a writer is answered whose tables are not in use any more."""
    return SynestheteError(
        f"{place}: all items were embedded again with another model meanwhile",
        hint="run it again; another machine that shares an object store needs the new catalog.json and model-N first",
    )


def location_of(path: Path, manifest: Mapping[str, Any]) -> Location:
    """Where the tables of a catalogue are, by its manifest."""
    url, home = manifest.get("store"), manifests.home_of(path, manifest)
    if url is None:
        return Folder(home, path)
    if not isinstance(url, str):
        raise SynestheteError(f"{path} is damaged: its manifest has no valid store")
    return ObjectStore(path, url, manifest["reference"]["sha256"], home)


def check_url(url: str) -> str:
    """The URL of an object store, without a slash at its end.

    Raises
    ------
    SynestheteError
        Another kind of URL; one with a secret in it.

    Examples
    --------
    >>> check_url("s3://bucket/shop/")
    's3://bucket/shop'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise SynestheteError(
            f"{url!r} is not the URL of an object store",
            hint="write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SynestheteError(
            "the URL of a store holds more than a bucket and a prefix",
            hint=f"give what is secret in the environment: {SCHEMES[parts.scheme]}",
        )
    return url.rstrip("/")


def require_lancedb() -> None:
    """Refuse to go on without the package `lancedb`.

    Raises
    ------
    SynestheteError
        It is not installed.
    """
    if find_spec("lancedb") is None:
        raise SynestheteError(
            "a catalogue needs the package lancedb", hint="pip install 'synesthete[catalog]'"
        )


def _connected(place: Path | str) -> Any:
    require_lancedb()
    # Here, so that a command that needs no catalogue does not wait for it.
    import lancedb

    return lancedb.connect(place, read_consistency_interval=timedelta(0))


def _checked(name: Any, where: Path | str) -> str:
    if not isinstance(name, str) or not name.removeprefix(ITEMS).isdecimal():
        raise SynestheteError(f"{where} is damaged: it names no table")
    return name


def _superfluous(names: list[str], current: str, switched: float, kept_seconds: float) -> list[str]:
    """Tables newer than the one in use, which a killed writer left, and older ones that nobody reads any more."""
    number = int(current.removeprefix(ITEMS))
    return [
        name
        for name in names
        if (own := int(name.removeprefix(ITEMS))) > number
        or (own < number and time.time() - switched >= kept_seconds)
    ]
