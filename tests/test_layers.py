"""Rooms import only from the rooms beneath them, and reading stays free of torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_layers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "src"))
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "module",
    [
        "synesthete",
        "synesthete.atlas",
        "synesthete.audits",
        "synesthete.visualization",
        "synesthete.cli",
        "synesthete.probes",
    ],
)
def test_import_without_torch(module: str) -> None:
    heavy = "{'torch', 'torchvision', 'open_clip', 'transformers', 'sklearn'}"
    code = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
