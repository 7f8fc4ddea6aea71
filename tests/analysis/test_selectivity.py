"""AUC tables against scikit-learn in a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from synesthete.analysis import selectivity
from synesthete.analysis.selectivity import auc_table, auc_tables, concept_scores
from synesthete.errors import SynestheteError
from tests.oracles import selectivity as oracle


@st.composite
def recordings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Activations with many ties, signed zeros and gaps; labels of a few concepts, some without images."""
    images = draw(st.integers(1, 25))
    units, concepts = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    kind = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    element = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 65504.0, -65504.0, float("nan")]),
        st.floats(-8, 8, width=16),
    )
    values = draw(hnp.arrays(kind, (images, units), elements=element))
    codes = draw(hnp.arrays(np.int64, images, elements=st.integers(0, concepts - 1)))
    return values, codes, concepts


@settings(max_examples=80, deadline=None)
@given(recordings())
def test_equals_scikit_learn(recording: tuple[np.ndarray, np.ndarray, int]) -> None:
    values, codes, n_concepts = recording
    table = auc_table(values, codes, n_concepts)
    ranked = np.where(np.isnan(values), -1e9, values.astype(np.float64))
    for unit in range(values.shape[1]):
        for concept in range(n_concepts):
            positive = codes == concept
            expected = oracle.auc(ranked[:, unit], positive)
            np.testing.assert_allclose(table.auc[unit, concept], expected, rtol=1e-6)
            assert table.n_pos[concept] == positive.sum()
            assert table.n_neg[concept] == (~positive).sum()
            strict = oracle.wins(ranked[:, unit], positive)
            assert 0 <= table.wins[unit, concept] <= strict
            if np.unique(ranked[:, unit]).size == len(codes):
                assert table.wins[unit, concept] == strict


def test_constant_units_get_one_half() -> None:
    values = np.full((6, 2), 3.5, np.float16)
    assert (auc_table(values, [0, 0, 1, 1, 2, 2], 3).auc == 0.5).all()


def test_chunks_and_company_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    values = np.maximum(random.normal(size=(60, 33)), 0).astype(np.float16)
    labelings = [random.integers(0, 7, 60) for _ in range(3)]
    whole = auc_tables(values, labelings, 7)
    monkeypatch.setattr(selectivity, "RANKED_AT_ONCE", 150)
    for labels, one in zip(labelings, whole, strict=True):
        alone = auc_table(values, labels, 7)
        np.testing.assert_array_equal(alone.auc, one.auc)
        np.testing.assert_array_equal(alone.wins, one.wins)


def test_half_precision_gives_the_same_ranks() -> None:
    values = np.random.default_rng(1).normal(size=(500, 8)).astype(np.float16)
    codes = np.arange(500) % 9
    half, full = auc_table(values, codes, 9), auc_table(values.astype(np.float64), codes, 9)
    np.testing.assert_array_equal(half.auc, full.auc)
    np.testing.assert_array_equal(half.wins, full.wins)


def test_large_groups_stay_exact() -> None:
    images = 40_000
    values = np.random.default_rng(2).permutation(images).astype(np.float64)[:, None]
    codes = (np.arange(images) % 2).astype(np.int64)
    table = auc_table(values, codes, 2)
    assert table.wins[0].sum() == (images // 2) ** 2


def test_no_images() -> None:
    table = auc_table(np.zeros((0, 3), np.float16), [], 2)
    assert np.isnan(table.auc).all()
    assert table.auc.shape == (3, 2)


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(SynestheteError, match="4 images have 3 concept labels"):
        auc_table(np.zeros((4, 1)), [0, 1, 0], 2)
    with pytest.raises(SynestheteError, match=r"0\.\.1"):
        auc_table(np.zeros((2, 1)), [0, 2], 2)


def average_precision(values: np.ndarray, own: np.ndarray) -> float:
    """Slow and obvious: rank by value, other concepts first among equals, precision at each of the concept's images."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], own[i]))
    hits, precisions = 0, []
    for rank, image in enumerate(order, start=1):
        if own[image]:
            hits += 1
            precisions.append(hits / rank)
    return float(np.mean(precisions))


@settings(max_examples=80, deadline=None)
@given(recordings(), st.data())
def test_scores_of_one_concept_equal_the_oracles(
    recording: tuple[np.ndarray, np.ndarray, int], data: st.DataObject
) -> None:
    values, codes, n_concepts = recording
    n_units = values.shape[1]
    concept = data.draw(hnp.arrays(np.int64, n_units, elements=st.integers(-1, n_concepts - 1)))
    shuffled_codes = np.roll(codes, 1)
    tables = auc_tables(values, [codes, shuffled_codes], n_concepts)
    pairs = [(codes, concept), (shuffled_codes, concept)]
    ranked = np.where(np.isnan(values), -1e9, values.astype(np.float64))
    for found, table, labels in zip(
        concept_scores(values, pairs, n_concepts), tables, (codes, shuffled_codes), strict=True
    ):
        for unit in range(n_units):
            own = labels == concept[unit]
            assert found.n_pos[unit] == own.sum()
            if not own.any() or own.all():
                assert np.isnan([found.auc[unit], found.ap[unit], found.wins[unit]]).all()
                continue
            assert found.auc[unit] == pytest.approx(table.auc[unit, concept[unit]], abs=1e-6)
            assert found.wins[unit] == table.wins[unit, concept[unit]]
            assert found.ap[unit] == pytest.approx(average_precision(ranked[:, unit], own))
            column = values[:, unit].astype(np.float64)
            if np.isfinite(column).all() and column.std() > 1e-6:
                expected = np.corrcoef(column, own)[0, 1]
                assert found.correlation[unit] == pytest.approx(expected, abs=1e-6)


def test_average_precision_equals_scikit_learn_without_ties() -> None:
    generator = np.random.default_rng(0)
    values, codes = generator.normal(size=(200, 6)), generator.integers(0, 5, 200)
    concept = np.arange(6) % 5
    (found,) = concept_scores(values, [(codes, concept)], 5)
    for unit in range(6):
        expected = average_precision_score(codes == concept[unit], values[:, unit])
        assert found.ap[unit] == pytest.approx(expected)
