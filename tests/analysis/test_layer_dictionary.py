"""A dictionary of a layer: learnt in bounded memory, resumed after a kill, recorded and analysed beside the neurons."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synesthete.analysis import analyze, layer_dictionary, provenance
from synesthete.analysis.dictionary_training import Recipe, Trainer, random_start
from synesthete.analysis.layer_dictionary import measure, train_dictionary
from synesthete.analysis.naming import name_neurons
from synesthete.atlas import Atlas, open_atlas
from synesthete.audits import run_audit
from synesthete.editing import edited, export_edits, load_edits, plan_edits, save_edits
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.models.dictionary_formats import read_dictionary
from synesthete.probes import ProbeSet
from synesthete.recording import Executor, record
from synesthete.report import neuron_report, source_of
from synesthete.visualization.features import visualize
from synesthete.visualization.settings import Settings
from tests.audits.fakes import write_image_folders
from tests.recording.trees import tree
from tests.small_atlas import LAYER, record_small

SETTINGS: dict[str, Any] = {"latents": 24, "k": 3, "epochs": 2}


def planted(kind: str) -> tuple[Trainer, torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(24, 16))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weights = np.where(generator.random((3000, 24)) < 0.1, generator.uniform(0.5, 1.5, (3000, 24)), 0)  # fmt: skip
    rows = torch.from_numpy((weights @ directions).astype(np.float32))
    rows = rows - rows.mean(dim=0)
    recipe = Recipe(latents=40, k=3, seed=0, resampled_every=100, kind=kind)
    return Trainer(*random_start(16, 40, 0), recipe=recipe), rows, directions


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_planted_directions_are_found_and_a_state_goes_on(kind: str) -> None:
    trainer, rows, directions = planted(kind)
    half: dict[str, torch.Tensor] = {}
    for number in range(400):
        if number == 250:
            half = {name: value.clone() for name, value in trainer.state().items()}
        trainer.step(rows[number * 128 % 2800 :][:128], number / 400)
    _, _, decoder = trainer.parts()
    assert ((decoder @ directions.T).max(axis=0) > 0.9).mean() > 0.8
    again, _, _ = planted(kind)
    again.load(half)
    for number in range(250, 400):
        again.step(rows[number * 128 % 2800 :][:128], number / 400)
    for ours, theirs in zip(trainer.parts(), again.parts(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert trainer.threshold == again.threshold
    if kind == "jumprelu":
        encoder, bias, _ = trainer.parts()
        pre = rows.numpy() @ encoder + bias
        assert (pre > trainer.threshold).sum(axis=1).mean() == pytest.approx(3, abs=0.5)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return open_atlas(record_small(tmp_path_factory.mktemp("sae")))


@pytest.fixture(scope="module")
def probes(atlas: Atlas) -> ProbeSet:
    return provenance.own_probes(atlas, atlas.path.parent / "images" / "metadata.csv")


@pytest.fixture(scope="module")
def trained(
    atlas: Atlas, probes: ProbeSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("trained") / "x.sae"
    return out, train_dictionary(atlas, LAYER, out, probes=probes, **SETTINGS)


def test_it_is_measured_on_other_images(
    atlas: Atlas, probes: ProbeSet, trained: tuple[Path, dict[str, Any]]
) -> None:
    out, facts = trained
    held, control = facts["held_out"], facts["held_out_random_dictionary"]
    assert facts["rows"] + held["images"] == 64
    assert held["images"] == 6
    assert held["explained_variance"] > control["explained_variance"]
    assert control["l0"] <= 3
    model, found = provenance.own_model(atlas), read_dictionary(out)
    assert found.facts == facts
    np.testing.assert_allclose(np.linalg.norm(found.decoder, axis=1), 1, atol=1e-5)
    # By hand, over the tenth of the readable images.
    readable = [
        at for at, status in enumerate(atlas.probes["status"].to_pylist()) if status == "ok"
    ]
    rows = []
    for image in readable[9::10]:
        maps = model.maps(model.preprocess(probes.image(image))[None], LAYER)
        rows += list(maps[0].flatten(1).T.double().numpy())
    x = np.array(rows)
    pre = x @ found.encoder + found.encoder_bias
    kept = np.where(pre >= np.sort(pre, axis=1)[:, [-3]], np.maximum(pre, 0), 0)
    missing = x - (kept @ found.decoder + found.decoder_bias)
    explained = 1 - np.square(missing).sum() / np.square(x - x.mean(axis=0)).sum()
    assert held["places"] == len(x)
    assert held["explained_variance"] == pytest.approx(explained, abs=1e-4)
    assert held["l0"] == pytest.approx((kept > 0).sum(axis=1).mean(), abs=1e-6)
    assert held["dead_share"] == pytest.approx((kept == 0).all(axis=0).mean())


def test_killed_anywhere_it_goes_on_to_the_same_bytes(
    atlas: Atlas, probes: ProbeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_dictionary, "CHUNK_BYTES", 1)  # a chunk for every 32 images
    monkeypatch.setattr(layer_dictionary, "CHECKPOINT_EVERY", -1.0)
    settings = {**SETTINGS, "kind": "jumprelu", "probes": probes}
    train_dictionary(atlas, LAYER, tmp_path / "once", **settings)
    out, step = tmp_path / "often", Trainer.step

    def dying(after: int) -> Any:
        """A step that is the process's last one but `after`."""
        left = [after]

        def some(self: Trainer, *given: Any) -> None:
            step(self, *given)
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        return some

    # Killed before the first checkpoint, and then after two.
    for after in (0, 2):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", dying(after))
            with pytest.raises(KeyboardInterrupt):
                train_dictionary(atlas, LAYER, out, **settings)
    state = out / ".recording" / layer_dictionary.STATE
    assert state.is_file()
    # A checkpoint that cannot be read is none.
    torn = tmp_path / "torn"
    shutil.copytree(out, torn)
    torn_state = torn / state.relative_to(out)
    torn_state.write_bytes(torn_state.read_bytes()[:100])
    train_dictionary(atlas, LAYER, torn, **settings)
    assert tree(torn) == tree(tmp_path / "once")
    with pytest.raises(SynestheteError, match="unfinished training of other settings"):
        train_dictionary(atlas, LAYER, out, **{**settings, "seed": 5})
    shown: list[int] = []
    found = train_dictionary(atlas, LAYER, out, **settings, progress=lambda n, _: shown.append(n))
    assert tree(out) == tree(tmp_path / "once")
    assert not state.exists()
    assert shown[0] > 0
    assert shown[-1] == 2 * found["rows"]
    # What is complete is not trained again, and nothing else is written over.
    monkeypatch.setattr(Trainer, "step", dying(0))
    assert train_dictionary(atlas, LAYER, out, **settings) == found
    with pytest.raises(SynestheteError, match="holds another dictionary"):
        train_dictionary(atlas, LAYER, out, **{**settings, "latents": 25})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(SynestheteError, match="holds something else"):
        train_dictionary(atlas, LAYER, tmp_path / "other", **settings)


