"""Decomposition: planted sums are found again, the linear path adds up, and every door refuses what it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.analysis.decomposition import decompose, explain, word_factors
from synesthete.analysis.decomposition.explain import contributions, unit_weights
from synesthete.analysis.decomposition.fit import Units, r_squared
from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from tests.small_atlas import record_small, write_known_analysis


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = record_small(tmp_path_factory.mktemp("small"))
    write_known_analysis(path)
    return open_atlas(path)


@pytest.mark.parametrize("positive", [False, True])
def test_a_planted_sum_is_found_again(positive: bool) -> None:
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(size=(800, 60)), 0).astype(np.float32) * rng.uniform(0.1, 9, 60)
    values[:, 59] = 3.0
    truth = {4: 0.5, 17: 0.2, 30: 0.9} if positive else {4: 0.5, 17: -0.2, 30: 0.9}
    target = sum(weight * values[:, unit] for unit, weight in truth.items())
    target = np.asarray(target + 0.05 * rng.normal(size=800), np.float64)
    weights, picked = Units(values.astype(np.float32)).fit(target, 3, positive=positive)
    assert set(picked.tolist()) == set(truth)
    for unit, weight in zip(picked.tolist(), weights, strict=True):
        assert weight == pytest.approx(truth[unit], abs=0.03)
    assert r_squared(values[:, picked] @ weights, target) > 0.99


def test_positive_sums_have_no_negative_weight() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 20)).astype(np.float32)
    target = -values[:, 3].astype(float) + 0.3 * values[:, 7]
    weights, picked = Units(values).fit(target, 5, positive=True)
    assert (weights >= 0).all()
    assert 3 not in picked


def test_a_constant_target_takes_no_unit() -> None:
    values = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    weights, _ = Units(values).fit(np.ones(50), 3)
    assert np.allclose(weights, 0)


def test_units_and_rest_sum_up_to_the_cosine(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    model = load_model(atlas.manifest["model"]["name"])
    # The model stays on its device, whichever it is.
    monkeypatch.delattr(torch.nn.Module, "cpu")
    layer = atlas.layers[0]
    rng = np.random.default_rng(3)
    images = [Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)) for _ in range(5)]
    pixels = torch.stack([model.preprocess(image) for image in images])
    direction = rng.normal(size=model.embedding_dim).astype(np.float32)
    split = contributions(model, layer, pixels, direction)
    wanted = model.encode_images(pixels) @ direction
    np.testing.assert_allclose(split.units.sum(1) + split.rest, wanted, atol=1e-4)


def test_unit_weights_are_what_raising_a_unit_everywhere_adds(atlas: Atlas) -> None:
    import torch

    model = load_model(atlas.manifest["model"]["name"])
    layer, direction = atlas.layers[0], np.ones((1, model.embedding_dim), np.float32)
    weights = unit_weights(model, layer, direction)[0]
    pool = model.network.visual.attnpool
    maps = torch.zeros(1, len(weights), *model.layer(layer).grid)
    # A map of one value alone: attention may change with it, so the same is put everywhere.
    for unit in (0, 3):
        raised = maps.clone()
        raised[:, unit] = 0.5
        with torch.no_grad():
            change = (pool(raised) - pool(maps)).numpy()[0] @ direction[0]
        pool_positions = float(np.abs(change - 0.5 * weights[unit]))
        assert pool_positions < 0.05 * max(1.0, abs(0.5 * weights[unit]))


def test_an_explanation_adds_up_and_names_the_label(atlas: Atlas) -> None:
    image = Image.new("RGB", (40, 40), (200, 30, 30))
    found = explain(atlas, image, labels=["apple", "car", "cat"], limit=4)
    assert {found.label, found.other} <= {"apple", "car", "cat"}
    assert found.cosines[0] >= found.cosines[1]
    assert abs(found.gap) < 1e-4
    most = [term.weight for term in found.units if term.weight > 0]
    assert most == sorted(most, reverse=True)
    difference = found.cosines[0] - found.cosines[1]
    assert found.without == pytest.approx(difference - sum(most), abs=1e-6)
    assert found.without < found.without_random
    other = explain(atlas, image, labels=["apple", "car"], against="tree")
    assert other.other == "tree"


def test_a_text_becomes_a_sum_of_units_with_its_controls(atlas: Atlas) -> None:
    found = decompose(atlas, "apple", terms=4)
    assert 1 <= len(found.terms) <= 4
    assert found.r2_low <= found.r2_high
    assert found.r2_shuffled < 0.2
    assert found.r2_random_twin is not None
    sizes = [abs(term.weight) for term in found.terms]
    assert sizes == sorted(sizes, reverse=True)
    assert all(term.address.startswith(f"{found.layer}:") for term in found.terms)
    assert decompose(atlas, "apple", terms=4) == found


def test_words_share_factors(atlas: Atlas) -> None:
    found = word_factors(atlas, ["apple", "cat", "car", "house"], factors=2, terms=5)
    assert found.weights.shape == (4, len(found.units))
    assert (found.weights >= 0).all()
    assert (found.loadings >= 0).all()
    assert found.loadings.shape == (4, 2)
    rebuilt = found.loadings @ found.parts
    share = 1 - ((found.weights - rebuilt) ** 2).sum() / (found.weights**2).sum()
    assert found.explained == pytest.approx(share)
    again = word_factors(atlas, ["apple", "cat", "car", "house"], factors=2, terms=5)
    assert again.loadings.tobytes() == found.loadings.tobytes(), "the same words, other factors"
    for words, options, message in (
        (["apple"], {}, "two words"),
        (["apple", "apple"], {}, "twice"),
        (["apple", "cat"], {"factors": 3}, "allow 1 to 2"),
    ):
        with pytest.raises(SynestheteError, match=message):
            word_factors(atlas, words, **options)


def test_wrong_questions_are_refused(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="empty"):
        decompose(atlas, "  ")
    with pytest.raises(SynestheteError, match="too few"):
        decompose(atlas, "apple", terms=0)
    with pytest.raises(SynestheteError, match="no layer"):
        decompose(atlas, "apple", layer="visual.layer9")
    with pytest.raises(SynestheteError, match="two labels"):
        explain(atlas, Image.new("RGB", (9, 9)), labels=["apple"])
    sparse = open_atlas(record_small(tmp_path, dense=False))
    with pytest.raises(SynestheteError, match="dense matrix"):
        decompose(sparse, "apple")
