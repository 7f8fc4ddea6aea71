"""A pilot: two variants tried on a folder, offline on queries with known answers, live on a log of events, or both."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import (
    Experiment,
    Lift,
    Metric,
    Need,
    compare,
    lift,
    ndcg_at,
    pairs_needed,
    recall_at,
)
from synesthete.errors import SynestheteError, near

if TYPE_CHECKING:
    from synesthete.catalog import Catalog

QUERIES = ("queries.csv", "queries.jsonl")
EVENTS = ("events.csv", "events.jsonl")
LEAST_WORTH = 0.1
MOST_PAIRS = 1_000_000
Decision = Literal["take B", "keep A", "more data", "no data"]


@dataclass(frozen=True)
class Variant:
    """One way to do it.

    Attributes
    ----------
    name
        What people call it.
    uses
        What a search uses of a query: `text`, `picture` or `both`.
    where
        Filters of the search.
    """

    name: str
    uses: Literal["text", "picture", "both"] = "both"
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offline:
    """Both variants on the same queries with known answers.

    Attributes
    ----------
    k
        Places that count.
    ndcg, recall
        Query by query, B against A; the verdict is that of NDCG.
    queries, skipped
        How many were answered by both, and how many could not be by one of them.
    """

    k: int
    ndcg: Lift
    recall: Lift
    queries: int
    skipped: int


@dataclass(frozen=True)
class Pilot:
    """A pilot and what is to be done.

    Attributes
    ----------
    a, b
        The variants.
    question
        What was asked, in words.
    least_worth
        The smallest relative change that would matter.
    offline, live
        What was found; None where the folder has nothing for it.
    decision
        `take B`, `keep A`, `more data`, or `no data`.
    because
        Why, sentence by sentence.
    needs
        What more data would settle: how many pairs, for several true effects.
    cautions
        What should make one doubt.
    """

    a: Variant
    b: Variant
    question: str
    least_worth: float
    offline: Offline | None
    live: Experiment | None
    decision: Decision
    because: tuple[str, ...]
    needs: tuple[Need, ...]
    cautions: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def run_pilot(
    folder: str | Path,
    a: Variant,
    b: Variant,
    *,
    catalog: Catalog | None = None,
    experiment: str = "pilot",
    metric: Metric = "conversion",
    least_worth: float = LEAST_WORTH,
    alpha: float = 0.05,
    k: int = 10,
    window: timedelta = timedelta(hours=24),
    cap: float | None = None,
    question: str = "",
    seed: int = 0,
) -> Pilot:
    """Try two variants.

    Parameters
    ----------
    folder
        With `queries.csv` (or `.jsonl`: columns `text` or `picture`, and `relevant`, ids apart by `|`, or `category`) for the
        trial offline, which needs a catalogue; and with `events.csv` (or `.jsonl`) for the trial live.
    catalog
        What is searched.
    experiment, metric, window, cap
        As of `compare`.
    least_worth
        The smallest relative change that would matter, 0.1 for a tenth.
    k
        Places of a ranking that count.

    Raises
    ------
    SynestheteError
        A folder with neither, queries without a catalogue, or tables that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SynestheteError(
            f"{folder} is no folder", hint="with queries.csv, events.csv, or both"
        )
    if not 0 < least_worth < 100:
        raise SynestheteError(f"the least change worth having is {least_worth}; it lies above 0")
    queries = next((folder / name for name in QUERIES if (folder / name).exists()), None)
    events = next((folder / name for name in EVENTS if (folder / name).exists()), None)
    if queries is None and events is None:
        raise SynestheteError(
            f"{folder} has neither queries nor events", hint=", ".join((*QUERIES, *EVENTS))
        )
    if queries is not None and catalog is None:
        raise SynestheteError(
            f"{queries} needs a catalogue to search", hint="add --catalog X.catalog"
        )
    offline = None
    if queries is not None and catalog is not None:
        offline = _offline(catalog, queries, a, b, k=k, alpha=alpha)
    live, refused = None, 0
    if events is not None:
        live, refused = _live(
            events, catalog, experiment, metric, alpha=alpha, window=window, cap=cap
        )
    decision, because = _decide(offline, live)
    cautions = _cautions(offline, live, refused)
    needs = (
        _needs(offline, live, least_worth, alpha, seed)
        if decision in ("more data", "no data")
        else ()
    )
    asked = question or f"Is “{b.name}” better than “{a.name}”?"
    return Pilot(a, b, asked, least_worth, offline, live, decision, because, needs, cautions)


