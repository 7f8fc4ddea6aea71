"""How a text is spelt, as numbers: near where letters are shared, and the same whatever else is in the bank."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.spelling import ngrams, spell, with_spelling

WORDS = [
    "apple", "apples", "grapple", "house", "mouse", "listen", "silent", "rhythm", "zebra", "hot dog", "quartz", "banjo",
]  # fmt: skip


def test_words_of_the_same_letters_are_near_and_anagrams_differ() -> None:
    rows = spell(WORDS, 4096)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    near = rows @ rows.T
    at = {word: i for i, word in enumerate(WORDS)}
    np.fill_diagonal(near, -1)
    assert near[at["apple"]].argmax() == at["apples"]
    assert near[at["house"]].argmax() == at["mouse"]
    assert near[at["listen"]].argmax() == at["silent"]
    assert near[at["listen"], at["silent"]] < 0.8


def test_what_has_no_letters_says_nothing() -> None:
    rows = spell(["apple", "—!", "pear"], 64)
    assert (rows[1] == 0).all()
    assert (with_spelling(["a", "?"], np.eye(2, dtype=np.float32), 0.5, 2)[1] == [0, 1]).all()


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8), st.randoms())
def test_the_order_of_the_texts_does_not_matter(texts: list[str], random: object) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = spell([texts[i] for i in order], 32)
    assert np.allclose(again, spell(texts, 32)[order], atol=1e-4)


@given(st.text(alphabet="abcdefg ", max_size=20))
def test_every_letter_is_counted_once_and_every_word_has_two_ends(text: str) -> None:
    found = ngrams(text)
    letters = text.replace(" ", "")
    assert sum(count for gram, count in found.items() if len(gram) == 1) == len(letters)
    assert sum(count for gram, count in found.items() if gram.startswith("<")) == len(text.split())
    assert sum(count for gram, count in found.items() if gram.endswith(">")) == len(text.split())


def test_the_given_share_of_a_target_says_the_spelling_along_its_own_axes() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(400)]
    plane = np.linalg.qr(rng.normal(size=(32, 24)))[0]
    targets = rng.normal(size=(400, 24)) @ plane.T
    targets = (targets / np.linalg.norm(targets, axis=1, keepdims=True)).astype(np.float32)
    mixed = with_spelling(texts, targets, 0.3, 24)
    assert np.allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-5)
    assert np.allclose((mixed * targets).sum(1).mean(), np.sqrt(0.7), atol=0.03)
    outside = mixed - mixed @ plane @ plane.T
    assert np.abs(outside).max() < 1e-4, "a tower of that rank could not say it"
    assert np.allclose(with_spelling(texts, targets, 0.0, 24), targets, atol=1e-6)
