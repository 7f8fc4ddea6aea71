"""A sparse dictionary finds planted directions, and its latents are a layer like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.analysis import analyze, dictionary
from synesthete.analysis.dictionary import (
    Dictionary,
    modality_gap,
    quality,
    read_dictionary,
    train,
    train_rotated,
    untrained,
)
from synesthete.analysis.joint import add_dictionary
from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.report import neuron_report, source_of
from tests.analysis.test_texts import IMAGE, recorded  # noqa: F401
from tests.recording.trees import tree

LAYER = "joint@topk"
SETTINGS: dict[str, Any] = {"latents": 64, "k": 4, "seed": 3}


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings that are sums of three of forty directions, the texts far from the images; and the directions."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(40, 32))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weights = np.zeros((3000, 40))
    for row in weights:
        row[generator.choice(40, 3, replace=False)] = generator.uniform(0.5, 1.5, 3)
    of_text = np.arange(3000) % 3 == 0
    gap = generator.normal(size=32)
    rows = weights @ directions + of_text[:, None] * gap
    return rows.astype(np.float32), of_text, directions


def recovered(found: Dictionary, directions: np.ndarray) -> float:
    return float(((found.decoder @ directions.T).max(axis=0) > 0.9).mean())


def test_planted_directions_are_found(planted: Any) -> None:
    rows, of_text, directions = planted
    found = train(rows, of_text, **SETTINGS)
    np.testing.assert_allclose(np.linalg.norm(found.decoder, axis=1), 1, atol=1e-5)
    control = untrained(rows, of_text, **SETTINGS)
    assert recovered(found, directions) > 0.9
    assert recovered(control, directions) < 0.2
    turned = train_rotated(rows, of_text, **SETTINGS)
    assert recovered(turned, directions) > 0.9
    good, bad = quality(found, rows, of_text), quality(control, rows, of_text)
    assert good["explained_variance"] > 0.85 > 0.7 > bad["explained_variance"]
    assert good["explained_variance_of_texts"] > 0.85
    again = train(rows, of_text, **SETTINGS)
    np.testing.assert_array_equal(found.decoder, again.decoder)
    np.testing.assert_array_equal(found.encoder, again.encoder)


def test_unused_latents_are_taken_up(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, of_text, _ = planted
    monkeypatch.setattr(dictionary, "STEPS", 600)
    settings: dict[str, Any] = {"latents": 400, "k": 2, "seed": 0}
    with_it = quality(train(rows, of_text, **settings), rows, of_text)
    monkeypatch.setattr(dictionary, "RESAMPLED_EVERY", 10_000)
    without = quality(train(rows, of_text, **settings), rows, of_text)
    assert with_it["dead_share"] < without["dead_share"]


def test_quality_is_what_it_says(planted: Any) -> None:
    """Against a loop over rows."""
    rows, of_text = planted[0][:50], planted[1][:50]
    one = untrained(rows, of_text, latents=20, k=3, seed=0)
    activations = one.encode(rows, of_text)
    missing = there = used = 0.0
    for row, text, values in zip(rows, of_text, activations.astype(float), strict=True):
        left = (row - rows[of_text == text].mean(axis=0)) / one.scale
        expected = np.maximum(left @ one.encoder, 0)
        keep = np.argsort(-expected)[:3]
        np.testing.assert_allclose(values[keep], expected[keep], rtol=2e-3, atol=1e-3)
        assert not values[np.setdiff1d(np.arange(20), keep)].any()
        missing += np.square(left - values @ one.decoder).sum()
        there += np.square(left).sum()
        used += (values > 0).sum()
    measured = quality(one, rows, of_text)
    assert measured["explained_variance"] == pytest.approx(1 - missing / there, abs=1e-4)
    assert measured["l0"] == pytest.approx(used / 50)
    assert measured["dead_share"] == (activations == 0).all(axis=0).mean()
    unread = rows.copy()
    unread[7] = np.nan
    assert np.isnan(one.encode(unread, of_text)[7]).all()


def test_gap_is_off_before_anything_else(planted: Any) -> None:
    rows, of_text, _ = planted
    gap = modality_gap(rows, of_text)
    means = [rows[chosen].mean(axis=0) for chosen in (of_text, ~of_text)]
    assert gap["distance"] == pytest.approx(np.linalg.norm(means[0] - means[1]), rel=1e-4)
    within = sum(np.square(rows[c] - rows[c].mean(axis=0)).sum() for c in (of_text, ~of_text))
    total = np.square(rows - rows.mean(axis=0)).sum()
    assert gap["variance_share"] == pytest.approx(1 - within / total, rel=1e-3)
    one = untrained(rows, of_text, **SETTINGS)
    apart = one.centred(rows, of_text)
    assert modality_gap(apart, of_text)["distance"] == pytest.approx(0, abs=1e-4)
    assert modality_gap(rows, np.zeros_like(of_text))["distance"] is None


@pytest.fixture
def path(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    monkeypatch.setattr(dictionary, "STEPS", 60)
    shutil.copytree(recorded, tmp_path / "x.atlas")
    return tmp_path / "x.atlas"


def test_latents_are_a_layer(path: Path) -> None:
    analyze(path, q=0.2)
    before = open_atlas(path)
    notes = add_dictionary(path, latents=12, k=3)
    atlas = open_atlas(path)
    assert not atlas.verify()
    assert atlas.layers == [*before.layers, LAYER]
    assert atlas.fingerprint == before.fingerprint
    assert atlas.manifest["dictionaries"] == {"topk": notes}
    assert set(notes["controls"]) == {"random_twin", "random_dictionary", "rotated_embedding"}
    embeddings = np.asarray(atlas.activations("joint"))
    of_text = np.array([bool(text) for text in atlas.probes["text"].to_pylist()])
    values = np.asarray(atlas.activations(LAYER))
    np.testing.assert_array_equal(values, read_dictionary(atlas, LAYER).encode(embeddings, of_text))
    assert ((values > 0).sum(axis=1) <= 3).all()
    twin = read_dictionary(atlas, LAYER, "random_twin")
    np.testing.assert_array_equal(
        atlas.control_activations("random_twin", LAYER),
        twin.encode(atlas.control_activations("random_twin", "joint"), of_text),
    )
    np.testing.assert_allclose(atlas.statistics(LAYER).mean, values.astype(float).mean(axis=0))
    best = atlas.exemplars(LAYER).top(3, "anecdote", limit=1)
    texts = np.flatnonzero(np.array(atlas.probes["modality"].to_pylist()) == "anecdote")
    assert best.values[0] == values[texts, 3].max()
    layers = atlas.manifest["analysis"]["layers"]
    assert {name: layers[name] for name in before.layers} == before.manifest["analysis"]["layers"]
    assert {f"multimodal_{kind}" for kind in ("random_twin", "rotation", "shuffled", *notes["controls"])} <= set(layers[LAYER])  # fmt: skip
    assert atlas.locate(f"{LAYER}:3") == (LAYER, 3)
    report = neuron_report(source_of(atlas), f"{LAYER}:3")
    assert {"photo", "anecdote"} <= {part.modality for part in report.modalities}
    assert atlas.summary()["layers"][LAYER]["units"] == 12
    # A new analysis of the whole atlas finds the same.
    analyze(path, q=0.2)
    assert open_atlas(path).manifest["analysis"]["layers"][LAYER] == layers[LAYER]


def test_the_same_again_changes_nothing(path: Path) -> None:
    first = add_dictionary(path, latents=12, k=3)
    before = tree(path)
    assert add_dictionary(path, latents=12, k=3) == first
    assert tree(path) == before
    with pytest.raises(SynestheteError, match="of other settings"):
        add_dictionary(path, latents=13, k=3)
    add_dictionary(path, name="more", latents=13, k=3)
    assert open_atlas(path).layers[-2:] == [LAYER, "joint@more"]


def test_killed_before_its_end_the_atlas_is_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synesthete.atlas import writing

    before = (path / "atlas.json").read_bytes()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            add_dictionary(path, latents=12, k=3)
    assert (path / "atlas.json").read_bytes() == before
    assert LAYER not in open_atlas(path).layers
    add_dictionary(path, latents=12, k=3)
    assert not open_atlas(path).verify()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "../x"}, "cannot be the name"),
        ({"name": ""}, "cannot be the name"),
        ({"latents": 1}, "2 to 16,384 latents"),
        ({"latents": 20_000}, "2 to 16,384 latents"),
        ({"k": 0}, "k is from 1"),
        ({"latents": 8, "k": 9}, "k is from 1"),
    ],
)
def test_settings_out_of_range(path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        add_dictionary(path, **settings)


def test_atlas_without_the_layer(tmp_path: Path) -> None:
    from tests.small_atlas import record_small

    with pytest.raises(SynestheteError, match="without the layer joint"):
        add_dictionary(record_small(tmp_path))


def test_other_layers_have_no_dictionary(path: Path) -> None:
    with pytest.raises(SynestheteError, match="no sparse dictionary"):
        read_dictionary(open_atlas(path), IMAGE)


def test_damaged_dictionary_is_noticed(path: Path) -> None:
    add_dictionary(path, latents=12, k=3)
    file = path / "dictionaries" / "topk.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(SynestheteError, match="other content"):
        read_dictionary(open_atlas(path), LAYER)
