"""The people's side of `synesthete catalog`: queue, pilot and keys."""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from synesthete.atlas.files import write_together
from synesthete.cli.catalog_metric_commands import Alpha, Hours
from synesthete.cli.catalog_options import CatalogPath, need_folder
from synesthete.cli.console import (
    JsonFlag,
    count,
    out,
    percent,
    plain,
    print_json,
    say,
    share,
    table,
)
from synesthete.errors import SynestheteError

Actor = Annotated[
    str | None,
    typer.Option(
        metavar="WHO",
        help="Who decides; without it $SYNESTHETE_RATER, or your user name.",
        show_default=False,
    ),
]


def show_queue(
    catalog: CatalogPath,
    ticket: Annotated[str | None, typer.Argument(metavar="TICKET", help="One case.", show_default=False)] = None,
    accept: Annotated[bool, typer.Option("--accept", help="The machine is right.")] = False,
    override: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The right label.", show_default=False)
    ] = None,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Nobody can tell.")] = False,
    note: Annotated[str, typer.Option(help="What else there is to say.")] = "",
    actor: Actor = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="KIND=T", help="Answer without people from this confidence on: suggest=0.7.", show_default=False
        ),
    ] = None,
    audit: Annotated[
        float, typer.Option(min=0, max=1, help="With --threshold: share of answers that people see all the same.")
    ] = 0.0,
    trail: Annotated[bool, typer.Option("--trail", help="Show everything that was done, and check its chain.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Show what people settled, as labels to learn from.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Show the cases that the machine would not decide, with its reasons; decide them; set its thresholds.

    Nothing is overwritten: the last word of each person counts, the majority stands, and the trail keeps all.
    """
    from synesthete.catalog.people import Queue, set_policy

    need_folder(catalog)
    queue = Queue(catalog)
    if threshold is not None:
        kind, equals, value = threshold.partition("=")
        if kind not in ("suggest", "classify", "align") or not equals:
            raise SynestheteError(
                f"{threshold!r} sets no threshold", hint="write suggest=0.7, classify=… or align=…"
            )
        try:
            number = float(value)
        except ValueError:
            raise SynestheteError(f"{value!r} is no number", hint="0 to 1") from None
        held = set_policy(queue.trail, kind, threshold=number, audit=audit, actor=_actor(actor))
        print_json(asdict(held)) if as_json else out().print(
            f"{kind}: answers from {held.threshold:g} on, {percent(held.audit)} audited"
        )
        return
    if trail:
        checked = queue.trail.verify()
        acts = queue.trail.read(ticket)[-limit:]
        if as_json:
            print_json({"checked": checked, "acts": [act.as_dict() for act in acts]})
            return
        rows = table("#", "when", "who", "did", "case", right=("#",))
        for act in acts:
            rows.add_row(count(act.place), act.at[:19], Text(act.actor), act.did, act.ticket)
        out().print(rows)
        say(f"{count(checked)} acts, and their chain holds")
        return
    if labels:
        found = queue.labels()
        if as_json:
            print_json([asdict(one) for one in found])
            return
        rows = table("kind", "of", "label", "by")
        for label in found:
            rows.add_row(
                label.kind, Text(label.reference), Text(label.label), Text(", ".join(label.by))
            )
        out().print(rows if found else "people settled nothing yet")
        return
    verdicts = [
        name
        for name, given in (
            ("accept", accept),
            ("override", override is not None),
            ("dismiss", dismiss),
        )
        if given
    ]
    if verdicts:
        if ticket is None or len(verdicts) > 1:
            raise SynestheteError(
                "a decision needs one TICKET and one of --accept, --override and --dismiss"
            )
        queue.decide(ticket, verdicts[0], actor=_actor(actor), label=override or "", note=note)  # type: ignore[arg-type]
    if ticket is not None:
        case = queue.case(ticket)
        if as_json or verdicts:
            print_json(case.as_dict()) if as_json else out().print(
                f"{ticket}: {case.label() or 'no label yet'}"
            )
            return
        print_json(case.as_dict())
        return
    cases = queue.cases()
    waiting = [case for case in cases if case.open]
    if as_json:
        print_json({"waiting": len(waiting), "cases": [case.as_dict() for case in cases[:limit]]})
        return
    rows = table(
        "case", "kind", "confidence", "the machine says", "why it asks", right=("confidence",)
    )
    for case in waiting[:limit]:
        rows.add_row(
            case.ticket,
            case.kind,
            share(case.confidence),
            Text(case.proposal or "–"),
            Text(case.reason),
        )
    out().print(rows if waiting else "nothing waits")
    say(f"{count(len(waiting))} wait, {count(len(cases) - len(waiting))} are settled")


def pilot(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="With queries.csv, events.csv, or both.", show_default=False)
    ],
    a: Annotated[str, typer.Option("--a", metavar="NAME=USES", help="How it is: NAME=text, image or both.")] = "text=text",
    b: Annotated[str, typer.Option("--b", metavar="NAME=USES", help="What is tried.")] = "both=both",
    catalog: Annotated[
        Path | None, typer.Option(metavar="X.catalog", help="Which queries search.", show_default=False)
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where decision.html and decision.json go; without it FOLDER.", show_default=False)
    ] = None,
    experiment: Annotated[str, typer.Option(help="Which experiment of the events.")] = "pilot",
    metric: Annotated[str, typer.Option(help="What counts: click, add, conversion, dismissal, value.")] = "conversion",
    least_worth: Annotated[float, typer.Option(help="The smallest relative change that would matter.")] = 0.1,
    question: Annotated[str, typer.Option(help="What is asked, in words, for the page.")] = "",
    alpha: Alpha = 0.05,
    window: Hours = 24.0,
    cap: Annotated[float | None, typer.Option(help="For value: the most of a visitor that counts.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, help="Places of a ranking that count.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the simulation of what more data would settle.")] = 0,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Try two variants on a folder, and write a page that says what to do, how sure that is, and what is missing.

    Queries with known answers are asked of both variants; events of an experiment say what visitors did.
    """
    from synesthete.catalog import Catalog
    from synesthete.catalog.experiments import decision_page, run_pilot, summary_line, variant_of

    opened = Catalog.open(catalog) if catalog is not None else None
    found = run_pilot(
        folder, variant_of(a), variant_of(b), catalog=opened, experiment=experiment, metric=metric,  # type: ignore[arg-type]
        least_worth=least_worth, alpha=alpha, k=limit, window=timedelta(hours=window), cap=cap, question=question,
        seed=seed,
    )  # fmt: skip
    where = to or folder
    told = json.dumps(plain(found.as_dict()), indent=1, ensure_ascii=False, allow_nan=False)
    page = decision_page(found).encode()
    write_together(where, {"decision.json": told.encode(), "decision.html": page})
    if as_json:
        print_json(found.as_dict())
        return
    out().print(Text(summary_line(found), style="bold"))
    for sentence in (*found.because, *found.cautions):
        out().print(Text(sentence), soft_wrap=True)
    for need in found.needs:
        pairs = "more than " + count(need.most) if need.pairs is None else count(need.pairs)
        out().print(f"a true difference of {need.effect:+.4f} takes {pairs} pairs")
    say(f"written: {where / 'decision.html'}, {where / 'decision.json'}")


def keys(
    catalog: CatalogPath,
    new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make a key for this program or person.", show_default=False)
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="S", show_default=False,
            help="With --new: read, write, events, metrics or review (repeat for more); without it read.",
        ),
    ] = None,
    per_minute: Annotated[int, typer.Option(help="With --new: how many requests a minute.")] = 600,
    revoke: Annotated[
        str | None, typer.Option(metavar="ID", help="Stop a key from working, for ever.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Show, make and revoke keys of the REST API. A key's secret is told once; only its hash is kept."""
    from synesthete.catalog.keys import Keys

    need_folder(catalog)
    kept = Keys(catalog)
    if new is not None:
        key, secret = kept.make(new, scope or ["read"], per_minute=per_minute)
        if as_json:
            print_json({**asdict(key), "secret": secret})
            return
        out().print(secret, soft_wrap=True)
        say(f"That is the key of {key.name}; it is not told again. It may {', '.join(key.scopes)}.")
        return
    if revoke is not None:
        kept.revoke(revoke)
    every = kept.every()
    if as_json:
        print_json([asdict(key) for key in every])
        return
    rows = table("id", "name", "may", "a minute", "made", "revoked", right=("a minute",))
    for key in every:
        rows.add_row(
            key.id,
            Text(key.name),
            ", ".join(key.scopes),
            count(key.per_minute),
            key.made[:10],
            key.revoked[:10] or "–",
        )
    out().print(rows if every else "no key yet")


def _actor(given: str | None) -> str:
    return given or os.environ.get("SYNESTHETE_RATER") or getpass.getuser()


def add_to(group: typer.Typer) -> None:
    """Put these commands into the group `catalog`."""
    group.command("queue")(show_queue)
    group.command()(pilot)
    group.command()(keys)
