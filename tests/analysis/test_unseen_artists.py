"""Counts on a test atlas: concepts chosen on one atlas and scored on the artists of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.analysis import analyze
from synesthete.analysis.design import Design
from synesthete.analysis.planted import Planted, plant
from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.recording import record
from tests.analysis.planted_atlas import (
    LAYER,
    PlantedModel,
    PlantedProbes,
    record_planted,
    small_design,
)

UNITS = 80


def _part(folder: Path, kept: list[int], planted: Planted, concepts: list[str]) -> Path:
    """An atlas of some of the images, with these concepts."""
    design, artists = small_design()
    modalities = [design.modalities[design.modality[i]] for i in kept]
    names = [artists[i] for i in kept]
    part = Design.of(concepts, modalities, names)
    return record_planted(
        folder, part, names, replace(planted, activations=planted.activations[kept])
    )


@pytest.fixture(scope="module")
def atlases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Planted]:
    """Planted units on two artists of each modality; on two others; on those others with their concepts exchanged."""
    design, artists = small_design()
    planted = plant(design, UNITS, noise=0.1, seed=2)
    unseen = [i for i, name in enumerate(artists) if name[-1] in "23"]
    seen = sorted(set(range(len(artists))) - set(unseen))
    concepts = [design.concepts[code] for code in design.concept]
    atlases = [
        _part(tmp_path_factory.mktemp(name), kept, planted, [concepts[i] for i in kept])
        for name, kept in (("seen", seen), ("unseen", unseen))
    ]
    turned = [design.concepts[(design.concept[i] + 1) % len(design.concepts)] for i in unseen]
    wrong = _part(tmp_path_factory.mktemp("wrong"), unseen, planted, turned)
    return atlases[0], atlases[1], wrong, planted


def test_planted_units_are_counted_on_unseen_artists(
    atlases: tuple[Path, Path, Path, Planted],
) -> None:
    seen, unseen, _, planted = atlases
    analyze(seen, test=unseen)
    summary = open_atlas(seen).summary()
    # Photographs are of two artists, both seen: the test artists show drawings, symbols and words.
    sure = np.isin(planted.kind, ("concept",)).sum()
    assert sure * 0.9 <= summary["multimodal_test"] <= planted.multimodal.sum()
    (layer,) = open_atlas(seen).manifest["analysis"]["layers"].values()
    assert layer["concepts_test"] == 24
    assert layer["units_test"] == layer["live_units"] == summary["units_test"]
    assert layer["concept_cells_test"] <= layer["multimodal_test"] <= layer["selective_test"]


def test_nothing_else_depends_on_the_test_atlas(atlases: tuple[Path, Path, Path, Planted]) -> None:
    seen, unseen, _, _ = atlases
    analyze(seen)
    alone = open_atlas(seen)
    assert alone.summary()["multimodal_test"] is None
    tables = [(n.unit, n.concept, n.verdict, n.multimodality) for n in alone.neurons()]
    counts = alone.summary()
    analyze(seen, test=unseen)
    both = open_atlas(seen)
    assert [(n.unit, n.concept, n.verdict, n.multimodality) for n in both.neurons()] == tables
    differing = {key for key, value in both.summary().items() if counts[key] != value}
    assert differing - {"fingerprint"} == {"multimodal_test", "units_test"}


def test_concepts_that_the_test_artists_show_otherwise_fail(
    atlases: tuple[Path, Path, Path, Planted],
) -> None:
    seen, _, wrong, _ = atlases
    analyze(seen, test=wrong)
    assert open_atlas(seen).summary()["multimodal_test"] == 0


def test_the_same_artists_are_refused(atlases: tuple[Path, Path, Path, Planted]) -> None:
    seen = atlases[0]
    with pytest.raises(SynestheteError, match="of its artists are in") as caught:
        analyze(seen, test=seen)
    assert "concepts-test" in str(caught.value.hint)


def test_another_model_is_refused(
    atlases: tuple[Path, Path, Path, Planted], tmp_path: Path
) -> None:
    seen, _, _, planted = atlases
    design, artists = small_design()
    model: Any = PlantedModel(planted, seed=7)
    probes: Any = PlantedProbes(design, [f"{name} again" for name in artists])
    path = record(model, probes, [LAYER], tmp_path / "other.atlas")
    before = open_atlas(seen).fingerprint
    with pytest.raises(SynestheteError, match="cannot test") as caught:
        analyze(seen, test=path)
    assert "another model" in str(caught.value)
    assert open_atlas(seen).fingerprint == before
