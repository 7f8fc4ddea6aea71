"""Acts: what somebody said of a subject, checked, and the append-only log of them; a subject is a neuron, or a case of a catalogue."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synesthete._core import compaction
from synesthete._core.json_reader import parse_json
from synesthete._core.sqlite import AppendOnly
from synesthete.atlas.mirror import people_folder
from synesthete.errors import SynestheteError, one_of

MACHINE = "machine"  # signs what the program itself asks
LONGEST = 2000
LONGEST_NAME = 200
LONGEST_CASE = 100_000
PLACES_AT_ONCE = 1000
_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Act:
    """One verdict, label, flag or note of one person; never changed, only superseded by another act.

    Attributes
    ----------
    id
        32 hexadecimal digits; the same act imported twice is one.
    at
        UTC, ISO 8601 with microseconds.
    rater
        Who; `machine` for requests by the program.
    fingerprint, weights
        Of the atlas and the model that it is about; empty for a case.
    address
        The unit; of a case its ticket, and `policy KIND` of a policy.
    kind
        A key of its subject's `kinds`.
    value
        The name, label, reason or note, or a JSON object; empty where the kind has none.
    image
        SHA-256 of the image, for labels; else empty.
    question
        The question that a label answers; else empty.
    """

    id: str
    at: str
    rater: str
    fingerprint: str = ""
    weights: str = ""
    address: str
    kind: str
    value: str = ""
    image: str = ""
    question: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As a row of JSON."""
        return asdict(self)


COLUMNS = tuple(field.name for field in fields(Act))


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """What the acts of a log are about.

    Attributes
    ----------
    file, version
        The log's name in its folder, and its format.
    schema
        Of a line of an exported file.
    kinds
        What can be said → the most characters of its text, which it then needs; 0 where it takes none.
    bodies
        Of kinds whose value is a JSON object, its keys and their types; the text is `label` there, a remark `note`.
    verdicts, requests
        The kinds that are verdicts, and those by which the program asks.
    address
        What an address looks like, and how to write it.
    chained
        Whether the log numbers its acts and links them by hashes, so that a change by other means shows. It is then its
        owner's alone; else who may read the folder may read it.
    """

    file: str
    version: int
    schema: str
    kinds: Mapping[str, int]
    bodies: Mapping[str, Mapping[str, type]]
    verdicts: tuple[str, ...]
    requests: tuple[str, ...]
    address: tuple[re.Pattern[str], str]
    chained: bool

    def text_and_note(self, act: Act) -> tuple[str, str]:
        """The text of an act and the remark beside it, either of which may be empty."""
        if act.kind not in self.bodies:
            return act.value, ""
        body = parse_json(act.value, f"the {act.kind}")
        return body.get("label", ""), body.get("note", "")


NEURONS = Subjects(
    file="reviews.sqlite",
    version=1,
    schema="synesthete-reviews-1",
    kinds={
        **dict.fromkeys(("label", "rename"), LONGEST_NAME),
        **dict.fromkeys(("flag", "note", "request"), LONGEST),
        **dict.fromkeys(("accept", "reject", "unflag"), 0),
    },
    bodies={},
    verdicts=("accept", "rename", "reject"),
    requests=("request",),
    address=(re.compile(r"(?s:.*):\d+"), "write layer:unit"),
    chained=False,
)
CASES = Subjects(
    file="people.sqlite",
    version=2,
    schema="synesthete-cases-1",
    kinds={
        **dict.fromkeys(("ask", "again", "accept", "dismiss", "policy", "forget"), 0),
        "override": LONGEST_NAME,
    },
    bodies={
        "ask": {"kind": str, "payload": dict, "reason": str, "confidence": float},
        "again": {},
        **{kind: {"label": str, "note": str} for kind in ("accept", "override", "dismiss")},
        "policy": {"threshold": float, "audit": float},
        "forget": {"places": list},
    },
    verdicts=("accept", "override", "dismiss"),
    requests=("ask", "again", "forget"),
    address=(re.compile(r"[0-9a-f]{16}|policy .+|forget"), "a ticket has 16 hexadecimal digits"),
    chained=True,
)


