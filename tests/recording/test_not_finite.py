"""A model that computes NaN or infinity is not recorded as if it had seen something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file

from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.recording import record
from tests.models.conftest import configuration, scramble
from tests.recording.fakes import FakeProbes


class OneWhite(FakeProbes):
    """Black images and a white one."""

    def __init__(self, images: int, white: int | None) -> None:
        super().__init__(images)
        self.white = white

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (64, 64), "white" if index == self.white else "black")


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of finite weights, which overflow as soon as an image is not black."""
    folder = tmp_path_factory.mktemp("overflowing")
    config = configuration("resnet")
    network = scramble(CLIP(**config))
    network.visual.conv1.weight.data.fill_(1e38)  # type: ignore[union-attr]
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": 0, "std": 1}})
    (folder / "open_clip_config.json").write_text(text)
    return load_model(f"local-dir:{folder}", device="cpu")


def test_one_image_stops_the_recording_with_the_name_of_the_layer(
    overflowing: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x.atlas"
    with pytest.raises(SynestheteError) as caught:
        record(overflowing, OneWhite(70, white=40), None, out, twins=())
    message = str(caught.value)
    assert "gives NaN or infinity at visual.layer1.0:pre for 1 of 32 images" in message
    assert "\n" not in message
    assert not (out / "atlas.json").exists()


def test_the_same_model_is_recorded_where_it_is_finite(overflowing: Any, tmp_path: Path) -> None:
    out = record(overflowing, OneWhite(8, white=None), None, tmp_path / "x.atlas", twins=())
    assert (out / "atlas.json").exists()
