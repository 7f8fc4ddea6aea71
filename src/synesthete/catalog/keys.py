"""API keys of a catalogue: who may do what, how often; only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from synesthete._core.sqlite import AppendOnly
from synesthete.errors import SynestheteError, near, one_of

FILE = "keys.sqlite"
SCOPES = {
    "read": "search, recommend, align, suggest, classify; look at items",
    "write": "add, change and delete items",
    "events": "send what visitors did",
    "metrics": "read events and metrics",
    "review": "see the queue and decide cases; set thresholds",
}
PREFIX = "syn"
TAKEN = ("machine", "owner")
MOST_A_MINUTE = 100_000
_SCHEMA = (
    "CREATE TABLE keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, per_minute INTEGER NOT NULL,"
    " digest TEXT NOT NULL, made TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE revoked (id TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID",
)
_SELECT = (
    "SELECT k.id, k.name, k.scopes, k.per_minute, k.made, COALESCE(r.at, ''), k.digest FROM keys k"
    " LEFT JOIN revoked r ON r.id = k.id"
)


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key, without its secret.

    Attributes
    ----------
    id
        Its public part.
    name
        Who has it.
    scopes
        Of `SCOPES`.
    per_minute
        Requests that it may make a minute.
    created
        When, UTC.
    revoked
        When it stopped working; empty while it works.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    per_minute: int
    created: str
    revoked: str = ""


class Keys:
    """The keys of a catalogue.

    Parameters
    ----------
    folder
        The catalogue's.
    now
        The clock.

    Examples
    --------
    >>> import tempfile
    >>> keys = Keys(tempfile.mkdtemp())
    >>> key, secret = keys.make("web site", ["read", "events"])
    >>> keys.find(secret).name, keys.find(secret + "x")
    ('web site', None)
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], datetime] | None = None) -> None:
        self._file = AppendOnly(Path(folder) / FILE, _SCHEMA, tables=("keys", "revoked"))
        self._now = now or (lambda: datetime.now(UTC))

    def make(self, name: str, scopes: Iterable[str], *, per_minute: int = 600) -> tuple[Key, str]:
        """A new key and its secret, which is not kept.

        Raises
        ------
        SynestheteError
            No name, an unknown scope or none, a rate outside 1 to 100,000.
        """
        name, wanted = " ".join(name.split()), tuple(dict.fromkeys(scopes))
        if not name or len(name) > 100 or not name.isprintable():
            raise SynestheteError("a key needs a name of at most 100 printable characters")
        if name.casefold() in TAKEN:
            raise SynestheteError(
                f"no key can be called {name!r}: it would pass for another", hint="say who has it"
            )
        for scope in wanted:
            if scope not in SCOPES:
                raise SynestheteError(f"no such scope: {scope!r}", hint=one_of(scope, SCOPES))
        if not wanted:
            raise SynestheteError("a key needs a scope", hint=", ".join(SCOPES))
        if not 1 <= per_minute <= MOST_A_MINUTE:
            raise SynestheteError(f"{per_minute} requests a minute; 1 to {MOST_A_MINUTE:,}")
        public, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = Key(
            id=public,
            name=name,
            scopes=wanted,
            per_minute=per_minute,
            created=self._now().isoformat(timespec="seconds"),
        )
        with self._file.writing() as connection:
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?)",
                (public, name, " ".join(wanted), per_minute, _digest(secret), key.created),
            )
        return key, f"{PREFIX}_{public}_{secret}"

    def find(self, secret: str) -> Key | None:
        """The key of a secret; None where it is wrong or revoked. Takes as long for a wrong secret as for a right one."""
        prefix, _, rest = secret.partition("_")
        public, _, own = rest.partition("_")
        query = f"{_SELECT} WHERE k.id = ?"
        with self._file.reading() as connection:
            given = (public.encode("utf-8", "replace").decode(),)
            row = connection and connection.execute(query, given).fetchone()
        right = hmac.compare_digest(_digest(own), row[-1] if row else _digest(""))
        key = _key(row) if row else None
        return key if key and right and prefix == PREFIX and not key.revoked else None

    def revoke(self, public: str) -> None:
        """Stop a key from working, at once and for ever.

        Raises
        ------
        SynestheteError
            No such key.
        """
        known = {key.id for key in self.every()}
        if public not in known:
            raise SynestheteError(f"there is no key {public[:40]!r}", hint=near(public, known))
        with self._file.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO revoked VALUES (?, ?)",
                (public, self._now().isoformat(timespec="seconds")),
            )

    def every(self) -> list[Key]:
        """All keys, the oldest first, revoked ones too."""
        query = f"{_SELECT} ORDER BY k.made, k.id"
        with self._file.reading() as connection:
            rows = connection.execute(query).fetchall() if connection else []
        return list(map(_key, rows))


def _key(row: tuple[str, str, str, int, str, str, str]) -> Key:
    public, name, scopes, per_minute, created, revoked, _ = row
    return Key(
        id=public,
        name=name,
        scopes=tuple(scopes.split()),
        per_minute=per_minute,
        created=created,
        revoked=revoked,
    )


def _digest(secret: str) -> str:
    # A secret of 256 random bits needs no slow hash: there is nothing to guess it from.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
