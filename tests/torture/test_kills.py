"""A kill in every stage, by a fixed seed; `make torture` does a hundred. Recording has its own in tests/recording/test_resume.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.torture.__main__ import Trial, run_trial
from tests.torture.killing import Counter, fork
from tests.torture.kills import difference
from tests.torture.stages import Bases, stages

QUICK = (
    "analysis again", "naming, one layer", "words", "visualisation", "static site again", "checkpoint",
    "audit report again", "catalogue again", "classifier", "events", "reviews",
)  # fmt: skip


def test_killed_in_every_stage_and_run_again() -> None:
    row = run_trial(Trial("kills", "", {"count": len(QUICK), "seed": 1, "only": QUICK}), 3600.0)
    assert (row.tried, row.held, row.broken) == (len(QUICK), len(QUICK), 0), (
        row.found or row.details
    )


def test_the_stages_are_those_that_make_something(tmp_path: Path) -> None:
    names = [one.name for one in stages(Bases(tmp_path))]
    assert set(QUICK) < set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("step", "left"), [(1, ()), (2, ("a",)), (3, ("a", "b")), (0, ("a", "b"))])
def test_a_child_dies_at_the_change_it_was_given(
    tmp_path: Path, step: int, left: tuple[str, ...]
) -> None:
    def work() -> None:
        counter = Counter(tmp_path, step)
        Path("/dev/null").write_text("elsewhere")
        for name in ("a", "b"):
            (tmp_path / name).write_text("x")
        (tmp_path / "a").replace(tmp_path / "a")
        assert counter.seen == 3

    status = os.waitpid(fork(work), 0)[1]
    assert os.WIFSIGNALED(status) == bool(step)
    assert sorted(one.name for one in tmp_path.iterdir()) == list(left)


def test_every_difference_is_reported() -> None:
    assert difference({"a": "1"}, {"a": "1"}) == ""
    assert difference({"a": "1"}, {}) == "missing: a"
    assert difference({}, {".a.tmp": "1"}) == "left over: .a.tmp"
    assert difference({"a": "1"}, {"a": "2"}).startswith("other: a")
