"""`synesthete catalog events`, `metrics`, `forget`, `pilot`: what visitors did, and what it says of a catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from synesthete._core.json_reader import plain
from synesthete.atlas.files import write_together
from synesthete.catalog import Catalog
from synesthete.catalog.cli.options import (
    CatalogArgument,
    EventsUrl,
    FolderArgument,
    Limit,
    Trial,
    set_aside,
)
from synesthete.catalog.events import EventLog
from synesthete.cli.command import Output, command
from synesthete.cli.console import Note, count, percent, say, share, table
from synesthete.errors import SynestheteError

AT_ONCE = 5000  # events that are committed together
app = typer.Typer()


@command(app)
def events(
    catalog: CatalogArgument,
    file: Annotated[Path | None, typer.Option("--import")] = None,
    aside: bool = False,
    events_url: EventsUrl = None,
) -> Output:
    """Count impressions, clicks, add-to-carts, conversions and dismissals; import a file of them.

    Parameters
    ----------
    file : FILE
        A .csv or .jsonl of events; known ones count once, invalid ones are set aside.
    aside
        Show what was set aside, and why.

    Returns
    -------
    `counts`, `experiments`, and what `--import` and `--aside` give.

    See Also
    --------
    catalog-metrics.md

    Examples
    --------
    synesthete catalog events my.catalog --import events.csv --aside
    """
    log = EventLog(catalog.path, known=catalog.__contains__, url=events_url)
    data: dict[str, Any] = {}
    view: list[RenderableType] = []
    if file is not None:
        taken = data["taken"] = _import(log, file)
        view.append(", ".join(f"{count(number)} {name}" for name, number in taken.items()))
    counts = log.counts()
    rows = ((name, count(number)) for name, number in counts.items())
    view.append(table("events", "count", right=("count",), rows=rows))
    if aside:
        data["aside"] = log.aside()
        for row in data["aside"]:
            view.append(Note(f"{row['received'][:19]} {row['reason']}: {row['event'][:120]}"))
    return Output({"counts": counts, "experiments": log.experiments(), **data}, view)


@command(app)
def metrics(
    catalog: CatalogArgument,
    *,
    experiment: str | None = None,
    trial: Trial,
    share_of_b: Annotated[float, typer.Option(min=0.001, max=0.999)] = 0.5,
    drift: str | None = None,
    events_url: EventsUrl = None,
) -> Output:
    """Measure click, add-to-cart, conversion and dismissal rates; compare variants A and B; measure drift.

    An experiment is judged by anytime-valid confidence sequences: look as often as you like.

    Parameters
    ----------
    experiment : NAME
        Compare the two variants of this experiment.
    share_of_b
        Share of the visitors assigned to B.
    drift : DATE
        Compare the activations of the items shown before this day (2026-01-31) with those shown from it on.

    Returns
    -------
    every number with its n and interval.

    See Also
    --------
    catalog-metrics.md

    Examples
    --------
    synesthete catalog metrics my.catalog
    synesthete catalog metrics my.catalog --experiment spring --metric click
    synesthete catalog metrics my.catalog --drift 2026-01-06
    """
    from synesthete.catalog.metrics import compare, duel, summarize

    log = EventLog(catalog.path, url=events_url)
    if drift is not None:
        return _drift(catalog, log, drift)
    if experiment is None:
        summary = summarize(log)
        return Output(summary, lambda: _summary_view(summary))
    if experiment not in (names := log.experiments()):
        hint = ", ".join(names) or "no event names one"
        raise SynestheteError(f"there is no experiment {experiment!r}", hint=hint)
    if trial.metric == "interleaved":
        duelled = duel(log, experiment, alpha=trial.alpha)
        preference = duelled.lift.difference
        line = (
            f"{duelled.lift.verdict}: preference for B {preference.value:+.3f} ({preference.low:+.3f} to "
            f"{preference.high:+.3f}), {count(duelled.lists)} lists with a winner, {count(duelled.ties)} without"
        )
        return Output(duelled, [line])
    compared = compare(log, experiment, share_of_b=share_of_b, **trial.arguments())
    return Output(compared, lambda: _experiment_view(compared))


@command(app)
def forget(
    catalog: FolderArgument,
    visitor: Annotated[str | None, typer.Argument()] = None,
    older_than: Annotated[float | None, typer.Option(min=0.01)] = None,
    events_url: EventsUrl = None,
) -> Output:
    """Remove a visitor's events, or those older than a number of days, from everything that the catalogue keeps.

    Events, what was set aside, cases of the queue that name the visitor with the messages of webhooks that were not delivered, and
    kept responses; the files are compacted, so that nothing of it is left in them. That it was done is kept, without the visitor. Backups keep what they hold.

    Parameters
    ----------
    visitor : VISITOR
        The `subject` of their events, as it was sent.
    older_than : DAYS
        Remove the events of everybody that happened more than so many days ago.

    Returns
    -------
    how many `events`, `aside`, `cases`, `messages` and `responses` were removed.

    See Also
    --------
    catalog-metrics.md#forgetting

    Examples
    --------
    synesthete catalog forget my.catalog visitor-17
    synesthete catalog forget my.catalog --older-than 3650
    """
    from synesthete.catalog.retention import forget_before, forget_visitor

    log = EventLog(catalog, url=events_url)
    if (visitor is None) == (older_than is None):
        raise SynestheteError("who is to be forgotten?", hint="give a VISITOR or --older-than DAYS")
    if visitor is not None:
        removed = forget_visitor(catalog, log, visitor)
    else:
        assert older_than is not None
        removed = forget_before(catalog, log, older_than)
    counts = (f"{count(number)} {name}" for name, number in vars(removed).items())
    return Output(removed, [f"removed: {', '.join(counts)}"])


@command(app)
def pilot(
    folder: Path,
    *,
    a: Annotated[str, typer.Option("--a")] = "text=text",
    b: Annotated[str, typer.Option("--b")] = "both=both",
    catalog: Path | None = None,
    out: Path | None = None,
    experiment: str = "pilot",
    trial: Trial,
    least_worth: float = 0.1,
    question: str = "",
    limit: Limit = 10,
    seed: int = 0,
) -> Output:
    """Compare two variants on a folder, and write a page that says which to take, how sure that is, and what is missing.

    Queries with known answers are sent to both variants; events of an experiment say what visitors did.

    Parameters
    ----------
    folder : FOLDER
        With queries.csv, events.csv, or both.
    a : NAME=USES
        The present variant: NAME=text, NAME=image or NAME=both, then filters: NAME=both,price<5.
    b : NAME=USES
        The new variant.
    catalog : X.catalog
        Where the queries search; needed for queries.
    out : FOLDER
        Where decision.html and decision.json go; without it FOLDER.
    experiment
        The experiment of the events.
    least_worth
        The smallest relative change that would matter.
    question
        The question, in words, for the page.
    seed
        Of the simulation of how much more data is needed.

    Returns
    -------
    the decision; the two files are written as well.

    See Also
    --------
    catalog-metrics.md

    Examples
    --------
    synesthete catalog pilot my-pilot --catalog my.catalog --a all=text --b "cheap=text,price<20"
    """
    from synesthete.catalog.experiments import decision_page, run_pilot, summary_line, variant_of

    found = run_pilot(
        folder,
        variant_of(a),
        variant_of(b),
        catalog=None if catalog is None else Catalog.open(catalog),
        experiment=experiment,
        least_worth=least_worth,
        k=limit,
        question=question,
        seed=seed,
        **trial.arguments(),
    )
    where = out or folder
    text = json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False)
    page = decision_page(found).encode()
    write_together(where, {"decision.json": text.encode(), "decision.html": page})

    def view() -> Iterator[RenderableType]:
        yield Text(summary_line(found), style="bold")
        yield from (*found.because, *found.cautions)
        for need in found.needs:
            pairs = "more than " + count(need.most) if need.pairs is None else count(need.pairs)
            yield f"a true difference of {need.effect:+.4f} takes {pairs} pairs"
        yield Note(f"written: {where / 'decision.html'}, {where / 'decision.json'}")

    return Output(found, view)


def _import(log: EventLog, file: Path) -> dict[str, int]:
    from synesthete.catalog.tables import rows_and_errors

    taken = dict.fromkeys(("added", "replayed", "unknown", "skewed", "refused"), 0)
    every = (row for _, row in rows_and_errors(file))
    while rows := list(islice(every, AT_ONCE)):
        done = log.take(rows, history=True)
        for name, number in (vars(done) | {"refused": len(done.refused)}).items():
            taken[name] += number
        refused = (f"{one.key or 'an event without a key'}: {one.reason}" for one in done.refused)
        for note in set_aside(refused, len(done.refused), shown=5):
            say(note)
    return taken


def _drift(catalog: Catalog, log: EventLog, day: str) -> Output:
    from synesthete.catalog.metrics import drift_since

    try:
        found = drift_since(catalog, log, date.fromisoformat(day))
    except ValueError:
        raise SynestheteError(f"{day!r} is not a valid day", hint="write 2026-01-31") from None
    alerts = [one for one in found if one.level != "stable"]
    data = {"units": len(found), "alerts": alerts, "most": found[:10]}
    rows = []
    for one in found[:10]:
        interval = f"{share(one.low)} to {share(one.high)}"
        numbers = share(one.psi), interval, share(one.chance), f"{one.q:.2g}"
        rows.append((one.name, *numbers, one.level))
    columns = ("unit", "stability index", "95 % interval", "by chance", "q", "level")
    line = (
        f"{count(len(alerts))} of {count(len(found))} units drift; {count(found[0].n_before)} impressions before, "
        f"{count(found[0].n_now)} from then on"
    )
    return Output(data, [table(*columns, right=("stability index",), rows=rows), Note(line)])


def _summary_view(summary: Any) -> Iterator[RenderableType]:
    total = summary.total
    yield f"{count(total.impressions)} impressions by {count(total.visitors)} visitors"
    kinds = ("click", "add", "conversion", "dismissal")
    rows = [_estimate(kind, getattr(total, kind)) for kind in kinds]
    rows.append(_estimate("visitors who bought", total.buyers))
    columns = ("of impressions", "share", "95 % interval", "n")
    yield table(*columns, right=("share", "n"), rows=rows)
    for what, number in summary.left_out.items():
        yield Note(f"{count(number)} not counted: {what}")


def _experiment_view(found: Any) -> Iterator[RenderableType]:
    lift = found.lift
    yield Text(f"{found.name}, {found.metric}: {lift.verdict}", style="bold")
    rows = (_estimate("A", lift.a), _estimate("B", lift.b))
    yield table("", "share", "95 % interval", "n", right=("share", "n"), rows=rows)
    for name, one in (("B - A", lift.difference), ("B / A - 1", lift.relative)):
        yield f"{name}: {one.value:+.4f}, always between {one.low:+.4f} and {one.high:+.4f}"
    pairs = lift.decided_after or lift.difference.pairs
    state = f"{count(pairs)} pairs so far"
    if lift.decided_after:
        state = f"decided after {count(pairs)} pairs"
    yield f"{state}; p at any time {lift.p_value:.3g}, evidence {lift.e_value:.3g} to 1"
    for what, number in found.left_out.items():
        yield Note(f"{count(number)} {what} do not count")
    if found.split_is_off:
        evidence = f"evidence {found.split:,.0f} to 1"
        yield Note(f"sample ratio mismatch ({evidence}): the split invalidates the experiment")


def _estimate(name: str, one: Any) -> tuple[str, str, str, str]:
    if not one.n:
        return name, "–", "–", count(one.n)
    return name, percent(one.value), f"{percent(one.low)} to {percent(one.high)}", count(one.n)
