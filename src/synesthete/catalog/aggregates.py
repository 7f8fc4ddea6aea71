"""What is counted of events as they come: SQL that SQLite and PostgreSQL both understand, in the transaction that adds the events.

Metrics and experiments read these tables and never the log, so that they cost the same for ten events and for ten million:

- `shown`: what a visitor was shown in a list, and how they answered: one row for each visitor, list and item.
- `visits`: the counts of a visitor on a day, and (day -1) on all days.
- `moments`: sums and sums of products of those counts over all visitors of a day; all that rates and their intervals need.
- `totals`: how many events there are of each kind, and how many that do not count.
- `experiments`, `exposed`: who saw which variant of an experiment first, and how soon they answered.

After events were removed everything is counted again, by the same statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ANSWERS = {"click": "clicks", "add": "adds", "conversion": "conversions", "dismissal": "dismissals"}
ALL_DAYS = -1
DAY = 86_400_000_000  # microseconds, which all times are counted in, from 1970
BEFORE_1970 = (
    719_162 * DAY
)  # from the first day of the calendar: no time is negative, and day 0 is 0001-01-01
NEVER = 2**62
_SUMS = ("shown", *ANSWERS.values())
MOMENTS = (
    "visitors",
    "buyers",
    "shown",
    "shown_shown",
    *(f"{name}{more}" for name in ANSWERS.values() for more in ("", f"_{name}", "_shown")),
)
_COUNTS = ", ".join(f"{name} BIGINT NOT NULL" for name in (*_SUMS,))

SCHEMA = (
    # Events that count, with who: a visitor without a name is as many as their lists. No name of a list holds a line break.
    "CREATE VIEW seen AS SELECT place, kind, item, value,"
    " CASE WHEN subject <> '' THEN subject WHEN list <> '' THEN '\n' || list ELSE '\n\n' || place END AS who,"
    " CASE WHEN subject = '' AND list = '' THEN '\n' || place ELSE list END AS list,"
    f" (time + {BEFORE_1970}) / {DAY} AS day FROM events WHERE unknown = 0",
    "CREATE TABLE shown (who TEXT NOT NULL, list TEXT NOT NULL, item TEXT NOT NULL, day BIGINT, "
    + ", ".join(f"{name} INTEGER NOT NULL" for name in ANSWERS.values())
    + ", answers BIGINT NOT NULL, value DOUBLE PRECISION NOT NULL, PRIMARY KEY (who, list, item)) {keyed}",
    f"CREATE TABLE visits (who TEXT NOT NULL, day BIGINT NOT NULL, {_COUNTS}, value DOUBLE PRECISION NOT NULL,"
    " PRIMARY KEY (who, day)) {keyed}",
    "CREATE INDEX visits_with_value ON visits (day, value) WHERE value <> 0",
    "CREATE TABLE moments (day BIGINT PRIMARY KEY, "
    + ", ".join(f"{name} BIGINT NOT NULL" for name in MOMENTS)
    + ")",
    "CREATE TABLE totals (name TEXT PRIMARY KEY, count BIGINT NOT NULL)",
    "CREATE TABLE experiments (name TEXT PRIMARY KEY, received TEXT NOT NULL, time BIGINT NOT NULL,"
    " nameless BIGINT NOT NULL)",
    "CREATE TABLE exposed (experiment TEXT NOT NULL, subject TEXT NOT NULL, time BIGINT NOT NULL, place BIGINT NOT NULL,"
    " variant TEXT NOT NULL, mixed INTEGER NOT NULL, "
    + ", ".join(f"{name} BIGINT NOT NULL" for name in ANSWERS.values())
    + ", PRIMARY KEY (experiment, subject)) {keyed}",
)


def count_events(connection: Any, after: int) -> None:
    """Count the events that came after a place; the tables hold those up to it."""
    for statement in _COUNT:
        connection.execute(statement, {"after": after})


def count_without(connection: Any, who: str) -> None:
    """Count a visitor no more, whose events were removed."""
    for statement in _COUNT_WITHOUT:
        connection.execute(statement, {"who": who, "after": 0})


def count_again(connection: Any) -> None:
    """Count all events, after some were removed."""
    for table in ("shown", "visits", "moments", "totals", "experiments", "exposed"):
        connection.execute(f"DELETE FROM {table}")
    for statement in _COUNT_AGAIN:
        connection.execute(statement, {"after": 0})


def _adding(table: str, keys: str, columns: tuple[str, ...], select: str) -> str:
    """An upsert that adds the selected counts to those that are there."""
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns)
    return (
        f"INSERT INTO {table} ({keys}, {', '.join(columns)}) {select}"
        f" ON CONFLICT ({keys}) DO UPDATE SET {added}"
    )


_FRESH_WHO = "who IN (SELECT who FROM seen WHERE place > :after)"
_FRESH = (
    "(SELECT DISTINCT who, list, item FROM seen WHERE place > :after) AS fresh"
    " JOIN shown ON shown.who = fresh.who AND shown.list = fresh.list AND shown.item = fresh.item"
)


def _moments(sign: str, whose: str) -> str:
    """Take visitors out of the moments, or put them in."""
    terms = ["COUNT(*)", "SUM(CASE WHEN conversions > 0 THEN 1 ELSE 0 END)"]
    terms += ["SUM(shown)", "SUM(shown * shown)"]
    for name in ANSWERS.values():
        terms += [f"SUM({name})", f"SUM({name} * {name})", f"SUM({name} * shown)"]
    select = (
        f"SELECT day, {', '.join(sign + term for term in terms)} FROM visits"
        f" WHERE {whose} GROUP BY day"
    )
    return _adding("moments", "day", MOMENTS, select)


def _visits(sign: str, day: str, of: str) -> str:
    """Take what was shown, and the answers, out of the counts of visitors, or put it in."""
    terms = ["COUNT(*)", *(f"SUM(shown.{name})" for name in ANSWERS.values()), "SUM(shown.value)"]
    columns = ", ".join(sign + term for term in terms)
    select = (
        f"SELECT shown.who, {day}, {columns} FROM {of}"
        " WHERE shown.day IS NOT NULL GROUP BY shown.who, 2"
    )
    return _adding("visits", "who, day", (*_SUMS, "value"), select)


def _not_shown(sign: str, of: str) -> str:
    """How many answers are to what was not shown."""
    select = (
        f"SELECT 'not shown', {sign}SUM(shown.answers) FROM {of} WHERE shown.day IS NULL GROUP BY 1"
    )
    return _adding("totals", "name", ("count",), select)


def _shown() -> str:
    """What was shown, on the day of the impression that came first, and whether each answer was given."""
    first = "MAX(CASE WHEN number = 1 AND kind = 'impression' THEN day END)"
    given = [f"MAX(CASE WHEN kind = '{kind}' THEN 1 ELSE 0 END)" for kind in ANSWERS]
    answers = "SUM(CASE WHEN kind = 'impression' THEN 0 ELSE 1 END)"
    value = "SUM(CASE WHEN kind = 'conversion' THEN value ELSE 0 END)"
    numbered = (
        "SELECT who, list, item, kind, day, value, ROW_NUMBER() OVER (PARTITION BY who, list, item"
        " ORDER BY CASE kind WHEN 'impression' THEN 0 ELSE 1 END, place) AS number"
        " FROM seen WHERE place > :after"
    )
    either = ", ".join(f"{name} = shown.{name} | excluded.{name}" for name in ANSWERS.values())
    return (
        f"INSERT INTO shown (who, list, item, day, {', '.join(ANSWERS.values())}, answers, value)"
        f" SELECT who, list, item, {first}, {', '.join(given)}, {answers}, {value} FROM ({numbered}) AS numbered"
        " WHERE number > 0 GROUP BY who, list, item ON CONFLICT (who, list, item) DO UPDATE SET"
        f" day = COALESCE(shown.day, excluded.day), {either}, answers = shown.answers + excluded.answers,"
        " value = shown.value + excluded.value"
    )


# An expression, as SQLite would rather read the whole index of experiments in its order than the few new events.
_NAME = "experiment || ''"


def _experiments() -> str:
    known = "CASE WHEN unknown = 0 THEN received ELSE '' END"
    nameless = "SUM(CASE WHEN unknown = 0 AND subject = '' THEN 1 ELSE 0 END)"
    latest = ", ".join(
        f"{name} = CASE WHEN excluded.{name} > experiments.{name} THEN excluded.{name} ELSE experiments.{name} END"
        for name in ("received", "time")
    )
    return (
        f"INSERT INTO experiments (name, received, time, nameless) SELECT {_NAME}, MAX({known}), MAX(time), {nameless}"
        f" FROM events WHERE place > :after AND experiment <> '' GROUP BY {_NAME}"
        f" ON CONFLICT (name) DO UPDATE SET {latest}, nameless = experiments.nameless + excluded.nameless"
    )


_OF_VISITORS = "unknown = 0 AND experiment <> '' AND subject <> ''"


def _first_exposures() -> str:
    """The first variant that a visitor saw; where an earlier one came later, what followed is counted again."""
    first = (
        "SELECT experiment, subject, time, place, variant, ROW_NUMBER() OVER"
        f" (PARTITION BY {_NAME}, subject ORDER BY time, place) AS number FROM events"
        f" WHERE place > :after AND {_OF_VISITORS} AND kind = 'impression' AND variant <> ''"
    )
    names = ", ".join(ANSWERS.values())
    never = ", ".join([str(NEVER)] * len(ANSWERS))
    replaced = ", ".join(
        f"{name} = excluded.{name}"
        for name in ("time", "place", "variant", "mixed", *ANSWERS.values())
    )
    return (
        f"INSERT INTO exposed (experiment, subject, time, place, variant, mixed, {names})"
        f" SELECT experiment, subject, time, place, variant, 0, {never} FROM ({first}) AS numbered WHERE number = 1"
        f" ON CONFLICT (experiment, subject) DO UPDATE SET {replaced}"
        " WHERE excluded.time < exposed.time"
    )


def _what_followed() -> str:
    """The other variant, and the first answer of each kind: of new events, and of all of those whose first exposure is new."""
    columns = "events.experiment, events.subject, events.time, events.place, kind, events.variant"
    visitors = f"SELECT DISTINCT {_NAME} AS experiment, subject FROM events WHERE place > :after AND {_OF_VISITORS}"
    followed = (
        f"SELECT {columns} FROM events WHERE place > :after AND {_OF_VISITORS}"
        f" UNION ALL SELECT {columns} FROM ({visitors}) AS fresh"
        " JOIN exposed AS x ON x.experiment = fresh.experiment AND x.subject = fresh.subject"
        " JOIN events ON events.experiment = x.experiment AND events.subject = x.subject"
        " WHERE x.place > :after AND events.place <= :after AND events.unknown = 0 AND events.experiment <> ''"
    )
    later = "(e.time > x.time OR (e.time = x.time AND e.place > x.place))"
    mixed = (
        f"MAX(CASE WHEN e.variant <> '' AND e.variant <> x.variant AND {later} THEN 1 ELSE 0 END)"
    )
    delays = [
        f"MIN(CASE WHEN e.kind = '{kind}' AND e.time >= x.time THEN e.time - x.time ELSE {NEVER} END)"
        for kind in ANSWERS
    ]
    sooner = ", ".join(
        f"{name} = CASE WHEN excluded.{name} < exposed.{name} THEN excluded.{name} ELSE exposed.{name} END"
        for name in ANSWERS.values()
    )
    return (
        f"INSERT INTO exposed (experiment, subject, time, place, variant, mixed, {', '.join(ANSWERS.values())})"
        f" SELECT x.experiment, x.subject, x.time, x.place, x.variant, {mixed}, {', '.join(delays)}"
        f" FROM ({followed}) AS e JOIN exposed AS x ON x.experiment = e.experiment AND x.subject = e.subject"
        " WHERE true GROUP BY x.experiment, x.subject, x.time, x.place, x.variant"
        f" ON CONFLICT (experiment, subject) DO UPDATE SET mixed = exposed.mixed | excluded.mixed, {sooner}"
    )


def _totals() -> Iterator[str]:
    rows = "FROM events WHERE place > :after"
    yield _adding("totals", "name", ("count",), f"SELECT kind, COUNT(*) {rows} GROUP BY kind")
    for name in ("unknown", "skewed"):
        select = f"SELECT '{name}', COUNT(*) {rows} AND {name} <> 0 GROUP BY 1"
        yield _adding("totals", "name", ("count",), select)


def _shown_to_visitors(sign: str, of: str) -> tuple[str, ...]:
    visits = (_visits(sign, day, of) for day in ("shown.day", str(ALL_DAYS)))
    return (*visits, _not_shown(sign, of))


_COUNT = (
    *_totals(),
    # What new events change is taken out as it was, and put in as it is.
    _moments("-", _FRESH_WHO),
    *_shown_to_visitors("-", _FRESH),
    _shown(),
    *_shown_to_visitors("+", _FRESH),
    _moments("+", _FRESH_WHO),
    _experiments(),
    _first_exposures(),
    _what_followed(),
)
_COUNT_AGAIN = (
    *_totals(),
    _shown(),
    *_shown_to_visitors("+", "shown"),
    _moments("+", "true"),
    _experiments(),
    _first_exposures(),
    _what_followed(),
)
_COUNT_WITHOUT = (
    _moments("-", "who = :who"),
    "DELETE FROM visits WHERE who = :who",
    "DELETE FROM shown WHERE who = :who",
    "DELETE FROM exposed WHERE subject = :who",
    "DELETE FROM totals",
    "DELETE FROM experiments",
    *_totals(),
    _not_shown("+", "shown"),
    _experiments(),
)
