"""Text units are read exactly as the text tower computes them, on every tower of open_clip's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, Preprocessing, load_model
from synesthete.models.interventions import Change
from synesthete.models.text import parameter_name
from synesthete.models.tokens import Tokenizer, aligned
from tests.models.conftest import random_pixels, scramble

VISION = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
SIMPLE = SimpleTokenizer(context_length=TEXT["context_length"])
TEXTS = [
    "a",
    "an old clock on the wall",
    "fire engine",
    "word " * 40,
    "",
    "\u202bשלום\u202c \x00\x07 🦒",
]
BLOCK = "text.transformer.resblocks.1"
TOWERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "clip": (CLIP, {}),
    "eos": (CLIP, {"pool_type": "eos", "eos_id": 49407}),
    "custom": (CustomTextCLIP, {"ls_init_value": 0.5}),
    "both ways": (CustomTextCLIP, {"no_causal_mask": True}),
    "siglip": (CustomTextCLIP, {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}),
    "first": (CustomTextCLIP, {"no_causal_mask": True, "pool_type": "first"}),
    "coca": (CoCa, {"embed_cls": True, "output_tokens": True}),
    "normed": (CustomTextCLIP, {"scale_fc": True, "scale_attn": True}),
}


def tower(kind: str, seed: int = 0) -> ImageTextModel:
    cls, more = TOWERS[kind]
    text = TEXT | more
    config: dict[str, Any] = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}
    if cls is CoCa:
        config["multimodal_cfg"] = TEXT | {"layers": 1}
        config["vision_cfg"] = VISION | {"attentional_pool": True, "output_tokens": True}

    def build() -> nn.Module:
        return scramble(cls(**config), seed)

    return ImageTextModel(
        kind,
        build(),
        preprocessing=Preprocessing(
            image_size=32,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            interpolation="bicubic",
            resize_mode="shortest",
            fill_color=0,
        ),
        embedding_dim=16,
        tokenize=Tokenizer(lambda: SIMPLE, lambda inner, texts: inner(texts)),
        build=build,
        description={},
    )


def by_hooks(model: ImageTextModel, texts: list[str]) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Plain hooks over the whole context: embeddings, MLP neurons after the GELU, the residual stream."""
    network: Any = model.network
    transformer = network.get_submodule(parameter_name(network, "text.transformer"))
    assert transformer.batch_first
    block, seen = transformer.resblocks[1], {}
    handles = [
        block.mlp.gelu.register_forward_hook(lambda m, i, o: seen.update(mlp=o.clone())),
        block.register_forward_hook(lambda m, i, o: seen.update(block=o.clone())),
    ]
    with torch.inference_mode():
        tokens = SIMPLE(texts)
        embeddings = network.encode_text(tokens, normalize=True).numpy()
    for handle in handles:
        handle.remove()
    return embeddings, seen["mlp"], seen["block"]


def places(kind: str, text: str) -> tuple[list[int], int]:
    """The positions of a text that count, and where its embedding is read, spelled out."""
    ids = SIMPLE([text])[0].tolist()
    end = ids.index(49407)
    read = {"siglip": 23, "first": 0, "coca": 24}.get(kind, end)
    return list(range(1, end + 1)), read


