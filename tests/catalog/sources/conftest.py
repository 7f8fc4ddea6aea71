"""The command that indexes, in this process."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synesthete.cli import main
from synesthete.models.image_text_model import ImageTextModel

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(
    tmp_path: Path, empty_path: Path, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:  # fmt: skip
    """Index into `my.catalog`; returns the exit code, the JSON and standard error."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(empty_path, "my.catalog")
    monkeypatch.setattr("synesthete.models.load_model", lambda spec: model)

    def index(*arguments: str) -> tuple[int, dict[str, Any], str]:
        command = ["synesthete", "catalog", "index", *arguments, "--out", "my.catalog"]
        code: object = 0
        monkeypatch.setattr(sys, "argv", [*command, "--json"])
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return int(str(code or 0)), json.loads(written.out or "{}"), written.err

    return index