def test_no_more_is_held_than_a_chunk(
    atlas: Atlas, probes: ProbeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_dictionary, "CHUNK_BYTES", 1)
    held: list[int] = []
    read = layer_dictionary._Training._read

    def counted(self: Any, *given: Any) -> torch.Tensor:
        found = read(self, *given)
        held.append(len(found))
        return found

    monkeypatch.setattr(layer_dictionary._Training, "_read", counted)
    model = provenance.own_model(atlas)
    settings = {**SETTINGS, "kind": "topk", "seed": 0}
    places = int(np.prod(model.layer(LAYER).grid or ()))
    for images in (32, 64):
        some = probes.select(indices=range(images))
        held.clear()
        layer_dictionary._Training(model, some, LAYER, settings, tmp_path / "none").run(None)
        assert held == [32 * places] * (2 * images // 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gated"}, "no kind 'gated'"),
        ({"latents": 1}, "2 to 262,144 latents"),
        ({"k": 25}, "k is from 1"),
        ({"epochs": 0}, "at least 1 epoch"),
    ],
)
def test_settings_out_of_range(
    atlas: Atlas, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SynestheteError, match=message):
        train_dictionary(atlas, LAYER, tmp_path / "x", **{**SETTINGS, **settings})


def test_joint_has_a_command_of_its_own(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="is no layer of a tower"):
        train_dictionary(atlas, "joint", tmp_path / "x", **SETTINGS)


@pytest.fixture(scope="module")
def recorded(atlas: Atlas, probes: ProbeSet, trained: tuple[Path, dict[str, Any]]) -> Path:
    model = load_model(atlas.manifest["model"]["name"])
    layers = [LAYER, f"{LAYER}@{trained[0]}"]
    path = record(model, probes, layers, trained[0].parent / "y.atlas", twins=["random_twin"])
    analyze(path, q=0.2)
    return path


def test_latents_are_recorded_beside_neurons(
    recorded: Path, probes: ProbeSet, trained: Any
) -> None:
    found, latents = open_atlas(recorded), f"{LAYER}@x"
    assert not found.verify()
    assert found.layers == [LAYER, latents]
    assert found.main_layers == [LAYER]
    described = found.manifest["dictionaries"]["x"]
    assert described["held_out"] == trained[1]["held_out"]
    assert (described["kind"], described["latents"], described["k"]) == ("topk", 24, 3)
    own = read_dictionary(trained[0])
    assert provenance.own_dictionaries(found)[latents].sha256 == own.sha256
    # A plain computation of every image gives what was recorded.
    model = load_model(found.manifest["model"]["name"])
    for control, one in (("", own), ("random_dictionary", own.random(0))):
        values = (
            found.control_activations(control, latents) if control else found.activations(latents)
        )
        for image in (0, 7, 40):
            maps = model.maps(model.preprocess(probes.image(image))[None], LAYER)
            expected = one.encode(maps[0].flatten(1).T).amax(dim=0).numpy()
            np.testing.assert_allclose(values[image], expected, rtol=2e-3, atol=1e-3)
    # Random directions are recorded beside latents only.
    assert not any(f"random_dictionary/layers/{LAYER}/" in name for name in found.manifest["files"])
    counts = found.manifest["analysis"]["layers"]
    for kind in ("", "_random_dictionary", "_random_twin", "_rotation", "_shuffled"):
        assert isinstance(counts[latents][f"multimodal{kind}"], int)
    assert "multimodal_random_dictionary" not in counts[LAYER]
    best = found.exemplars(latents).top(5, limit=1)
    assert best.values[0] == np.nanmax(found.activations(latents)[:, 5])
    assert found.locate(f"{latents}:5") == (latents, 5)
    assert found.neuron(f"{latents}:5").layer == latents
    assert neuron_report(source_of(found), f"{latents}:5").modalities
    assert found.summary()["layers"] == [LAYER, latents]


