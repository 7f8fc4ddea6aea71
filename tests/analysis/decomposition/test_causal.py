"""Raising a unit and reading the change; the texts a unit wants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.analysis.decomposition import causal_check, wanted_texts
from synesthete.analysis.decomposition.explain import unit_weights
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.probes import load_probes
from tests.small_atlas import CONCEPTS, record_small, write_known_analysis


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("small"))
    write_known_analysis(path)
    return path


@pytest.fixture(scope="module")
def atlas(folder: Path) -> Atlas:
    return open_atlas(folder)


def _live(atlas: Atlas) -> str:
    return next(n.address for n in atlas.neurons() if n.maximum > 0)


def _images(folder: Path) -> str:
    return str(next(folder.parent.rglob("metadata.csv")).parent)


def test_the_change_is_what_a_manual_pass_gives(atlas: Atlas, folder: Path) -> None:
    address = _live(atlas)
    found = causal_check(
        atlas, address, text="apple", images=1000, controls=3, probes=_images(folder)
    )
    model, probes = load_model(atlas.manifest["model"]["name"]), load_probes(_images(folder))
    rows = [
        i for i, row in enumerate(atlas.probes.to_pylist())
        if row["status"] == "ok" and row["concept"] != "apple"
    ]  # fmt: skip
    assert found.images == len(rows)
    pixels = torch.stack([model.preprocess(probes.image(i)) for i in rows])
    neuron = atlas.neuron(address)
    maps = model.maps(pixels, neuron.layer)
    with torch.inference_mode():
        before = torch.nn.functional.normalize(model.network.visual.attnpool(maps), dim=-1)
        maps[:, neuron.unit] += neuron.maximum
        after = torch.nn.functional.normalize(model.network.visual.attnpool(maps), dim=-1)
    texts = class_embeddings(model, ["apple", *[c for c in atlas.concepts if c != "apple"]])
    moved = ((after - before).numpy() @ texts.T).mean(axis=0)
    assert found.change == pytest.approx(moved[0], abs=1e-5)
    assert found.rank == 1 + int((moved[1:] > moved[0]).sum())
    assert found.low <= found.change <= found.high
    assert found.most[0].change == pytest.approx(moved.max(), abs=1e-5)
    assert 0 < found.p <= 1
    again = causal_check(
        atlas, address, text="apple", images=1000, controls=3, probes=_images(folder)
    )
    assert again == found


def test_lowering_moves_the_other_way(atlas: Atlas, folder: Path) -> None:
    options = {"text": "apple", "images": 8, "controls": 1, "probes": _images(folder)}
    up = causal_check(atlas, _live(atlas), strength=0.5, **options)
    down = causal_check(atlas, _live(atlas), strength=-0.5, **options)
    assert up.change == pytest.approx(-down.change, rel=0.3)


def test_wanted_texts_follow_the_exact_path(atlas: Atlas) -> None:
    address = _live(atlas)
    found = wanted_texts(atlas, address, list(CONCEPTS), limit=2)
    model, neuron = load_model(atlas.manifest["model"]["name"]), atlas.neuron(address)
    texts = model.encode_texts(list(CONCEPTS))
    scores = unit_weights(model, neuron.layer, texts - texts.mean(0))[:, neuron.unit]
    order = np.argsort(-scores)
    assert found.route == "exact"
    assert [one.text for one in found.most] == [list(CONCEPTS)[i] for i in order[:2]]
    assert found.least[0].text == list(CONCEPTS)[order[-1]]


def test_other_layers_take_the_fitted_route(tmp_path: Path) -> None:
    path = record_small(tmp_path, layers=("visual.layer2.0",))
    atlas = open_atlas(path)
    values, embeddings = atlas.activations("visual.layer2.0"), atlas.embeddings()
    found = wanted_texts(atlas, "visual.layer2.0:1", list(CONCEPTS))
    assert found.route == "fitted"
    assert len(found.most) == len(CONCEPTS)
    # An oracle, image by image: the direction in which embeddings move with the unit, within modalities and halves.
    from synesthete.analysis.decomposition.fit import sample_of

    sample = sample_of(atlas)
    direction = np.zeros(embeddings.shape[1])
    groups = {(m, t) for m, t in zip(sample.modality, sample.test, strict=True)}
    for modality, test in groups:
        rows = sample.rows[(sample.modality == modality) & (sample.test == test)]
        mine = np.asarray(values[rows, 1], float)
        for row, value in zip(rows, mine, strict=True):
            direction += (value - mine.mean()) * np.asarray(embeddings[row], float)
    texts = load_model(atlas.manifest["model"]["name"]).encode_texts(list(CONCEPTS))
    wanted = np.argsort(-(texts - texts.mean(0)) @ direction)
    assert [one.text for one in found.most] == [list(CONCEPTS)[i] for i in wanted]


def test_wrong_questions_are_refused(atlas: Atlas, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="two texts"):
        wanted_texts(atlas, _live(atlas), ["apple"])
    with pytest.raises(SynestheteError, match="strength"):
        causal_check(atlas, _live(atlas), strength=0.0)
    with pytest.raises(SynestheteError, match="was not found"):
        causal_check(atlas, _live(atlas), text="apple")
    other = tmp_path / "other"
    (other / "apple").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(other / "apple" / "a.png")
    with pytest.raises(SynestheteError, match="other images"):
        causal_check(atlas, _live(atlas), text="apple", probes=str(other))
