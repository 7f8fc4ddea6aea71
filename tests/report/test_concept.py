"""A concept is reported in every modality, with the units of each layer that answer to it there, as a plain count finds them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.atlas import open_atlas
from synesthete.report import concept_report, source_of
from synesthete.report.concept import PER_LAYER, concept_facts
from synesthete.report.source import Missing
from synesthete.server import Gate, create_app
from tests.analysis.test_texts import (
    ARTISTS,
    IMAGE,
    IMAGES,
    TEXT,
    TEXTS,
    analysed,  # noqa: F401
    recorded,  # noqa: F401
)
from tests.cli.conftest import Run, run, workplace  # noqa: F401
from tests.server.conftest import BEARER, TOKEN

LAYERS = (IMAGE, TEXT, "joint")


@pytest.fixture
def path(analysed: Path) -> Path:  # noqa: F811
    return analysed


def table_of(path: Path, layer: str) -> list[dict[str, Any]]:
    return open_atlas(path).neuron_table(layer).to_pylist()


def test_every_modality_counts_the_units_that_pass_in_it(path: Path) -> None:
    report = concept_report(source_of(open_atlas(path)), "apple")
    assert [one.modality for one in report.modalities] == [*IMAGES, *TEXTS]
    seen = 0
    for one in report.modalities:
        assert one.texts == (one.modality in TEXTS)
        assert one.count == len(ARTISTS)
        assert set(one.answering) == {
            "joint",
            TEXT if one.texts else IMAGE,
        }
        for layer in one.answering:
            own = [row for row in table_of(path, layer) if row["concept"] == "apple"]
            passing = [
                row
                for row in own
                if row[f"auc_{one.modality}"] >= 0.9 and row[f"ap_{one.modality}"] >= 0.2
            ]
            assert one.answering[layer] == len(passing)
            shown = [unit for unit in one.units if unit.layer == layer]
            assert [unit.passes for unit in shown] == [True] * len(passing) or not passing
            assert len(shown) == min(max(len(passing), 1), PER_LAYER)
            assert [unit.ap for unit in shown] == sorted((u.ap for u in shown), reverse=True)
            for unit in shown:
                (row,) = [row for row in own if row["unit"] == unit.unit]
                assert unit.ap == pytest.approx(row[f"ap_{one.modality}"], abs=1e-6)
                assert unit.auc == pytest.approx(row[f"auc_{one.modality}"], abs=1e-6)
                assert (unit.verdict, unit.address) == (row["verdict"], f"{layer}:{unit.unit}")
                seen += 1
    assert seen >= len(report.modalities)


def test_texts_are_shown_as_they_are_and_images_as_images(path: Path) -> None:
    for one in concept_report(source_of(open_atlas(path)), "APPLE").modalities:
        texts = [shown.text for shown in one.exemplars]
        if one.texts:
            assert texts == [f"apple|{one.modality}|{artist}" for artist in ARTISTS]
            origins = [shown.origin for shown in one.exemplars]
            assert origins == ["model", "person", "person", "person"]
        else:
            assert texts == [None] * len(ARTISTS)
            assert all(shown.path.endswith(".webp") for shown in one.exemplars)


def test_each_layer_stands_beside_its_controls(path: Path) -> None:
    atlas = open_atlas(path)
    report = concept_report(source_of(atlas), "apple")
    assert [one.layer for one in report.layers] == list(LAYERS)
    assert [one.tower for one in report.layers] == ["image", "text", "joint"]
    for one in report.layers:
        own = [row for row in table_of(path, one.layer) if row["concept"] == "apple"]
        assert one.multimodal == sum(row["multimodal"] for row in own) == 1
        assert one.known_by == sum(not row["dead"] for row in own)
        facts = atlas.manifest["analysis"]["layers"][one.layer]
        for control in ("random_twin", "rotation", "shuffled"):
            assert getattr(one, control) == facts[f"concepts_{control}"].get("apple", 0)
    # Counts without a layer are of the one that reads images.
    assert report.multimodal == report.layers[0].multimodal
    assert report.known_by == report.layers[0].known_by
    assert {row.address.rpartition(":")[0] for row in report.neurons} == {IMAGE}


def test_the_cell_is_the_unit_that_passes_as_most(path: Path) -> None:
    cell = concept_report(source_of(open_atlas(path)), "apple").cell
    assert cell is not None
    assert cell.address == "joint:0"
    assert set(cell.passes) == {*IMAGES, *TEXTS}


def test_what_no_unit_was_tested_on_is_not_counted_as_none(path: Path) -> None:
    source = source_of(open_atlas(path))
    columns = source.opened.columns(TEXT)
    auc, passes = columns.auc.copy(), columns.passes.copy()
    auc[columns.modalities.index("anecdote")] = np.nan
    passes[columns.modalities.index("anecdote")] = False
    source.opened._columns[TEXT] = replace(columns, auc=auc, passes=passes)
    anecdote = concept_report(source, "apple").modalities[-1]
    assert anecdote.answering[TEXT] is None
    assert anecdote.answering["joint"] == 1
    assert {unit.layer for unit in anecdote.units} == {"joint"}


def test_before_an_analysis_there_are_its_images_and_texts(recorded: Path) -> None:  # noqa: F811
    report = concept_report(source_of(open_atlas(recorded)), "apple")
    assert (report.layers, report.cell, report.rule) == ([], None, None)
    assert [len(one.exemplars) for one in report.modalities] == [len(ARTISTS)] * 7
    assert not any(one.units or one.answering for one in report.modalities)


def test_page_json_and_command_are_the_report(
    path: Path,
    run: Run,  # noqa: F811
) -> None:
    from starlette.testclient import TestClient

    expected = concept_facts(concept_report(source_of(open_atlas(path)), "apple"))
    app = create_app([path], Gate(TOKEN))
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=BEARER) as client:
        assert client.get("/concept/apple.json").json() == expected
        html = client.get("/concept/apple", headers={"accept": "text/html"}).text
    for one in expected["modalities"]:
        assert f'id="{one["modality"]}"' in html
        for unit in one["units"]:
            assert f'href="{unit["path"]}"' in html
    assert "apple|anecdote|a" in html
    assert "<small>ta · model</small>" in html
    ended = run("concept", path, "apple", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == expected
    printed = run("concept", path, "apple").out
    assert f"joint:0 passes as {', '.join((*IMAGES, *TEXTS))}" in " ".join(printed.split())
    assert "shuffled" in printed


def test_an_unknown_concept_is_refused_with_what_was_meant(path: Path) -> None:
    with pytest.raises(Missing, match="no concept 'aple'") as refused:
        concept_report(source_of(open_atlas(path)), "aple")
    assert refused.value.near[0].name == "apple"
