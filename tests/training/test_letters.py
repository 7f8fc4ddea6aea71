"""The reader that asks for letters: what it asks, and that it teaches."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from training.letters import Letters  # noqa: E402

TEXTS = ["tot", "tea", "", "tee"]


def test_it_asks_for_the_n_grams_that_enough_texts_have() -> None:
    letters = Letters(TEXTS, 5, least=2)
    assert letters.grams == ["<t", "e", "t", "te"]
    targets = {text: letters.has[i].int().tolist() for i, text in enumerate(TEXTS)}
    assert targets == {
        "tot": [1, 0, 1, 0],
        "tea": [1, 1, 1, 1],
        "": [0, 0, 0, 0],
        "tee": [1, 1, 1, 1],
    }


def test_it_begins_with_how_common_each_is() -> None:
    letters = Letters(TEXTS, 5, least=2)
    shares = [(count + 1) / 6 for count in (3, 2, 3, 2)]
    for row, text in enumerate(TEXTS):
        wanted = -sum(
            math.log(share if has else 1 - share)
            for share, has in zip(shares, letters.has[row].tolist(), strict=True)
        )
        got = letters(torch.rand(1, 5), torch.tensor([row]))
        assert float(got.detach()) == pytest.approx(wanted, rel=1e-5), text


def test_units_that_stand_for_letters_are_learnt_from_it() -> None:
    """Planted: an image is a sum of its letters' patterns; the reader's gradient alone makes a layer tell them apart."""
    torch.manual_seed(0)
    texts = ["ab", "bc", "cd", "da", "ac", "bd"]
    letters = Letters(texts, 16, least=3)
    assert letters.grams == ["a", "b", "c", "d"]
    images = letters.has.float() @ torch.randn(4, 12)
    layer = torch.nn.Linear(12, 16)
    before = layer.weight.detach().clone()
    optimiser = torch.optim.Adam([*layer.parameters(), *letters.parameters], lr=0.05)
    rows = torch.arange(len(texts))
    start = float(letters(layer(images).relu(), rows).detach())
    for _ in range(200):
        optimiser.zero_grad()
        loss = letters(layer(images).relu(), rows)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 * start
    assert not torch.equal(before, layer.weight)
