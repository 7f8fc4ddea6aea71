"""Rows that the atlas keeps."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.analysis.analyze import KEPT_BEST, family_of_concepts, selectivity_table
from synesthete.analysis.concept_tests import ConceptTests, run_concept_tests
from synesthete.analysis.design import Design
from synesthete.analysis.planted import plant, planted_design


@pytest.fixture(scope="module")
def design() -> Design:
    return planted_design(30)


@pytest.fixture(scope="module")
def tests(design: Design) -> ConceptTests:
    return run_concept_tests(plant(design, 40, noise=0.3, seed=1).activations, design)[0]


def test_selectivity_keeps_what_it_says(tests: ConceptTests, design: Design) -> None:
    table = selectivity_table(tests, design)
    kept = np.zeros(tests.passes.shape, bool)
    number = {name: i for i, name in enumerate(design.concepts)}
    for row in table.to_pylist():
        kept[row["unit"], number[row["concept"]]] = True
    live = ~np.isnan(tests.p).all(axis=(0, 2))
    assert (kept.sum(axis=1)[live] >= KEPT_BEST).all()
    assert not kept[~live].any()
    selective = (tests.auc >= 0.8).sum(axis=0) >= 2
    assert kept[selective & live[:, None]].all()
    assert kept[tests.passes].all()
    mean = np.nanmean(tests.auc, axis=0)
    for unit in np.flatnonzero(live):
        assert kept[unit, np.argmax(mean[unit])]


def test_cells_without_images_are_null(tests: ConceptTests, design: Design) -> None:
    for row in selectivity_table(tests, design).to_pylist():
        for modality in design.modalities:
            cells = [row[f"{name}_{modality}"] is None for name in ("auc", "p", "q")]
            assert cells == [row[f"n_{modality}"] == 0] * 3


def test_q_is_over_everything_tested(tests: ConceptTests) -> None:
    tested = ~np.isnan(tests.p)
    assert tests.hypotheses == tested.sum() == (~np.isnan(tests.q)).sum()
    assert (tests.q[tested] >= tests.p[tested]).all()


def test_families() -> None:
    concepts = ["fig", "fig", "fig", "ant", "ant", "owl"]
    families = ["fruit", "tree", "fruit", "bug", "animal", ""]
    assert family_of_concepts(concepts, families) == {"fig": "fruit", "ant": "animal"}
