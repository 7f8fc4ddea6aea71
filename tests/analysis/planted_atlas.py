"""A real atlas of planted units: recorded by a model that answers as planted, twin included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from synesthete.analysis.design import Design
from synesthete.analysis.planted import Planted
from synesthete.atlas.manifest import TWINS
from tests.recording.fakes import SIDE, FakeModel, FakeProbes, FakeReading

LAYER = "visual.layer4.1"


ARTISTS = {"photo": 2, "drawing": 4, "symbol": 4, "word": 4}


def small_design(n_concepts: int = 24) -> tuple[Design, list[str]]:
    """Few images with much to say: every artist shows every concept. Also the artist of each image."""
    rows = [
        (f"concept {concept:04d}", modality, f"{modality} artist {artist}")
        for modality, artists in ARTISTS.items()
        for artist in range(artists)
        for concept in range(n_concepts)
    ]
    concepts, modalities, artists = zip(*rows, strict=True)
    return Design.of(concepts, modalities, artists), list(artists)


class PlantedProbes(FakeProbes):
    """Images that carry their number in the colour of their pixels, labelled as a design says."""

    def __init__(self, design: Design, artists: list[str], broken: dict[int, str] | None = None):
        self.design, self.artists = design, artists
        super().__init__(design.concept.size, broken=broken)

    def _labels(self, index: int) -> dict[str, str]:
        concept = self.design.concepts[self.design.concept[index]]
        return super()._labels(index) | {
            "concept": concept,
            "modality": self.design.modalities[self.design.modality[index]],
            "artist": self.artists[index],
            "family": f"family {int(concept[-4:] or 0) % 3}",
        }

    def image(self, index: int) -> Image.Image:
        super().image(index)
        return Image.new("RGB", (SIDE, SIDE), (index // 256, index % 256, 0))


class PlantedModel(FakeModel):
    """Responds to image i with row i of the planted activations; its random twin with noise."""

    def __init__(self, planted: Planted, *, seed: int = 1) -> None:
        super().__init__(seed=seed, units=2)
        self._planted = planted
        self._layers = {LAYER: replace(self._layers[LAYER], units=planted.kind.size)}

    def read(self, pixels: Any, layers: Any, reduction: str = "max") -> FakeReading:
        corner = np.rint((pixels.numpy()[:, :2, 0, 0] + 0.5) * 255).astype(int)
        numbers = corner[:, 0] * 256 + corner[:, 1]
        numbers[numbers >= len(self._planted.activations)] = 0  # padding of the last micro-batch
        values = self._planted.activations[numbers].astype(np.float32)
        places = np.zeros(values.shape, np.int16)
        embeddings = np.ones((len(values), self.embedding_dim), np.float32)
        return FakeReading(embeddings, {LAYER: values}, {LAYER: places}, {LAYER: (4, 4)})

    def twin(self, kind: str, seed: int = 0) -> PlantedModel:
        noise = np.random.default_rng([seed, TWINS.index(kind)]).normal(
            size=self._planted.activations.shape
        )
        noisy = replace(self._planted, activations=noise.astype(np.float16))
        return PlantedModel(noisy, seed=1000 + seed + TWINS.index(kind))


def record_planted(
    folder: Path,
    design: Design,
    artists: list[str],
    planted: Planted,
    *,
    broken: dict[int, str] | None = None,
    **options: Any,
) -> Path:
    """Record planted units as an atlas."""
    from synesthete.recording import record

    probes: Any = PlantedProbes(design, artists, broken)
    model: Any = PlantedModel(planted)
    return record(model, probes, [LAYER], folder / "planted.atlas", **options)


def table_values(table: pa.Table, column: str) -> np.ndarray:
    """A column as an array, null as NaN."""
    return table[column].to_numpy(zero_copy_only=False)
