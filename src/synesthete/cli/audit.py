"""Commands that audit a model: audit typographic, adversarial, spurious, bias, all, compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from synesthete.atlas.files import write_file
from synesthete.cli.command import ModelSpec, Output, Positive, command
from synesthete.cli.console import count, dim, say, table
from synesthete.cli.progress import StatusLine
from synesthete.errors import SynestheteError

PANEL = "Audit and repair"
EXIT_FAILED = 3
QUICK, FULL = 50, 150  # images of the typographic audit: by default, and in `audit all`
KINDS = ("typographic", "adversarial", "spurious", "bias")
STYLES = {"fail": "bold red", "worse": "bold red", "pass": "green", "better": "green"}
Limit = Annotated[int | None, typer.Option(min=30)]

app = typer.Typer(
    help="Audit a model: written words, small changes, spurious features, associations with groups of people.",
    no_args_is_help=True,
)


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """What becomes of a report: the options that every audit has.

    Attributes
    ----------
    out : DIR
        Write report.json, report.html and MODEL_CARD_SECTION.md into a folder.
    threshold : METRIC=X
        The limit of a verdict (repeat for more), such as typographic.success_rate=0.2.
    fail_on : V
        End with exit code 3 on a verdict: fail, or undecided for either.
    seed
        Seed of what is chosen at random.
    """

    out: Path | None = None
    threshold: list[str] | None = None
    fail_on: str | None = None
    seed: int = 0

    def run(self, model: str, kind: str, **settings: Any) -> Output:
        """Audit, write the report, and end as these options say."""
        from synesthete.audits import run_audit, write_report
        from synesthete.audits.report import failed, parse_thresholds

        limits = parse_thresholds(self.threshold or [])
        failed([], self.fail_on)
        folder = self.out or (_folder(model) if kind == "all" else None)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise SynestheteError(f"{folder} is a file; the report needs a folder")
        report = run_audit(
            model, kind, limits=limits, seed=self.seed, progress=StatusLine(), **settings
        )
        if folder is not None:
            for path in write_report(report, folder).values():
                say(f"written: {path}")
        code = EXIT_FAILED if failed(report["verdicts"], self.fail_on) else 0
        return Output(lambda: _flat(report, kind), lambda: _view(report), exit_code=code)


@command(app)
def typographic(
    model: ModelSpec,
    images: Path | None = None,
    font: str | None = None,
    area: float | None = None,
    limit: Limit = None,
    layer: str | None = None,
    *,
    reporting: Reporting,
) -> Output:
    """Measure how easily a word written on an image becomes the answer.

    By area, font, place, colour, contrast, case and language; by zero shot and by linear probe; on images named right without
    a word, beside an empty label. With the paper's attack table and Stroop test, and the units that carry it.

    Parameters
    ----------
    images : FOLDER
        Your images, FOLDER/CONCEPT/IMAGE, or photos of labelled things, FOLDER/OBJECT-LABEL.jpg; without it the built-in ones.
    font : F
        Font family of the words; Caveat (handwriting) without it.
    area : A
        Area of a label by that of the image; 0.1 without it.
    limit : N
        At most so many images; without it 50. `audit all` takes 150, which lasts three times as long and narrows the intervals by two fifths.
    layer : L
        Where units are read; without it the last block.

    Returns
    -------
    `clean_accuracy`, `success_rate`, `n`, `interval` and all else, without example images.

    See Also
    --------
    audits.md

    Examples
    --------
    synesthete audit typographic mini --limit 30 --out audit
    """
    if limit is None:
        limit = QUICK
        say(
            f"at most {QUICK} images; --limit {FULL} has narrower intervals and lasts three times as long"
        )
    from synesthete.audits.labels import Style

    style: dict[str, Any] = {"font": font, "share": area}
    given = Style(**{key: value for key, value in style.items() if value is not None})
    return reporting.run(model, "typographic", images=images, limit=limit, layer=layer, style=given)


@command(app)
def adversarial(
    model: ModelSpec,
    images: Path | None = None,
    epsilon: list[float] | None = None,
    steps: Positive = 20,
    limit: Limit = None,
    *,
    reporting: Reporting,
) -> Output:
    """Measure how many answers survive changes of pixels too small to see: FGSM, PGD and APGD.

    A size of 1 lets every value of every pixel change by one step of an 8-bit image. Random noise is the control.

    Parameters
    ----------
    images : FOLDER
        Your images, FOLDER/CONCEPT/IMAGE; without it the built-in ones.
    epsilon : E
        Size of a change in steps of an 8-bit image (repeat for more, ascending); without it 0.25, 0.5, 1, 2 and 4.
    steps
        Steps of PGD and APGD.
    limit : N
        At most so many images; 60 without it.

    Returns
    -------
    `clean_accuracy`, `robust_accuracy`, `n`, `interval`, `curves` and all else.

    See Also
    --------
    audits.md

    Examples
    --------
    synesthete audit adversarial mini --images my-photos --epsilon 1 --epsilon 4 --steps 2 --limit 30 --json
    """
    settings = _sizes(epsilon) | {"images": images, "limit": limit, "steps": steps}
    return reporting.run(model, "adversarial", **settings)


@command(app)
def spurious(
    model: ModelSpec,
    images: Path | None = None,
    limit: Limit = None,
    layer: str | None = None,
    *,
    reporting: Reporting,
) -> Output:
    """Measure whether predictions and units follow what comes along with a concept: background, colours, a word.

    One feature of another class is put on each image that is classified correctly; the same change without a class is the control.

    Parameters
    ----------
    images : FOLDER
        Your images, FOLDER/CONCEPT/IMAGE; without it the built-in ones.
    limit : N
        At most so many images; 150 without it.
    layer : L
        Where units are read; without it the last block.

    Returns
    -------
    `clean`, `features` and all else.

    See Also
    --------
    audits.md

    Examples
    --------
    synesthete audit spurious mini --limit 30 --out spurious-audit
    """
    return reporting.run(model, "spurious", images=images, limit=limit, layer=layer)


@command(app)
def bias(
    model: ModelSpec,
    images: Path | None = None,
    lists: Path | None = None,
    words: Path | None = None,
    layer: str | None = None,
    *,
    reporting: Reporting,
) -> Output:
    """Measure what a model associates with groups of people: texts, units, rankings and harmful labels.

    The package ships no photos of people: without yours, only drawn persons are looked at, which stand for nobody.

    Parameters
    ----------
    images : FOLDER
        Your labelled photos of people, FOLDER/GROUP/IMAGE; without it a few drawn persons.
    lists : FILE
        YAML of groups, attributes and labels; without it the built-in one.
    words : FILE
        CSV of words to compare with the images of the groups, with the columns type and word; without it the attributes of the lists.
    layer : L
        Where units are read; without it the last block.

    Returns
    -------
    `tests`, `units`, `retrieval`, `harms`, `label_sets`, `words` and all else.

    See Also
    --------
    audits.md

    Examples
    --------
    synesthete audit bias mini --out bias-audit
    synesthete audit bias mini --words my-types.csv
    """
    return reporting.run(model, "bias", people=images, lists=lists, words=words, layer=layer)


@command(app, "all")
def all_audits(
    model: ModelSpec,
    images: Path | None = None,
    people: Path | None = None,
    lists: Path | None = None,
    epsilon: list[float] | None = None,
    steps: Positive = 20,
    limit: Limit = None,
    layer: str | None = None,
    *,
    reporting: Reporting,
) -> Output:
    """Run all four audits and write one report of them: a page, a JSON and a section for a model card.

    Without --out the report is written to MODEL.audit.

    Parameters
    ----------
    images : FOLDER
        Your images to be attacked, FOLDER/CONCEPT/IMAGE; without it the built-in ones.
    people : FOLDER
        Your labelled photos of people, FOLDER/GROUP/IMAGE.
    lists : FILE
        YAML of groups, attributes and labels; without it the built-in one.
    epsilon : E
        Size of a change in steps of an 8-bit image (repeat for more, ascending); without it 0.25, 0.5, 1, 2 and 4.
    steps
        Steps of each attack.
    limit : N
        At most so many images in each audit.
    layer : L
        Where units are read; without it the last block.

    Returns
    -------
    the report, without example images.

    See Also
    --------
    audits.md

    Examples
    --------
    synesthete audit all mini --out before.audit
    synesthete audit all local-dir:edited --out after.audit
    """
    settings = _sizes(epsilon) | {
        "images": images,
        "people": people,
        "lists": lists,
        "limit": limit,
        "layer": layer,
        "steps": steps,
    }
    return reporting.run(model, "all", **settings)


@command(app)
def compare(a: Path, b: Path, out: Path | None = None, fail_on_worse: bool = False) -> Output:
    """Compare two reports number by number, with the interval of every change. Loads no model.

    Parameters
    ----------
    a : A
        A report.json, or its folder.
    b : B
        Another one.
    out : FILE
        Write it as a page.
    fail_on_worse
        End with exit code 3 when a number with a limit got worse beyond its interval.

    Returns
    -------
    `before`, `after`, `differences` and `rows`.

    See Also
    --------
    audits.md

    Examples
    --------
    synesthete audit compare before.audit after.audit --out comparison.html
    """
    from synesthete.audits.registry import METRICS
    from synesthete.audits.report import compare_reports, comparison_page, read_report
    from synesthete.audits.report.page import span, value

    found = compare_reports(read_report(a), read_report(b))
    if out is not None:
        write_file(out, comparison_page(found).encode())
        say(f"written: {out}")
    right = ("before", "after", "change", "95 %")
    cells = (
        (
            _title(row),
            value(row["metric"], row["before"]["value"]),
            value(row["metric"], row["after"]["value"]),
            value(row["metric"], row["change"]),
            span(row["metric"], row["interval"]),
            _verdict(row),
        )
        for row in found["rows"]
    )
    worse = any(row["verdict"] == "worse" and row["metric"] in METRICS for row in found["rows"])
    return Output(
        found,
        [table("measured", *right, "", right=right, rows=cells), *map(dim, found["differences"])],
        exit_code=EXIT_FAILED if fail_on_worse and worse else 0,
    )


def _sizes(epsilon: list[float] | None) -> dict[str, Any]:
    return {"epsilons": tuple(epsilon)} if epsilon else {}


def _flat(report: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The report without images; of a single audit its fields stand at the top."""
    flat = {
        key: {name: part for name, part in value.items() if name != "examples"}
        if key in KINDS
        else value
        for key, value in report.items()
    }
    return flat | flat.pop(kind) if kind in flat else flat