def check(act: Act, subjects: Subjects = NEURONS) -> None:
    """Refuse an invalid act.

    Raises
    ------
    SynestheteError
        Unknown kind, no rater, a text missing or too long, a value of other keys or types, control characters, a damaged
        id, time or hash.
    """
    if act.kind not in subjects.kinds:
        raise SynestheteError(
            f"no such kind of review: {act.kind!r}", hint=one_of(act.kind, subjects.kinds)
        )
    if not act.rater:
        raise SynestheteError("a review needs a rater: who did it?", hint="give --rater NAME")
    if act.rater.casefold() == MACHINE and act.kind not in subjects.requests:
        raise SynestheteError(
            f"{act.rater!r} stands for the program, which asks and does not decide",
            hint="give your own name",
        )
    if act.kind in subjects.bodies:
        _check_body(act, subjects.bodies[act.kind])
    text, note = subjects.text_and_note(act)
    longest, what = subjects.kinds[act.kind], "label" if act.kind in subjects.bodies else "text"
    if bool(text) != bool(longest):
        raise SynestheteError(f"{act.kind} {'needs a' if longest else 'takes no'} {what}")
    for name, given, most in (
        ("rater", act.rater, 100),
        (act.kind, text, longest),
        ("note", note, LONGEST),
        ("question", act.question, LONGEST_NAME),
        ("address", act.address, LONGEST_NAME),
        ("case", act.value, LONGEST_CASE),
    ):
        if len(given) > most:
            raise SynestheteError(f"the {name} has {len(given):,} characters; at most {most:,}")
        if any(not letter.isprintable() and letter not in "\n\t" for letter in given):
            raise SynestheteError(f"the {name} holds control characters, which are not printable")
    if not _ID.fullmatch(act.id) or not _is_time(act.at):
        raise SynestheteError("the review has a damaged id or time")
    of_image = act.kind == "label"
    if of_image != bool(act.image) or (act.image and not _HASH.fullmatch(act.image)):
        raise SynestheteError(
            f"{act.kind} needs the hash of an image" if of_image else f"{act.kind} takes no image"
        )
    valid, hint = subjects.address
    if not valid.fullmatch(act.address):
        raise SynestheteError(f"{act.address!r} is not a valid address", hint=hint)


def _check_body(act: Act, types: Mapping[str, type]) -> None:
    body = parse_json(act.value, f"the {act.kind}")
    if not isinstance(body, dict) or set(body) != set(types):
        raise SynestheteError(f"{act.kind} needs {', '.join(types) or 'nothing'}")
    for key, of in types.items():
        value = body[key]
        share = isinstance(value, int | float) and 0 <= value <= 1
        if not (share if of is float else isinstance(value, of)):
            raise SynestheteError(f"the {key} of {act.kind} is not valid")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


_SELECT = ", ".join(f"acts.{name}" for name in COLUMNS)
_INSERT = f"INSERT OR IGNORE INTO acts VALUES ({', '.join('?' for _ in COLUMNS)})"
_ACTS = (
    f"CREATE TABLE acts ({', '.join(f'{name} TEXT NOT NULL' for name in COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID",
    "CREATE INDEX acts_by_address ON acts (address, at)",
)
_LINKS = "CREATE TABLE links (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, chain TEXT NOT NULL)"
# Format 1 of a catalogue's log had one table of its own; its chain stays what it was.
_ASIDE = ("CREATE TEMP TABLE old AS SELECT * FROM acts", "DROP TABLE acts")
_FILL = (
    "INSERT INTO acts SELECT substr(chain, 1, 32), at, actor, '', '', ticket, did, body, '', '' FROM old",
    "INSERT INTO links SELECT place, substr(chain, 1, 32), chain FROM old",
)


