"""A user's mistake ends in one line on standard error and exit code 2, never in a traceback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Ended, Run
from tests.small_atlas import LAYER


def assert_one_line(ended: Ended, *parts: str) -> None:
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")
    for part in parts:
        assert part in ended.err


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["summary", "smal.atlas"], ["there is no atlas at smal.atlas", "'small.atlas'"]),
        (["summary", "images"], ["is no atlas"]),
        (["show", "small.atlas", "nonsense"], ["'nonsense' is not a valid address", f"{LAYER}:0"]),
        (["show", "small.atlas", f"{LAYER}:256"], ["no unit 256", "0 to 255"]),
        (["show", "small.atlas", "visual.layer4.1:0"], ["no layer 'visual.layer4.1'", LAYER]),
        (["neurons", "small.atlas", "--concept", "aple"], ["no concept 'aple'", "'apple'"]),
        (["neurons", "small.atlas", "--layer", "visual"], ["no layer 'visual'", LAYER]),
        (["record", "minni", "--out", "x.atlas"], ["minni", "'mini'"]),
        (["record", "local-dir:model", "--out", "x.atlas", "--probes", "imags"], ["'imags'"]),
        (["models", "layers", "RN50x5/openai"], ["RN50x5"]),
        (["probes", "sheet", "no/such"], ["no/such"]),
        (["analyze", "small.atlas", "--q", "0"], ["q must be"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(run: Run, command: list[str], parts: list[str], as_json: list[str]) -> None:
    assert_one_line(run(*command, *as_json), *parts)


def test_no_such_layer_lists_the_layers(run: Run) -> None:
    command = ("record", "local-dir:model", "--probes", "images/metadata.csv", "--out", "x.atlas")
    assert_one_line(run(*command, "--layer", "visual.layer9.0"), "visual.layer9.0", LAYER)


def test_out_holds_something_else(run: Run) -> None:
    command = ("record", "local-dir:model", "--probes", "images/metadata.csv", "--out", "model")
    assert_one_line(run(*command, "--layer", LAYER), "model holds something else")


def test_an_atlas_without_analysis(run: Run, workplace: Path, tmp_path: Path) -> None:
    from synesthete.atlas import clear_analysis

    shutil.copytree(workplace / "small.atlas", tmp_path / "raw.atlas")
    clear_analysis(tmp_path / "raw.atlas")
    assert_one_line(run("neurons", tmp_path / "raw.atlas"), "not analysed")
    printed = run("summary", tmp_path / "raw.atlas")
    assert printed.code == 0
    assert "synesthete analyze" in printed.out


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "x.atlas/a"),
            "the disk is full: x.atlas/a",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "Permission denied: x"),
    ],
)
def test_the_system_says_no(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: OSError, line: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("synesthete.cli.atlas.summary_view", refuse)
    assert_one_line(run("summary", "small.atlas"), line)


def test_interrupt_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("synesthete.cli.atlas.summary_view", interrupt)
    ended = run("summary", "small.atlas")
    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_a_real_interrupt_while_recording(workplace: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "x.atlas")
    command = ["record", "mini", "--probes", "concepts", "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-m", "synesthete", *command],
        cwd=workplace,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell hands down that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    while line and not line.startswith("recording"):
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait() == 130
    assert "Traceback" not in errors


def test_a_reader_that_goes_away(workplace: Path) -> None:
    script = f"{sys.executable} -m synesthete neurons small.atlas --json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", script], cwd=workplace, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[\n  {\n    "
    assert done.stderr == ""


def test_usage_errors_and_help(run: Run) -> None:
    assert run("neurons").code == 2
    assert run("nonsense").code == 2
    helped = run("neurons", "--help")
    assert helped.code == 0
    assert "--multimodal" in helped.out
    assert run("--version").out.startswith("synesthete 0.")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_holds_every_letter(workplace: Path, encoding: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from synesthete.cli.console import print_json; print_json(['Äpfel 🍎'])",
        ],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout.decode(encoding)) == ["Äpfel 🍎"]