def _view(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    from synesthete.audits.registry import notes
    from synesthete.audits.report.page import cost, span, value

    right = ("value", "95 %", "n", "limit")
    cells = (
        (
            _title(row),
            value(row["metric"], row["value"]),
            span(row["metric"], row["interval"]),
            "" if row["n"] is None else count(row["n"]),
            ("≤ " if row["better"] == "low" else "≥ ") + value(row["metric"], row["limit"]),
            _verdict(row),
        )
        for row in report["verdicts"]
    )
    yield table("measured", *right, "", right=right, rows=cells)
    yield from map(dim, (*notes(report), cost(report)))


def _title(row: Mapping[str, Any]) -> str:
    return f"{row['metric'].partition('.')[0]}: {row['title']}"


def _verdict(row: Mapping[str, Any]) -> Text:
    return Text(row["verdict"], style=STYLES.get(row["verdict"], "dim"))


def _folder(model: str) -> Path:
    """Where `audit all` writes without --out: `MODEL.audit`.

    Examples
    --------
    >>> str(_folder("local-dir:/models/my clip")), str(_folder("RN50/openai"))
    ('my-clip.audit', 'RN50-openai.audit')
    """
    plain = model.rstrip("/").rpartition("local-dir:")[2]
    plain = plain.rsplit("/", 1)[-1] if plain != model.rstrip("/") else plain
    return Path("".join(c if c.isalnum() or c in "._-" else "-" for c in plain) + ".audit")
