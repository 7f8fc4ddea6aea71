"""What training is asked for has to mean something."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.__main__ import main

IMAGE = ["image", "--table", "t", "--candidates", "c", "--fonts", "f", "--held-out-photos", "h", "--out", "o"]  # fmt: skip
DRAW = ["draw", *IMAGE[1:], "--batches", "b"]
TEACH = ["teach", "--packages", "p", "--table", "t", "--candidates", "c", "--out", "o"]


@pytest.mark.parametrize(
    ("step", "name", "value", "message"),
    [
        (IMAGE, "--batch", "0", "0 is not at least 2"),
        (IMAGE, "--scale", "0", "0 is not at least 0.01 and at most 100"),
        (IMAGE, "--scale", "nan", "nan is not at least 0.01"),
        (IMAGE, "--parts", "0", "0 is not at least 1"),
        (IMAGE, "--votes", "-1", "-1 is not at least 0"),
        (IMAGE, "--peak", "much", "invalid float value: 'much'"),
        (TEACH, "--spelling", "1", "1 is not at least 0 and at most 0.99"),
        (IMAGE, "--minutes", "0", "0 is not at least 0.01"),
        (TEACH, "--threads", "0", "0 is not at least 1"),
        (IMAGE, "--concept-share", "2", "2 is not at least 0 and at most 1"),
        (DRAW, "--steps", "0", "0 is not at least 1"),
    ],
)
def test_a_number_that_means_nothing_is_refused(
    step: list[str],
    name: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["training", *step, f"{name}={value}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_what_nobody_looked_at_cannot_be_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setattr("sys.argv", ["training", *IMAGE[:-1], str(tmp_path), "--looks", "1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "looks.npz: run `look` first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "step",
    [
        ["look", "--data", "nowhere", "--held-out-photos", "nowhere/held_out.txt"],
        ["lists", "--data", "nowhere"],
        [
            "export",
            "--data",
            "nowhere",
            "--held-out-photos",
            "h",
            "--held-out-fonts",
            "f",
            "--out",
            "o",
        ],
        ["average", "nowhere/image.pt", "--out", "image.pt"],
    ],
)
def test_a_folder_that_is_not_there_is_named(
    step: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["training", *step])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"{step[0]}: there is no nowhere/")
    assert message.endswith("has the step before it run?\n")
    assert len(message.splitlines()) == 1
