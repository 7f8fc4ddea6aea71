"""Attribution: sums that must come out, a place that is known, and the randomisation test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.models.gradients import GradientTower
from synesthete.visualization.attribution import attribute, box_of, drawn
from synesthete.visualization.attribution_maps import (
    METHODS,
    attention_weights,
    attribution_maps,
    enlarged,
)
from tests.small_atlas import LAYER

LOCAL = ("gradient-activation", "integrated-gradients", "response")


@pytest.fixture(scope="module")
def mini() -> GradientTower:
    return GradientTower(load_model("mini"))


@pytest.fixture(scope="module")
def transformer() -> GradientTower:
    return GradientTower(load_model("ViT-S-32/random:0"))


def _spots(side: int) -> tuple[torch.Tensor, list[tuple[float, float]]]:
    """Grey images with one bright, textured square each, and where its middle lies."""
    images, middles = torch.full((3, 3, side, side), 0.45), []
    generator = torch.Generator().manual_seed(0)
    for i, (x, y) in enumerate([(0.1, 0.1), (0.6, 0.15), (0.55, 0.6)]):
        left, top, size = int(x * side), int(y * side), int(0.3 * side)
        noise = torch.rand(3, size, size, generator=generator)
        images[i, :, top : top + size, left : left + size] = noise
        middles.append((x + 0.15, y + 0.15))
    return images, middles


@pytest.mark.parametrize("method", ["gradient-activation", "integrated-gradients"])
def test_what_is_found_is_where_it_is(mini: GradientTower, method: str) -> None:
    """Nothing but the square differs from the ground, so what excites a unit more there lies there."""
    images, middles = _spots(mini.side)
    layer = "visual.layer2.1"
    ground = mini.normalised(torch.full((1, 3, mini.side, mini.side), 0.45))
    pixels = mini.normalised(images)
    with torch.no_grad():
        rise = mini.run(pixels, [layer]).responses[layer].patches.amax(1)
        rise = rise - mini.run(ground, [layer]).responses[layer].patches.amax(1)
    unit = int(rise.amin(0).argmax())
    maps = attribution_maps(mini, pixels, layer, unit, method=method, points=8)
    for values, (x, y) in zip(maps, middles, strict=True):
        box = box_of(values)
        assert box is not None
        across, down = box.left + box.width / 2, box.top + box.height / 2
        assert abs(across - x) < 0.2
        assert abs(down - y) < 0.2


def test_integrated_gradients_add_up(mini: GradientTower) -> None:
    """Completeness (Sundararajan et al. 2017, axiom): the sum is the difference from the baseline."""
    pixels = mini.normalised(_spots(mini.side)[0][:2])
    layer, unit = "visual.layer1.1", 5
    maps = attribution_maps(
        mini, pixels, layer, unit, method="integrated-gradients", reduction="mean", points=64
    )
    with torch.no_grad():
        both = torch.cat([pixels, torch.zeros_like(pixels[:1])])
        value = mini.run(both, [layer]).responses[layer].patches.mean(1)[:, unit]
    expected = (value[:2] - value[2]).numpy()
    np.testing.assert_allclose(maps.sum((1, 2)), expected, rtol=0.1, atol=0.02 * abs(value).max())


def test_gradient_times_activation_adds_up_without_biases(tower: GradientTower) -> None:
    """A network of ReLUs without biases is homogeneous, so the parts add up to the activation (Euler)."""
    import copy

    plain = copy.copy(tower)
    plain.visual = copy.deepcopy(tower.visual)
    for module in plain.visual.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.data.zero_()
    from synesthete.models.architectures import find_taps

    plain.taps = find_taps(plain.visual)
    pixels = plain.normalised(torch.rand(2, 3, 64, 64))
    with torch.no_grad():
        value = plain.run(pixels, [LAYER]).responses[LAYER].patches.amax(1)
    unit = int(value.min(0).values.argmax())
    maps = attribution_maps(plain, pixels, LAYER, unit)
    np.testing.assert_allclose(maps.sum((1, 2)), value[:, unit].numpy(), rtol=1e-3)


@pytest.mark.parametrize("method", LOCAL)
def test_attributions_are_of_the_model_and_not_of_the_image(
    mini: GradientTower, method: str
) -> None:
    """Model randomisation (Adebayo et al. 2018, arXiv 1810.03292): with random weights the maps are others."""
    random = GradientTower(load_model("mini").random_twin(0))
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(3, 3, 8, 8, generator=rng)
    images = torch.nn.functional.interpolate(coarse, (mini.side, mini.side), mode="bilinear")
    alike, itself = [], []
    for unit in (0, 3):
        maps = []
        for tower in (mini, random, mini):
            pixels, layer = tower.normalised(images), "visual.layer3.1"
            values = attribution_maps(tower, pixels, layer, unit, method=method, points=4)
            maps.append(enlarged(values, 32))
        for a, b, c in zip(*maps, strict=True):
            if np.ptp(a) and np.ptp(b):
                alike.append(abs(spearmanr(a.ravel(), b.ravel()).statistic))
                itself.append(spearmanr(a.ravel(), c.ravel()).statistic)
    assert itself
    assert min(itself) > 0.99
    assert np.mean(alike) < 0.5


def test_rollout_is_a_share_of_patches(transformer: GradientTower) -> None:
    pixels = transformer.normalised(torch.rand(2, 3, transformer.side, transformer.side))
    layer = "visual.transformer.resblocks.3.mlp"
    maps = attribution_maps(transformer, pixels, layer, 2, method="rollout")
    assert maps.shape == (2, 7, 7)
    assert (maps >= 0).all()
    assert (maps.sum((1, 2)) < 1).all()
    assert (maps.sum((1, 2)) > 0.5).all()


def test_attention_weights_are_torchs_own(transformer: GradientTower) -> None:
    attention = transformer.visual.transformer.resblocks[0].attn  # type: ignore[union-attr,index]
    tokens = torch.randn(2, 9, attention.embed_dim)
    given = tokens if attention.batch_first else tokens.transpose(0, 1)
    _, expected = attention(given, given, given, need_weights=True)
    torch.testing.assert_close(attention_weights(attention, tokens), expected, atol=1e-5, rtol=1e-4)


def test_boxes_of_nothing_and_of_everything() -> None:
    assert box_of(np.zeros((4, 4))) is None
    assert box_of(np.full((4, 4), np.nan)) is None
    assert box_of(-np.ones((4, 4))) is None
    whole = box_of(np.ones((4, 4)))
    assert whole is not None
    assert (whole.left, whole.top, whole.width, whole.height, whole.share) == (0, 0, 1, 1, 1)
    with pytest.raises(SynestheteError, match="level of a box"):
        box_of(np.ones((2, 2)), level=0)


def test_of_an_atlas(atlas_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(atlas_path.parent)
    atlas = open_atlas(atlas_path)
    unit = int(atlas.statistics(LAYER).std.argmax())
    found = attribute(atlas, f"{LAYER}:{unit}", limit=3)
    assert [one.number for one in found] == atlas.exemplars(LAYER).top(unit, limit=3).ids.tolist()
    expected = np.asarray(atlas.activations(LAYER)[[one.number for one in found], unit], np.float32)
    np.testing.assert_allclose([one.activation for one in found], expected, rtol=2e-3)
    assert drawn(found).size == (3 * 64 + 8, 64)
    mine = attribute(atlas, f"{LAYER}:{unit}", images=[Image.new("RGB", (80, 64), "red")])
    assert mine[0].number == -1


def test_wrong_requests_are_refused(tower: GradientTower, atlas_path: Path) -> None:
    pixels = tower.normalised(torch.rand(1, 3, 64, 64))
    with pytest.raises(SynestheteError, match="no such method 'magic'"):
        attribution_maps(tower, pixels, LAYER, 0, method="magic")
    with pytest.raises(SynestheteError, match="has units 0 to 255, not 256"):
        attribution_maps(tower, pixels, LAYER, 256)
    with pytest.raises(SynestheteError, match="no attention"):
        attribution_maps(tower, pixels, LAYER, 0, method="rollout")
    with pytest.raises(SynestheteError, match="no images"):
        attribute(open_atlas(atlas_path), f"{LAYER}:0", images=[])
    assert set(LOCAL) < set(METHODS)
