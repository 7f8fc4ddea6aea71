"""Models that transformers builds: what is read, edited and exported is what transformers itself computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.editing import export_edits, plan_edits
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, load_model
from synesthete.models.attention import class_attention
from synesthete.models.heads import Heads
from tests.models.conftest import random_pixels
from tests.models.families import FAMILIES, IMAGES_ONLY, TWO_TOWERS, reference, write_family

pytest.importorskip("transformers")
LONG = "a photo of the dog " + "two " * 15
TEXTS = ["a photo of an apple", "two dogs", LONG, ""]
Folders = Callable[[str], Path]
Recorded = dict[str, list[tuple[torch.Tensor, torch.Tensor]]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    @cache
    def folder(family: str) -> Path:
        return write_family(tmp_path_factory.mktemp(family), family)

    return folder


@pytest.fixture(scope="module")
def models(folders: Folders) -> Callable[[str], ImageTextModel]:
    return cache(lambda family: load_model(str(folders(family)), device="cpu"))


def plainly(folder: Path) -> Any:
    """What transformers itself loads."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, local_files_only=True).eval()


def features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings of images by the library's own means."""
    if model.config.model_type == "siglip2":
        from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

        patches = torch.stack([convert_image_to_patches(one, 8) for one in pixels])
        shapes = torch.tensor([[4, 4]] * len(pixels))
        mask = torch.ones(patches.shape[:2])
        found = model.get_image_features(
            pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes
        )
    elif hasattr(model, "get_image_features"):
        found = model.get_image_features(pixel_values=pixels)
    else:
        found = model(pixel_values=pixels)
    return normal(found.pooler_output.flatten(1))


def tokenized(folder: Path) -> dict[str, torch.Tensor]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = tokenizer(
        TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )
    return {key: value for key, value in found.items() if key != "token_type_ids"}


