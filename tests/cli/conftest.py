"""The command line, run in this process on a small atlas."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from synesthete.cli import main
from tests.small_atlas import record_small, write_known_analysis


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `small.atlas`, the `images` it was made of and the `model` that saw them."""
    folder = tmp_path_factory.mktemp("cli")
    write_known_analysis(record_small(folder))
    return folder


@pytest.fixture
def run(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(workplace)

    def call(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["synesthete", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return Ended(int(str(code or 0)), written.out, written.err)

    return call
