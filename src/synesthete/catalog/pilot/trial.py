"""A pilot: two variants tried on a folder, offline on queries with known answers, live on a log of events, or both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.row_reader import Row
from synesthete.catalog.events import EventLog
from synesthete.catalog.metrics import Experiment, Metric, compare, lift, ndcg_at, recall_at
from synesthete.catalog.pilot.deciding import cautions_of, decide, needs_of
from synesthete.catalog.pilot.types import Offline, Pilot, Variant
from synesthete.catalog.table_files import read_rows, rows_and_errors
from synesthete.catalog.tables import inside
from synesthete.errors import SynestheteError, near

if TYPE_CHECKING:
    from synesthete.catalog import Catalog

QUERIES = ("queries.csv", "queries.jsonl")
EVENTS = ("events.csv", "events.jsonl")
LEAST_WORTH = 0.1


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
    decision, because = decide(offline, live)
    cautions = cautions_of(offline, live, refused)
    needs = (
        needs_of(offline, live, least_worth, alpha, seed)
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
    for line, row in read_rows(queries, root=queries.parent):
        named = [one for one in str(row.get("relevant") or "").split("|") if one in catalog]
        right = named or by_category.get(str(row.get("category") or ""), [])
        if not right:
            raise SynestheteError(
                f"{queries.name}, line {line} has no right answer in the catalogue"
            )
        try:
            found = [_ranking(catalog, row, queries.parent, one, k) for one in (a, b)]
        except SynestheteError as error:
            raise SynestheteError(f"{queries.name}, line {line}: {error}") from None
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
    picture = inside(folder, name) if name else None
    if isinstance(picture, str):
        raise SynestheteError(picture)
    hits = catalog.search(
        text or None,
        picture,
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
        refused = 0
        waiting: list[Row | SynestheteError] = []
        for _, row in rows_and_errors(events, root=events.parent):
            waiting.append(row)
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
