"""Acts: what a person said of a unit or an image, checked, and the append-only file of them in the atlas."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synesthete._core.sqlite import AppendOnly
from synesthete.errors import SynestheteError, near
from synesthete.reviews.verdicts import MACHINE

FILE = "reviews.sqlite"
# Kind -> whether it needs a value (a name, a label, a reason), and whether it is about an image.
KINDS: dict[str, tuple[bool, bool]] = {
    "label": (True, True),
    "accept": (False, False),
    "rename": (True, False),
    "reject": (False, False),
    "flag": (True, False),
    "unflag": (False, False),
    "note": (True, False),
    "request": (True, False),
}
VERDICTS = ("accept", "rename", "reject")
LONGEST = 2000
LONGEST_NAME = 200
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
        Of the atlas and the model that it is about.
    address
        The unit.
    kind
        A key of `KINDS`.
    value
        The name, label, reason or note; empty where the kind has none.
    image
        SHA-256 of the image, for labels; else empty.
    question
        The question that a label answers; else empty.
    """

    id: str
    at: str
    rater: str
    fingerprint: str
    weights: str
    address: str
    kind: str
    value: str = ""
    image: str = ""
    question: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As a row of JSON."""
        return asdict(self)


COLUMNS = tuple(field.name for field in fields(Act))
_SCHEMA = (
    f"CREATE TABLE acts ({', '.join(f'{name} TEXT NOT NULL' for name in COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID",
    "CREATE INDEX acts_by_address ON acts (address, at)",
)


def new_act(
    *,
    rater: str,
    fingerprint: str,
    weights: str,
    address: str,
    kind: str,
    value: str = "",
    image: str = "",
    question: str = "",
) -> Act:
    """An act of now, checked."""
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    act = Act(
        id=uuid.uuid4().hex,
        at=at,
        rater=" ".join(rater.split()),
        fingerprint=fingerprint,
        weights=weights,
        address=address,
        kind=kind,
        value=value.strip(),
        image=image,
        question=" ".join(question.split()),
    )
    check(act)
    return act


def check(act: Act) -> None:
    """Refuse an invalid act.

    Raises
    ------
    SynestheteError
        Unknown kind, no rater, a value missing or too long, control characters, a damaged id, time or hash.
    """
    if act.kind not in KINDS:
        hint = near(act.kind, KINDS) or ", ".join(KINDS)
        raise SynestheteError(f"no such kind of review: {act.kind!r}", hint=hint)
    needs_value, of_image = KINDS[act.kind]
    if not act.rater:
        raise SynestheteError("a review needs a rater", hint="give --rater NAME")
    if act.rater.casefold() == MACHINE and act.kind != "request":
        raise SynestheteError(
            f"{act.rater!r} stands for the program, which only asks", hint="give your own name"
        )
    if needs_value and not act.value:
        raise SynestheteError(f"{act.kind} needs a text")
    if not needs_value and act.value:
        raise SynestheteError(f"{act.kind} takes no text")
    limit = LONGEST_NAME if act.kind in ("rename", "label") else LONGEST
    for name, text, most in (
        ("rater", act.rater, 100),
        (act.kind, act.value, limit),
        ("question", act.question, LONGEST_NAME),
        ("address", act.address, LONGEST_NAME),
    ):
        if len(text) > most:
            raise SynestheteError(f"the {name} has {len(text)} characters; at most {most}")
        if any(not letter.isprintable() and letter not in "\n\t" for letter in text):
            raise SynestheteError(f"the {name} holds control characters")
    if not _ID.fullmatch(act.id) or not _is_time(act.at):
        raise SynestheteError("the review has a damaged id or time")
    if of_image != bool(act.image) or (act.image and not _HASH.fullmatch(act.image)):
        raise SynestheteError(
            f"{act.kind} needs the hash of an image" if of_image else f"{act.kind} takes no image"
        )
    if not act.address.rpartition(":")[2].isdecimal() or ":" not in act.address:
        raise SynestheteError(f"{act.address!r} is not a valid address", hint="write layer:unit")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def append(atlas: str | Path, acts: Iterable[Act]) -> int:
    """Add acts to an atlas; returns how many were new. All of them or, after a kill, none.

    Raises
    ------
    SynestheteError
        When one of them is invalid, or the file cannot be written.
    """
    rows = list(acts)
    for act in rows:
        check(act)
    marks = ", ".join("?" for _ in COLUMNS)
    with _file(atlas).writing() as connection:
        before = connection.total_changes
        connection.executemany(
            f"INSERT OR IGNORE INTO acts ({', '.join(COLUMNS)}) VALUES ({marks})",
            [tuple(getattr(act, name) for name in COLUMNS) for act in rows],
        )
        return connection.total_changes - before


def read(atlas: str | Path) -> list[Act]:
    """All acts of an atlas, oldest first; ties by id."""
    query = f"SELECT {', '.join(COLUMNS)} FROM acts ORDER BY at, id"
    with _file(atlas).reading() as connection:
        rows = connection.execute(query).fetchall() if connection else []
    return [Act(**dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _file(atlas: str | Path) -> AppendOnly:
    # Not private: who may read the atlas may read its reviews.
    return AppendOnly(Path(atlas) / FILE, _SCHEMA, tables=("acts",), private=False)
