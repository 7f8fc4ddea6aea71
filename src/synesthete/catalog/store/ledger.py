"""The ledger: which row of which segment is an item's present state, in SQLite; and the folder of segments."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synesthete._core.sqlite import connect, format_of, write_ahead
from synesthete._core.text import storable
from synesthete.atlas.files import disk_errors, open_to_write
from synesthete.catalog.encode import Batch
from synesthete.catalog.schema import Quarantined
from synesthete.catalog.store.centroids import Sums, steady, sums_of
from synesthete.catalog.store.segments import Segment, merge_segments, write_segment
from synesthete.errors import SynestheteError

FILE = "catalog.sqlite"
VERSION = 2
WAIT_SECONDS = 60.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY, rows INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS live (id TEXT PRIMARY KEY, segment TEXT NOT NULL, row INTEGER NOT NULL,"
    " digest TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS quarantine (id TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL,"
    " PRIMARY KEY (id, what)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS state (generation INTEGER NOT NULL)",
    "INSERT INTO state SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM state)",
    # Since format 2: what the items' vectors added up to, and how many items have changed since.
    "CREATE TABLE IF NOT EXISTS sums (changes INTEGER NOT NULL, data BLOB)",
    "INSERT INTO sums SELECT 0, NULL WHERE NOT EXISTS (SELECT 1 FROM sums)",
)
_SOUND = (
    "SELECT (SELECT COUNT(*) FROM state WHERE typeof(generation) = 'integer'),"
    " (SELECT COUNT(*) FROM sums WHERE typeof(changes) = 'integer' AND typeof(data) IN ('null', 'blob'))"
)

LOCK, FOLDER, DRAFT = "write.lock", "segments", ".draft-"
TIER, MERGE_AT = 64, 8  # segments of one size class are merged when there are so many


@dataclass(frozen=True)
class Moment:
    """A catalogue at one moment.

    Attributes
    ----------
    generation
        Grows with every change.
    segments
        All of them, by name.
    live
        `(id, segment, row)` of every item, by id.
    sums
        What centres are made of, where the ledger keeps them; otherwise they are those of the items now.
    """

    generation: int
    segments: list[Segment]
    live: list[tuple[str, str, int]]
    sums: Sums | None


class Ledger:
    """What is live in a catalogue's folder; one object may be used by several threads.

    Writers of several processes take turns; readers wait for nobody.

    Parameters
    ----------
    path
        The catalogue's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.local()
        self._open: dict[threading.Thread, sqlite3.Connection] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close the connections of every thread."""
        with self._guard:
            for connection in self._open.values():
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
            self._open.clear()
            self._thread = threading.local()

    def generation(self) -> int:
        """A number that grows with every change."""
        with self._errors():
            return int(self._connection().execute("SELECT generation FROM state").fetchone()[0])

    def count(self) -> int:
        """How many items are live."""
        with self._errors():
            return int(self._connection().execute("SELECT COUNT(*) FROM live").fetchone()[0])

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """Id to digest, of those that are live."""
        found: dict[str, str] = {}
        with self._errors():
            for start in range(0, len(ids), 500):
                some = ids[start : start + 500]
                marks = ", ".join("?" * len(some))
                query = f"SELECT id, digest FROM live WHERE id IN ({marks})"
                found.update(self._connection().execute(query, some).fetchall())
        return found

    def quarantine(self) -> list[Quarantined]:
        """What could not be used, by id."""
        with self._errors():
            query = "SELECT id, what, reason FROM quarantine ORDER BY id, what"
            return [Quarantined(*row) for row in self._connection().execute(query)]

    def snapshot(self, known: Mapping[str, Segment] | None = None) -> Moment:
        """One moment of the catalogue; segments that are `known` by name are not opened again."""
        opened = known or {}
        for _ in range(20):
            with self._errors():
                connection = self._connection()
                connection.execute("BEGIN")
                try:
                    (generation,) = connection.execute("SELECT generation FROM state").fetchone()
                    names = [n for (n,) in connection.execute("SELECT name FROM segments")]
                    changes, data = connection.execute("SELECT changes, data FROM sums").fetchone()
                    live = connection.execute(
                        "SELECT id, segment, row FROM live ORDER BY id"
                    ).fetchall()
                finally:
                    connection.execute("COMMIT")
            kept = Sums.from_bytes(data) if data and steady(changes, len(live)) else None
            try:
                segments = [opened.get(n) or Segment(self.path / FOLDER / n) for n in sorted(names)]
                return Moment(generation, segments, live, kept)
            except FileNotFoundError:
                # Merged away since the tables were read: the next look shows what took its place.
                continue
            except OSError as error:
                raise SynestheteError(f"{self.path} is damaged: {error}") from error
        raise SynestheteError(
            f"{self.path} is damaged: a segment that it lists is missing",
            hint="index the items again into a new catalogue",
        )

    def commit(self, batch: Batch, quarantined: Iterable[Quarantined] = ()) -> None:
        """Make a batch's items the present state of their ids: all of them or, after a kill, none."""
        ids = [item.id for item in batch.items]
        if not ids:
            self.note(list(quarantined))
            return

        def fill(folder: Path) -> None:
            write_segment(folder, batch)

        with self._draft(fill) as name, self._writing() as connection:
            self._place(name)
            _list(connection, name, ids, batch.digests, changed=len(ids))
            connection.executemany("DELETE FROM quarantine WHERE id = ?", [(i,) for i in ids])
            _note(connection, quarantined)

    def touch(self) -> None:
        """Let every reader look again, when something beside the items has changed."""
        with self._writing() as connection:
            connection.execute("UPDATE state SET generation = generation + 1")

    def note(self, quarantined: Sequence[Quarantined]) -> None:
        """Keep what could not be used, with the reasons."""
        if quarantined:
            with self._writing() as connection:
                _note(connection, quarantined)

    def delete(self, ids: Sequence[str]) -> int:
        """Take items out; returns how many there were."""
        with self._writing() as connection:
            before = connection.total_changes
            connection.executemany("DELETE FROM live WHERE id = ?", [(one,) for one in ids])
            gone = connection.total_changes - before
            connection.executemany("DELETE FROM quarantine WHERE id = ?", [(one,) for one in ids])
            if gone:
                connection.execute("UPDATE state SET generation = generation + 1")
                connection.execute("UPDATE sums SET changes = changes + ?", (gone,))
        return gone

    def tidy(self) -> None:
        """Merge small segments and those that are mostly dead, sum up, and remove what killed writers left."""
        with self._locked():
            self._sweep()
            while chosen := self._crowded():
                self._merge(chosen)
            self._sum_up()

    def _crowded(self) -> list[str]:
        query = (
            "SELECT s.name, s.rows, COUNT(l.id) FROM segments s LEFT JOIN live l ON l.segment = s.name"
            " GROUP BY s.name ORDER BY s.name"
        )
        with self._errors():
            rows = self._connection().execute(query).fetchall()
        tiers: dict[int, list[str]] = {}
        for name, total, live in rows:
            if live * 2 < total:
                return [name]
            size, tier = TIER, 0
            while size < live:
                size, tier = size * MERGE_AT, tier + 1
            tiers.setdefault(tier, []).append(name)
        return next((names for _, names in sorted(tiers.items()) if len(names) >= MERGE_AT), [])

    def _merge(self, names: Sequence[str]) -> None:
        with self._errors():
            rows: dict[str, list[tuple[int, str]]] = {}
            for name in names:
                query = "SELECT row, digest FROM live WHERE segment = ? ORDER BY row"
                rows[name] = self._connection().execute(query, (name,)).fetchall()
        parts = [
            (Segment(self.path / FOLDER / name), np.array([row for row, _ in rows[name]], np.int64))
            for name in names
            if rows[name]
        ]
        digests = [digest for name in names for _, digest in rows[name]]
        ids: list[str] = []

        def fill(folder: Path) -> None:
            ids.extend(merge_segments(folder, parts))

        with contextlib.ExitStack() as stack:
            name = stack.enter_context(self._draft(fill, locked=True)) if parts else ""
            connection = stack.enter_context(self._transaction())
            if parts:
                self._place(name)
                _list(connection, name, ids, digests, changed=0)
            connection.executemany("DELETE FROM segments WHERE name = ?", [(n,) for n in names])
            connection.execute("UPDATE state SET generation = generation + 1")
        for old in names:
            shutil.rmtree(self.path / FOLDER / old, ignore_errors=True)

    def _sum_up(self) -> None:
        """Keep the sums of now, unless those that are kept still stand; the lock is held."""
        with self._errors():
            connection = self._connection()
            changes, data = connection.execute("SELECT changes, data FROM sums").fetchone()
            if data and steady(changes, self.count()):
                return
            parts = []
            for (name,) in connection.execute("SELECT name FROM segments ORDER BY name").fetchall():
                query = "SELECT row FROM live WHERE segment = ? ORDER BY row"
                rows = np.array(connection.execute(query, (name,)).fetchall(), np.int64)
                parts.append((Segment(self.path / FOLDER / name), rows.reshape(-1)))
        found = sums_of(parts)
        with self._transaction() as connection:
            connection.execute(
                "UPDATE sums SET changes = 0, data = ?", (found and found.to_bytes(),)
            )

    @contextlib.contextmanager
    def _draft(self, fill: Callable[[Path], None], *, locked: bool = False) -> Iterator[str]:
        """Write a segment where no reader looks; gives its name. A lock says that its writer lives."""
        name = secrets.token_hex(8)
        folder = self.path / FOLDER / f"{DRAFT}{name}"
        with disk_errors(folder), contextlib.ExitStack() as stack:
            # Made under the lock of all writers, so that a sweep never sees a draft without its own.
            with contextlib.nullcontext() if locked else self._locked():
                folder.mkdir(parents=True)
                alive = stack.enter_context(open_to_write(folder / LOCK))
                fcntl.flock(alive, fcntl.LOCK_EX)
            try:
                fill(folder)
                for file in folder.iterdir():
                    with file.open("rb") as written:
                        os.fsync(written.fileno())
                yield name
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _place(self, name: str) -> None:
        draft = self.path / FOLDER / f"{DRAFT}{name}"
        (draft / LOCK).unlink()
        draft.rename(self.path / FOLDER / name)

    def _sweep(self) -> None:
        """Remove folders that no ledger lists; the lock is held, so none of them is being placed."""
        with self._errors():
            listed = {n for (n,) in self._connection().execute("SELECT name FROM segments")}
        for folder in (self.path / FOLDER).iterdir():
            if folder.name in listed or (folder.name.startswith(DRAFT) and not _abandoned(folder)):
                continue
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with disk_errors(self.path / LOCK), open_to_write(self.path / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._locked(), self._transaction() as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SynestheteError(f"{self.path / FILE}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._thread, "connection", None)
        if found is None:
            # Threads have their own connection; only `close` touches another thread's.
            found = connect(
                self.path / FILE, wait_seconds=WAIT_SECONDS, private=True, every_thread=True
            )
            try:
                self._prepare(found)
            except BaseException:
                found.close()  # kept, it would pass for prepared the next time
                raise
            with self._guard:
                # A server's workers come and go; what those that ended have left open is closed here.
                for thread in [thread for thread in self._open if not thread.is_alive()]:
                    self._open.pop(thread).close()
                self._open[threading.current_thread()] = found
            self._thread.connection = found
        return found

    def _prepare(self, connection: sqlite3.Connection) -> None:
        write_ahead(connection)
        if format_of(connection, self.path / FILE, newest=VERSION) < VERSION:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        if connection.execute(_SOUND).fetchone() != (1, 1):
            raise SynestheteError(
                f"{self.path / FILE} is damaged: it does not say which generation it is of",
                hint="index the items again into a new catalogue",
            )


def _note(connection: sqlite3.Connection, quarantined: Iterable[Quarantined]) -> None:
    # Names of files and what libraries say of them may hold anything.
    rows = [tuple(map(storable, (one.id, one.what, one.reason))) for one in quarantined]
    connection.executemany("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", rows)


def _list(
    connection: sqlite3.Connection,
    name: str,
    ids: Sequence[str],
    digests: Sequence[str],
    *,
    changed: int,
) -> None:
    """Make the rows of a new segment the present state of their ids; says how many of them are other items than before."""
    connection.execute("INSERT INTO segments VALUES (?, ?)", (name, len(ids)))
    rows = zip(ids, [name] * len(ids), range(len(ids)), digests, strict=True)
    connection.executemany("INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?)", rows)
    connection.execute("UPDATE state SET generation = generation + 1")
    connection.execute("UPDATE sums SET changes = changes + ?", (changed,))


def _abandoned(draft: Path) -> bool:
    """Whether the writer of a draft is gone."""
    try:
        descriptor = os.open(draft / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
