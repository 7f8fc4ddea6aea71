"""A folder of transformers, edited and exported: plain transformers loads it, and finds all that the original came with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from synesthete.editing import Edits, export_edits, plan_edits
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, load_model
from tests.editing.conftest import images, pixels
from tests.models.families import TWO_TOWERS, write_family

pytest.importorskip("transformers")
# AIMv2's texts are not read: tests/models/test_transformers_families.py says why.
FAMILIES = ("clip", *(name for name in TWO_TOWERS if name != "aimv2"))
POST_NORM = ("chinese_clip", "align", "altclip")
TEXTS = ["a photo of an apple", "two red dogs", "the cat eats " * 15, ""]
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return cache(lambda family: write_family(tmp_path_factory.mktemp(family), family))


@pytest.fixture(scope="module")
def models(folders: Folders) -> Callable[[str], ImageTextModel]:
    return cache(lambda family: load_model(str(folders(family)), device="cpu"))


def every_edit(model: ImageTextModel, family: str) -> Edits:
    """Of both towers as many kinds of edits at as many kinds of sites as can be folded."""
    ablate, scale, steer = [], {}, {}
    for tower in ("image", "text"):
        sites = [s for s in model.sites(tower) if s.name != "joint"]
        neurons = [s.name for s in sites if s.kind == "mlp"]
        if not neurons:
            assert (family, tower) == ("align", "image")
            # The first block of a stage is what its batch norm gives; the third adds that to what came in.
            first, _, third, last = (s.name for s in sites if s.kind == "block")
            ablate.append(f"{first}:1")
            scale[f"{last}:2"] = -3.0
            steer |= {f"{first}:3": 2.0, f"{third}:4": 0.5}
            continue
        before, after = (next(n for n in neurons if n.endswith(":pre") == e) for e in (True, False))
        heads = next(s.name for s in sites if s.kind == "heads")
        ablate += [f"{after}:1", f"{heads}:1", f"{neurons[-1]}:4"]
        scale |= {f"{after}:2": -3.0, f"{before}:6": 2.5}
        steer |= {f"{after}:3": 2.0, f"{before}:5": -1.5}
        stream = next(s.name for s in sites if s.kind == "residual")
        steer[f"{stream}:7"] = 0.5
        if tower == "text" and family in POST_NORM:
            # The stream is what a layer norm gives.
            ablate.append(f"{stream}:8")
            scale[f"{stream}:9"] = -3.0
    return plan_edits(model, ablate=ablate, scale=scale, steer=steer)


def plainly(folder: Path, shown: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of prepared images, and of `TEXTS`, by nothing but transformers."""
    from transformers import AutoModel, AutoTokenizer

    model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)(
        TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )
    tokens.pop("token_type_ids", None)
    given: dict[str, Any] = {"pixel_values": shown}
    if model.config.model_type == "siglip2":
        from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

        patches = torch.stack([convert_image_to_patches(one, 8) for one in shown])
        given = {"pixel_values": patches, "pixel_attention_mask": torch.ones(patches.shape[:2])}
        given["spatial_shapes"] = torch.tensor([[4, 4]] * len(shown))
    with torch.no_grad():
        found = model.get_image_features(**given), model.get_text_features(**tokens)
    seen, read = (torch.nn.functional.normalize(one.pooler_output, dim=-1).numpy() for one in found)
    return seen, read


