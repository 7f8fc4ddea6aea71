"""Numbers of a catalogue: `synesthete catalog events` takes what visitors did, `metrics` says what came of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from synesthete.cli.catalog_options import CatalogPath
from synesthete.cli.console import JsonFlag, count, out, percent, print_json, say, share, table
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog import Catalog
    from synesthete.catalog.events import EventLog
    from synesthete.catalog.metrics import Estimate, Experiment

AT_ONCE = 5000  # events that are committed together

Alpha = Annotated[
    float,
    typer.Option(min=0.0001, max=0.5, help="Chance of a false verdict, however often one looks."),
]
Hours = Annotated[
    float,
    typer.Option(
        min=0, help="How long a visitor has; who came later than that ago does not count yet."
    ),
]


def events(
    catalog: CatalogPath,
    take: Annotated[
        Path | None,
        typer.Option(
            "--import", metavar="FILE", help="A .csv or .jsonl of events; those known already count once.",
            show_default=False,
        ),
    ] = None,
    aside: Annotated[bool, typer.Option("--aside", help="Show what was set aside, and why.")] = False,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Take what visitors did (impressions, clicks, adds, conversions, dismissals), and tell how much there is."""
    from synesthete.catalog import Catalog
    from synesthete.catalog.events import EventLog
    from synesthete.catalog.tables import rows_and_errors

    opened = Catalog.open(catalog)
    log = EventLog(catalog, known=opened.__contains__)
    taken = {"added": 0, "replayed": 0, "unknown": 0, "skewed": 0, "refused": 0}
    if take is not None:
        waiting: list[dict[str, object] | SynestheteError] = []
        for _, row in rows_and_errors(take):
            waiting.append(row)
            if len(waiting) >= AT_ONCE:
                _take(log, waiting, taken)
        _take(log, waiting, taken)
    counts, refused = log.counts(), log.aside() if aside else []
    if as_json:
        told = {"counts": counts, "experiments": log.experiments()}
        print_json(
            {**told, **({"taken": taken} if take else {}), **({"aside": refused} if aside else {})}
        )
        return
    if take is not None:
        out().print(", ".join(f"{count(number)} {name}" for name, number in taken.items()))
    rows = table("events", "count", right=("count",))
    for name, number in counts.items():
        rows.add_row(name, count(number))
    out().print(rows)
    for one in refused:
        say(f"{one['received'][:19]} {one['reason']}: {one['told'][:120]}")


