"""P(category | activation): against counting by hand, on units whose answer is planted, and the refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synesthete._core.intervals import wilson_interval
from synesthete.analysis import analyze
from synesthete.analysis.conditional import conditional
from synesthete.analysis.planted import Planted, plant
from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.errors import SynestheteError
from synesthete.report.charts import conditional_chart
from synesthete.report.svg import write_drawing
from tests.analysis.planted_atlas import LAYER, record_planted, small_design


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(small_design()[0], 60, noise=0.15, seed=5)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory, planted: Planted) -> Atlas:
    path = record_planted(tmp_path_factory.mktemp("conditional"), *small_design(), planted)
    analyze(path)
    return open_atlas(path)


@pytest.mark.parametrize("by", ["concept", "family", "modality"])
def test_every_bin_is_what_counting_gives(atlas: Atlas, by: str) -> None:
    found = conditional(atlas, f"{LAYER}:3", by=by, bins=7)
    values = atlas.activations(LAYER)[:, 3].astype(np.float64)
    scaled, labels = values / values.std(), atlas.probes[by].to_pylist()
    assert sum(found.images) == len(values)
    for i, (low, high) in enumerate(zip(found.edges, found.edges[1:], strict=False)):
        last = i == 6
        inside = [low <= v < high or (last and v >= high) for v in scaled]
        assert found.images[i] == sum(inside)
        for curve in found.curves:
            hits = sum(
                name == curve.category and here for name, here in zip(labels, inside, strict=True)
            )
            assert curve.count[i] == hits
            assert (curve.low[i], curve.high[i]) == wilson_interval(hits, sum(inside))
            assert math.isnan(curve.share[i]) == (not any(inside))


def test_the_top_of_a_concept_cell_is_its_concept(atlas: Atlas, planted: Planted) -> None:
    concepts = small_design()[0].concepts
    cells = np.flatnonzero(planted.kind == "concept")
    assert len(cells)
    shown = [conditional(atlas, f"{LAYER}:{unit}").curves[0].category for unit in cells]
    right = [concepts[planted.concept[unit]] for unit in cells]
    assert np.mean([a == b for a, b in zip(shown, right, strict=True)]) >= 0.8


def test_the_units_own_concept_is_always_shown_and_never_what_ties_at_zero(
    tmp_path: Path, planted: Planted
) -> None:
    design, artists = small_design()
    # Each unit fires for the four written words of its last concept only: all other images tie at zero.
    sparse = np.zeros_like(planted.activations)
    own = np.flatnonzero(design.concept == len(design.concepts) - 1)
    sparse[own[-4:]] = np.array([[1.0], [1.5], [2.0], [2.5]], np.float16)
    path = record_planted(tmp_path, design, artists, replace(planted, activations=sparse))
    analyze(path)
    last = design.concepts[-1]
    neuron = open_atlas(path).neuron(f"{LAYER}:0")
    shown = [c.category for c in conditional(open_atlas(path), neuron.address).curves]
    assert shown[0] == neuron.heading
    assert set(shown) == {neuron.heading, last}
    names = {"unit": [0], "rank": [0], "name": ["Concept 0003"], "method": ["auc"]}
    names |= {
        key: [0.9] for key in ("score", *(f"confidence{end}" for end in ("", "_low", "_high")))
    }
    write_unit_tables(path, "names", {LAYER: pa.table(names)}, {"layers": {}})
    shown = [c.category for c in conditional(open_atlas(path), neuron.address).curves]
    assert shown[0] == "concept 0003"  # what it is called now
    assert neuron.concept in shown


def test_what_people_say_counts_instead_of_the_labels(atlas: Atlas) -> None:
    order = np.argsort(atlas.activations(LAYER)[:, 3].astype(float), kind="stable")
    labels = {int(i): ("yes" if place >= 30 else "no") for place, i in enumerate(order[-40:])}
    found = conditional(atlas, f"{LAYER}:3", labels=labels, categories=["yes"], bins=4)
    assert sum(found.images) == 40
    assert sum(found.curves[0].count) == 10
    assert found.curves[0].share[-1] == 1.0
    with pytest.raises(SynestheteError, match="no image 99999"):
        conditional(atlas, f"{LAYER}:3", labels={99999: "yes"})


def test_the_chart_is_drawn_to_svg_and_png(atlas: Atlas, tmp_path: Path) -> None:
    found = conditional(atlas, f"{LAYER}:3", by="modality")
    svg = write_drawing(conditional_chart(found), tmp_path / "a.svg").read_text(encoding="utf-8")
    assert all(curve.category in svg for curve in found.curves)
    assert svg.count("<rect") == 1 + sum(sum(map(bool, found.images)) for _ in found.curves)
    assert write_drawing(svg, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for name, message in (("a.gif", "must end in"), ("no/where.svg", "no folder")):
        with pytest.raises(SynestheteError, match=message):
            write_drawing(svg, tmp_path / name)


def test_wrong_questions_are_refused(atlas: Atlas, planted: Planted) -> None:
    dead = int(np.flatnonzero(planted.kind == "dead")[0])
    for address, options, message in (
        (f"{LAYER}:3", {"by": "colour"}, "no categories by 'colour'"),
        (f"{LAYER}:3", {"categories": ["unicorn"]}, "labelled 'unicorn'"),
        (f"{LAYER}:3", {"bins": 1}, "too few"),
        (f"{LAYER}:{dead}", {}, "same value"),
        (f"{LAYER}:9999", {}, "no unit 9999"),
    ):
        with pytest.raises(SynestheteError, match=message):
            conditional(atlas, address, **options)
