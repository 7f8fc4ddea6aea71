"""CLIP-Dissect's scorers against their formulas, in any chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.analysis.naming import scorers
from tests.oracles import clip_dissect as oracle


def example(seed: int, images: int = 60, units: int = 4, words: int = 7, dim: int = 5) -> tuple:
    rng = np.random.default_rng(seed)
    shown, texts = (rng.normal(size=(n, dim)).astype(np.float32) + 0.7 for n in (images, words))
    for rows in (shown, texts):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    activations = np.maximum(rng.normal(size=(images, units)), -0.5).astype(np.float16)
    return activations.astype(np.float32), shown, texts


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), chunk=st.sampled_from([1, 900, 10**8]))
def test_scorers_are_their_formulas(seed: int, chunk: int) -> None:
    activations, images, words = example(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorers, "CHUNK_BYTES", chunk)
        soft = scorers.soft_wpmi(activations, images, words, top=20)
        hard = scorers.wpmi(activations, images, words, top=9)
        reordered = scorers.rank_reorder(activations, images, words)
        cubed = scorers.cos_cubed(activations, images, words)
    wanted = oracle.mutual_information(activations, images, words, top=20, soft=True)
    np.testing.assert_allclose(soft, wanted, rtol=2e-4, atol=2e-4)
    wanted = oracle.mutual_information(activations, images, words, top=9, soft=False)
    np.testing.assert_allclose(hard, wanted, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(
        reordered, oracle.rank_reorder(activations, images, words), rtol=1e-3
    )
    np.testing.assert_allclose(cubed, oracle.cos_cubed(activations, images, words), atol=2e-5)


def test_top_images_are_best_first_and_ties_go_to_the_smaller_number() -> None:
    column = np.array([1, 3, 3, 0, 3, 2], np.float32)
    assert scorers.top_images(column[:, None], 4).tolist() == [[1, 2, 4, 5]]
    assert scorers.top_images(np.zeros((5, 2), np.float32), 3).tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("name", scorers.SCORERS)
def test_a_unit_that_follows_a_word_is_called_by_it(name: str) -> None:
    rng = np.random.default_rng(1)
    words = np.linalg.qr(rng.normal(size=(24, 24)))[0][:12].astype(np.float32)
    shows = rng.integers(12, size=400)
    images = words[shows] + 0.25 * rng.normal(size=(400, 24)).astype(np.float32) / 5
    images += 0.2 * words.mean(0)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    activations = (images @ words.T + 0.02 * rng.normal(size=(400, 12))).astype(np.float32)
    scored = scorers.SCORERS[name](activations, images.astype(np.float32), words)
    assert (scored.argmax(1) == np.arange(12)).mean() >= 0.9