def test_whoever_records_latents(
    atlas: Atlas, probes: ProbeSet, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Latents, neurons and their controls are the same from two processes, the first of which are killed."""
    model = load_model(atlas.manifest["model"]["name"])
    layers = [LAYER, f"{LAYER}@{trained[0]}"]
    before = set(multiprocessing.active_children())
    killed: list[int] = []

    def kill(done: int, *_: int) -> None:
        for worker in set(multiprocessing.active_children()) - before if done else ():
            if len(killed) < 2:
                os.kill(worker.pid or 0, signal.SIGKILL)
                killed.append(worker.pid or 0)

    files = []
    for name, executor in (("one", None), ("two", Executor(kind="processes", workers=2))):
        path = tmp_path / f"{name}.atlas"
        record(model, probes, layers, path, twins=["random_twin"], shard_size=16, executor=executor, progress=kill)  # fmt: skip
        files.append(tree(path))
    assert len(killed) == 2
    folder = open_atlas(path).layer(f"{LAYER}@x")["folder"]
    assert any(f"layers/{folder}/" in name for name in files[0])
    assert files[0] == files[1]


def test_latents_are_named_seen_and_audited(
    atlas: Atlas, recorded: Path, trained: Any, tmp_path: Path
) -> None:
    path, latents = Path(shutil.copytree(recorded, tmp_path / "y.atlas")), f"{LAYER}@x"
    assert latents in name_neurons(path)["layers"]
    assert open_atlas(path).unit_table(latents, "names") is not None
    unit = int(np.nanmax(open_atlas(path).activations(latents), axis=0).argmax())
    images = atlas.path.parent / "images" / "metadata.csv"
    seen = visualize(
        path, [f"{latents}:{unit}"], facets="none", settings=Settings(steps=2), probes=images
    )
    assert [(one.layer, one.unit) for one in seen.visualizations] == [(latents, unit)]
    assert [one.file for one in open_atlas(path).visualizations(latents)]
    write_image_folders(tmp_path / "images")
    model = load_model(open_atlas(path).manifest["model"]["name"])
    layer = f"{LAYER}@{trained[0]}"
    report = run_audit(model, "typographic", images=tmp_path / "images", layer=layer, limit=30)
    assert report["typographic"]["carriers"]["layer"] == latents


def test_edits_of_latents(recorded: Path, probes: ProbeSet, tmp_path: Path) -> None:
    found, latents = open_atlas(recorded), f"{LAYER}@x"
    model = provenance.own_model(found)
    live = int(np.nanmax(found.activations(latents), axis=0).argmax())
    pixels = torch.stack([model.preprocess(probes.image(image)) for image in range(6)])
    plain = model.encode_images(pixels)
    planned = plan_edits(
        model, ablate=[f"{latents}:{live}"], mean_ablate=[f"{latents}:0"], pixels=pixels
    )
    with edited(model, planned):
        assert float(np.abs(model.encode_images(pixels) - plain).max()) > 1e-5
    loaded = load_edits(save_edits(planned, tmp_path / "edits.json"))
    assert loaded == planned
    loaded.check(model)
    assert json.loads((tmp_path / "edits.json").read_text())["dictionaries"] == {
        latents: model.dictionaries[latents].sha256
    }
    with pytest.raises(SynestheteError, match="no layer"):
        loaded.check(load_model(found.manifest["model"]["name"]))
    base = load_model(found.manifest["model"]["name"])
    other = base.with_dictionary(LAYER, "x", model.dictionaries[latents].random(1))
    with pytest.raises(SynestheteError, match="another dictionary"):
        loaded.check(other)
    with pytest.raises(SynestheteError, match="cannot be folded"):
        export_edits(model, planned, tmp_path / "out", [probes.image(0)])


def test_measured_alike(
    atlas: Atlas, probes: ProbeSet, trained: tuple[Path, dict[str, Any]]
) -> None:
    """Over images in two batches as over their parts together."""
    model, found = provenance.own_model(atlas), read_dictionary(trained[0])
    whole = measure({"": found}, model, probes.select(indices=range(40)), LAYER)[""]
    parts = [
        measure({"": found}, model, probes.select(indices=some), LAYER)[""]
        for some in (range(25), range(25, 40))
    ]
    assert whole["places"] == sum(part["places"] for part in parts)
    l0 = sum(part["l0"] * part["places"] for part in parts) / whole["places"]
    assert whole["l0"] == pytest.approx(l0)
