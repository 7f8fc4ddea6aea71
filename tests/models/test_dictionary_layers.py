"""Latents as a layer: read as a plain computation reads them, changed with what the dictionary does not explain kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel
from synesthete.models.dictionaries import SparseDictionary
from synesthete.models.dictionary_formats import with_named_dictionaries
from synesthete.models.gradients import GradientTower
from synesthete.models.interventions import Change
from tests.models.conftest import random_pixels

LAYERS = {"resnet": "visual.layer4.1", "vit": "visual.transformer.resblocks.1"}
TEXT = "text.transformer.resblocks.0.mlp"


def dictionary(dim: int, latents: int = 20, *, seed: int = 0, **kind: object) -> SparseDictionary:
    generator = np.random.default_rng(seed)
    decoder = generator.normal(size=(latents, dim)).astype(np.float32)
    return SparseDictionary(
        encoder=generator.normal(size=(dim, latents)).astype(np.float32),
        encoder_bias=generator.normal(size=latents).astype(np.float32),
        decoder=decoder / np.linalg.norm(decoder, axis=1, keepdims=True),
        decoder_bias=generator.normal(size=dim).astype(np.float32),
        **(kind or {"k": 4}),  # type: ignore[arg-type]
    )


def jumps(latents: int = 20) -> dict[str, object]:
    return {"threshold": np.linspace(0, 1, latents, dtype=np.float32)}


def plainly(one: SparseDictionary, rows: np.ndarray) -> np.ndarray:
    """Latents `[rows, latents]`, row by row."""
    found = np.zeros((len(rows), one.latents))
    for at, row in enumerate(rows.astype(np.float64)):
        if one.layer_norm:
            row = (row - row.mean()) / (row.std(ddof=1) + 1e-5)
        pre = row @ one.encoder + one.encoder_bias
        for unit in range(one.latents):
            if one.threshold is not None:
                keep = pre[unit] > one.threshold[unit]
            else:
                keep = pre[unit] > 0 and (pre > pre[unit]).sum() < (one.k or 0)
            found[at, unit] = pre[unit] if keep else 0
    return found


def prepared(
    request: pytest.FixtureRequest, family: str, kind: dict[str, object]
) -> tuple[ImageTextModel, str, torch.Tensor, SparseDictionary, ImageTextModel]:
    """A model, a layer of it, pixels, a dictionary of the layer, and the model with that as `layer@x`."""
    plain: ImageTextModel = request.getfixturevalue(family)
    layer = LAYERS[family]
    one = dictionary(plain.layer(layer).units, **kind)
    return plain, layer, random_pixels(plain), one, plain.with_dictionary(layer, "x", one)


@pytest.mark.parametrize("family", ["resnet", "vit"])
@pytest.mark.parametrize("kind", [{"k": 4}, jumps(), {"k": 4, "layer_norm": True}], ids=["topk", "jumprelu", "norm"])  # fmt: skip
def test_latents_are_what_a_plain_computation_gives(
    family: str, kind: dict[str, object], request: pytest.FixtureRequest
) -> None:
    plain, layer, pixels, one, model = prepared(request, family, kind)
    assert f"{layer}@x" in [each.name for each in model.layers("image")]
    assert f"{layer}@x" not in [each.name for each in plain.layers("image")]
    assert model.default_layers == plain.default_layers
    maps = plain.maps(pixels, layer).flatten(2).transpose(1, 2)
    expected = np.stack([plainly(one, rows) for rows in maps.numpy()])
    reading = model.read(pixels, [layer, f"{layer}@x"])
    np.testing.assert_allclose(
        reading.activations[f"{layer}@x"], expected.max(axis=1), atol=1e-3, rtol=1e-3
    )
    alike = model.maps(pixels, f"{layer}@x").flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(alike, expected, atol=1e-3, rtol=1e-3)
    np.testing.assert_array_equal(
        reading.activations[layer], plain.read(pixels, [layer]).activations[layer]
    )
    if family == "vit":
        mean = model.read(pixels, [f"{layer}@x"], "cls").activations[f"{layer}@x"]
        cls = plain.read(pixels, [layer], "cls").activations[layer]
        np.testing.assert_allclose(mean, plainly(one, cls), atol=1e-3, rtol=1e-3)
        assert len(plain.positions(pixels, layer)) == 3 * (maps.shape[1] + 1)
    else:
        assert torch.equal(plain.positions(pixels, layer), maps.flatten(0, 1))


def test_texts_too(resnet: ImageTextModel) -> None:
    one = dictionary(resnet.layer(TEXT).units)
    model = resnet.with_dictionary(TEXT, "x", one)
    texts = ["a cat", "two long grey elephants", ""]
    by_text = [resnet.positions([text], TEXT) for text in texts]
    assert [len(rows) for rows in by_text] == [len(resnet.tokens(text)) - 1 for text in texts]
    assert torch.allclose(torch.cat(by_text), resnet.positions(texts, TEXT), atol=1e-5)
    found = model.read_texts(texts, [f"{TEXT}@x"], "max").activations[f"{TEXT}@x"]
    expected = [plainly(one, rows.numpy()).max(axis=0) for rows in by_text]
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["resnet", "vit"])
@pytest.mark.parametrize("kind", [{"k": 4}, {**jumps(), "layer_norm": True}], ids=["topk", "norm"])
def test_a_change_keeps_what_is_not_explained(
    family: str, kind: dict[str, object], request: pytest.FixtureRequest
) -> None:
    plain, layer, pixels, one, model = prepared(request, family, kind)
    before, embedded = plain.maps(pixels, layer), plain.encode_images(pixels)
    latents = model.maps(pixels, f"{layer}@x")
    unit = int(latents.amax(dim=(0, 2, 3)).argmax())
    # Nothing at all, factors of 1, and nothing added: the same bits.
    for changes in ([], [Change(f"{layer}@x", (unit,))], [Change(f"{layer}@x", (0, 3), scale=1.0)]):
        with model.changed(changes):
            assert np.array_equal(model.encode_images(pixels), embedded)
    for scale, add in ((0.0, 0.0), (1.0, 2.5), (0.0, 1.5)):
        with model.changed([Change(f"{layer}@x", (unit,), scale=scale, add=add)]):
            after, moved = model.maps(pixels, layer), model.encode_images(pixels)
        change = latents[:, unit] * (scale - 1) + add
        step = change[:, None] * torch.from_numpy(one.decoder[unit])[None, :, None, None]
        if one.layer_norm:
            step *= before.std(dim=1, keepdim=True)
        torch.testing.assert_close(after, before + step, atol=1e-4, rtol=1e-4)
        silent = (change == 0)[:, None].expand_as(before)
        assert torch.equal(after[silent], before[silent])
        assert float(np.abs(moved - embedded).max()) > 1e-4
    assert np.array_equal(plain.encode_images(pixels), embedded)


def test_the_random_dictionary_is_of_the_same_size(resnet: ImageTextModel) -> None:
    layer, pixels = LAYERS["resnet"], random_pixels(resnet)
    model = resnet.with_dictionary(layer, "x", dictionary(resnet.layer(layer).units))
    control, name = model.twin("random_dictionary", 3), f"{layer}@x"
    assert control.layer(name) == model.layer(name)
    found = [each.maps(pixels, name) for each in (model, control)]
    assert ((found[1] > 0).sum(dim=1) <= 4).all()
    assert not torch.equal(*found)
    assert torch.equal(control.maps(pixels, layer), model.maps(pixels, layer))
    assert torch.equal(model.twin("random_dictionary", 3).maps(pixels, name), found[1])
    assert name in [each.name for each in model.random_twin(1).layers()]
    loose = dictionary(8, **jumps())
    assert loose.random(0).k == 20
    assert dictionary(8, 64, **jumps(64)).random(0).k == 32
    directions = loose.random(0).decoder
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_gradients_go_through_latents(family: str, request: pytest.FixtureRequest) -> None:
    plain: ImageTextModel = request.getfixturevalue(family)
    layer = LAYERS[family]
    one = dictionary(plain.layer(layer).units)
    model = plain.with_dictionary(layer, "x", one)
    tower = GradientTower(model)
    pixels = tower.normalised(torch.rand(2, 3, tower.side, tower.side)).requires_grad_()
    found = tower.run(pixels, [f"{layer}@x"], at=[tower.before(f"{layer}@x")])
    latents = found.responses[f"{layer}@x"].patches
    # The pre-activation, which is the activation where there is one, and has a slope where there is none.
    alive = model.maps(pixels.detach(), f"{layer}@x").flatten(2).transpose(1, 2)
    torch.testing.assert_close(latents[alive > 0], alive[alive > 0], atol=1e-3, rtol=1e-3)
    silent = int((alive == 0).all(dim=1).all(dim=0).nonzero()[0])
    (slope,) = torch.autograd.grad(latents[..., silent].sum(), pixels)
    assert float(slope.abs().max()) > 0
    assert tower.before(f"{layer}@x") == tower.before(layer)


def test_what_does_not_fit_is_refused(resnet: ImageTextModel, tmp_path: Path) -> None:
    layer = LAYERS["resnet"]
    units = resnet.layer(layer).units
    with pytest.raises(SynestheteError, match="is of 3 units"):
        resnet.with_dictionary(layer, "x", dictionary(3))
    with pytest.raises(SynestheteError, match="no layer 'visual"):
        resnet.with_dictionary("visual.layer9.9", "x", dictionary(3))
    with pytest.raises(SynestheteError, match="is the embedding itself"):
        resnet.with_dictionary("joint", "x", dictionary(resnet.embedding_dim))
    model = resnet.with_dictionary(layer, "x", dictionary(units))
    assert model.with_dictionary(layer, "x", dictionary(units)) is model
    with pytest.raises(SynestheteError, match="two dictionaries are called x"):
        model.with_dictionary(layer, "x", dictionary(units, seed=1))
    folder = tmp_path / "mine.sae"
    folder.mkdir()
    for name, data in dictionary(units).files().items():
        (folder / name).write_bytes(data)
    named, names = with_named_dictionaries(resnet, [layer, f"{layer}@{folder}", "joint"])
    assert names == [layer, f"{layer}@mine", "joint"]
    assert list(named.dictionaries) == [f"{layer}@mine"]
    (tmp_path / "a b.sae").mkdir()
    with pytest.raises(SynestheteError, match="cannot be the name"):
        with_named_dictionaries(resnet, [f"{layer}@{tmp_path / 'a b.sae'}"])
    with pytest.raises(SynestheteError, match="no sparse dictionary at"):
        with_named_dictionaries(resnet, [f"{layer}@{tmp_path / 'none.sae'}"])
