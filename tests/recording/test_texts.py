"""Images and texts in one atlas: each layer has values where it reads, and nothing else counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from open_clip.model import CLIP
from safetensors.torch import save_file

from synesthete.analysis.provenance import own_probes, twin_activations
from synesthete.atlas import open_atlas
from synesthete.atlas.half import to_half
from synesthete.atlas.manifest import TWINS, WORD_ORDER
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.probes import ProbeSet, load_probes
from synesthete.probes.probe_set import words_shuffled
from synesthete.recording import record
from tests.models.conftest import configuration, scramble
from tests.probes.samples import png, write
from tests.recording.trees import tree

IMAGE, TEXT = "visual.transformer.resblocks.2.mlp", "text.transformer.resblocks.0.mlp"
LAYERS = [IMAGE, TEXT, "joint"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("model")
    config = configuration("vit")
    save_file(scramble(CLIP(**config)).state_dict(), folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(text)
    return load_model(f"local-dir:{folder}", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images and fifty texts, of which one is empty."""
    root = tmp_path_factory.mktemp("probes") / "mine"
    for concept in ("apple", "pear"):
        for i in range(20):
            write(root / concept / "photo" / f"{i}.png", png(i))
        for i in range(24):
            text = f"{concept if i == 3 else 'It'} grows on {i} trees " + "and so on " * i
            write(root / concept / "anecdote" / f"{i}.txt", text.encode())
        write(root / concept / "name" / "a.txt", concept.encode())
    write(root / "pear" / "name" / "b.txt", b"")
    return root


@pytest.fixture(scope="module")
def probes(folder: Path) -> ProbeSet:
    return load_probes(folder)


