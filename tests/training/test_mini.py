"""One command from packages to a model: what it needs, which steps it runs, and that it goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cv2")

from training import arguments, mini, more_artists, needs, pictographs, sources, words
from training.__main__ import main


def _at(root: Path) -> mini.Folders:
    return mini.Folders(
        packages=root / "node_modules",
        photos=root / "photos",
        scenes=root / "scenes",
        data=root / "data",
        model=root / "model",
    )


def test_every_step_is_one_that_the_command_line_knows(tmp_path: Path) -> None:
    parser = arguments.parser("")
    steps = mini.steps(
        _at(tmp_path), minutes=0.5, text_minutes=2, fonts=3, extra=("--threads", "1")
    )
    parsed = [parser.parse_args(step.command) for step in steps]
    assert [one.step for one in parsed] == [
        "build", "lists", "teach", "lists", "look", "image", "export", "sentences", "evaluate",
    ]  # fmt: skip
    image = parsed[5]
    assert (image.minutes, image.threads, image.looks) == (0.5, 1, 2.0)
    assert image.held_out_words == tmp_path / "data" / "held_out_words.txt"
    assert {one.data for one in (parsed[4], parsed[6], parsed[7])} == {tmp_path / "data"}
    # Each reads what one before it made.
    assert parsed[6].out == parsed[7].model == parsed[8].out == tmp_path / "model"


def test_all_that_is_read_from_npm_is_installed() -> None:
    listed = {re.sub(r"(?<!^)@.*", "", one) for one in needs.npm_packages()}
    sets = {*sources.DRAWN, *sources.SYMBOLS, *more_artists.DRAWN, *more_artists.SYMBOLS}
    assert {f"@iconify-json/{name}" for name in sets} <= listed
    assert {"emojibase-data", "@lobehub/fluent-emoji-3d"} <= listed
    assert {row["package"] for row in words.more_fonts()} <= listed
    assert {re.sub(r"(?<!^)@.*", "", one) for one in pictographs.PACKAGES} <= listed
    assert all(re.search(r".@\d+\.\d+", one) for one in needs.npm_packages()), "each in a version"


def test_what_the_command_needs_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["training", "needs"])
    main()
    debian, npm = capsys.readouterr().out.splitlines()
    assert debian.startswith("apt-get install ")
    assert set(needs.DEBIAN) <= set(debian.split())
    assert npm.startswith("npm install --ignore-scripts ")
    assert len(npm.split()) == 3 + len(needs.npm_packages())


def test_a_debian_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unifont-1.otf").touch()
    here = {"unifont": str(tmp_path / "unifont*.otf"), "symbola": str(tmp_path / "Symbola.ttf")}
    monkeypatch.setattr(needs, "PROGRAMS", {"a-program-of-nobody": "nobody"})
    assert needs.missing(here) == ["symbola", "nobody"]
    monkeypatch.setattr(needs, "DEBIAN", here)
    monkeypatch.setattr("sys.argv", ["training", "mini", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "(apt-get install symbola nobody)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _program(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "npm").chmod(0o755)


def test_npm_installs_exactly_these_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "bin", 'echo "$@" > asked; pwd > where; mkdir -p node_modules')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    found = needs.install(tmp_path / "packages")
    assert found.is_dir()
    words = (tmp_path / "packages" / "asked").read_text().split()
    assert words[0] == "install"
    assert "--ignore-scripts" in words, "no code of theirs is run"
    assert [one for one in words[1:] if not one.startswith("--")] == needs.npm_packages()
    assert json.loads((tmp_path / "packages" / "package.json").read_text()) == {"private": True}


def test_what_npm_says_when_it_fails_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "bin", "echo 'no such version' >&2; exit 7")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(OSError, match="npm install failed: no such version"):
        needs.install(tmp_path / "packages")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that were run, by a stand-in that makes what each is to make, and fails where its name stands in `FAIL`."""
    commands: list[list[str]] = []

    class Done:
        def __init__(self, code: int) -> None:
            self.returncode = code

    def run(command: list[str], **_: Any) -> Done:
        commands.append(command[3:])
        step = arguments.parser("").parse_args(command[3:])
        if step.step == os.environ.get("FAIL"):
            return Done(3)
        outputs = {
            "build": "images.tsv",
            "lists": "table.tsv",
            "teach": "text.pt",
            "look": "looks.npz",
        }
        folder = step.out if step.step in ("build", "teach") else getattr(step, "data", None)
        if step.step == "lists" and (step.data / "text.pt").exists():
            (step.data / "held_out_words.txt").write_text("word\n")
        elif step.step in outputs:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / outputs[step.step]).write_text("key\nphoto:a\n")
        return Done(0)

    monkeypatch.setattr(mini.subprocess, "run", run)
    monkeypatch.setattr(needs, "missing", list)
    return commands


def test_it_goes_on_where_it_stopped(
    tmp_path: Path,
    commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out" / "scenes").mkdir(parents=True)
    (tmp_path / "fonts" / "@fontsource").mkdir(parents=True)
    command = ["training", "mini", "--out", str(tmp_path / "out"), "--photos", str(tmp_path), "--packages",
               str(tmp_path / "fonts"), "--minutes", "3", "--image", "--threads 1"]  # fmt: skip
    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setenv("FAIL", "look")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert "look ended with 3; run the same command again to go on" in output.err
    assert f"$ {shlex.join([mini.sys.executable, '-m', 'training', *commands[0]])}" in output.out
    assert [one[0] for one in commands] == ["build", "lists", "teach", "lists", "look"]
    commands.clear()
    monkeypatch.delenv("FAIL")
    main()
    assert [one[0] for one in commands] == ["look", "image", "export", "sentences", "evaluate"]
    assert commands[1][-4:] == ["--threads", "1", "--out", str(tmp_path / "out" / "data")]
    assert "from 1 images" in capsys.readouterr().out