def largest(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_gives_what_the_edited_model_gave(
    family: str, folders: Folders, models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    model, out = models(family), tmp_path / "out"
    edits, shown = every_edit(model, family), pixels(model)
    done = export_edits(model, edits, out, images(2))
    with model.edited(edits):
        live = model.encode_images(shown), model.encode_texts(TEXTS)
    seen, read = plainly(out, shown)
    print(f"{family}: images {largest(seen, live[0]):.1e}, texts {largest(read, live[1]):.1e}")
    assert largest(seen, live[0]) <= 1e-4
    assert largest(read, live[1]) <= 1e-4
    # And the edits do something, which the unedited folder does not.
    before_seen, before_read = plainly(folders(family), shown)
    assert largest(before_read, live[1]) > 0.01
    assert largest(before_seen, live[0]) > 0.01
    assert done.texts > 0
    assert done.difference <= 1e-4 < 0.01 < done.effect
    again = load_model(done.spec, device="cpu")
    assert largest(again.encode_images(shown), live[0]) <= 1e-4
    assert largest(again.encode_texts(TEXTS), live[1]) <= 1e-4
    assert [one.name for one in again.sites()] == [one.name for one in model.sites()]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_else_is_that_of_the_original(
    family: str, folders: Folders, models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoProcessor,
        AutoTokenizer,
    )

    model, given, out = models(family), folders(family), tmp_path / "out"
    layer = next(s.name for s in model.sites("text") if s.kind == "mlp")
    edits = plan_edits(model, ablate=[f"{layer.removesuffix(':pre')}:0"])
    changed = export_edits(model, edits, out, images(1)).changed
    assert not (out / "open_clip_config.json").exists()
    # Besides what was changed, the weights are bit for bit those that transformers loads from the original, under its names.
    files = [safe_open(one / "model.safetensors", framework="np") for one in (given, out)]
    assert set(files[0].keys()) == set(files[1].keys())
    before, after = (AutoModel.from_pretrained(one).state_dict() for one in (given, out))
    differ = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    assert len(differ) == len(changed) == 1
    assert differ[0].endswith(("fc2.weight", "output.dense.weight"))
    first, second = (AutoConfig.from_pretrained(one).to_diff_dict() for one in (given, out))
    for part in (one[k] for one in (first, second) for k in ("text_config", "vision_config")):
        part.pop("dtype", None)
    assert first == second
    drawn = images(3)
    for opener in (AutoImageProcessor, AutoProcessor):
        shown = [
            opener.from_pretrained(one)(images=drawn, return_tensors="pt")["pixel_values"]
            for one in (given, out)
        ]
        assert torch.equal(*shown)
    tokens = [AutoTokenizer.from_pretrained(one)(TEXTS).data for one in (given, out)]
    assert tokens[0] == tokens[1]


def test_what_cannot_be_expressed_is_refused_in_one_line(
    models: Callable[[str], ImageTextModel], tmp_path: Path
) -> None:
    for family, address, why in (
        (
            "align",
            "visual.trunk.vision_model.encoder.blocks.2:1",
            "adds a batch norm to the channel",
        ),
        ("siglip", "text.trunk.text_model.encoder.layers.0:1", "read all of it at once"),
        ("clip", "visual.transformer.resblocks.0.attn:cls:1", "into all tokens"),
    ):
        model = models(family)
        with pytest.raises(SynestheteError, match=why) as caught:
            export_edits(model, plan_edits(model, ablate=[address]), tmp_path / "out", images(1))
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_half_precision_and_one_file_for_a_processor(folders: Folders, tmp_path: Path) -> None:
    """As people find them: weights in half precision, and settings as transformers 5 writes them."""
    from transformers import AutoModel, AutoProcessor

    folder = tmp_path / "own"
    plain: Any = AutoModel.from_pretrained(folders("clip"))
    plain.half().save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    AutoProcessor.from_pretrained(folders("clip")).save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    (folder / "held_out.json").write_text('{"drawing": {"artists": ["me"]}}')
    model = load_model(str(folder), device="cpu")
    assert model.preprocessing.mean == pytest.approx((0.4, 0.5, 0.6))
    edits, out = every_edit(model, "clip"), tmp_path / "out"
    export_edits(model, edits, out, images(1))
    with model.edited(edits):
        live = model.encode_images(pixels(model)), model.encode_texts(TEXTS)
    for one, other in zip(plainly(out, pixels(model)), live, strict=True):
        assert largest(one, other) <= 1e-4
    assert (out / "held_out.json").is_file()
    again = load_model(f"local-dir:{out}", device="cpu")
    assert again.preprocessing == model.preprocessing


def test_a_folder_without_a_tokenizer_stays_without(folders: Folders, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders("siglip"), tmp_path / "own"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    model = load_model(str(folder), device="cpu")
    layer = next(s.name for s in model.sites("image") if s.kind == "mlp")
    export_edits(model, plan_edits(model, ablate=[f"{layer}:0"]), tmp_path / "out", images(1))
    assert not list((tmp_path / "out").glob("*token*"))


def test_without_transformers_there_is_no_export(
    models: Callable[[str], ImageTextModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synesthete.models import building

    model = models("clip")
    edits = plan_edits(model, ablate=["visual.transformer.resblocks.0.mlp:0"])
    monkeypatch.setattr(building, "has_transformers", lambda: False)
    with pytest.raises(SynestheteError, match="needs the package transformers") as caught:
        export_edits(model, edits, tmp_path / "out", images(1))
    assert "synesthete[transformers]" in str(caught.value)
    assert not list(tmp_path.iterdir())
