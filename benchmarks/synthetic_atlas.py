"""An atlas of any number of units for benchmarks: recorded for real from a model of random answers, tables at random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from synesthete.atlas import (
    open_atlas,
    write_analysis,
    write_neurons,
    write_selectivity,
    write_unit_tables,
)
from synesthete.recording import record
from tests.recording.fakes import FakeModel, FakeProbes, FakeReading

LAYER = "visual.layer4.1"
MODALITIES = ("photo", "drawing", "symbol", "word")
IMAGES, CONCEPTS, NAMED = 256, 64, 0.1


class ManyUnits(FakeModel):
    """Each image excites every unit at random, the same each time."""

    def __init__(self, units: int) -> None:
        super().__init__(units=2)
        self._layers = {LAYER: replace(self._layers[LAYER], units=units)}

    def read(self, pixels: Any, layers: Any, reduction: str = "max") -> FakeReading:
        """Random activations, seeded by the image."""
        units = self._layers[LAYER].units
        values = np.stack(
            [
                np.random.default_rng(crc32(one.tobytes())).random(units, np.float32)
                for one in pixels.numpy()
            ]
        )
        places = np.zeros(values.shape, np.int16)
        embeddings = np.ones((len(values), self.embedding_dim), np.float32)
        return FakeReading(embeddings, {LAYER: values}, {LAYER: places}, {LAYER: (4, 4)})


class Labelled(FakeProbes):
    """Small images of many concepts."""

    def _labels(self, index: int) -> dict[str, str]:
        labels = super()._labels(index)
        family = f"family {index % CONCEPTS % 12}"
        return labels | {"concept": f"concept {index % CONCEPTS}", "family": family}


def make(folder: Path, units: int) -> Path:
    """Record and write it; returns its path."""
    model: Any = ManyUnits(units)
    probes: Any = Labelled(IMAGES)
    path = record(model, probes, [LAYER], folder / "made.atlas", twins=())
    rng = np.random.default_rng(0)
    concepts = rng.integers(0, CONCEPTS, units)
    auc = np.clip(rng.normal(0.75, 0.12, (4, units)), 0, 1)
    multimodal = (auc >= 0.9).sum(axis=0) >= 3
    statistics = open_atlas(path).statistics(LAYER)
    columns: dict[str, Any] = {
        "unit": np.arange(units, dtype=np.int32),
        "concept": [f"concept {c}" for c in concepts],
        "family": [f"family {c % 12}" for c in concepts],
        "multimodality": auc.min(axis=0),
        "q": rng.random(units),
        "verdict": np.where(multimodal, "multimodal", "none"),
        "selective": multimodal,
        "multimodal": multimodal,
        "concept_cell": np.zeros(units, bool),
        "passed": np.where(multimodal, 3, 0).astype(np.int32),
        "lower": auc.min(axis=0) / 2,
        "n_concepts": rng.integers(0, 4, units).astype(np.int32),
        "sparseness": rng.random(units),
        "dead": np.zeros(units, bool),
        "mean": statistics.mean.astype(float),
        "std": statistics.std.astype(float),
        "maximum": statistics.maximum.astype(float),
    }
    measured = {}
    for place, name in enumerate(MODALITIES):
        measured |= {f"{key}_{name}": auc[place] for key in ("auc", "p", "ap", "ap_low")}
        measured[f"n_{name}"] = np.full(units, 8, np.int32)
    write_neurons(path, LAYER, pa.table(columns | measured))
    five = np.repeat(np.arange(units, dtype=np.int32), 5)
    rows: dict[str, Any] = {
        "unit": five,
        "concept": [f"concept {c}" for c in rng.integers(0, CONCEPTS, five.size)],
    }
    rows["passes"] = rng.random(five.size) > 0.9
    for name in MODALITIES:
        rows |= {f"{key}_{name}": rng.random(five.size) for key in ("auc", "p", "q")}
        rows[f"n_{name}"] = np.full(five.size, 8, np.int32)
    write_selectivity(path, LAYER, pa.table(rows))
    counts = {
        "units": units, "live_units": units, "multimodal": int(multimodal.sum()),
        "selective": int(multimodal.sum()), "concept_cells": 0,
        "multimodal_random_twin": None, "multimodal_permuted": None, "multimodal_rotation": 0, "multimodal_shuffled": 0,
    }  # fmt: skip
    rule = {"threshold": 0.9, "q": 0.01, "ap": 0.2, "cell": 0.5, "curve": [], "seed": 0}
    write_analysis(path, {**rule, "layers": {LAYER: counts}})
    _tables(path, units, rng)
    return path


def _tables(path: Path, units: int, rng: np.random.Generator) -> None:
    """Names of some units, and the places of all on the map."""
    named = np.sort(rng.choice(units, int(units * NAMED), replace=False)).astype(np.int32)
    score = rng.uniform(0.8, 1, named.size)
    names = {
        "unit": named, "rank": np.zeros(named.size, np.int16), "name": [f"name {unit % 997}" for unit in named],
        "method": ["made"] * named.size, "score": score, "confidence": score,
        "confidence_low": score - 0.05, "confidence_high": np.minimum(score + 0.05, 1),
    }  # fmt: skip
    notes = {"layers": {LAYER: {"threshold": 0.9}}}
    write_unit_tables(path, "names", {LAYER: pa.table(names)}, notes)
    every = np.arange(units, dtype=np.int32)
    places = {
        "unit": every,
        "rank": np.zeros(units, np.int16),
        "x": rng.normal(size=units),
        "y": rng.normal(size=units),
    }
    write_unit_tables(path, "layout", {LAYER: pa.table(places)}, {"method": "made"})
