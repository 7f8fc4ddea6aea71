"""Recording with the real model class: what is written is what the model computes."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file

from synesthete.atlas import open_atlas
from synesthete.atlas.half import to_half
from synesthete.atlas.manifest import TWINS
from synesthete.models import load_model
from synesthete.models.preprocessing import Preprocessing, Preprocessor
from synesthete.recording import record
from tests.models.conftest import configuration, scramble
from tests.recording.fakes import FakeProbes
from tests.recording.trees import tree

HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (40, 90), (64, 64), (65, 64)])
def test_what_the_model_sees_is_not_scaled_twice(mode: str, size: tuple[int, int]) -> None:
    preprocessor = Preprocessor(
        Preprocessing(
            image_size=64,
            mean=HALF,
            std=HALF,
            interpolation="bicubic",
            resize_mode=mode,
            fill_color=0,
        )
    )
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    once = preprocessor.tensor(image)
    assert torch.equal(preprocessor.tensor(preprocessor.geometry(image)), once)


@pytest.fixture(scope="module", params=["resnet", "vit"])
def tiny_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    config = configuration(request.param)
    save_file(scramble(CLIP(**config)).state_dict(), folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": HALF, "std": HALF}})
    (folder / "open_clip_config.json").write_text(text)
    return load_model(f"local-dir:{folder}", device="cpu")


def test_recorded_values_are_those_of_the_model(tiny_model: Any, tmp_path: Path) -> None:
    probes = FakeProbes(70)
    layers = [layer.name for layer in tiny_model.layers("image")][-2:]
    out = record(tiny_model, probes, layers, tmp_path / "x.atlas", shard_size=64)
    atlas = open_atlas(out)
    images = [tiny_model.preprocess(probes.image(index)) for index in range(70)]
    pixels = torch.zeros(32, *images[0].shape)
    pixels[:6] = torch.stack(images[64:])
    reading = tiny_model.read(pixels, layers)
    for layer in layers:
        assert np.array_equal(
            atlas.activations(layer)[64:], to_half(reading.activations[layer][:6])
        )
        alone = tiny_model.read(torch.stack(images[:1]), [layer]).activations[layer]
        assert np.allclose(atlas.activations(layer)[:1], alone, atol=2e-3, rtol=2e-3)
        seen = [
            atlas.activations(layer),
            *(atlas.control_activations(name, layer) for name in TWINS),
        ]
        for first, second in combinations(seen, 2):
            assert not np.array_equal(first, second)
    assert np.allclose(np.linalg.norm(atlas.embeddings()[:].astype(float), axis=1), 1, atol=2e-3)
    again = record(tiny_model, probes, layers, tmp_path / "y.atlas", shard_size=4096, batch_size=7)
    assert tree(again) == tree(out)
