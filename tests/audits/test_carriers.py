"""Units that carry the attack: planted word readers are found, and switching them off ends the attack."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.audits.typographic.carriers import rate_units


def test_planted_word_readers_are_found() -> None:
    rng = np.random.default_rng(0)
    classes, units = 6, 30
    words = np.repeat(np.arange(classes), 3)
    things = np.repeat(np.arange(classes), 8)

    def noise(rows: int) -> np.ndarray:
        return rng.normal(size=(rows, units)).astype(np.float32)

    halves = [noise(len(words)), noise(len(words))]
    images, blank = noise(len(things)), noise(40)
    labelled = blank + 0.1 * noise(40)
    # Units 0 to 3 read a word; 4 to 7 know the thing in both guises; 8 to 11 see it in images only.
    for unit in range(4):
        for half in halves:
            half[:, unit] += 9 * (words == unit)
        labelled[:, unit] += 3
    for unit in range(4, 8):
        for half in halves:
            half[:, unit] += 9 * (words == unit % classes)
        images[:, unit] += 9 * (things == unit % classes)
        labelled[:, unit] += 3
    for unit in range(8, 12):
        images[:, unit] += 9 * (things == unit % classes)
        labelled[:, unit] += 3
    # Unit 12 reads a word, but no label on an image reaches it.
    for half in halves:
        half[:, 12] += 9 * (words == 5)
    labelled[:, 12] -= 1
    found = rate_units(
        (halves[0], words), (halves[1], words), (images, things), labelled, blank, classes
    )
    assert set(found.order[:4].tolist()) == {0, 1, 2, 3}
    assert found.concept[:4].tolist() == [0, 1, 2, 3]
    assert (found.word[:8] > 0.99).all()
    assert (found.image[4:8] > 0.99).all()
    assert found.score[12] == 0
    # In standard deviations over all images, with labels (raised by 3) and without.
    spread = np.concatenate([images, labelled, blank])[:, 0].std()
    assert found.drive[0] == pytest.approx(3 / spread, abs=0.1)


def test_a_unit_that_only_labels_wake_has_a_finite_drive() -> None:
    words = np.array([0, 0, 1, 1])
    acts = np.array([[3.0], [2.0], [0.0], [0.0]], np.float32)
    silent, codes = np.zeros((4, 1), np.float32), np.array([0, 0, 1, 1])
    raised = np.array([[2.0], [0.0]], np.float32)
    found = rate_units((acts, words), (acts, words), (silent, codes), raised, silent[:2], 2)
    shown = [0, 0, 0, 0, 2, 0, 0, 0]
    assert found.drive[0] == pytest.approx(1 / np.std(shown))
    never = rate_units((acts, words), (acts, words), (silent, codes), silent[:2], silent[:2], 2)
    assert never.drive[0] == 0


def test_classes_without_images_are_not_held_against_a_unit() -> None:
    words = np.array([0, 0, 1, 1])
    acts = np.array([[3.0], [2.0], [0.0], [0.0]], np.float32)
    found = rate_units(
        (acts, words), (acts, words), (np.array([[0.0], [1.0]], np.float32), np.array([1, 1])),
        np.array([[2.0]], np.float32), np.array([[0.0]], np.float32), 2,
    )  # fmt: skip
    assert np.isnan(found.image[0])
    assert found.score[0] > 0