@pytest.fixture(scope="module")
def path(model: Any, probes: ProbeSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(model, probes, LAYERS, tmp_path_factory.mktemp("a") / "x.atlas", shard_size=64)


def test_values_stand_where_a_layer_reads(model: Any, probes: ProbeSet, path: Path) -> None:
    atlas = open_atlas(path)
    assert not atlas.verify()
    of_text = probes.is_text
    empty = np.array([not t and bool(of) for t, of in zip(probes.labels["text"].to_pylist(), of_text, strict=True)])  # fmt: skip
    assert empty.sum() == 1
    known = {IMAGE: ~of_text, TEXT: of_text & ~empty, "joint": ~empty}
    for layer, rows in known.items():
        for values in (atlas.activations(layer), atlas.control_activations("random_twin", layer)):
            np.testing.assert_array_equal(np.isfinite(values).all(axis=1), rows)
            np.testing.assert_array_equal(np.isnan(values).all(axis=1), ~rows)
        statistics = atlas.statistics(layer)
        assert (statistics.count == rows.sum()).all()
        assert (statistics.nonfinite == 0).all()
        np.testing.assert_allclose(
            statistics.mean, np.nanmean(np.asarray(atlas.activations(layer), np.float64), axis=0)
        )
        found = atlas.exemplars(layer)
        assert set(found.all_ids().tolist()) <= set(np.flatnonzero(rows).tolist())
    np.testing.assert_array_equal(np.isfinite(atlas.embeddings()).all(axis=1), ~empty)
    # The joint layer is the embedding, for images and texts alike.
    np.testing.assert_array_equal(atlas.activations("joint"), atlas.embeddings())
    for row in np.flatnonzero(known[TEXT])[::7]:
        reading = model.read_texts([probes.text(row)], [TEXT])
        np.testing.assert_allclose(
            atlas.activations(TEXT)[row], to_half(reading.activations[TEXT][0]), atol=2e-3
        )
    exemplars = atlas.exemplars(TEXT)
    group = exemplars.groups.index("anecdote")
    best = int(exemplars.top_ids[group, 5, 0])
    reading = model.read_texts([probes.text(best)], [TEXT])
    assert exemplars.top_positions[group, 5, 0] == reading.positions[TEXT][0, 5]
    assert 0 < exemplars.top_positions[group, 5, 0] < len(model.tokens(probes.text(best)))


def test_shuffled_words_are_a_control_of_what_reads_texts(
    model: Any, probes: ProbeSet, path: Path
) -> None:
    atlas = open_atlas(path)
    assert list(atlas.manifest["controls"]) == [*sorted(TWINS), WORD_ORDER]
    assert WORD_ORDER not in twin_activations(atlas, IMAGE)
    of_text = probes.is_text
    for layer in (TEXT, "joint"):
        values = atlas.control_activations(WORD_ORDER, layer)
        np.testing.assert_array_equal(values[~of_text], atlas.activations(layer)[~of_text])
        changed = 0
        for row in np.flatnonzero(of_text)[::5]:
            if not (text := probes.labels["text"][int(row)].as_py()):
                assert np.isnan(values[row]).all()
                continue
            reading = model.read_texts([words_shuffled(text)], [layer])
            expected = to_half(reading.activations[layer][0])
            np.testing.assert_allclose(values[row], expected, atol=2e-3)
            changed += not np.allclose(values[row], atlas.activations(layer)[row], atol=1e-2)
        assert changed > 5


def test_words_are_shuffled_the_same_everywhere() -> None:
    text = "It fell on his head while he sat below"
    found = words_shuffled(text)
    assert found == words_shuffled(text) != text
    assert sorted(found.split()) == sorted(text.split())
    assert words_shuffled("apple") == "apple"


def test_what_the_manifest_and_the_table_say(probes: ProbeSet, path: Path) -> None:
    atlas = open_atlas(path)
    manifest = atlas.manifest
    assert manifest["probes"]["images"] == len(probes) == 91
    assert manifest["probes"]["texts"] == 51
    assert manifest["probes"]["naming_texts"] == 2
    assert [entry.get("tower") for entry in manifest["layers"]] == [None, "text", "joint"]
    assert manifest["text_reduction"] == "end"
    table = atlas.probes
    assert table["text"].to_pylist() == probes.labels["text"].to_pylist()
    reasons = dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert {k: r for k, r in reasons.items() if r} == {
        "pear/name/b.txt": "an empty text: write one or leave it out"
    }
    # Only images have thumbnails.
    shown = [atlas.thumbnail(row) is not None for row in np.flatnonzero(~probes.is_text)[::5]]
    assert all(shown)


def test_shards_and_an_interruption_change_nothing(
    model: Any, probes: ProbeSet, path: Path, tmp_path: Path
) -> None:
    def stop(done: int, *rest: Any) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    out = tmp_path / "y.atlas"
    with pytest.raises(KeyboardInterrupt):
        record(model, probes, LAYERS, out, shard_size=64, progress=stop)
    record(model, probes, LAYERS, out)
    assert tree(out) == tree(path)
    whole = record(model, probes, LAYERS, tmp_path / "z.atlas", shard_size=1024, batch_size=8)
    assert tree(whole) == tree(path)


def test_what_no_layer_reads_is_left_out(
    model: Any, folder: Path, probes: ProbeSet, tmp_path: Path
) -> None:
    alone = load_probes(folder, texts=False)
    both = record(model, probes, [IMAGE], tmp_path / "both.atlas")
    assert tree(both) == tree(record(model, alone, [IMAGE], tmp_path / "alone.atlas"))
    manifest = open_atlas(both).manifest
    assert "texts" not in manifest["probes"]
    assert "text_reduction" not in manifest
    assert own_probes(open_atlas(both), folder).fingerprint == alone.fingerprint
    texts = record(model, probes, [TEXT], tmp_path / "texts.atlas", text_reduction="max")
    opened = open_atlas(texts)
    assert opened.manifest["probes"]["images"] == opened.manifest["probes"]["texts"] == 51
    assert own_probes(opened, folder).fingerprint == probes.part(images=False).fingerprint
    assert opened.manifest["layers"][0]["grid"] is None


def test_layers_without_anything_to_read(model: Any, folder: Path, tmp_path: Path) -> None:
    alone, texts = load_probes(folder, texts=False), load_probes(folder).part(images=False)
    for layers, shown, message in (
        ([TEXT], alone, f"{TEXT} reads texts, and the probe set 'mine' holds none"),
        (None, texts, f"{IMAGE} reads images, and the probe set 'mine' holds none"),
        (["joint", IMAGE], texts, f"{IMAGE} reads images, and"),
    ):
        with pytest.raises(SynestheteError, match=message):
            record(model, shown, layers, tmp_path / "x.atlas")
    assert not (tmp_path / "x.atlas").exists()
    with pytest.raises(SynestheteError, match="no reduction 'cls' of texts; there are end, max"):
        record(model, alone, None, tmp_path / "x.atlas", text_reduction="cls")
    joint = record(model, alone, ["joint"], tmp_path / "x.atlas")
    assert np.isfinite(open_atlas(joint).activations("joint")).all()
