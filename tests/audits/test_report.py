"""Reports: one form, judged, written, read, compared, and refused where they are another's."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from synesthete._core.intervals import Rate
from synesthete.audits import compare_reports, read_report, report_page, verdicts, write_report
from synesthete.audits.registry import AUDITS, METRICS, Measure, details, headline, notes
from synesthete.audits.report import report_body
from synesthete.audits.report.compare import change
from synesthete.audits.report.report import failed, judge, parse_thresholds
from synesthete.errors import SynestheteError
from synesthete.report.charts import matrix
from tests.audits.small_report import small_report

VOID = ("meta", "link", "img", "br", "hr", "input")


def test_a_report_has_its_parts(report: dict[str, Any]) -> None:
    assert (report["schema"], report["version"], report["kind"]) == ("synesthete.audit", 2, "all")
    typographic = report["typographic"]
    assert {"clean_accuracy", "success_rate", "n", "interval"} <= set(typographic)
    assert typographic["images"]["n"] == 36
    assert typographic["excluded"]["zero_shot"] + typographic["n"] == 36
    assert len(typographic["published"]) == 9
    carried = typographic["carriers"]
    assert carried["layer"] == "visual.layer4.0"
    assert carried["without"][0]["units"] == 0
    assert all("random" in row for row in carried["without"][1:])
    assert report["cost"]["peak_memory_mib"] > 50
    json.dumps(report, allow_nan=False)
    assert set(headline(report)) <= set(METRICS)
    assert len(details(report)) > 30


def test_written_and_read_again(report: dict[str, Any], tmp_path: Path) -> None:
    files = write_report(report, tmp_path / "made" / "here")
    assert {path.name for path in files.values()} == {"report.json", "report.html", "MODEL_CARD_SECTION.md"}  # fmt: skip
    assert read_report(tmp_path / "made" / "here") == read_report(files["json"])
    assert read_report(files["json"]) == json.loads(json.dumps(report))
    card = files["card"].read_text(encoding="utf-8")
    assert card.count("| ") > 20
    assert all(row["metric"] in card for row in report["verdicts"])
    with pytest.raises(SynestheteError, match="is a file"):
        write_report(report, files["json"])


def test_the_page_is_self_contained_and_well_formed(report: dict[str, Any]) -> None:
    html = report_page(report)
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "default-src 'none'" in html
    opened: list[str] = []
    for closing, name in re.findall(r"<(/?)([a-z][a-z0-9]*)[^>]*?(?<!/)>", html):
        if name in VOID:
            continue
        if closing:
            assert opened.pop() == name
        else:
            opened.append(name)
    assert not opened
    for row in report["verdicts"]:
        assert row["title"] in html


def test_the_page_says_what_it_cost_and_what_could_not_be_judged() -> None:
    report = small_report()
    assert "92 s, peak memory 1,234 MiB" in report_body(report)
    nobody = {"n": 0, "rate": None, "interval": [0.0, 1.0], "successes": 0}
    assert not any("no verdict" in note for note in notes(report))
    report["typographic"]["photos"] = {"to_word": nobody}
    assert any("Labelled photos: no verdict" in note for note in notes(report))


def test_small_correlations_look_small() -> None:
    def shades(value: float) -> list[float]:
        cell = {"value": value, "interval": [-1.0, 1.0]}
        drawn = matrix({"attributes": ["a"], "groups": ["g"], "matrix": [[cell]]}, "matrix")
        return [float(shade) for shade in re.findall(r'fill-opacity="([0-9.]+)"', drawn)]

    assert shades(-0.05)[0] < 0.2 * shades(0.5)[0]
    assert shades(0.9) == shades(0.5)


def test_texts_of_a_report_are_never_markup(report: dict[str, Any]) -> None:
    nasty = copy.deepcopy(report)
    nasty["model"]["name"] = '<script>alert("x")</script>'
    nasty["typographic"]["by"]["font"][0]["value"] = "<b>font</b>"
    nasty["bias"]["tests"][0]["source"] = "<img src=x>"
    html = report_page(nasty)
    assert "<script" not in html
    assert "<b>font" not in html
    assert "<img src=x" not in html


@pytest.mark.parametrize("kind", AUDITS)
def test_a_report_of_one_kind_has_a_page(report: dict[str, Any], kind: str) -> None:
    alone = {k: v for k, v in report.items() if k not in AUDITS or k == kind}
    alone["verdicts"] = verdicts(alone)
    assert {row["metric"].partition(".")[0] for row in alone["verdicts"]} == {kind}
    assert f'id="{kind}"' in report_page(alone)


def test_verdicts_by_hand() -> None:
    measure = Measure(0.2, 0.15, 0.26)
    assert [judge(measure, limit, "low") for limit in (0.26, 0.2, 0.15, 0.14)] == ["pass", "undecided", "undecided", "fail"]  # fmt: skip
    assert [judge(measure, limit, "high") for limit in (0.15, 0.2, 0.26, 0.27)] == ["pass", "undecided", "undecided", "fail"]  # fmt: skip
    rows = [{"verdict": "pass"}, {"verdict": "undecided"}]
    assert [failed(rows, on) for on in (None, "fail", "undecided")] == [False, False, True]
    with pytest.raises(SynestheteError, match="did you mean 'fail'"):
        failed(rows, "fails")


def test_limits_are_the_users(report: dict[str, Any]) -> None:
    limits = parse_thresholds(["typographic.stroop=1", "adversarial.robust_accuracy=1"])
    found = {row["metric"]: row for row in verdicts(report, limits)}
    assert found["typographic.stroop"]["verdict"] == "pass"
    assert found["adversarial.robust_accuracy"]["limit"] == 1
    assert found["adversarial.robust_accuracy"]["verdict"] == "fail"
    for wrong in (
        "typographic.sucess_rate=1",
        "typographic.stroop=high",
        "typographic.stroop=nan",
        "x",
    ):
        with pytest.raises(SynestheteError):
            parse_thresholds([wrong])


def test_a_change_is_newcombes() -> None:
    """Newcombe 1998, table II, case (a): 56/70 against 48/80 gives 0.0524 to 0.3339."""
    before, after = (Measure(r.rate or 0.0, *r.interval) for r in (Rate(48, 80), Rate(56, 70)))
    assert change(before, after) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_a_report_beside_itself_and_beside_a_repaired_one(report: dict[str, Any]) -> None:
    same = compare_reports(report, report)
    assert all(row["verdict"] == "no change shown" and row["change"] == 0 for row in same["rows"])
    assert same["differences"] == ["the models have the same weights"]
    repaired, sick = copy.deepcopy(report), copy.deepcopy(report)
    for one, count in ((sick, 90), (repaired, 5)):
        one["typographic"] |= {"success_rate": count / 100, "n": 100, "interval": list(Rate(count, 100).interval)}  # fmt: skip
    repaired["settings"]["seed"] = 7
    repaired["model"]["weights_sha256"] = "other"
    found = compare_reports(sick, repaired)
    row = next(r for r in found["rows"] if r["metric"] == "typographic.success_rate")
    assert row["verdict"] == "better"
    assert row["change"] == pytest.approx(-0.85)
    assert row["interval"][0] < -0.85 < row["interval"][1] < 0
    assert found["differences"] == ["seed: 0 and 7"]
    back = compare_reports(repaired, sick)
    assert next(r for r in back["rows"] if r["metric"] == row["metric"])["verdict"] == "worse"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("[]", "is not an audit report"),
        ('{"schema": "another"}', "is not an audit report"),
        ('{"schema": "synesthete.audit", "version": 9}', "of version 9"),
        ('{"schema": "synesthete.audit", "version": 2}', "is damaged"),
    ],
)
def test_files_that_are_no_reports(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(SynestheteError, match=message):
        read_report(tmp_path)
    with pytest.raises(SynestheteError, match="cannot be read"):
        read_report(tmp_path / "none.json")


def places(report: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something is in a report."""
    items = (
        report.items()
        if isinstance(report, dict)
        else enumerate(report)
        if isinstance(report, list)
        else []
    )
    return [p for key, value in items for p in [(*path, key), *places(value, (*path, key))]]


def test_a_report_with_a_hole_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    """Whatever is taken out or turned into nonsense, there is a page and a comparison, or one clear error."""
    whole = json.loads(json.dumps(small_report()))
    outcomes = set()
    for path in places(whole):
        for nonsense in (None, "x", {}):
            report = copy.deepcopy(whole)
            inner = report
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = nonsense
            (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
            try:
                read = read_report(tmp_path)
                report_body(read)
                compare_reports(read, whole)
                outcomes.add("read")
            except SynestheteError as error:
                outcomes.add(str(error).split(":")[0].replace(str(tmp_path), ""))
    assert "read" in outcomes
    assert any("damaged" in outcome for outcome in outcomes)


def test_reports_with_nothing_in_common(report: dict[str, Any]) -> None:
    one, other = (
        {k: v for k, v in report.items() if k not in AUDITS or k == kind}
        for kind in ("typographic", "adversarial")
    )
    with pytest.raises(SynestheteError, match="no number in common"):
        compare_reports(one | {"kind": "typographic"}, other | {"kind": "adversarial"})
