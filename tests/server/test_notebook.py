"""In a notebook a neuron is its card and an atlas its counts; the example notebook runs from end to end."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import synesthete as syn
from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.report import notebook
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
    example = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in example.cells), "keep the file without outputs"
    NotebookClient(
        example,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    shown = [output for cell in example.cells for output in cell.get("outputs", [])]
    assert any(
        "data:image/svg+xml" in str(one.get("data", {}).get("text/html", "")) for one in shown
    )
    widgets = [
        one for one in shown if "application/vnd.jupyter.widget-view+json" in one.get("data", {})
    ]
    assert bool(widgets) == (find_spec("anywidget") is not None)


needs_anywidget = pytest.mark.skipif(find_spec("anywidget") is None, reason="needs anywidget")


@needs_anywidget
def test_a_widget_follows_its_address_and_its_query(original: Path) -> None:
    widget = syn.browse(original)
    best = open_atlas(original).neurons(multimodal=True, limit=1)[0]
    assert widget.address == best.address
    assert best.address in widget.title
    assert widget.found[0]["address"] == best.address
    before = widget.card
    widget.address = f"{LAYER}:1"
    assert widget.card != before
    assert f'src="{widget.card}"' in open_atlas(original).neuron(f"{LAYER}:1")._repr_html_()  # type: ignore[operator]
    widget.query = "apple"
    concepts = {open_atlas(original).neuron(one["address"]).concept for one in widget.found}
    assert "apple" in concepts
    assert widget.address == widget.found[0]["address"] in widget.title
    assert widget.message.endswith(" found")
    sent = widget.get_state(["address", "card", "found", "message", "query", "title"])
    assert NASTY not in json.dumps(sent)


@needs_anywidget
def test_a_wrong_address_or_query_is_a_message(original: Path) -> None:
    widget = syn.browse(original, f"{LAYER}:1")
    kept = widget.card
    widget.address = f"{LAYER}:99999"
    assert (widget.address, widget.card) == (f"{LAYER}:1", kept)
    assert "99999" in widget.message
    widget.query = "no such concept at all"
    assert widget.message == "0 found"
    with pytest.raises(SynestheteError, match="99999"):
        syn.browse(original, f"{LAYER}:99999")


def test_without_anywidget_a_neuron_is_its_card(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    with pytest.raises(SynestheteError) as caught:
        syn.browse(original)
    assert "pip install 'synesthete[notebook]'" in str(caught.value)
    neuron = open_atlas(original).neuron(f"{LAYER}:0")
    assert neuron._repr_mimebundle_() is None
    assert neuron._repr_html_() is not None


def test_outside_a_kernel_no_widget_is_built(original: Path) -> None:
    assert open_atlas(original).neuron(f"{LAYER}:0")._repr_mimebundle_() is None