class Log:
    """The acts of a folder, append-only: of an atlas, or of a catalogue.

    Parameters
    ----------
    folder
        The file is made in it at the first act.
    subjects
        What the acts are about.
    """

    def __init__(self, folder: str | Path, subjects: Subjects = NEURONS) -> None:
        self.subjects = subjects
        self._file = AppendOnly(
            people_folder(Path(folder)) / subjects.file,
            (*_ACTS, _LINKS) if subjects.chained else _ACTS,
            tables=("acts", "links") if subjects.chained else ("acts",),
            private=subjects.chained,
            version=subjects.version,
        )

    def say(
        self, kind: str, address: str, *, rater: str, value: str | Mapping[str, Any] = "", **of: str
    ) -> Act:
        """Record an act of now.

        Parameters
        ----------
        value
            A text, or the JSON object that the kind asks for.
        of
            `fingerprint`, `weights`, `image` and `question`, where there are some.

        Raises
        ------
        SynestheteError
            What `check` refuses; the file cannot be written.
        """
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        rater = " ".join(rater.split())
        if not isinstance(value, str):
            value = json.dumps(dict(value), sort_keys=True, allow_nan=False)
        value, id = value.strip(), uuid.uuid4().hex
        act = Act(id=id, at=at, rater=rater, address=address, kind=kind, value=value, **of)
        self.append([act])
        return act

    def append(self, acts: Iterable[Act]) -> int:
        """Add acts; returns how many were new. All of them or, after a kill, none.

        Raises
        ------
        SynestheteError
            When one of them is invalid, or the file cannot be written.
        """
        rows = list(acts)
        for act in rows:
            check(act, self.subjects)
        added = 0
        with self._file.writing() as connection:
            for act in rows:
                new = connection.execute(_INSERT, tuple(vars(act).values())).rowcount
                added += new
                if new and self.subjects.chained:
                    _link(connection, act)
        return added

    def read(self, address: str | None = None) -> list[Act]:
        """All acts, or those of one address, oldest first; ties by id."""
        where, given = ("", ()) if address is None else (" WHERE address = ?", (address,))
        query = f"SELECT {_SELECT} FROM acts{where} ORDER BY at, id"
        with self._file.reading() as connection:
            rows = connection.execute(query, given).fetchall() if connection else []
        return [_act(row) for row in rows]

    def entries(self, *, after: int = 0) -> list[tuple[int, str, Act]]:
        """The acts of a chained log after a number, in the order in which they came.

        Returns
        -------
        list of tuple
            The number of each, from 1; the SHA-256 of it and of the chain before it; the act.
        """
        query = f"SELECT place, chain, {_SELECT} FROM links JOIN acts USING (id) WHERE place > ? ORDER BY place"
        with self._file.reading() as connection:
            rows = connection.execute(query, (after,)).fetchall() if connection else []
        return [(place, chain, _act(columns)) for place, chain, *columns in rows]

    def last(self) -> tuple[int, str]:
        """Number and chain of the last act of a chained log: equal as long as nothing happens. 0 and "" at first."""
        query = "SELECT place, chain FROM links ORDER BY place DESC LIMIT 1"
        with self._file.reading() as connection:
            row = connection.execute(query).fetchone() if connection else None
        return (int(row[0]), str(row[1])) if row else (0, "")

    def chain(self, place: int) -> str:
        """The chain of an act of a chained log, by its number; "" where there is none."""
        with self._file.reading() as connection:
            query = "SELECT chain FROM links WHERE place = ?"
            row = connection.execute(query, (place,)).fetchone() if connection else None
        return str(row[0]) if row else ""

    def verify(self) -> int:
        """Check the chain; returns how many acts it links.

        Raises
        ------
        SynestheteError
            When an act was changed, taken out or put in by other means than this program. Acts cut off at the end
            do not show; keep the last chain value elsewhere if that matters.
        """
        query = f"SELECT place, chain, acts.id IS NOT NULL, {_SELECT} FROM links LEFT JOIN acts USING (id) ORDER BY place"
        with self._file.reading() as connection:
            rows = connection.execute(query).fetchall() if connection else []
        forgotten = {
            place
            for act in self.read()
            if act.kind == "forget"
            for place in parse_json(act.value, "the forget").get("places", [])
        }
        before, acts = "", 0
        for number, (place, chain, there, *columns) in enumerate(rows, start=1):
            # Of an act that was forgotten its hash stays, which the next one is linked to.
            before = link(before, _act(columns)) if there or place not in forgotten else chain
            if (place, chain) != (number, before):
                raise SynestheteError(f"the trail was changed at act {number}")
            acts += there
        if len(self.read()) != acts:
            raise SynestheteError("the trail was changed: it holds acts that nothing links")
        return acts

    def forget(self, addresses: Collection[str]) -> int:
        """Remove the acts of a chained log that are about some subjects; returns how many.

        Their hashes stay in the chain, and an act says which were removed: `verify` allows no others.

        Raises
        ------
        SynestheteError
            The file cannot be written, or not be compacted while others read it.
        """
        removed: list[tuple[int, str]] = []
        with self._file.reading() as connection:
            if connection is None:
                return 0
        if not addresses:
            self._file.compact_if_owed()  # which may have failed the last time
            return 0
        with self._file.forgetting() as connection:
            compaction.owe(connection)
            for address in addresses:
                query = "SELECT place, id FROM links JOIN acts USING (id) WHERE address = ? ORDER BY place"
                removed += connection.execute(query, (address,)).fetchall()
                connection.execute("DELETE FROM acts WHERE address = ?", (address,))
            for start in range(0, len(removed), PLACES_AT_ONCE):
                places = [place for place, _ in removed[start : start + PLACES_AT_ONCE]]
                act = Act(
                    id=uuid.uuid4().hex,
                    at=datetime.now(UTC).isoformat(timespec="microseconds"),
                    rater=MACHINE,
                    address="forget",
                    kind="forget",
                    value=json.dumps({"places": places}),
                )
                check(act, self.subjects)
                connection.execute(_INSERT, tuple(vars(act).values()))
                _link(connection, act)
        self._file.compact_if_owed()
        return len(removed)

    def migrate(self) -> tuple[int, int]:
        """Bring a file of an older format to this program's: all of it or, after a kill, nothing.

        Returns
        -------
        tuple of int
            Its format before and after; equal when there was nothing to do.
        """
        return self._file.migrate(_ASIDE, _FILL)


