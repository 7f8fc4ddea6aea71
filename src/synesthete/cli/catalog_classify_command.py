"""`synesthete catalog classify`: records of picture and text told apart, and what is not sure left to people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from synesthete._core.user_files import read_inside
from synesthete.cli.catalog_options import need_folder
from synesthete.cli.console import (
    JsonFlag,
    count,
    out,
    print_json,
    say,
    share,
    table,
)
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.atlas import Atlas


def classify(
    records: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDS", help="A .csv, .jsonl or .parquet with columns image, text, label, group.", show_default=False
        ),
    ],
    classifier: Annotated[
        Path,
        typer.Option("--with", "--out", metavar="X.classifier", help="The classifier's folder.", show_default=False),
    ],
    fit: Annotated[bool, typer.Option("--fit", help="Make the classifier from these records.")] = False,
    model: Annotated[str, typer.Option(metavar="M", help="With --fit: whose embeddings.")] = "mini",
    template: Annotated[
        str, typer.Option(help="With --fit: general, or health (says that it is no medical device).")
    ] = "general",
    calibration: Annotated[str, typer.Option(help="With --fit: temperature or isotonic.")] = "temperature",
    coverage: Annotated[float, typer.Option(help="With --fit: share of the sets that hold the right label.")] = 0.9,
    risk: Annotated[float, typer.Option(help="With --fit: share of wrong decisions that is accepted.")] = 0.05,
    queue: Annotated[
        Path | None,
        typer.Option(
            metavar="CATALOG", show_default=False,
            help="Where the cases go that it does not decide; with --fit, whose corrections are learnt.",
        ),
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(metavar="ATLAS", help="Of the same model: names of units in the reasons.", show_default=False),
    ] = None,
    reasons: Annotated[bool, typer.Option(help="Say why.")] = True,
    seed: Annotated[int, typer.Option(help="With --fit: of the splits.")] = 0,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Tell records of picture and text apart, with calibrated confidence, sets that keep a promise, and abstention.

    Texts, ids and file names of records are neither kept nor printed: a record is its row, and a hash of its content.
    """
    from synesthete.catalog.classify import Classifier, read_records
    from synesthete.catalog.classify import fit as make
    from synesthete.catalog.people import Queue, policy_of

    if queue is not None:
        need_folder(queue)
    waiting = Queue(queue) if queue is not None else None
    if fit:
        if calibration not in ("temperature", "isotonic"):
            raise SynestheteError(
                f"no such calibration: {calibration!r}", hint="temperature or isotonic"
            )
        found = read_records(records, template=template)  # type: ignore[arg-type]
        made = make(
            found, classifier, model, template=template, calibration=calibration, coverage=coverage,  # type: ignore[arg-type]
            risk=risk, corrections=waiting.labels("classify") if waiting else (), seed=seed,
        )  # fmt: skip
        for row, why in list(found.aside.items())[:10]:
            say(f"row {row} set aside: {why}")
        if len(found.aside) > 10:
            say(f"… and {len(found.aside) - 10} more rows")
        if as_json:
            print_json({key: value for key, value in made.facts.items() if key != "vocabulary"})
            return
        card = read_inside(classifier, classifier / "MODEL_CARD.md")
        out().print(Text(card.decode("utf-8", "replace")))
        return
    opened = Classifier(classifier)
    found = read_records(records, template=opened.facts["template"])
    policy = policy_of(waiting.trail, "classify") if waiting else None
    judged = opened.judge(
        found.records, queue=waiting, reasons=reasons, atlas=_atlas(atlas),
        policy=policy if policy and policy.set_by != "machine" else None,
    )  # fmt: skip
    if as_json:
        print_json(
            {
                "notice": opened.notice,
                "records": [one.as_dict() for one in judged],
                "aside": found.aside,
            }
        )
        return
    if opened.notice:
        say(opened.notice)
    rows = table(
        "row", "label", "confidence", "among", "decided", "reasons", right=("row", "confidence")
    )
    for one in judged:
        rows.add_row(
            count(one.row), Text(one.label), share(one.confidence), Text(", ".join(one.labels) or "none"),
            Text("yes" if one.decided else f"no: {one.why}"), Text(", ".join(why.text for why in one.reasons[:4])),
        )  # fmt: skip
    out().print(rows)
    for row, why in found.aside.items():
        say(f"row {row} set aside: {why}")


def _atlas(path: Path | None) -> Atlas | None:
    from synesthete.atlas import open_atlas

    return None if path is None else open_atlas(path)


def add_to(group: typer.Typer) -> None:
    """Put this command into the group `catalog`."""
    group.command()(classify)
