"""Folded weights, run without any hook, give what the live edited model gives, at every site of every family."""

from __future__ import annotations

import copy
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.editing import Edit, Edits
from synesthete.editing.edits import layer_totals
from synesthete.editing.fold import Unfoldable, fold
from synesthete.models import ImageTextModel, Layer
from synesthete.models.heads import Heads
from tests.editing.conftest import Family, pixels
from tests.editing.families import TOWERS

FLOAT = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def plain(model: ImageTextModel, weights: dict[str, torch.Tensor], batch: torch.Tensor) -> FLOAT:
    """Embeddings by open_clip's own image tower with other weights."""
    tower = {
        name.removeprefix("visual."): weight
        for name, weight in weights.items()
        if name.startswith("visual.")
    }
    with torch.inference_mode():
        found = torch.func.functional_call(model.network.visual, tower, (batch,))  # type: ignore[arg-type]
        found = found[0] if isinstance(found, tuple) else found
        return torch.nn.functional.normalize(found, dim=-1).numpy()  # type: ignore[no-any-return]


def live(model: ImageTextModel, edits: Edits, batch: torch.Tensor) -> FLOAT:
    with model.edited(edits):
        return model.encode_images(batch)


def edits_of(model: ImageTextModel, *edits: Edit) -> Edits:
    return Edits(edits, model.name, model.weights_sha256)


def kinds(model: ImageTextModel, layer: str, unit: int) -> dict[str, Edit]:
    address = f"{layer}:{unit}"
    heads = model.site(layer)
    many = isinstance(heads, Heads)
    mean = tuple(0.1 * i for i in range(heads.width)) if isinstance(heads, Heads) else 0.7
    found = {
        "ablate": Edit(address, "ablate"),
        "mean-ablate": Edit(address, "mean-ablate", mean),
        "scale": Edit(address, "scale", -1.7),
    }
    return found if many else found | {"steer": Edit(address, "steer", 1.3)}


def ends(model: ImageTextModel) -> list[Layer]:
    """The sites; of a deep transformer those of the first block and the last."""
    sites = model.sites("image")
    deep = (len(sites) > 12 and sites[-1].kind == "residual") or "trunk" in sites[0].name
    return sites[:5] + sites[-6:] if deep else sites


