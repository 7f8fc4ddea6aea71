"""The harness: a trial that crashes, hangs, is missing or says nothing is a row of the table, and breaks it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.torture import __main__ as harness
from tests.torture.__main__ import BEGIN, END, Trial, main, row_of, run_trial, table

GOOD = {"tried": 5, "held": 5, "broken": 0, "details": "a | b"}


def test_what_a_trial_returns_is_its_row() -> None:
    row = row_of(Trial("x", "tries"), GOOD)
    assert row.cells() == ["tries", "5", "5", "0", "a \\| b"]
    assert table([row]).splitlines()[-1] == "| tries | 5 | 5 | 0 | a \\| b |"
    for found in ({}, {"tried": 5}, {**GOOD, "held": None}, {**GOOD, "tried": 0}):
        assert row_of(Trial("x", ""), found).broken == 1


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("images", {"images": 9, "decoded": 5, "quarantined": 3, "slowest": 0.5, "crashes": 1, "crashed": ["why"]}, (9, 8, 1)),
        ("tables", {"files": 9, "accepted": 2, "refused": 3, "quarantined": 2, "tracebacks": 2, "doors": {"a": {}}, "first": []}, (9, 7, 2)),
        ("bombs", {"atlas": {"statuses": {"413": 3, "500": 1}, "ratio": 1.2, "alive": True, "idle": 1, "peak": 2}}, (4, 3, 1)),
        ("bombs", {"atlas": {"statuses": {"413": 4}, "ratio": 1.6, "alive": True, "idle": 1, "peak": 2}}, (4, 0, 4)),
        ("bombs", {"atlas": {"statuses": {"413": 4}, "ratio": 1.2, "alive": False, "idle": 1, "peak": 2}}, (4, 0, 4)),
        ("slow_clients", {"answered": 7, "failed": 2, "connections_held": 1, "connections_opened": 2, "median_ms": 1, "max_ms": 2}, (9, 7, 2)),
        ("contracts", {"a": {"cases": 9, "operations": 2, "failures": {"x": 1, "y": 1}}}, (9, 7, 2)),
    ],
)  # fmt: skip
def test_what_counts_as_broken(
    name: str, found: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    row = row_of(Trial(name, ""), found)
    assert (row.tried, row.held, row.broken) == expected


@pytest.mark.parametrize(
    ("code", "seconds", "details"),
    [
        ("raise SystemExit('gone')", 300, "ended with 1: gone"), ("import os; os._exit(3)", 300, "ended with 3"),
        ("import time; time.sleep(600)", 1, "did not end in time"), ("import os; os.abort()", 300, "ended with -6"),
    ],
)  # fmt: skip
def test_a_trial_that_does_not_return_is_broken(
    code: str, seconds: float, details: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "CODE", code)
    row = run_trial(Trial("x", ""), seconds)
    assert (row.tried, row.held, row.broken) == (0, 0, 1)
    assert row.details.startswith(details)


def test_a_trial_that_is_missing_is_broken() -> None:
    row = run_trial(Trial("no_such_trial", ""), 300.0)
    assert row.broken == 1
    assert "No module named 'tests.torture.no_such_trial'" in row.details


def test_the_table_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tried(trial: Trial, seconds: float) -> harness.Row:
        found: dict[str, Any] = GOOD if trial.name != "bombs" else {**GOOD, "broken": 2}
        return row_of(trial, found)

    monkeypatch.setattr(harness, "run_trial", tried)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--only", "images", "--write", str(page), "--json", str(tmp_path / "x.json")]) == 0
    printed = capsys.readouterr().out
    assert "| mutated images | 5 | 5 | 0 |" in printed
    assert page.read_text() == f"before\n{BEGIN}\n{printed.strip()}\n{END}\nafter\n"
    assert main([]) == 1, "something broke"
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(harness.trials(10))
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])


@pytest.mark.parametrize("trial", harness.trials(10), ids=lambda one: one.name)
def test_a_trial_takes_the_arguments_that_it_is_given(trial: Trial) -> None:
    module = pytest.importorskip(f"tests.torture.{trial.name}")
    inspect.signature(module.run).bind(**trial.arguments)