@pytest.mark.parametrize("kind", TOWERS)
def test_reading_is_what_plain_hooks_see(kind: str) -> None:
    model = tower(kind)
    embeddings, mlp, block = by_hooks(model, TEXTS)
    np.testing.assert_allclose(model.encode_texts(TEXTS), embeddings, atol=1e-5)
    for how in ("end", "max", "mean"):
        reading = model.read_texts(TEXTS, [f"{BLOCK}.mlp", BLOCK, "joint"], how)
        np.testing.assert_allclose(reading.embeddings, model.encode_texts(TEXTS), atol=1e-6)
        assert (reading.activations["joint"] == reading.embeddings).all()
        for layer, seen in ((f"{BLOCK}.mlp", mlp), (BLOCK, block)):
            for row, text in enumerate(TEXTS):
                own, read = places(kind, text)
                # Of towers that mark no end, what repeats to the end of the context is padding.
                if kind in ("siglip", "first") and len(own) == 23:
                    own = own[:-1]
                part = seen[row, own]
                wanted = {"end": seen[row, read], "max": part.max(0).values, "mean": part.mean(0)}
                found = reading.activations[layer][row]
                np.testing.assert_allclose(found, wanted[how].numpy(), atol=1e-5, err_msg=text)
                if how == "max":
                    place = reading.positions[layer][row].astype(int)
                    at = seen[row][torch.tensor(place), torch.arange(len(place))]
                    np.testing.assert_allclose(at.numpy(), found, atol=1e-5)
                    assert set(place.tolist()) <= set(own)
                if how == "end":
                    place = reading.positions[layer][row].astype(int)
                    before = [one for one in own if one != read]
                    strongest = part[: len(before)].argmax(0) + 1 if before else -1
                    assert (place == np.asarray(strongest)).all()
    assert reading.truncated.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("kind", ["clip", "coca", "siglip"])
def test_neurons_before_the_gelu(kind: str) -> None:
    model = tower(kind)
    reading = model.read_texts(TEXTS, [f"{BLOCK}.mlp:pre", f"{BLOCK}.mlp"], "end")
    before = torch.from_numpy(reading.activations[f"{BLOCK}.mlp:pre"])
    after = nn.functional.gelu(before).numpy()
    np.testing.assert_allclose(after, reading.activations[f"{BLOCK}.mlp"], atol=1e-5)


@pytest.mark.parametrize("kind", TOWERS)
def test_layers_of_both_towers_and_of_the_joint_space(kind: str) -> None:
    model = tower(kind)
    towers = [layer.tower for layer in model.layers()]
    assert towers == ["image"] * 3 + ["text"] * 6 + ["joint"]
    text = model.layers("text")
    assert [one.name for one in text[3:]] == [f"{BLOCK}.mlp:pre", f"{BLOCK}.mlp", BLOCK]
    assert [one.units for one in text[3:]] == [64, 64, 16]
    assert [one.name for one in model.layers("joint")] == ["joint"]
    assert model.layer("joint").units == 16
    heads = {one.name: one.units for one in model.sites("text") if one.kind == "heads"}
    assert heads == ({} if kind == "normed" else {f"{BLOCK[:-1]}{k}.attn": 2 for k in range(2)})


def test_the_joint_layer_answers_to_images_too() -> None:
    model = tower("clip")
    image = model.layers("image")[0].name
    reading = model.read(random_pixels(model), ["joint", image])
    assert (reading.activations["joint"] == reading.embeddings).all()
    assert (reading.positions["joint"] == -1).all()
    assert "joint" not in reading.grids


def test_which_tower_reads_what() -> None:
    model = tower("clip")
    image = model.layers("image")[0].name
    for run, message in (
        (
            lambda: model.read(random_pixels(model), [BLOCK]),
            f"{BLOCK} of clip reads texts, not images",
        ),
        (lambda: model.read_texts(["a"], [image]), f"{image} of clip reads images, not texts"),
        (lambda: model.maps(random_pixels(model), "joint"), "joint is the embedding itself"),
        (lambda: model.read_texts(["a"], ["text.transformer"]), "has no layer 'text.transformer'"),
        (lambda: model.read_texts(["a"], [BLOCK], "cls"), "no such reduction 'cls'"),
    ):
        with pytest.raises(SynestheteError, match=message):
            run()


def test_no_texts_and_many_texts() -> None:
    model = tower("clip")
    none = model.read_texts([], [BLOCK, "joint"])
    assert none.embeddings.shape == (0, 16)
    assert none.activations[BLOCK].shape == (0, 16)
    assert none.truncated.shape == (0,)
    many = [f"number {index}" for index in range(300)]
    reading = model.read_texts(many, [BLOCK])
    for index in (0, 255, 256, 299):
        alone = model.read_texts([many[index]], [BLOCK])
        np.testing.assert_allclose(
            reading.activations[BLOCK][index], alone.activations[BLOCK][0], atol=1e-5
        )


