"""Reviews from the command line: a person's name above the machine's, blind labels from standard input."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from synesthete.cli import main
from tests.small_atlas import record_small, write_known_analysis


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("small"))
    write_known_analysis(path)
    return path


@pytest.fixture
def atlas(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNESTHETE_RATER", "ann")
    monkeypatch.setenv("COLUMNS", "200")
    return Path(shutil.copytree(recorded, tmp_path / "small.atlas"))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["synesthete", *words])
    try:
        main()
    except SystemExit as end:
        return int(str(end.code or 0))
    return 0


def test_a_persons_name_stands_above_the_machines(
    atlas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "visual.layer4.0:0"
    assert run(monkeypatch, "reviews", "rename", str(atlas), where, "red fruit") == 0
    assert run(monkeypatch, "reviews", "flag", str(atlas), where, "test") == 0
    capsys.readouterr()
    assert run(monkeypatch, "neurons", str(atlas), "--limit", "3") == 0
    assert "red fruit (reviewed)" in " ".join(capsys.readouterr().out.split())
    assert run(monkeypatch, "neurons", str(atlas), "--json") == 0
    rows = {row["address"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[where]["review"]["name"] == "red fruit"
    assert rows[where]["review"]["flags"] == {"ann": "test"}
    assert rows["visual.layer4.0:1"]["review"] is None
    assert run(monkeypatch, "reviews", "list", str(atlas)) == 0
    assert "red fruit" in capsys.readouterr().out


def test_labels_are_read_from_standard_input(
    atlas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rater in ("ann", "ben"):
        monkeypatch.setattr("sys.stdin", io.StringIO("yes\n\nno\nyes\nq\nyes\n"))
        arguments = (
            "label",
            str(atlas),
            "visual.layer4.0:0",
            "--question",
            "fruit?",
            "--rater",
            rater,
        )
        assert run(monkeypatch, "reviews", *arguments) == 0
        assert "3 labels given" in capsys.readouterr().out
    assert len(list(Path("to-label").glob("*.png"))) == 5
    assert run(monkeypatch, "reviews", "agreement", str(atlas), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"]["items"] == 3
    assert found["labels"]["alpha"] == 1.0
    assert found["verdicts"]["alpha"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("accept", "nowhere.atlas", "a:1"), "there is no atlas"),
        (("accept", "small.atlas", "visual.layer4.0:99999"), "no unit 99999"),
        (("rename", "small.atlas", "visual.layer4.0:0", " "), "needs a text"),
        (("import", "small.atlas", "none.jsonl"), "cannot be read"),
        (("export", "small.atlas", "out.pdf"), "must end in"),
    ],
)
def test_mistakes_end_in_one_line(
    atlas: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert run(monkeypatch, "reviews", *words) == 2
    errors = capsys.readouterr().err
    assert message in " ".join(errors.split())
    assert "Traceback" not in errors
