"""The precision of a recording: measured once, kept, and obeyed by whoever goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.models import Reading, load_model
from synesthete.models.preprocessing import Preprocessing, Preprocessor
from synesthete.probes import load_probes
from synesthete.recording import Executor, precision
from synesthete.recording.precision import Forward, choose
from tests.recording.crowd import prepare, record_crowd
from tests.recording.trees import tree
from tests.small_atlas import LAYER


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("crowd"))


class Clocked:
    """A model that moves a clock by what its passes cost, and whose bfloat16 is `error` off."""

    device = torch.device("cpu")
    weights_sha256 = "0" * 64
    embedding_dim = 48
    description: Mapping[str, Any] = {}
    preprocessing = SimpleNamespace(image_size=4)

    def __init__(self, cost: Callable[[str, int], float], error: float = 0.0) -> None:
        self.cost, self.error = cost, error
        self.precision = "fp32"
        self.clock = [0.0]
        self.reads = [0]

    def at_precision(self, name: str) -> Clocked:
        found = Clocked(self.cost, self.error)
        found.precision, found.clock, found.reads = name, self.clock, self.reads
        return found

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        values = np.asarray(image, np.float32).transpose(2, 0, 1)
        return torch.from_numpy(values[:, :4, :4].copy())

    def read(self, pixels: torch.Tensor, layers: Any, reduction: str) -> Reading:
        self.reads[0] += 1
        self.clock[0] += self.cost(self.precision, len(pixels))
        values = pixels.flatten(1).numpy().copy()
        if self.precision == "bf16":
            values[:, ::2] *= 1 + self.error
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return Reading(values, dict.fromkeys(layers, values))


def chosen(
    crowd: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, model: Clocked, least: int = 64
) -> Forward:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(precision, "LEAST_IMAGES", least)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: model.clock[0])
    probes = load_probes(str(crowd / "images"))
    return choose(model, probes, [LAYER], "max")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bf16", "alone", "error", "expected"),
    [
        (0.5, 0.0, 0.0, ("bf16", 32)),
        (0.9, 0.0, 0.0, ("fp32", 32)),
        (2.0, 0.0, 0.0, ("fp32", 32)),
        (0.5, 0.0, 0.5, ("fp32", 32)),
        # A cost for every pass, however many images: 64 at once are quicker.
        (0.5, 50.0, 0.0, ("bf16", 64)),
    ],
)
def test_the_quicker_way_is_taken_where_it_agrees(
    crowd: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    bf16: float, alone: float, error: float, expected: tuple[str, int],
) -> None:  # fmt: skip
    model = Clocked(
        lambda name, images: (alone + images) * (bf16 if name == "bf16" else 1.0), error
    )
    found = chosen(crowd, monkeypatch, tmp_path, model)
    assert (found.precision, found.micro_batch) == expected
    assert found.cosine is not None
    assert (found.cosine < precision.PARITY) == (error > 0)
    assert f"{expected[0]}, {expected[1]} images at once" in str(found)


def test_what_was_measured_is_kept_until_it_is_damaged(
    crowd: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = Clocked(lambda name, images: images * (0.5 if name == "bf16" else 1.0))
    first = chosen(crowd, monkeypatch, tmp_path, model)
    measured = model.reads[0]
    assert measured > 0
    assert chosen(crowd, monkeypatch, tmp_path, model) == first
    assert model.reads[0] == measured
    (kept,) = tmp_path.rglob("*.json")
    kept.write_bytes(kept.read_bytes().replace(b"bf16", b"fp32", 1))
    assert chosen(crowd, monkeypatch, tmp_path, model) == first
    assert model.reads[0] == 2 * measured


def test_what_was_measured_is_of_one_network(
    crowd: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RN50 and RN50-quickgelu have the same weights."""
    model = Clocked(lambda name, images: images)
    chosen(crowd, monkeypatch, tmp_path, model)
    measured = model.reads[0]
    model.description = {"quick_gelu": True}
    chosen(crowd, monkeypatch, tmp_path, model)
    assert model.reads[0] == 2 * measured