def link(before: str, act: Act) -> str:
    """The next value of the chain."""
    more = filter(None, (act.fingerprint, act.weights, act.image, act.question))
    parts = [before, act.at, act.rater, act.kind, act.address, act.value, *more]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _link(connection: sqlite3.Connection, act: Act) -> None:
    last = connection.execute("SELECT chain FROM links ORDER BY place DESC LIMIT 1").fetchone()
    chain = link(last[0] if last else "", act)
    connection.execute("INSERT INTO links (id, chain) VALUES (?, ?)", (act.id, chain))


def _act(row: Iterable[str]) -> Act:
    return Act(**dict(zip(COLUMNS, row, strict=True)))


def log_of(folder: str | Path) -> Log:
    """The log of an atlas's folder or of a catalogue's."""
    files = (CASES.file, "catalog.json", "catalog.sqlite")  # the last before `catalog migrate`
    catalog = any((Path(folder) / name).is_file() for name in files)
    return Log(folder, CASES if catalog else NEURONS)


def append(atlas: str | Path, acts: Iterable[Act]) -> int:
    """Add acts to an atlas, as `Log.append`."""
    return Log(atlas).append(acts)


def read(atlas: str | Path) -> list[Act]:
    """All acts of an atlas, as `Log.read`."""
    return Log(atlas).read()
