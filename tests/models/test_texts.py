"""Texts are read over the positions they have, and come out as from open_clip over the whole context."""

from __future__ import annotations

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.models.text import encode_text, used_length

TEXTS = ["a", "an old clock on the wall", "fire engine", "word " * 200, ""]


@pytest.fixture(scope="module")
def clip() -> tuple[torch.nn.Module, object]:
    torch.manual_seed(0)
    network = open_clip.create_model("RN50")
    network.eval()
    return network, open_clip.get_tokenizer("RN50")


def same(network: torch.nn.Module, tokens: torch.Tensor) -> None:
    with torch.inference_mode():
        expected = network.encode_text(tokens, normalize=True)  # type: ignore[operator]
        found = encode_text(network, tokens)
    assert torch.allclose(found, expected, atol=2e-6)


def test_short_texts_are_read_over_few_positions_with_the_same_result(clip) -> None:  # type: ignore[no-untyped-def]
    network, tokenize = clip
    for texts, length in (
        ([TEXTS[0]], 3),
        (TEXTS[:3], 8),
        ([TEXTS[3]], 77),
        (TEXTS, 77),
        ([""], 2),
    ):
        tokens = tokenize(texts)
        assert used_length(network, tokens) == length, texts
        same(network, tokens)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_texts(clip, texts: list[str]) -> None:  # type: ignore[no-untyped-def]
    network, tokenize = clip
    same(network, tokenize(texts))


def test_a_tower_that_sees_both_ways_runs_over_the_whole_context() -> None:
    torch.manual_seed(0)
    config = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
              "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}}  # fmt: skip
    from open_clip.model import CLIP

    network = CLIP(**config).eval()
    tokens = open_clip.tokenizer.SimpleTokenizer(context_length=12)(["a cat", "two"])
    assert used_length(network, tokens) == 4
    same(network, tokens)
    config["text_cfg"]["no_causal_mask"] = True  # type: ignore[index]
    both = CLIP(**config).eval()
    assert used_length(both, tokens) == 12
    same(both, tokens)


def test_another_class_of_model_runs_as_it_is() -> None:
    tokens = torch.zeros(2, 7, dtype=torch.long)

    class Other(torch.nn.Module):
        def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
            return torch.full((len(tokens), 3), float(tokens.shape[1]))

    assert encode_text(Other(), tokens).tolist() == [[7.0] * 3] * 2