def test_few_images_are_not_measured(
    crowd: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = Clocked(lambda name, images: 1.0)
    found = chosen(crowd, monkeypatch, tmp_path, model, least=301)
    assert (found.precision, found.micro_batch, model.reads) == ("fp32", 32, [0])


def test_a_model_in_bfloat16(crowd: Path) -> None:
    model = load_model(f"local-dir:{crowd / 'model'}")
    lower = model.at_precision("bf16")
    pixels = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact, read = (one.read(pixels, [LAYER], "max") for one in (model, lower))
    assert (exact.embeddings * read.embeddings).sum(axis=1).min() >= 0.999
    assert read.embeddings.dtype == read.activations[LAYER].dtype == np.float32
    scale = np.abs(exact.activations[LAYER]).max()
    assert 0 < np.abs(exact.activations[LAYER] - read.activations[LAYER]).max() < 0.02 * scale
    assert lower.weights_sha256 == model.weights_sha256
    # The model itself is as it was, and texts are read by the same tower.
    assert np.array_equal(model.read(pixels, [LAYER], "max").embeddings, exact.embeddings)
    texts = ["a thing", "another"]
    assert np.array_equal(lower.encode_texts(texts), model.encode_texts(texts))


def test_who_goes_on_obeys_what_was_started(
    crowd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synesthete.recording.engine.choose", _never)
    whole = tree(record_crowd(crowd, tmp_path / "whole.atlas", None, precision="bf16"))
    out = tmp_path / "x.atlas"
    with pytest.raises(KeyboardInterrupt):
        record_crowd(crowd, out, None, precision="bf16", progress=_interrupt)
    reported: list[Forward] = []
    with pytest.raises(SynestheteError, match="precision is None instead of 'bf16'"):
        record_crowd(crowd, out, None, precision="fp32")
    record_crowd(crowd, out, None, precision="auto", chosen=reported.append)
    assert [one.precision for one in reported] == ["bf16"]
    assert tree(out) == whole
    assert open_atlas(out).manifest["recipe"]["precision"] == "bf16"
    assert open_atlas(out).verify() == []


def _never(*_: Any) -> Forward:
    raise AssertionError("measured again")


def _interrupt(done: int, *_: Any) -> None:
    if done >= 128:
        raise KeyboardInterrupt


def test_tasks_of_an_array_job_do_not_choose(
    crowd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synesthete.recording.engine.choose", _never)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    out = record_crowd(crowd, tmp_path / "x.atlas", Executor(kind="array"), precision="auto")
    assert "precision" not in open_atlas(out).manifest["recipe"]


def test_a_precision_that_there_is_not(crowd: Path, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match=r"no precision 'bf61'.*did you mean 'bf16'"):
        record_crowd(crowd, tmp_path / "x.atlas", None, precision="bf61")


def test_images_are_prepared_together_as_one_by_one() -> None:
    settings = Preprocessing(
        image_size=48, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28),
        interpolation="bicubic", resize_mode="shortest", fill_color=0,
    )  # fmt: skip
    prepare = Preprocessor(settings)
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for height, width in ((48, 48), (100, 60), (50, 90))
    ]
    together = prepare.tensors([prepare.geometry(image) for image in images])
    assert torch.equal(together, torch.stack([prepare.tensor(image) for image in images]))


@pytest.mark.parametrize(
    ("failing", "expected"),
    [(("bf16", 32), ("fp32", 32)), (("bf16", 64), ("bf16", 32))],
)
def test_a_way_that_fails_is_not_chosen(
    crowd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: tuple[str, int],
    expected: tuple[str, int],
) -> None:
    def cost(name: str, images: int) -> float:
        if (name, images) == failing:
            raise torch.OutOfMemoryError("not enough memory")
        # Quicker in bf16, and quicker still with many at once.
        return (0.5 if name == "bf16" else 1.0) * (0.01 if images > 32 else 0.1) * images

    found = chosen(crowd, monkeypatch, tmp_path, Clocked(cost))
    assert (found.precision, found.micro_batch) == expected