def metrics(
    catalog: CatalogPath,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare the two variants of this one.", show_default=False),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What counts: click, add, conversion, dismissal, value; or interleaved.")
    ] = "conversion",
    alpha: Alpha = 0.05,
    window: Hours = 24.0,
    share_of_b: Annotated[float, typer.Option(min=0.001, max=0.999, help="Share of the visitors meant for B.")] = 0.5,
    cap: Annotated[
        float | None, typer.Option(help="For value: the most of a visitor that counts.", show_default=False)
    ] = None,
    drift: Annotated[
        str | None,
        typer.Option(
            metavar="DATE", show_default=False,
            help="Compare what units see in the items shown before this day (2026-01-31) and from it on.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Tell how visitors answered, each number with its n and interval; whether B is better than A; what drifts.

    The bounds of an experiment hold however often one looks, so look as often as you like.
    """
    from synesthete.catalog import Catalog
    from synesthete.catalog.events import EventLog
    from synesthete.catalog.metrics import compare, duel, summarize

    opened = Catalog.open(catalog)
    log = EventLog(catalog)
    if drift is not None:
        _drift(opened, log, drift, as_json)
        return
    if experiment is None:
        found = summarize(log.read())
        if as_json:
            print_json(found.as_dict())
            return
        total = found.total
        out().print(f"{count(total.impressions)} impressions by {count(total.visitors)} visitors")
        rows = table("of impressions", "share", "95 % interval", "n", right=("share", "n"))
        for name in ("click", "add", "conversion", "dismissal"):
            _estimate(rows, name, getattr(total, name))
        _estimate(rows, "visitors who bought", total.buyers)
        out().print(rows)
        for what, number in found.left_out.items():
            say(f"{count(number)} not counted: {what}")
        return
    if experiment not in log.experiments():
        names = log.experiments()
        raise SynestheteError(
            f"there is no experiment {experiment!r}", hint=", ".join(names) or "no event names one"
        )
    if metric == "interleaved":
        fought = duel(log.read(experiment=experiment), experiment, alpha=alpha)
        if as_json:
            print_json(asdict(fought))
            return
        preference = fought.lift.difference
        out().print(
            f"{fought.lift.verdict}: preference for B {preference.value:+.3f} ({preference.low:+.3f} to {preference.high:+.3f}), "
            f"{count(fought.lists)} lists with a winner, {count(fought.ties)} without", soft_wrap=True,
        )  # fmt: skip
        return
    compared = compare(
        log.read(experiment=experiment), experiment, metric, alpha=alpha, share_of_b=share_of_b,  # type: ignore[arg-type]
        window=timedelta(hours=window), cap=cap,
    )  # fmt: skip
    if as_json:
        print_json(asdict(compared))
        return
    _show(compared)


def _take(
    log: EventLog, waiting: list[dict[str, object] | SynestheteError], taken: dict[str, int]
) -> None:
    done = log.take(waiting, history=True)
    for name in ("added", "replayed", "unknown", "skewed"):
        taken[name] += getattr(done, name)
    taken["refused"] += len(done.refused)
    for one in done.refused[:5]:
        say(f"set aside: {one.key or 'an event without a key'}: {one.reason}")
    waiting.clear()


def _drift(opened: Catalog, log: EventLog, day: str, as_json: bool) -> None:
    """What units see in the items shown before a day, against those shown from it on."""
    from datetime import UTC, date, datetime

    import numpy as np

    from synesthete.catalog.metrics.drift import drift

    try:
        moment = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    except ValueError:
        raise SynestheteError(f"{day!r} is no day", hint="write 2026-01-31") from None
    shown: tuple[list[str], list[str]] = ([], [])
    for one in log.read():
        if one.event.kind == "impression" and one.event.item in opened:
            shown[one.time >= moment].append(one.event.item)
    values = []
    for items in shown:
        distinct = sorted(set(items))
        units = dict(zip(distinct, opened.units(distinct), strict=True)) if distinct else {}
        seen = [units[item] for item in items if not np.isnan(units[item]).any()]
        values.append(np.array(seen))
    if not all(len(part) for part in values):
        raise SynestheteError(f"there are no impressions of pictures before or from {day} on")
    layer = opened.manifest["model"]["layer"]
    found = drift(values[0], values[1], [f"{layer}:{unit}" for unit in range(values[0].shape[1])])
    alarmed = [one for one in found if one.level != "stable"]
    if as_json:
        print_json(
            {
                "units": len(found),
                "alerts": [asdict(one) for one in alarmed],
                "most": [asdict(one) for one in found[:10]],
            }
        )
        return
    rows = table(
        "unit",
        "stability index",
        "95 % interval",
        "by chance",
        "q",
        "level",
        right=("stability index",),
    )
    for moved in found[:10]:
        rows.add_row(
            moved.name,
            share(moved.psi),
            f"{share(moved.low)} to {share(moved.high)}",
            share(moved.chance),
            f"{moved.q:.2g}",
            moved.level,
        )
    out().print(rows)
    say(
        f"{count(len(alarmed))} of {count(len(found))} units drift; {count(len(values[0]))} impressions before, "
        f"{count(len(values[1]))} from then on"
    )


def _show(found: Experiment) -> None:
    lift = found.lift
    out().print(Text(f"{found.name}, {found.metric}: {lift.verdict}", style="bold"))
    rows = table("", "share", "95 % interval", "n", right=("share", "n"))
    _estimate(rows, "A", lift.a)
    _estimate(rows, "B", lift.b)
    out().print(rows)
    for name, one in (("B - A", lift.difference), ("B / A - 1", lift.relative)):
        out().print(
            f"{name}: {one.value:+.4f}, always between {one.low:+.4f} and {one.high:+.4f}",
            soft_wrap=True,
        )
    told = (
        f"decided after {count(lift.decided_after)} pairs"
        if lift.decided_after
        else f"{count(lift.difference.pairs)} pairs so far"
    )
    out().print(
        f"{told}; p at any time {lift.p_value:.3g}, evidence {lift.e_value:.3g} to 1",
        soft_wrap=True,
    )
    for what, number in found.left_out.items():
        say(f"{count(number)} {what} do not count")
    if found.split_is_off:
        say(
            f"do not trust this: visitors were not split as meant (evidence {found.split:,.0f} to 1)"
        )


def _estimate(rows: Table, name: str, one: Estimate) -> None:
    told = (
        ("–", "–")
        if not one.n
        else (percent(one.value), f"{percent(one.low)} to {percent(one.high)}")
    )
    rows.add_row(name, *told, count(one.n))


def add_to(group: typer.Typer) -> None:
    """Put these commands into the group `catalog`."""
    group.command()(events)
    group.command()(metrics)
