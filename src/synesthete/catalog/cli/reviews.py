"""`synesthete catalog queue`, `classify`, `keys`: what is left to people, and who may call the API."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from synesthete._core.environment import RATER
from synesthete._core.user_files import read_inside
from synesthete.catalog.cli.options import FolderArgument, folder, set_aside
from synesthete.cli.command import Output, Positive, Share, command
from synesthete.cli.console import Note, count, percent, say, share, table
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Queue, Verdict, policy_of, set_policy, trail_row

if TYPE_CHECKING:
    from synesthete.catalog.classify import Records

app = typer.Typer()


@command(app)
def queue(
    catalog: FolderArgument,
    ticket: Annotated[str | None, typer.Argument(metavar="[TICKET]", help="One case.")] = None,
    accept: bool = False,
    override: str | None = None,
    dismiss: bool = False,
    note: str = "",
    actor: Annotated[str | None, typer.Option(envvar=RATER)] = None,
    threshold: str | None = None,
    audit: Share = 0.0,
    trail: bool = False,
    labels: bool = False,
    limit: Positive = 20,
) -> Output:
    """Show abstentions awaiting human review, with their reasons; decide them; set thresholds.

    Nothing is overwritten: the last verdict of each person counts, the majority decides, and the trail keeps all.

    Parameters
    ----------
    accept
        Accept the machine's proposal.
    override : LABEL
        The right label.
    dismiss
        Nobody can tell.
    note : TEXT
        A remark.
    actor : WHO
        Who decides; without it $SYNESTHETE_RATER, or your user name.
    threshold : KIND=T
        Answer without people from this confidence on: suggest=0.7; also for classify.
    audit
        With --threshold: share of the answers that people see as well.
    trail
        Show every act, and verify the hash chain.
    labels
        Show the labels of settled cases, to learn from.
    limit : N
        At most this many.

    Returns
    -------
    the cases, the case, the labels, the trail or the policy.

    See Also
    --------
    catalog-metrics.md

    Examples
    --------
    synesthete catalog queue my.catalog
    synesthete catalog queue my.catalog d7472416e199559d --override cup --actor ann
    synesthete catalog queue my.catalog --threshold suggest=0.7 --audit 0.05
    synesthete catalog queue my.catalog --trail
    """
    reviews = Queue(catalog)
    who = actor or getpass.getuser()
    given = {"accept": accept, "override": override is not None, "dismiss": dismiss}
    verdicts: list[Verdict] = [verdict for verdict in given if given[verdict]]  # type: ignore[misc]
    if threshold is not None:
        return _set_threshold(reviews, threshold, audit, who)
    if trail:
        return _trail(reviews, ticket, limit)
    if labels:
        return _labels(reviews)
    if verdicts:
        if ticket is None or len(verdicts) > 1:
            message = "a decision needs one TICKET and one of --accept, --override and --dismiss"
            raise SynestheteError(message)
        case = reviews.decide(ticket, verdicts[0], actor=who, label=override or "", note=note)
        return Output(case.as_dict(), [f"{ticket}: {case.label() or 'no label yet'}"])
    if ticket is not None:
        case = reviews.case(ticket)
        return Output(case.as_dict(), [json.dumps(case.as_dict(), indent=2, ensure_ascii=False)])
    cases = reviews.cases()
    waiting = [case for case in cases if case.open]
    rows = (
        (case.ticket, case.kind, share(case.confidence), case.proposal or None, case.reason)
        for case in waiting[:limit]
    )
    columns = ("case", "kind", "confidence", "proposal", "reason")
    view = (
        table(*columns, right=("confidence",), rows=rows) if waiting else "nothing waits",
        Note(f"{count(len(waiting))} wait, {count(len(cases) - len(waiting))} are settled"),
    )
    shown = [case.as_dict() for case in cases[:limit]]
    return Output({"waiting": len(waiting), "cases": shown}, view)


@command(app)
def classify(
    records: Path,
    classifier: Annotated[Path, typer.Option("--with", "--out", metavar="X.classifier")],
    fit: bool = False,
    model: str = "mini",
    template: str = "general",
    calibration: str = "temperature",
    coverage: float = 0.9,
    per_label: bool = False,
    risk: float = 0.05,
    queue: Annotated[Path | None, typer.Option(parser=folder)] = None,
    atlas: Path | None = None,
    reasons: bool = True,
    seed: int = 0,
) -> Output:
    """Classify records of image and text, with calibrated confidence, conformal sets, and abstention.

    With --fit the records train the classifier, and its model card is printed. Texts, ids and file names of records are
    neither kept nor printed: a record is its row, and a hash of its content.

    Parameters
    ----------
    records : RECORDS
        A .csv, .jsonl or .parquet with columns image, text, label, group.
    classifier : X.classifier
        The classifier's folder.
    fit
        Train the classifier on these records.
    model : M
        With --fit: whose embeddings.
    template : T
        With --fit: general, or health (says that it is no medical device).
    calibration : C
        With --fit: temperature or isotonic.
    coverage : S
        With --fit: share of the conformal sets that hold the right label.
    per_label
        With --fit: promise the coverage for each label alone, not for all together.
    risk : S
        With --fit: accepted share of wrong decisions.
    queue : CATALOG
        Where the cases go that it abstains from; with --fit, whose corrections it learns.
    atlas : ATLAS
        Of the same model: names of units in the reasons.
    reasons
        Give reasons.
    seed : N
        With --fit: of the splits.

    Returns
    -------
    the results, or with --fit the classifier's facts.

    See Also
    --------
    catalog-metrics.md

    Examples
    --------
    synesthete catalog classify records.csv --fit --out my.classifier
    synesthete catalog classify records.csv --with my.classifier --queue my.catalog
    """
    from synesthete.atlas import open_atlas
    from synesthete.catalog.classify import Classifier, read_records
    from synesthete.catalog.classify import fit as train
    from synesthete.catalog.classify.train import before_fitting, usable_records

    waiting = None if queue is None else Queue(queue)
    if fit:
        labelled = read_records(records, template=template)  # type: ignore[arg-type]
        corrections = waiting.labels("classify") if waiting else []
        for note in before_fitting(len(usable_records(labelled, corrections)[0]), risk):
            say(note)
        trained = train(
            labelled,
            classifier,
            model,
            template=template,  # type: ignore[arg-type]
            calibration=calibration,  # type: ignore[arg-type]
            coverage=coverage,
            per_label=per_label,
            risk=risk,
            corrections=corrections,
            seed=seed,
        )
        card = read_inside(classifier, classifier / "MODEL_CARD.md").decode("utf-8", "replace")
        facts = {key: value for key, value in trained.facts.items() if key != "vocabulary"}
        for note in _aside(labelled, 10):
            say(note)
        return Output(facts, [card])
    opened = Classifier(classifier)
    found = read_records(records, template=opened.facts["template"])
    policy = policy_of(waiting.trail, "classify") if waiting else None
    results = opened.judge(
        found.records,
        queue=waiting,
        reasons=reasons,
        atlas=None if atlas is None else open_atlas(atlas),
        policy=policy if policy and policy.set_by != "machine" else None,
    )
    judged = [one.as_dict() for one in results]
    data = {"notice": opened.notice, "records": judged, "aside": found.aside}
    rows = []
    for one in results:
        among, decided = ", ".join(one.labels) or "none", "yes" if one.decided else f"no: {one.why}"
        why = ", ".join(reason.text for reason in one.reasons[:4])
        rows.append((count(one.row), one.label, share(one.confidence), among, decided, why))
    columns = ("row", "label", "confidence", "among", "decided", "reasons")
    view: list[RenderableType] = [
        *([Note(opened.notice)] if opened.notice else []),
        table(*columns, right=("row", "confidence"), rows=rows),
        *_aside(found, len(found.aside)),
    ]
    return Output(data, view)


@command(app)
def keys(
    catalog: FolderArgument,
    new: str | None = None,
    scope: list[str] | None = None,
    per_minute: int = 600,
    revoke: str | None = None,
) -> Output:
    """Show, create and revoke keys of the REST API. A key's secret is printed once; only its hash is kept.

    Parameters
    ----------
    new : NAME
        Create a key for this program or person.
    scope : S
        With --new: read, write, events, metrics or review (repeat for more); without it read.
    per_minute : N
        With --new: requests a minute.
    revoke : ID
        Revoke a key, for ever.

    Returns
    -------
    the keys; with --new the key and its `secret`.

    See Also
    --------
    catalog-api.md

    Examples
    --------
    synesthete catalog keys my.catalog --new "web site" --scope read --scope events
    synesthete catalog keys my.catalog
    """
    from synesthete.catalog.keys import Keys

    kept = Keys(catalog)
    if new is not None:
        key, secret = kept.make(new, scope or ["read"], per_minute=per_minute)
        line = f"That is the key of {key.name}; it is not printed again. It may {', '.join(key.scopes)}."
        return Output({**asdict(key), "secret": secret}, [secret, Note(line)])
    if revoke is not None:
        kept.revoke(revoke)
    every = kept.every()
    rows = []
    for key in every:
        may = ", ".join(key.scopes), count(key.per_minute)
        rows.append((key.id, key.name, *may, key.created[:10], key.revoked[:10] or None))
    columns = ("id", "name", "may", "a minute", "created", "revoked")
    view = table(*columns, right=("a minute",), rows=rows) if every else "no key yet"
    return Output(every, [view])


def _set_threshold(reviews: Queue, text: str, audit: float, actor: str) -> Output:
    kind, equals, value = text.partition("=")
    if kind not in ("suggest", "classify") or not equals:
        hint = "write suggest=0.7 or classify=…"
        raise SynestheteError(f"{text!r} sets no threshold", hint=hint)
    try:
        number = float(value)
    except ValueError:
        raise SynestheteError(f"{value!r} is not a valid number", hint="0 to 1") from None
    policy = set_policy(reviews.trail, kind, threshold=number, audit=audit, actor=actor)
    line = f"{kind}: answers from {policy.threshold:g} on, {percent(policy.audit)} audited"
    return Output(policy, [line])


def _trail(reviews: Queue, ticket: str | None, limit: int) -> Output:
    checked = reviews.trail.verify()
    entries = [one for one in reviews.trail.entries() if ticket in (None, one[2].address)][-limit:]
    rows = ((count(n), act.at[:19], act.rater, act.kind, act.address) for n, _, act in entries)
    view = (
        table("#", "when", "who", "did", "case", right=("#",), rows=rows),
        Note(f"{count(checked)} acts, and their hash chain is intact"),
    )
    return Output({"checked": checked, "acts": [trail_row(*one) for one in entries]}, view)


def _labels(reviews: Queue) -> Output:
    labels = reviews.labels()
    rows = ((one.kind, one.reference, one.label, ", ".join(one.by)) for one in labels)
    view = table("kind", "of", "label", "by", rows=rows) if labels else "no case is settled yet"
    return Output(labels, [view])


def _aside(records: Records, shown: int) -> Iterator[Note]:
    rows = (f"row {row}: {why}" for row, why in records.aside.items())
    return set_aside(rows, len(records.aside), shown=shown, more=" rows")
