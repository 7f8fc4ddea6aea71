"""Rooms import only from the rooms beneath them, and reading stays free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_layers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "src"))
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize("package", ["synesthete", "training"])
def test_no_circles(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "src"))
    monkeypatch.syspath_prepend(str(ROOT))
    # Imports within functions count; those for types alone do not, as nothing runs them.
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    edges = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    assert sum(map(len, edges.values())) > 50
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " -> ".join(error.args[1]))


def imports_by_name(source: str) -> list[str]:
    """Imports of this package that the import graph cannot see: their target is a value."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            outside = (
                node.args
                and isinstance(node.args[0], ast.Constant)
                and not str(node.args[0].value).startswith(("synesthete", "."))
            )
            if name in ("import_module", "__import__") and not outside:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules":
            found.append("sys.modules")
    return found


def test_no_import_hides_from_the_import_graph() -> None:
    assert imports_by_name('import_module("synesthete.x"); __import__(n); import_module("faiss")') == [
        "import_module('synesthete.x')", "__import__(n)",
    ]  # fmt: skip
    package = ROOT / "src" / "synesthete"
    # The public API lies above every room, and looks up what its own table lists.
    found = {
        str(path.relative_to(package)): hidden
        for path in sorted(package.rglob("*.py"))
        if (hidden := imports_by_name(path.read_text(encoding="utf-8")))
    }
    assert list(found) == ["__init__.py"], found


@pytest.mark.parametrize(
    "module",
    [
        "synesthete",
        "synesthete.atlas",
        "synesthete.audits",
        "synesthete.report",
        "synesthete.visualization",
        "synesthete.cli",
        "synesthete.probes",
    ],
)
def test_import_without_torch(module: str) -> None:
    heavy = "{'torch', 'torchvision', 'open_clip', 'transformers', 'sklearn', 'scipy.stats'}"
    code = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