def _offline(
    catalog: Catalog, queries: Path, a: Variant, b: Variant, *, k: int, alpha: float
) -> Offline:
    by_category: dict[str, list[str]] = {}
    for item in catalog.items():
        if item.category:
            by_category.setdefault(item.category, []).append(item.id)
    ndcg: tuple[list[float], list[float]] = ([], [])
    recall: tuple[list[float], list[float]] = ([], [])
    skipped = 0
    for number, row in enumerate(rows_of(queries), start=1):
        named = [one for one in str(row.get("relevant") or "").split("|") if one in catalog]
        right = named or by_category.get(str(row.get("category") or ""), [])
        if not right:
            raise SynestheteError(
                f"{queries.name}, row {number} has no right answer in the catalogue"
            )
        found = [_ranking(catalog, row, queries.parent, one, k) for one in (a, b)]
        if any(one is None for one in found):
            skipped += 1
            continue
        gains = dict.fromkeys(right, 1.0)
        for place, ranked in enumerate(found):
            assert ranked is not None
            ndcg[place].append(ndcg_at(ranked, gains, k))
            recall[place].append(recall_at(ranked, gains, k))
    if not ndcg[0]:
        raise SynestheteError(
            f"{queries.name} has no query that both variants can answer",
            hint="queries with text and picture",
        )
    return Offline(k, lift(*ndcg, alpha=alpha), lift(*recall, alpha=alpha), len(ndcg[0]), skipped)


def _ranking(
    catalog: Catalog, row: Mapping[str, Any], folder: Path, variant: Variant, k: int
) -> list[str] | None:
    text = str(row.get("text") or "") if variant.uses in ("text", "both") else ""
    name = str(row.get("picture") or "") if variant.uses in ("picture", "both") else ""
    if not (text or name) or (variant.uses == "both" and not (text and name)):
        return None
    hits = catalog.search(
        text or None,
        folder / name if name else None,
        where=variant.where,
        k=k,
        group=False,
        reasons=0,
    )
    return [hit.id for hit in hits]


def _live(
    events: Path, catalog: Catalog | None, experiment: str, metric: Metric, *, alpha: float,
    window: timedelta, cap: float | None,
) -> tuple[Experiment, int]:  # fmt: skip
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        log = EventLog(scratch, known=None if catalog is None else catalog.__contains__)
        refused, waiting = 0, []
        for row in rows_of(events):
            waiting.append({name: value for name, value in row.items() if name is not None})
            if len(waiting) == 5000:
                refused += len(log.take(waiting, history=True).refused)
                waiting.clear()
        refused += len(log.take(waiting, history=True).refused)
        names = log.experiments()
        if experiment not in names:
            raise SynestheteError(
                f"{events.name} has no experiment {experiment!r}",
                hint=near(experiment, names) or f"it has {', '.join(names) or 'none'}",
            )
        # A file is of the past: the moment of looking is its last event, by the clock of its teller.
        kept = list(log.read(experiment=experiment))
        last = max(one.time for one in kept)
        found = compare(kept, experiment, metric, alpha=alpha, window=window, now=last, cap=cap)
        return found, refused


def _decide(offline: Offline | None, live: Experiment | None) -> tuple[Decision, tuple[str, ...]]:
    """Visitors decide before queries do; a trial with a crooked split decides nothing."""
    because = []
    decision: Decision = "no data"
    for what, found in (
        ("Live", live.lift if live else None),
        ("Offline", offline.ndcg if offline else None),
    ):
        if found is None:
            continue
        crooked = what == "Live" and live is not None and live.split_is_off
        told: Decision = {"B is better": "take B", "A is better": "keep A"}.get(
            found.verdict, "more data"
        )  # type: ignore[assignment]
        if found.difference.pairs == 0:
            told = "no data"
        because.append(_sentence(what, found))
        if crooked:
            told = "more data"
            because.append("The live trial does not count: visitors were not split as meant.")
        if decision in ("no data", "more data") and not (
            decision == "more data" and what == "Offline"
        ):
            decision = told
    return decision, tuple(because)