@pytest.mark.parametrize("kind", ["clip", "coca", "siglip"])
def test_edits_of_text_units_act_in_encode_texts(kind: str) -> None:
    model = tower(kind)
    texts = TEXTS[:4]
    plain = model.encode_texts(texts)
    for layer in (f"{BLOCK}.mlp", f"{BLOCK}.mlp:pre", BLOCK, f"{BLOCK}.attn"):
        with model.changed([Change(layer, (0,), scale=1.0)]):
            np.testing.assert_allclose(model.encode_texts(texts), plain, atol=1e-5)
        with model.changed([Change(layer, (0, 1), scale=0.0)]):
            moved = model.encode_texts(texts)
            images = model.encode_images(random_pixels(model))
        assert np.abs(moved - plain).max() > 1e-3, layer
        np.testing.assert_array_equal(images, model.encode_images(random_pixels(model)))
    with model.changed([Change(f"{BLOCK}.mlp", (3,), scale=0.0)]):
        reading = model.read_texts(texts, [BLOCK])
    # The same by hand: the neuron's column of the second layer at nought.
    network: Any = model.network
    block = network.get_submodule(parameter_name(network, BLOCK))
    column = block.mlp.c_proj.weight[:, 3].clone()
    block.mlp.c_proj.weight[:, 3] = 0.0
    by_hand = model.read_texts(texts, [BLOCK])
    block.mlp.c_proj.weight[:, 3] = column
    np.testing.assert_allclose(reading.embeddings, by_hand.embeddings, atol=1e-5)
    np.testing.assert_array_equal(model.encode_texts(texts), plain)


def test_the_random_twin_reads_texts_with_weights_of_its_own() -> None:
    model = load_model("mini", device="cpu")
    first, again, other = model.random_twin(0), model.random_twin(0), model.random_twin(1)
    layer = "text.transformer.resblocks.3.mlp"
    texts = ["an apple", "a dog on the beach"]
    read = [one.read_texts(texts, [layer]).activations[layer] for one in (first, again, other)]
    np.testing.assert_array_equal(read[0], read[1])
    assert np.abs(read[0] - read[2]).max() > 1e-3
    assert (read[0].std(axis=0) > 0).mean() > 0.9


def test_tokens_are_the_characters_that_they_stand_for() -> None:
    model = load_model("mini", device="cpu")
    text = "Two  🦒🦒 Giraffes &amp; İstanbul\tdon't"
    tokens = model.tokens(text)
    assert [one.text for one in tokens] == [
        "", "Two", "🦒", "🦒", "🦒", "🦒", "Gira", "ffes", "&", "İ", "İ", "stanbul", "don", "'t", "",
    ]  # fmt: skip
    assert all(text[one.start : one.stop] == one.text for one in tokens)
    assert [one.start for one in tokens] == sorted(one.start for one in tokens)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
@example("ΑΣ ß ﬁ ǅ")
@example("&lt;b&gt; cafÃ© \x00x")
def test_there_are_as_many_tokens_as_the_model_is_given(text: str) -> None:
    tokenizer = Tokenizer(lambda: SIMPLE, lambda inner, texts: inner(texts, context_length=400))
    tokens = tokenizer.tokens(text)
    ids = tokenizer([text])[0]
    assert len(tokens) == int(ids.argmax()) + 1 == tokenizer.count(text)
    assert all(text[one.start : one.stop] == one.text for one in tokens)
    if text.isascii() and text.isprintable() and "&" not in text:
        assert "".join(one.text for one in tokens) == "".join(text.split())


def test_a_text_that_cleaning_rewrites_is_matched_as_a_whole() -> None:
    assert aligned("a & b", "a &amp; b") == [0, 0, 2, 2, 8, 9]
    assert aligned("", "  ") == [0]
