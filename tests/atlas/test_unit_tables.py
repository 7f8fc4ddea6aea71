"""Names and families beside the analysis: checked, read back, replaced, and gone when the manifest says so."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from synesthete.atlas import open_atlas, write_unit_tables
from synesthete.atlas.manifest import read_manifest, write_manifest
from synesthete.errors import SynestheteError
from tests.atlas.conftest import LAYERS
from tests.recording.trees import tree


def names(units: list[int], ranks: list[int], texts: list[str]) -> pa.Table:
    number = [0.9 - 0.1 * rank for rank in ranks]
    return pa.table(
        {
            "unit": units,
            "rank": ranks,
            "name": texts,
            "method": ["auc"] * len(units),
            "score": number,
            "confidence": number,
            "confidence_low": number,
            "confidence_high": number,
        }
    )


def families(units: list[int], texts: list[str]) -> pa.Table:
    return pa.table(
        {
            "unit": units,
            "rank": [0] * len(units),
            "family": texts,
            "confidence": [0.8] * len(units),
            "evidence": ["names"] * len(units),
        }
    )


def test_the_best_name_is_the_neurons_and_no_name_is_none(analysed: Path) -> None:
    write_unit_tables(
        analysed, "names", {LAYERS[0]: names([0, 0, 2], [0, 1, 0], ["a", "b", "c"])}, {"n": 3}
    )
    atlas = open_atlas(analysed)
    assert atlas.manifest["names"] == {"n": 3}
    first, second = atlas.neuron(f"{LAYERS[0]}:0"), atlas.neuron(f"{LAYERS[0]}:1")
    assert (first.name, first.confidence) == ("a", pytest.approx(0.9))
    assert second.name is None
    assert math.isnan(second.confidence)
    assert second.as_dict()["confidence"] is None
    assert [neuron.unit for neuron in atlas.find("c") if neuron.layer == LAYERS[0]][:1] == [2]
    assert atlas.unit_table(LAYERS[1], "names") is None
    assert not atlas.verify()


def test_an_assigned_family_stands_over_the_concepts(analysed: Path) -> None:
    assert open_atlas(analysed).neuron(f"{LAYERS[0]}:0").family == "fruit"
    write_unit_tables(analysed, "families", {LAYERS[0]: families([1], ["food"])}, {})
    atlas = open_atlas(analysed)
    assert atlas.neuron(f"{LAYERS[0]}:1").family == "food"
    assert atlas.neuron(f"{LAYERS[0]}:0").family == ""


def test_new_names_leave_no_families_of_old_ones(analysed: Path) -> None:
    write_unit_tables(analysed, "families", {LAYERS[0]: families([1], ["food"])}, {})
    write_unit_tables(analysed, "names", {LAYERS[0]: names([1], [0], ["a"])}, {})
    atlas = open_atlas(analysed)
    assert atlas.unit_table(LAYERS[0], "families") is None
    assert atlas.neuron(f"{LAYERS[0]}:0").family == "fruit"
    assert not atlas.verify()


def test_writing_again_replaces_and_gives_the_same_bytes(analysed: Path) -> None:
    once = {LAYERS[0]: names([0], [0], ["a"])}
    write_unit_tables(analysed, "names", once, {"n": 1})
    before = tree(analysed)
    write_unit_tables(analysed, "names", {LAYERS[0]: names([3], [0], ["z"])}, {"n": 9})
    write_unit_tables(analysed, "names", once, {"n": 1})
    assert tree(analysed) == before


def test_a_table_whose_notes_are_gone_does_not_count(analysed: Path) -> None:
    write_unit_tables(analysed, "names", {LAYERS[0]: names([0], [0], ["a"])}, {})
    manifest = read_manifest(analysed)
    write_manifest(analysed, {key: manifest[key] for key in manifest if key != "names"})
    assert open_atlas(analysed).neuron(f"{LAYERS[0]}:0").name is None


@pytest.mark.parametrize(
    ("table", "rows", "message"),
    [
        ("name", names([0], [0], ["a"]), "no table"),
        ("names", names([0], [0], ["a"]).drop_columns("score"), "lacks the columns score"),
        ("names", names([99], [0], ["a"]), "outside"),
        ("names", names([1, 0], [0, 0], ["a", "b"]), "not sorted"),
        ("names", names([0, 0], [0, 0], ["a", "b"]), "not sorted"),
    ],
)
def test_wrong_tables_are_refused(analysed: Path, table: str, rows: pa.Table, message: str) -> None:
    before = tree(analysed)
    with pytest.raises(SynestheteError, match=message):
        write_unit_tables(analysed, table, {LAYERS[0]: rows}, {})
    with pytest.raises(SynestheteError, match="no layer"):
        write_unit_tables(analysed, "names", {"nowhere": names([0], [0], ["a"])}, {})
    assert tree(analysed) == before


@pytest.mark.parametrize("changes", range(1, 5))
def test_notes_of_other_layers_outlive_a_kill(
    analysed: Path, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    """Names of one layer, killed at any moment and repeated: the notes of the other layer are not lost."""

    def write(layer: str, text: str) -> None:
        earlier = open_atlas(analysed).manifest.get("names", {}).get("layers", {})
        notes = {"layers": earlier | {layer: {"named": 1, "text": text}}}
        write_unit_tables(analysed, "names", {layer: names([0], [0], [text])}, notes)

    write(LAYERS[0], "a")
    write(LAYERS[1], "b")
    replace, seen = Path.replace, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal seen
        seen += 1
        if seen == changes:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        if changes < 4:
            with pytest.raises(KeyboardInterrupt):
                write(LAYERS[1], "c")
        else:
            write(LAYERS[1], "c")
    atlas = open_atlas(analysed)
    assert atlas.neuron(f"{LAYERS[0]}:0").name == "a"
    # Of the layer itself there is the old name, the new one, or none: never a table without its notes.
    note = atlas.manifest["names"]["layers"].get(LAYERS[1], {}).get("text")
    assert atlas.neuron(f"{LAYERS[1]}:0").name == note
    write(LAYERS[1], "c")
    assert {name: one["text"] for name, one in open_atlas(analysed).manifest["names"]["layers"].items()} == {
        LAYERS[0]: "a", LAYERS[1]: "c",
    }  # fmt: skip