def foldable(model: ImageTextModel, batch: torch.Tensor) -> dict[str, set[str]]:
    """Which kinds fold at which site; each that does is compared with the live model."""
    before = model.encode_images(batch)
    found: dict[str, set[str]] = defaultdict(set)
    effects = []
    for layer in ends(model):
        for kind, edit in kinds(model, layer.name, layer.units // 2).items():
            edits = edits_of(model, edit)
            try:
                weights = fold(model, edits)
            except Unfoldable:
                continue
            wanted = live(model, edits, batch)
            np.testing.assert_allclose(
                plain(model, weights, batch), wanted, atol=2e-5, err_msg=f"{kind} {layer}"
            )
            effects.append(np.abs(wanted - before).max())
            found[layer.name].add(kind)
    assert np.median(effects) > 1e-4, "too little happens for the comparison to mean something"
    return found


ALL, SHIFTS = {"ablate", "mean-ablate", "scale", "steer"}, {"steer"}
NO_SCALE = ALL - {"scale"}
HEADS = ALL - {"steer"}


def test_modified_resnet(family: Family) -> None:
    model = family("modified-resnet")
    found = foldable(model, pixels(model))
    # A stage's last block is read by convolutions alone, layer4's by the attention pool.
    for block in ("1.1", "2.0", "3.0", "4.1"):
        assert found[f"visual.layer{block}"] == ALL
    for block in ("1.0", "4.0"):
        assert found[f"visual.layer{block}"] == NO_SCALE
    assert found["visual.attnpool"] == HEADS
    # The first block projects its shortcut, so that the sum before the ReLU can be scaled.
    for block in ("1.0", "2.0", "3.0", "4.0"):
        assert found[f"visual.layer{block}:pre"] == ALL
    for block in ("1.1", "4.1"):
        assert found[f"visual.layer{block}:pre"] == NO_SCALE
    for block in ("1.0", "1.1", "2.0", "3.0", "4.0", "4.1"):
        name = f"visual.layer{block}"
        assert found[f"{name}.act1:pre"] == found[f"{name}.act2:pre"] == ALL
        assert found[f"{name}.act2"] == ALL
        # The convolution behind act1 pads with zeros.
        assert found[f"{name}.act1"] == {"ablate", "scale"}


@pytest.mark.parametrize("name", ["vit", "vit-layer-scale", "siglip"])
def test_transformers(family: Family, name: str) -> None:
    model = family(name)
    found = foldable(model, pixels(model, 1))
    kinds = {layer.name: layer.kind for layer in ends(model)}
    assert {"heads", "mlp", "residual"} <= set(kinds.values())
    for layer, kind in kinds.items():
        # What heads write into the class token alone is no weight; an attention pool writes nowhere else.
        wanted = {"heads": HEADS, "mlp": ALL, "residual": SHIFTS, "class heads": HEADS}[kind]
        assert found[layer] == (set() if layer.endswith(":cls") else wanted), layer


def test_text_units(family: Family) -> None:
    """Class CLIP keeps its text tower in itself, under other names than the layers have."""
    texts = ["", "an apple", "a dog on the beach, late in the evening"]
    for name, paths in (("vit", "transformer."), ("siglip", "text.transformer.")):
        model = family(name)
        before = model.encode_texts(texts)
        for layer in model.sites("text"):
            allowed = {"heads": HEADS, "mlp": ALL, "residual": SHIFTS}[layer.kind]
            for kind, edit in kinds(model, layer.name, layer.units // 2).items():
                edits = edits_of(model, edit)
                if kind not in allowed:
                    with pytest.raises(Unfoldable):
                        fold(model, edits)
                    continue
                weights, given = fold(model, edits), copy.deepcopy(model.network.state_dict())
                with model.edited(edits):
                    wanted = model.encode_texts(texts)
                assert np.abs(wanted - before).max() > 1e-4, (kind, layer)
                model.network.load_state_dict(weights)
                found = model.encode_texts(texts)
                model.network.load_state_dict(given)
                np.testing.assert_allclose(found, wanted, atol=2e-5, err_msg=f"{kind} {layer}")
                changed = {n for n, w in weights.items() if not torch.equal(w, given[n])}
                assert changed
                assert all(n.startswith(paths) for n in changed)


def test_eva(family: Family) -> None:
    """A gated MLP: a neuron is what the output projection reads."""
    model = family("eva")
    found = foldable(model, pixels(model, 1))
    for layer in ends(model):
        wanted = {"heads": HEADS, "mlp": ALL, "residual": SHIFTS, "class heads": set()}[layer.kind]
        assert found[layer.name] == wanted, layer


def test_timm_resnet(family: Family) -> None:
    model = family("timm-resnet")
    found = foldable(model, pixels(model))
    last = [layer.name for layer in model.layers("image")][-1]
    assert found[last] == ALL
    assert {"ablate"} <= found["visual.trunk.layer1.0"]


def test_towers_of_stages_are_refused_with_the_reason(family: Family) -> None:
    model = family("convnext")
    layer = model.default_layers[0]
    with pytest.raises(Unfoldable, match=r"stages.*cannot be folded.*ConvNeXtBlock"):
        fold(model, edits_of(model, Edit(f"{layer}:0", "ablate")))


@pytest.mark.parametrize("block", ["1.0", "1.1", "2.0", "4.0", "4.1"])
def test_one_channel_edited_before_and_behind_the_relu(family: Family, block: str) -> None:
    model, batch = family("modified-resnet"), pixels(family("modified-resnet"), 2)
    site = f"visual.layer{block}"
    (unit,) = {layer.units - 1 for layer in model.sites("image") if layer.name == site}
    done = 0
    for before in kinds(model, f"{site}:pre", unit).values():
        for behind in kinds(model, site, unit).values():
            edits = edits_of(model, before, behind)
            try:
                weights = fold(model, edits)
            except Unfoldable:
                continue
            wanted = live(model, edits, batch)
            found = plain(model, weights, batch)
            np.testing.assert_allclose(found, wanted, atol=5e-5, err_msg=f"{before} {behind}")
            done += 1
    assert done >= 8


@pytest.mark.parametrize("name", ["modified-resnet", "vit", "siglip"])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_many_edits_at_once_in_any_order(family: Family, name: str, data: st.DataObject) -> None:
    model = family(name)
    layers = data.draw(
        st.lists(
            st.sampled_from(model.sites("image")),
            min_size=1,
            max_size=6,
            unique_by=lambda layer: layer.name,
        )
    )
    chosen = []
    for layer in layers:
        edit = data.draw(st.sampled_from([*kinds(model, layer.name, layer.units - 1).values()]))
        try:
            fold(model, edits_of(model, edit))
        except Unfoldable:
            continue
        chosen.append(edit)
    batch = pixels(model, 2)
    shuffled = data.draw(st.permutations(chosen))
    edits = edits_of(model, *chosen)
    assert edits == edits_of(model, *shuffled)
    wanted = live(model, edits, batch)
    np.testing.assert_allclose(plain(model, fold(model, edits), batch), wanted, atol=5e-5)


@pytest.mark.parametrize("name", TOWERS)
def test_scale_one_is_nothing_and_twice_off_is_once(family: Family, name: str) -> None:
    model = family(name)
    batch, layer = pixels(model, 1), model.default_layers[0]
    given = model.network.state_dict()
    same = edits_of(model, Edit(f"{layer}:1", "scale", 1.0), Edit(f"{layer}:2", "steer", 0.0))
    np.testing.assert_allclose(live(model, same, batch), model.encode_images(batch), atol=1e-6)
    assert all(
        weight is given[name] or bool((weight == given[name]).all())
        for name, weight in fold(model, same).items()
    )
    once, twice = Edit(f"{layer}:1", "ablate"), Edit(f"{layer}:01", "ablate")
    assert edits_of(model, once) == edits_of(model, once, twice)
    nothing = edits_of(model, Edit(f"{layer}:1", "scale", 0.0))
    assert np.array_equal(live(model, nothing, batch), live(model, edits_of(model, once), batch))


def test_the_model_itself_stays_as_it_was(family: Family) -> None:
    model = family("vit")
    sha, batch = model.weights_sha256, pixels(model)
    before = model.encode_images(batch)
    fold(model, edits_of(model, Edit("visual.transformer.resblocks.1.mlp:3", "ablate")))
    del model.weights_sha256
    assert model.weights_sha256 == sha
    assert np.array_equal(model.encode_images(batch), before)


def test_means_are_over_images_and_positions(family: Family) -> None:
    """Against the responses themselves, gathered by hooks of the reading kind."""
    model = family("modified-resnet")
    batch = pixels(model, 70)
    wanted = model.maps(batch, "visual.layer4.1").double().mean((0, 2, 3))
    torch.testing.assert_close(
        layer_totals(model, "visual.layer4.1", batch), wanted, atol=1e-6, rtol=1e-5
    )
    heads = layer_totals(
        family("vit"), "visual.transformer.resblocks.0.attn", pixels(family("vit"))
    )
    assert heads.shape == (4, 16)
