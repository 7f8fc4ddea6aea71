"""A small model and probe set with the real interfaces, quick enough to be recorded many times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from synesthete.atlas.manifest import TWINS
from synesthete.errors import SynestheteError
from synesthete.probes import COLUMNS, MODALITIES

SIDE = 16


@dataclass(frozen=True)
class FakePreprocessing:
    image_size: int = SIDE

    def as_dict(self) -> dict[str, Any]:
        return {"image_size": self.image_size, "interpolation": "bicubic"}


@dataclass(frozen=True)
class FakeLayer:
    name: str
    units: int
    kind: str = "block"
    grid: tuple[int, int] | None = (4, 4)
    tower: str = "image"


@dataclass
class FakeReading:
    embeddings: Any
    activations: dict[str, Any] = field(default_factory=dict)
    positions: dict[str, Any] = field(default_factory=dict)
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)


class FakeModel:
    """A random linear reading of 4 × 4 patches of a 16 × 16 image, on numpy."""

    embedding_dim = 6
    device = torch.device("cpu")
    default_layers = ("visual.layer4.1",)

    def __init__(self, seed: int = 1, units: int = 5) -> None:
        self.name = f"fake-{seed}"
        self.seed = seed
        self.preprocessing = FakePreprocessing()
        self.description = {"architecture": "fake", "parameters": 3 * 16 * units}
        self._layers = {
            name: FakeLayer(name, units + more)
            for more, name in enumerate(("visual.layer4.1", "visual.layer4.1:pre"))
        }
        random = np.random.default_rng(seed)
        self._weights = {
            name: random.normal(size=(layer.units, 48)).astype(np.float32)
            for name, layer in self._layers.items()
        }
        self.images_read = 0

    @property
    def weights_sha256(self) -> str:
        return hashlib.sha256(b"".join(w.tobytes() for w in self._weights.values())).hexdigest()

    def layer(self, name: str) -> FakeLayer:
        if name not in self._layers:
            raise SynestheteError(f"no layer {name!r}; there are {', '.join(self._layers)}")
        return self._layers[name]

    def geometry(self, image: Image.Image) -> Image.Image:
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)

    def preprocess(self, image: Image.Image) -> Any:
        import torch

        pixels = np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32) / 255 - 0.5
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def preprocess_all(self, images: Any) -> Any:
        import torch

        return torch.stack([self.preprocess(image) for image in images])

    def read(self, pixels: Any, layers: Any, reduction: str = "max") -> FakeReading:
        assert pixels.shape[0] == 32, "the model must always see micro-batches of 32"
        self.images_read += len(pixels)
        images = pixels.numpy()
        patches = images.reshape(-1, 3, 4, 4, 4, 4).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 16, 48)
        reading = FakeReading(images.mean(axis=(2, 3)).repeat(2, axis=1))
        for name in layers:
            maps = patches @ self._weights[name].T
            values = np.round(maps, 1)
            if not name.endswith(":pre"):
                values = np.maximum(values, 0)
            places = values.argmax(axis=1).astype(np.int16)
            chosen = values.max(axis=1) if reduction == "max" else values.mean(axis=1)
            reading.activations[name] = chosen
            reading.positions[name] = places if reduction == "max" else np.full_like(places, -1)
            reading.grids[name] = (4, 4)
        return reading

    def twin(self, kind: str, seed: int = 0) -> FakeModel:
        return FakeModel(
            1000 * (1 + TWINS.index(kind)) + seed, len(self._weights["visual.layer4.1"])
        )


class FakeProbes:
    """Small images made from their id; some may be unreadable."""

    name = "fake"

    def __init__(self, images: int = 150, *, broken: dict[int, str] | None = None, salt: int = 0):
        self.broken = broken or {}
        self.salt = salt
        rows = [self._labels(index) for index in range(images)]
        columns = {name: [row[name] for row in rows] for name in COLUMNS}
        self.labels = pa.table({name: pa.array(values) for name, values in columns.items()})

    def _labels(self, index: int) -> dict[str, str]:
        labels = dict.fromkeys(COLUMNS, "")
        labels |= {"key": f"key-{index}", "concept": f"concept {index % 7}"}
        return labels | {"modality": MODALITIES[index % 4], "artist": f"artist {index % 5}"}

    @property
    def table(self) -> pa.Table:
        hashes = pa.array([f"{index + self.salt:064x}" for index in range(len(self))])
        return self.labels.append_column("sha256", hashes)

    def tables(self, rows: int) -> Iterator[pa.Table]:
        for start in range(0, len(self), rows):
            yield self.table.slice(start, rows)

    def __len__(self) -> int:
        return int(self.labels.num_rows)

    @property
    def modalities(self) -> list[str]:
        present = set(self.labels["modality"].to_pylist())
        return [name for name in MODALITIES if name in present]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.salt} {len(self)}".encode()).hexdigest()

    def image(self, index: int) -> Image.Image:
        if index in self.broken:
            raise SynestheteError(self.broken[index])
        random = np.random.default_rng(self.salt * 1000 + index)
        return Image.fromarray(random.integers(0, 256, (24, 30, 3), dtype=np.uint8))
