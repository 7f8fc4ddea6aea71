"""Written words in training: where they lie, how small they get, and that a label covers what it should."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("cv2")

from synesthete.probes.words import load_fonts
from training import written

NAMES = ("cat", "apple", "fire engine", "strawberry", "hippopotamus", "grocery store")


@dataclass
class Written:
    """As much of a corpus as written words need."""

    fonts: list[str]
    small_share: float = 1.0


@pytest.fixture(scope="module")
def corpus() -> Written:
    return Written([str(font.path) for font in load_fonts()[:4]])


def ink(image: np.ndarray) -> np.ndarray:
    """Where the image is not its most frequent colour."""
    colours, count = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    ground = colours[count.argmax()].astype(int)
    found: np.ndarray = np.abs(image.astype(int) - ground).max(2) > 60
    return found


def test_small_words_lie_anywhere_and_hardly_ever_beyond_the_edge(corpus: Written) -> None:
    rng = np.random.default_rng(0)
    centres, areas, cut = [], [], 0
    for i in range(120):
        shown = ink(written.word(NAMES[i % len(NAMES)], corpus, 128, rng))  # type: ignore[arg-type]
        rows, columns = np.nonzero(shown.any(1))[0], np.nonzero(shown.any(0))[0]
        assert len(rows)
        cut += any(part.sum() > 12 for part in (shown[0], shown[-1], shown[:, 0], shown[:, -1]))
        centres.append([rows.mean() / 128, columns.mean() / 128])
        areas.append(len(rows) * len(columns) / 128**2)
    assert cut <= 6, "of 120 words, so many are cut off"
    spread = np.ptp(np.array(centres), axis=0)
    assert spread.min() > 0.5
    assert np.quantile(areas, 0.1) < 0.08
    assert np.quantile(areas, 0.9) < 0.45


def test_large_words_stay_about_the_middle(corpus: Written) -> None:
    rng = np.random.default_rng(0)
    large = Written(corpus.fonts, small_share=0.0)
    widths = []
    for i in range(60):
        shown = ink(written.word(NAMES[i % len(NAMES)], large, 128, rng))  # type: ignore[arg-type]
        columns = np.nonzero(shown.any(0))[0]
        assert 0.25 < columns.mean() / 128 < 0.75
        widths.append(np.ptp(columns) / 128)
    assert np.median(widths) > 0.6


def test_a_long_word_stays_legible() -> None:
    rng = np.random.default_rng(0)
    short = [written.small("cat", rng) for _ in range(200)]
    long = [written.small("hippopotamus", rng) for _ in range(200)]
    assert min(short) < 0.36
    assert min(long) >= 0.045 * 12
    assert max(short + long) <= 0.75


def test_a_label_is_paper_with_ink_and_an_empty_one_only_paper(corpus: Written) -> None:
    ground = np.full((128, 128, 3), 90, np.uint8)
    shares = []
    for seed in range(40):
        empty = written.sticker(
            ground,
            "apple",
            corpus,  # type: ignore[arg-type]
            np.random.default_rng(seed),
            blank=True,
        )
        changed = np.abs(empty.astype(int) - 90).max(2) > 20
        assert len(np.unique(empty[changed].reshape(-1, 3), axis=0)) < 400
        shares.append(changed.mean())
    assert min(shares) > 0.02
    assert max(shares) < 0.45
    assert float(np.median(shares)) == pytest.approx(0.13, abs=0.06)
