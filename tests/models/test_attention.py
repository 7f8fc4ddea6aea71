"""Attention weights of the class token, against each library's own way to give them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from synesthete.models import ImageTextModel
from synesthete.models.attention import class_attention, grid_of
from tests.editing.conftest import Family, family, pixels  # noqa: F401 (a fixture)


def class_sites(model: ImageTextModel) -> list[str]:
    return [one.name for one in model.sites("image") if one.kind == "class heads"]


def test_of_open_clip_they_are_torchs_own(family: Family) -> None:  # noqa: F811
    model = family("vit")
    batch, sites = pixels(model, 2), class_sites(model)
    found = class_attention(model, sites, batch)
    assert len(sites) == 3
    given: list[torch.Tensor] = []
    for layer in sites:
        attention: Any = model.site(layer).attention  # type: ignore[union-attr]
        handle = attention.register_forward_pre_hook(lambda module, args: given.append(args[0]))
        model.encode_images(batch)
        handle.remove()
        with torch.inference_mode():
            x = given[-1]
            _, wanted = attention(x, x, x, need_weights=True, average_attn_weights=False)
        torch.testing.assert_close(found[layer].flatten(2), wanted[:, :, 0, 1:], atol=1e-6, rtol=0)
        assert grid_of(model, layer) == (3, 3)
    modules = list(model.network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_of_a_residual_networks_pool_they_weigh_the_values(family: Family) -> None:  # noqa: F811
    model = family("modified-resnet")
    batch, pool = pixels(model, 3), model.network.visual.attnpool
    found = class_attention(model, ["visual.attnpool"], batch)["visual.attnpool"]
    x = model.maps(batch, "visual.layer4.1").flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(1, keepdim=True), x], 1) + pool.positional_embedding
    split = (-1, 8, 32)
    query, key = (
        pool.q_proj(x[:, 0]).unflatten(-1, split[1:]),
        pool.k_proj(x).unflatten(-1, split[1:]),
    )
    wanted = (torch.einsum("bhd,bkhd->bhk", query, key) / 32**0.5).softmax(-1)
    torch.testing.assert_close(found.flatten(2), wanted[..., 1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["siglip", "eva"])
def test_of_timm_they_are_those_of_its_unfused_attention(family: Family, name: str) -> None:  # noqa: F811
    model = family(name)
    batch, sites = pixels(model, 1), class_sites(model)[-2:]
    fused = class_attention(model, sites, batch)
    modules = [m for m in model.network.modules() if getattr(m, "fused_attn", False)]
    assert modules
    for module in modules:
        module.fused_attn = False
    try:
        plain = class_attention(model, sites, batch)
    finally:
        for module in modules:
            module.fused_attn = True
    for layer in sites:
        torch.testing.assert_close(fused[layer], plain[layer], atol=1e-5, rtol=0)
        assert float(plain[layer].std()) > 0
