"""What a reader asks of an atlas, and the error when that is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synesthete.atlas import Neuron, multimodal_counts, open_atlas
from synesthete.atlas.summary import CONTROLS
from synesthete.errors import SynestheteError

FIRST, SECOND = "visual.layer4.1", "visual.layer4.1:pre"


def test_neurons_come_best_first(analysed_once: Path) -> None:
    atlas = open_atlas(analysed_once)
    found = atlas.neurons()
    assert [neuron.address for neuron in found[:3]] == [f"{FIRST}:0", f"{SECOND}:0", f"{FIRST}:1"]
    assert [neuron.dead for neuron in found[-2:]] == [True, True]
    scores = [neuron.multimodality for neuron in found[:-2]]
    assert scores == sorted(scores, reverse=True)
    assert [n.address for n in atlas.neurons(FIRST, multimodal=True)] == [
        f"{FIRST}:0",
        f"{FIRST}:2",
    ]
    assert [n.unit for n in atlas.neurons(concept="Concept 1")] == [1, 1]
    assert len(atlas.neurons(limit=3)) == 3
    assert atlas.neurons(limit=0) == []
    assert atlas.neurons(concept="concept 6") == []


def test_one_neuron(analysed_once: Path) -> None:
    atlas = open_atlas(analysed_once)
    neuron = atlas.neuron("visual.layer4.1:pre:1")
    assert (neuron.layer, neuron.unit, neuron.concept) == (SECOND, 1, "concept 1")
    assert neuron.auc == {"photo": pytest.approx(0.95), "word": 1.0}
    assert neuron.q == 1e-4
    assert neuron.family == "fruit"
    assert not neuron.multimodal
    dead = atlas.neuron(f"{FIRST}:4")
    assert dead.dead
    assert dead.auc == {}
    assert dead.as_dict()["multimodality"] is None
    json.dumps(dead.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("visual.layer4.1:7", "its units are 0 to 4"),
        ("visual.layer4.2:1", "no layer 'visual.layer4.2'.*did you mean 'visual.layer4.1'"),
        ("visual.layer4.1", "is not a valid address"),
        ("visual.layer4.1:pre", "is not a valid address.*visual.layer4.1:0"),
        ("apple", "no neuron has that concept or name"),
        ("konzept 1", "did you mean 'concept 1'"),
        ("1", "names a unit, but the atlas has 2 layers.*visual.layer4.1:1"),
        ("9" * 5000, "not a valid address"),
        ("visual.layer4.1:-1", "is not a valid address"),
        ("visual.layer4.1:²", "is not a valid address"),
    ],
)
def test_no_such_address(analysed_once: Path, address: str, message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        open_atlas(analysed_once).neuron(address)


def test_a_neuron_by_its_concept(analysed_once: Path) -> None:
    atlas = open_atlas(analysed_once)
    by_concept: dict[str, list[Neuron]] = {}
    for neuron in atlas.neurons():
        by_concept.setdefault(neuron.concept, []).append(neuron)
    resolved = 0
    for concept, neurons in by_concept.items():
        passing = [neuron for neuron in neurons if neuron.multimodal]
        if not concept:
            continue
        if len(passing) == 1 or len(neurons) == 1:
            expected = (passing or neurons)[0]
            assert atlas.neuron(concept.upper()) == expected
            assert atlas.address(f" {concept} ") == expected.address
            resolved += 1
        else:
            with pytest.raises(SynestheteError, match=f"names {len(neurons)} neurons") as raised:
                atlas.neuron(concept)
            for neuron in neurons:
                assert f"{neuron.address} {concept} {neuron.multimodality:.2f}" in str(raised.value)
    assert resolved
    assert resolved < len(by_concept)


def test_find(analysed_once: Path) -> None:
    atlas = open_atlas(analysed_once)
    assert {neuron.concept for neuron in atlas.find("CONCEPT 2")} == {"concept 2"}
    assert len(atlas.find("concept")) == 9
    assert {neuron.concept for neuron in atlas.find("konzept 3")} >= {"concept 3"}
    assert atlas.find("zebra") == []
    assert atlas.find(" ") == []
    with pytest.raises(SynestheteError, match=r"no concept 'concpt 2'.*did you mean 'concept 2'"):
        atlas.neurons(concept="concpt 2")


def test_summary(analysed_once: Path) -> None:
    found = open_atlas(analysed_once).summary()
    assert {
        "units": 11,
        "live_units": 9,
        "multimodal": 5,
        "multimodal_random_twin": 0,
        "multimodal_shuffled": 2,
        "multimodal_concepts": None,
        "images": 69,
        "quarantined": 1,
        "concepts": 7,
        "modalities": {"photo": 18, "drawing": 18, "symbol": 17, "word": 16},
        "layers": [FIRST, SECOND],
        "threshold": 0.9,
        "q": 0.01,
    }.items() <= found.items()
    json.dumps(found, allow_nan=False)


def test_concepts_are_counted_once_however_many_layers_have_them() -> None:
    layers: list[dict[str, Any]] = [
        {"selective": 4, "multimodal": 3, "concept_cells": 1, "multimodal_random_twin": 1, "multimodal_rotation": 2, "multimodal_shuffled": 0,
         "concepts": {"apple": 2, "cat": 1}, "concepts_random_twin": {"dot": 1}, "concepts_rotation": {"cat": 2}, "concepts_shuffled": {}},
        {"selective": 2, "multimodal": 1, "concept_cells": 1, "multimodal_random_twin": None, "multimodal_rotation": 0, "multimodal_shuffled": 0,
         "concepts": {"apple": 1}, "concepts_rotation": {}, "concepts_shuffled": {}},
    ]  # fmt: skip
    found = multimodal_counts(layers)
    assert (found["selective"], found["concept_cells"]) == (6, 2)
    assert found["selective_rotation"] is None  # not counted there
    assert {key: value for key, value in found.items() if key.startswith("multimodal")} == {
        "multimodal": 4,
        "multimodal_concepts": 2,
        "multimodal_random_twin": None,
        "multimodal_concepts_random_twin": None,
        "multimodal_permuted": None,
        "multimodal_concepts_permuted": None,
        "multimodal_rotation": 2,
        "multimodal_concepts_rotation": 1,
        "multimodal_shuffled": 0,
        "multimodal_concepts_shuffled": 0,
        **dict.fromkeys(f"multimodal_range{of}" for of in ("", *(f"_{kind}" for kind in CONTROLS))),
    }
    assert set(multimodal_counts([]).values()) == {None}


def test_recorded_but_not_analysed(recorded: Path) -> None:
    atlas = open_atlas(recorded)
    assert atlas.summary()["multimodal"] is None
    assert atlas.summary()["live_units"] == 11
    for ask in (atlas.neurons, lambda: atlas.neuron(f"{FIRST}:0"), lambda: atlas.find("apple")):
        with pytest.raises(SynestheteError, match=r"not analysed.*synesthete analyze"):
            ask()
    with pytest.raises(SynestheteError, match="not analysed"):
        atlas.selectivity(FIRST)


def test_there_is_no_atlas(analysed: Path, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match=r"no atlas at .*did you mean 'x\.atlas'"):
        open_atlas(tmp_path / "y.atlas")
    with pytest.raises(SynestheteError, match=r"holds no atlas.json"):
        open_atlas(tmp_path)
    with pytest.raises(SynestheteError, match="is a file"):
        open_atlas(analysed / "probes.parquet")


def test_reading_never_imports_torch(analysed_once: Path) -> None:
    program = f"""
import sys
from synesthete.atlas import open_atlas
atlas = open_atlas({str(analysed_once)!r})
layer = atlas.layers[0]
atlas.neurons(), atlas.find("concept 1"), atlas.summary(), atlas.verify(), atlas.thumbnail(0)
atlas.activations(layer)[0], atlas.control_activations("random_twin", layer)[0]
atlas.embeddings()[0], atlas.statistics(layer), atlas.exemplars(layer).top(0), atlas.probes
heavy = {{"torch", "torchvision", "open_clip", "transformers", "scipy", "sklearn"}}
print(sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "[]", ran.stderr
