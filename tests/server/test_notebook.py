"""In a notebook a neuron is its card and an atlas its counts; the example notebook runs from end to end."""

from __future__ import annotations

import re
import shutil
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from tests.small_atlas import LAYER, NASTY

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def test_a_neuron_is_its_card(original: Path) -> None:
    neuron = open_atlas(original).neuron(f"{LAYER}:0")
    html = neuron._repr_html_()
    assert html is not None
    found = re.fullmatch(
        r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="([^"<>]*)" style="[^"]*">', html
    )
    assert found
    assert b64decode(found[1]).startswith(b"<svg")
    assert neuron.address in found[2]
    assert NASTY not in html
    assert "source" not in neuron.as_dict()


def test_a_neuron_of_no_atlas_is_text_and_one_of_a_lost_atlas_says_so(
    original: Path, tmp_path: Path
) -> None:
    neuron = open_atlas(original).neuron(f"{LAYER}:0")
    assert replace(neuron, source=None)._repr_html_() is None
    with pytest.raises(SynestheteError):
        replace(neuron, source=tmp_path / "gone.atlas")._repr_html_()


def test_an_atlas_is_its_counts_with_controls(original: Path) -> None:
    html = open_atlas(original)._repr_html_()
    rows = re.findall(r"<tr><td>([^<]+)</td><td>([^<]+)</td>", html)
    assert rows == [
        ("the model", "2"),
        ("its random twin", "1"),
        ("its weights permuted", "0"),
        ("random mixtures of its neurons", "0"),
        ("shuffled labels", "0"),
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(path: Path, original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "demo.atlas")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "keep the file without outputs"
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any(
        "data:image/svg+xml" in str(one.get("data", {}).get("text/html", "")) for one in shown
    )