def _sentence(what: str, found: Lift) -> str:
    if found.difference.pairs == 0:
        return f"{what}: nothing to compare yet."
    bounds = f"{found.difference.low:+.3f} and {found.difference.high:+.3f}"
    told = {
        "B is better": f"B is better, since {found.decided_after:,} pairs"
        if found.decided_after
        else "",
        "A is better": f"A is better, since {found.decided_after:,} pairs"
        if found.decided_after
        else "",
        "undecided": "the two cannot be told apart yet",
    }[found.verdict]
    return (
        f"{what}: A {found.a.value:.3f} (n = {found.a.n:,}), B {found.b.value:.3f} (n = {found.b.n:,}); B - A is "
        f"{found.difference.value:+.3f}, between {bounds} with {1 - found.alpha:.0%} certainty at every look: {told}."
    )


def _needs(
    offline: Offline | None, live: Experiment | None, least_worth: float, alpha: float, seed: int
) -> tuple[Need, ...]:
    found = live.lift if live and live.lift.a.n else offline.ndcg if offline else None
    if found is None or not found.a.n:
        return ()
    base = found.a.value if found.a.value > 0 else max(found.b.value, 0.01)
    effects = {least_worth * base, 2 * least_worth * base}
    if abs(found.difference.value) > 1e-9:
        effects.add(found.difference.value)
    made = []
    for effect in sorted(effects):
        rate = min(max(base + effect, 0.0), 1.0)
        if not math.isclose(rate, base):
            made.append(
                pairs_needed(base, rate, alpha=alpha, most=MOST_PAIRS, trials=200, seed=seed)
            )
    return tuple(made)


def _cautions(offline: Offline | None, live: Experiment | None, refused: int) -> tuple[str, ...]:
    told = []
    if live is not None and live.split_is_off:
        told.append(
            f"The split is not what was meant (evidence {live.split:,.0f} to 1): something decides who is counted."
        )
    if live is not None:
        told += [f"{count:,} {what} do not count." for what, count in live.left_out.items()]
    if refused:
        told.append(f"{refused:,} events could not be read and do not count.")
    if offline is not None and offline.skipped:
        told.append(f"{offline.skipped:,} queries lack what one of the variants needs.")
    if offline is not None and live is None:
        told.append(
            "Offline, a variant is judged by answers known beforehand: it says what is found, not what sells."
        )
    return tuple(told)


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a CSV or of JSON Lines.

    Raises
    ------
    SynestheteError
        When it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SynestheteError(f"{path} cannot be read: {error}") from error
    if path.suffix == ".csv":
        try:
            yield from csv.DictReader(io.StringIO(text, newline=""))
        except csv.Error as error:
            raise SynestheteError(f"{path} is no CSV: {error}") from error
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SynestheteError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise SynestheteError(f"{path}, line {number} is no JSON object")
        yield row


def variant_of(text: str) -> Variant:
    """A variant as the command line takes it: `NAME=text|picture|both`, and filters after commas.

    Examples
    --------
    >>> variant_of("words only=text")
    Variant(name='words only', uses='text', where=())
    >>> variant_of("cheap=both,price<5").where
    ('price<5',)
    """
    name, equals, rest = text.partition("=")
    uses, *where = rest.split(",") if equals else ["both"]
    if uses not in ("text", "picture", "both") or not name.strip():
        raise SynestheteError(
            f"{text!r} is no variant",
            hint="write NAME=text, NAME=picture or NAME=both, then filters: NAME=both,price<5",
        )
    return Variant(name.strip(), uses, tuple(one for one in where if one))  # type: ignore[arg-type]


def summary_line(pilot: Pilot) -> str:
    """The decision in one line."""
    told = {
        "take B": f"Take {pilot.b.name}.",
        "keep A": f"Keep {pilot.a.name}.",
        "more data": "It is not decided: more data is needed.",
        "no data": "There is nothing to decide on yet.",
    }
    return told[pilot.decision]