def normal(embeddings: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(embeddings, dim=-1)


def watch(model: Any, names: dict[str, str]) -> Recorded:
    """Replace `forward` of modules, so that each call notes what it was given and gave: no hooks of ours."""
    noted: Recorded = {layer: [] for layer in names}
    for layer, path in names.items():
        module = model.get_submodule(path)

        def forward(
            first: Any, *args: Any, _own: Any = module.forward, _to: str = layer, **kw: Any
        ) -> Any:
            out = _own(first, *args, **kw)
            noted[_to].append((first.clone(), (out[0] if isinstance(out, tuple) else out).clone()))
            return out

        module.forward = forward
    return noted


def sources(model: ImageTextModel, tower: str) -> dict[str, tuple[str, int]]:
    """For each layer, the library's module that tells its values: 0 by what it is given, 1 by what it gives."""
    found = {}
    for layer in model.layers(tower):  # type: ignore[arg-type]
        if layer.name == "joint":
            continue
        tap: Any = model.site(layer.name)
        before = layer.name.endswith(":pre")
        if layer.kind == "mlp":
            found[layer.name] = (tap.writer, 1) if before else (tap.reader, 0)
        elif not before:
            found[layer.name] = (layer.name, 1)
    assert found
    prefix = f"{'visual' if tower == 'image' else 'text'}.trunk."
    return {layer: (path.removeprefix(prefix), side) for layer, (path, side) in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_read_as_transformers_computes_them(
    family: str, models: Callable[[str], ImageTextModel]
) -> None:
    model, plain = models(family), reference(family)
    pixels = random_pixels(model)
    modules = sources(model, "image")
    noted = watch(plain, {layer: path for layer, (path, _) in modules.items()})
    with torch.no_grad():
        expected = features(plain, pixels)
    found = model.read(pixels, list(modules))
    assert np.abs(found.embeddings - expected.numpy()).max() < 1e-6
    for layer, (_, side) in modules.items():
        raw = noted[layer][-1][side]
        # Either a map with its channels first or last, or tokens whose last sixteen (here) are the patches.
        places = int(np.prod(model.layer(layer).grid or ()))
        if raw.ndim == 4:
            last = raw.shape[-1] != raw.shape[-2]
            patches = (raw if last else raw.movedim(1, -1)).flatten(1, 2)
        else:
            patches = raw[:, -places:]
        assert patches.shape[1] == places
        best = patches.max(dim=1).values.numpy()
        assert np.abs(found.activations[layer] - best).max() < 1e-5 * max(1, np.abs(best).max())


@pytest.mark.parametrize("family", TWO_TOWERS)
def test_texts_are_read_as_transformers_computes_them(
    family: str, folders: Folders, models: Callable[[str], ImageTextModel]
) -> None:
    model, plain, given = models(family), reference(family), tokenized(folders(family))
    if family == "aimv2" and not model.reads_texts:
        pytest.skip("its texts have two embeddings in this version of transformers")
    modules = sources(model, "text")
    noted = watch(plain, {layer: path for layer, (path, _) in modules.items()})
    with torch.no_grad():
        expected = normal(plain.get_text_features(**given).pooler_output)
    found = model.read_texts(TEXTS, list(modules), "end")
    assert np.abs(found.embeddings - expected.numpy()).max() < 1e-6
    # Read one by one, where the padding is not computed, the same up to rounding.
    alone = np.concatenate([model.encode_texts([text]) for text in TEXTS])
    assert np.abs(alone - expected.numpy()).max() < 1e-6
    mask = given.get("attention_mask")
    where = {"first": 0, "last": 15}.get(pool := model.network.text.pool)  # type: ignore[union-attr]
    rows = torch.arange(len(TEXTS))
    ends = mask.sum(1) - 1 if where is None else torch.full((len(TEXTS),), where)  # type: ignore[union-attr]
    for layer, (_, side) in modules.items():
        raw = noted[layer][-1][side][rows, ends]
        assert np.abs(found.activations[layer] - raw.numpy()).max() < 1e-5
    expected_pool = {"siglip": "last", "siglip2": "last"} | dict.fromkeys(
        ("chinese_clip", "align", "altclip"), "first"
    )
    assert pool == expected_pool.get(family, "end")


@pytest.mark.parametrize("family", ["siglip", "chinese_clip"])
def test_a_texts_own_tokens_count(family: str, models: Callable[[str], ImageTextModel]) -> None:
    model = models(family)
    layer = next(one.name for one in model.layers("text") if one.kind == "residual")
    text = "two red dogs"
    names = [token.text for token in model.tokens(text)]
    assert names == ([] if family == "siglip" else [""]) + ["two", "red", "dog", "s", ""]
    found = model.read_texts([text, LONG], [layer], "max")
    own = range(0 if family == "siglip" else 1, len(names))
    assert set(found.positions[layer][0].tolist()) <= set(own)
    assert found.truncated.tolist() == [False, True]


def test_padding_in_front_is_not_counted(models: Callable[[str], ImageTextModel]) -> None:
    model = models("siglip2")
    layer = next(one.name for one in model.layers("text") if one.kind == "residual")
    text = "apple dog"
    found = model.read_texts([text], [layer], "max").positions[layer]
    assert found.min() >= 0
    assert found.max() < len(model.tokens(text))


def test_a_text_tower_whose_texts_have_two_embeddings_is_not_read(
    models: Callable[[str], ImageTextModel],
) -> None:
    plain, model = reference("aimv2"), models("aimv2")
    tokens = torch.tensor([[2, 5, 6, 3, 0]])
    with torch.no_grad():
        alone = plain.get_text_features(
            input_ids=tokens[:, :4], attention_mask=torch.ones(1, 4, dtype=torch.long)
        ).pooler_output
        padded = plain.get_text_features(
            input_ids=tokens, attention_mask=torch.tensor([[1, 1, 1, 1, 0]])
        ).pooler_output
    if torch.allclose(alone, padded, atol=1e-4):
        pytest.skip("this version of transformers has no such tower")
    assert not model.reads_texts
    assert not model.layers("text")


def test_a_text_token_beyond_the_table_is_refused(folders: Folders, tmp_path: Path) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(folders("chinese_clip"), tmp_path / "model"))
    found = json.loads((folder / "tokenizer.json").read_text())
    found["model"]["vocab"]["apple"] = 640
    (folder / "tokenizer.json").write_text(json.dumps(found))
    with pytest.raises(SynestheteError, match="token 640, and its text tower knows 64"):
        load_model(str(folder), device="cpu").encode_texts(["apple"])


@pytest.mark.parametrize("family", ["siglip", "align", "dinov2"])
def test_images_are_prepared_as_transformers_does(
    family: str, folders: Folders, models: Callable[[str], ImageTextModel]
) -> None:
    from transformers import AutoImageProcessor

    model, processor = models(family), AutoImageProcessor.from_pretrained(folders(family))
    image = drawn(3)
    expected = processor(images=image, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(model.preprocess(image), expected)
    assert model.preprocessing.mean == pytest.approx((0.4, 0.5, 0.6), abs=1e-5)
    assert model.preprocessing.std == pytest.approx((0.2, 0.3, 0.25), abs=1e-5)
    shown = np.asarray(model.geometry(image), np.float32) / 255
    mean, std = np.array(model.preprocessing.mean), np.array(model.preprocessing.std)
    seen = (expected.permute(1, 2, 0).numpy() * std + mean).clip(0, 1)
    assert np.abs(shown - seen).max() <= 0.51 / 255


def drawn(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("family", "kind", "tower"),
    [
        ("siglip", "mlp", "image"), ("siglip", "residual", "text"),
        ("chinese_clip", "heads", "text"), ("dinov2", "mlp", "image"),
    ],
)  # fmt: skip
def test_an_export_is_what_plain_transformers_loads(
    family: str, kind: str, tower: Any, models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    model = models(family)
    site = next(s for s in model.sites(tower) if s.kind == kind and not s.name.endswith(":pre"))
    address = f"{site.name}:1"
    edits = plan_edits(
        model, **({"steer": {address: 2.0}} if kind == "residual" else {"ablate": [address]})
    )  # type: ignore[arg-type]
    done = export_edits(model, edits, tmp_path / "out", [drawn(1), drawn(2)])
    assert done.difference < 1e-5
    assert done.effect > 1e-3
    assert len(done.changed) == 1
    pixels = random_pixels(model)
    with model.edited(edits):
        live, texts = (
            model.encode_images(pixels),
            model.encode_texts(TEXTS) if model.reads_texts else None,
        )
    plain = plainly(tmp_path / "out")
    with torch.no_grad():
        assert np.abs(features(plain, pixels).numpy() - live).max() < 1e-5
        if texts is not None:
            found = normal(plain.get_text_features(**tokenized(tmp_path / "out")).pooler_output)
            assert np.abs(found.numpy() - texts).max() < 1e-5
    again = load_model(done.spec, device="cpu")
    assert np.abs(again.encode_images(pixels) - live).max() < 1e-5


def test_an_ablated_neuron_is_a_column_of_zeros(
    models: Callable[[str], ImageTextModel],
) -> None:
    model, plain = models("clipseg"), reference("clipseg")
    layer = "visual.trunk.vision_model.encoder.layers.1.mlp"
    pixels = random_pixels(model)
    with torch.no_grad():
        plain.vision_model.encoder.layers[1].mlp.fc2.weight[:, 5] = 0
        expected = features(plain, pixels).numpy()
    with model.edited(plan_edits(model, ablate=[f"{layer}:5"])):
        assert np.abs(model.encode_images(pixels) - expected).max() < 1e-6
    assert np.abs(model.encode_images(pixels) - expected).max() > 1e-4


def test_what_a_layer_scale_follows_is_not_exported(
    models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    model = models("dinov2")
    stream = next(one.name for one in model.layers("image") if one.kind == "residual")
    steer = {f"{stream}:1": 2.0}
    with pytest.raises(SynestheteError, match="does not end in the sum"):
        export_edits(model, plan_edits(model, steer=steer), tmp_path / "out", [drawn(1)])


@pytest.mark.parametrize("family", ["siglip", "resnet"])
def test_gradients_reach_the_pixels(family: str, models: Callable[[str], ImageTextModel]) -> None:
    from synesthete.models.gradients import GradientTower

    model = models(family)
    tower, layer = GradientTower(model), model.default_layers[0]
    pixels = random_pixels(model).requires_grad_()
    passed = tower.run(pixels, [layer], embed=True)
    found = model.read(pixels.detach(), [layer])
    assert torch.allclose(
        passed.responses[layer].patches.amax(1).detach(),
        torch.from_numpy(found.activations[layer]),
        atol=1e-5,
    )
    passed.responses[layer].patches.amax(1).sum().backward()  # type: ignore[no-untyped-call]
    assert float(pixels.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_a_twin_knows_nothing(models: Callable[[str], ImageTextModel]) -> None:
    model = models("siglip")
    twin, again = model.random_twin(3), model.random_twin(3)
    pixels = random_pixels(model)
    assert np.array_equal(twin.encode_images(pixels), again.encode_images(pixels))
    assert np.abs(twin.encode_images(pixels) - model.encode_images(pixels)).max() > 0.05
    assert np.abs(twin.encode_texts(TEXTS) - model.encode_texts(TEXTS)).max() > 0.05
    assert [one.name for one in twin.layers()] == [one.name for one in model.layers()]


@pytest.mark.parametrize("family", IMAGES_ONLY[:1])
def test_a_model_of_images_says_so(family: str, models: Callable[[str], ImageTextModel]) -> None:
    model = models(family)
    assert not model.layers("text")
    assert model.layer("joint").tower == "image"
    for ask in (
        lambda: model.encode_texts(["apple"]),
        lambda: model.tokens("apple"),
        lambda: model.read_texts(["apple"], ["joint"]),
    ):
        with pytest.raises(SynestheteError, match="reads images only, and this needs a text tower"):
            ask()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("transformers:siglip", "names no weights"),
        ("transformers:siglip/openai", "names no weights"),
        ("transformers:mine/random", "has no model of type"),
        ("transformers:bert/random", "gives no embeddings of images"),
    ],
)
def test_a_type_that_cannot_be_built(spec: str, says: str) -> None:
    with pytest.raises(SynestheteError, match=says):
        load_model(spec)


def test_without_transformers_it_says_what_to_install(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synesthete.models import transformers_clip

    monkeypatch.setattr(transformers_clip, "find_spec", lambda name: None)
    with pytest.raises(SynestheteError) as caught:
        load_model(str(folders("siglip")))
    assert "is a siglip of transformers, which is not installed" in str(caught.value)
    assert "pip install 'synesthete[transformers]'" in str(caught.value)


def test_weights_in_several_files(
    folders: Folders, models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "model"
    plainly(folders("vit")).save_pretrained(folder, max_shard_size="20KB")
    shutil.copy(folders("vit") / "preprocessor_config.json", folder)
    assert not (folder / "model.safetensors").exists()
    model = load_model(str(folder), device="cpu")
    pixels = random_pixels(model)
    assert np.array_equal(model.encode_images(pixels), models("vit").encode_images(pixels))


@pytest.mark.parametrize("family", ["siglip", "chinese_clip", "dinov2"])
def test_heads_of_the_class_token_are_read_and_ablated(
    family: str, models: Callable[[str], ImageTextModel]
) -> None:
    model = models(family)
    layer = [one.name for one in model.sites("image") if one.kind == "class heads"][-1]
    assert layer.endswith("head.attention" if family == "siglip" else ":cls")
    pixels, site = random_pixels(model), model.site(layer)
    assert isinstance(site, Heads)
    trunk: Any = model.network.visual.trunk
    fused = class_attention(model, [layer], pixels)[layer]
    trunk.set_attn_implementation("eager")
    try:
        plain = class_attention(model, [layer], pixels)[layer]
    finally:
        trunk.set_attn_implementation("sdpa")
    assert torch.allclose(fused, plain, atol=1e-6)
    assert float(fused.std()) > 1e-4
    # The last block's class token is all that the embedding reads, and so is what a pool gives.
    before = model.encode_images(pixels)
    with model.edited(plan_edits(model, ablate=[f"{layer}:1"])):
        found = model.encode_images(pixels)
    weight: Any = site.attention.get_submodule(site.projection).weight
    columns = slice(site.width, 2 * site.width)
    kept = weight[:, columns].clone()
    weight[:, columns] = 0
    try:
        wanted = model.encode_images(pixels)
    finally:
        weight[:, columns] = kept
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(found - before).max() > 1e-4


@pytest.mark.parametrize(
    ("kind", "side"),
    [("dinov2_with_registers", 224), ("convnext", 224), ("siglip_vision_model", 224), ("siglip2_vision_model", 256)],
)  # fmt: skip
def test_of_a_type_alone_the_images_are_prepared(kind: str, side: int) -> None:
    """Though transformers has none for the first but in folders, one of short edges, and two under the name of the pair."""
    from synesthete.models.sources import resolve
    from synesthete.models.transformers_models import TransformersModel

    preprocessor = TransformersModel(resolve(f"transformers:{kind}/random")).preprocessor()
    assert tuple(preprocessor.tensor(drawn(1)).shape) == (3, side, side)
