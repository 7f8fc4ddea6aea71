"""`synesthete audit`: the numbers others rely on, the report, the exit codes, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.audits.conftest import LISTS
from tests.audits.fakes import write_image_folders
from tests.cli.conftest import Run


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory, workplace: Path) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    write_image_folders(folder / "images", ("apple", "boat"), 16)
    write_image_folders(folder / "people", ("round", "square"), 16)
    write_image_folders(folder / "few", ("apple", "boat"), 4)
    write_image_folders(folder / "one", ("apple",), 32)
    (folder / "lists.yaml").write_text(LISTS, encoding="utf-8")
    return folder


def model_of(workplace: Path) -> str:
    return f"local-dir:{workplace / 'model'}"


def test_adversarial_with_a_limit_that_is_not_met(
    run: Run, workplace: Path, audited: Path, tmp_path: Path
) -> None:
    given = (
        "audit",
        "adversarial",
        model_of(workplace),
        "--images",
        audited / "images",
        "--epsilon",
        "8",
        "--steps",
        "2",
        "--out",
        tmp_path / "made",
    )
    strict = run(
        *given, "--threshold", "adversarial.robust_accuracy=1.01", "--fail-on", "fail", "--json"
    )
    assert strict.code == 3, strict.err
    printed = json.loads(strict.out)
    assert printed["kind"] == "adversarial"
    assert {"clean_accuracy", "robust_accuracy", "n", "interval", "verdicts", "model"} <= set(
        printed
    )
    assert (tmp_path / "made" / "report.html").is_file()
    mild = run("audit", "compare", tmp_path / "made", tmp_path / "made" / "report.json")
    assert mild.code == 0, mild.err
    assert "no change shown" in mild.out
    page = run(
        "audit",
        "compare",
        tmp_path / "made",
        tmp_path / "made",
        "--out",
        tmp_path / "c.html",
        "--json",
        "--fail-on-worse",
    )
    assert page.code == 0
    assert json.loads(page.out)["rows"]
    assert "Before and after" in (tmp_path / "c.html").read_text(encoding="utf-8")


def test_bias_tells_its_verdicts(run: Run, workplace: Path, audited: Path) -> None:
    ended = run(
        "audit",
        "bias",
        model_of(workplace),
        "--lists",
        audited / "lists.yaml",
        "--images",
        audited / "people",
    )
    assert ended.code == 0, ended.err
    assert "largest association effect" in ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "few"), "8 images can be used of few, and an audit needs 30"),
        (("--images", "one"), "has one class"),
        (("--images", "none"), "no such probe set"),
        (("--threshold", "typographic.success=1"), "did you mean 'typographic.success_rate'"),
        (("--fail-on", "pass"), "--fail-on 'pass' is not known"),
        (("--font", "Comic Sans"), "no font 'Comic Sans'"),
        (("--area", "3"), "expected 0 to 1"),
        (("--out", "lists.yaml"), "is a file"),
        (("--layer", "visual.layer9"), "has no layer"),
    ],
)
def test_mistakes(
    run: Run,
    workplace: Path,
    audited: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(audited)
    given = arguments if "--images" in arguments else (*arguments, "--images", "images")
    ended = run("audit", "typographic", model_of(workplace), *given)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_comparing_what_is_no_report(run: Run, audited: Path) -> None:
    ended = run("audit", "compare", audited / "lists.yaml", audited)
    assert ended.code == 2
    assert "is not valid JSON" in ended.err
