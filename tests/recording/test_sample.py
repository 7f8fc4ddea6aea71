"""An atlas without the dense matrix is analysed on a sample of its images, which it keeps inside itself."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.analysis import analyze
from synesthete.analysis.conditional import conditional
from synesthete.analysis.decomposition import decompose, word_factors
from synesthete.analysis.families import assign_families
from synesthete.analysis.naming import name_neurons
from synesthete.analysis.stability import measure_stability
from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.thumbnails import INDEX, ThumbnailIndex
from synesthete.errors import SynestheteError
from synesthete.recording.plan import sample_rows
from synesthete.report import neuron_report, source_of
from synesthete.report.counts import counts_of
from synesthete.reviews import labels, say, session
from tests.small_atlas import LAYER, record_small

names = st.sampled_from(["", "a", "b", "c"])
rows = st.lists(st.tuples(names, st.sampled_from("xyz"), st.sampled_from("pqr")), min_size=1)


class Labels:
    """As much of a probe set as a sample is chosen by."""

    def __init__(self, rows: list[tuple[str, str, str]]) -> None:
        columns = zip(*rows, strict=True)
        self.labels = pa.table(dict(zip(("concept", "modality", "artist"), columns, strict=True)))

    def __len__(self) -> int:
        return int(self.labels.num_rows)


def filled_evenly(whole: Counter[Any], chosen: Counter[Any]) -> bool:
    """No group has two more than another one that had more to give."""
    left = [chosen[one] for one in whole if chosen[one] < whole[one]]
    return max(chosen.values(), default=0) <= min(left, default=len(whole)) + 1 or not left


@given(rows, st.integers(1, 200), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_sample_is_even(rows: list[tuple[str, str, str]], size: int, seed: int) -> None:
    found = sample_rows(Labels(rows), 1, size, seed)  # type: ignore[arg-type]
    assert found == sorted(set(found))
    assert len(found) == min(size, len(rows))
    assert found == sample_rows(Labels(rows), 1, size, seed)  # type: ignore[arg-type]
    labelled = [row for row in rows if row[0]]
    taken = [rows[place] for place in found if rows[place][0]]
    assert len(taken) == min(size, len(labelled))
    assert filled_evenly(Counter(row[:2] for row in labelled), Counter(row[:2] for row in taken))
    for cell in {row[:2] for row in taken}:
        whole, chosen = (
            Counter(row[2] for row in some if row[:2] == cell) for some in (labelled, taken)
        )
        assert filled_evenly(whole, chosen)


def test_a_sample_holds_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synesthete.recording.plan.DENSE_LIMIT_BYTES", 80)
    probes: Any = Labels([("a", "x", "p")] * 20)
    assert len(sample_rows(probes, 5, None, 0)) == 8
    with pytest.raises(SynestheteError, match="the sample is -1, expected at least 1"):
        sample_rows(probes, 5, -1, 0)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = record_small(tmp_path_factory.mktemp("dense"))
    analyze(path)
    return open_atlas(path)


def sampled(folder: Path, sample: int) -> Path:
    return record_small(folder, dense=False, sample=sample)


def test_a_sample_of_all_images_gives_what_the_dense_matrix_gives(
    tmp_path: Path, dense: Atlas
) -> None:
    path = sampled(tmp_path, 1000)
    analyze(path)
    atlas = open_atlas(path)
    assert not atlas.manifest["dense"]
    assert atlas.neuron_table(LAYER).equals(dense.neuron_table(LAYER))
    ours, theirs = atlas.summary(), dense.summary()
    assert ours.pop("sample") == {"images": 65, "of": 65}
    for key in ("fingerprint", "model"):
        assert ours.pop(key) != theirs.pop(key)
    assert ours == theirs
    assert "sample" not in theirs
    for conclude in (name_neurons, assign_families):
        assert conclude(path)["layers"] == conclude(dense.path)["layers"]
    assert measure_stability(open_atlas(path), splits=2, resamples=0) == measure_stability(
        open_atlas(dense.path), splits=2, resamples=0
    )


def test_what_neurons_are_about_by_a_sample_of_all_images(tmp_path: Path, dense: Atlas) -> None:
    path = sampled(tmp_path, 1000)
    analyze(path)
    ours, theirs = open_atlas(path), open_atlas(dense.path)
    address = next(neuron.address for neuron in theirs.neurons() if neuron.std > 0)
    for by in ("concept", "modality"):
        assert (
            conditional(ours, address, by=by).as_dict()
            == conditional(theirs, address, by=by).as_dict()
        )
    mine, other = (decompose(one, "apple", terms=3) for one in (ours, theirs))
    assert (mine.r2, mine.r2_shuffled, mine.images) == (other.r2, other.r2_shuffled, other.images)
    assert [(t.address, t.weight) for t in mine.terms] == [
        (t.address, t.weight) for t in other.terms
    ]
    words = ["joy", "fear", "calm"]
    first, second = (word_factors(one, words, factors=2) for one in (ours, theirs))
    assert first.words == second.words
    np.testing.assert_array_equal(first.weights, second.weights)


def test_half_of_the_images(tmp_path: Path, dense: Atlas) -> None:
    path = sampled(tmp_path, 40)
    analyze(path)
    atlas = open_atlas(path)
    assert atlas.sampled.probes.num_rows == 40
    # Of all images: statistics; of the sample: what an image's activation is needed for.
    ours, theirs = atlas.neuron_table(LAYER), dense.neuron_table(LAYER)
    for column in ("mean", "std", "maximum"):
        assert ours[column].equals(theirs[column])
    assert not ours["sparseness"].equals(theirs["sparseness"])
    counts = counts_of(atlas.summary())
    assert counts is not None
    assert counts.warnings[0].startswith("All counts are of a sample: 40 of 65 images")
    assert counts.rotation.count is not None
    assert counts.random_twin.count is not None
    assert atlas.verify() == []


def test_images_of_the_sample_are_labelled_blind(
    tmp_path: Path, dense: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sampled(tmp_path, 40)
    analyze(path)
    atlas = open_atlas(path)
    rows = atlas.sampled_rows.tolist()
    assert len(set(rows)) == 40
    assert atlas.probes["sha256"].take(rows).equals(atlas.sampled.probes["sha256"])
    address = next(neuron.address for neuron in atlas.neurons() if neuron.std > 0)
    images = session(atlas, address, bins=4, per_bin=2, seed=3)
    assert len(set(images)) == len(images) >= 10
    assert set(images) <= set(rows)
    layer, unit = atlas.locate(address)
    values = dense.activations(layer)[:, unit].astype(float)
    low, high = np.nanmin(values[rows]), np.nanmax(values[rows])
    place = np.minimum(np.floor((values - low) / (high - low) * 4), 3)
    for one in range(4):
        assert (place[images] == one).sum() >= min(2, (place[rows] == one).sum())
    # A large atlas keeps thumbnails of exemplars; those of other images are its sample's.
    kept = atlas._contents.table(INDEX)
    few = kept.filter(pa.array([i % 2 == 0 for i in kept["id"].to_pylist()]))
    monkeypatch.setattr(atlas, "_thumbnails", ThumbnailIndex(few))
    sprites = {i: atlas.thumbnail_position(i).sprite.partition("/")[0] for i in images}
    assert sprites == {i: "sample" if i % 2 else "thumbnails" for i in images}
    assert len(set(sprites.values())) == 2
    for image in images:
        ours, theirs = (np.asarray(one.thumbnail(image), float) for one in (atlas, dense))
        assert np.abs(ours - theirs).mean() < 4, image
    without = next(i for i in range(1, 65, 2) if i not in rows)
    with pytest.raises(SynestheteError, match=f"image {without} has no thumbnail"):
        atlas.thumbnail(without)
    for image in images:
        say(path, "label", address, rater="ann", value="yes" if image % 2 else "no", image=image, question="apple?")  # fmt: skip
    given = labels(atlas, address, "apple?")
    assert {image: given[image] for image in images} == {
        image: "yes" if image % 2 else "no" for image in images
    }
    found = conditional(atlas, address, labels=given, bins=2)
    assert sum(found.images) == len(set(given) & set(rows))
    expected = conditional(dense, address, labels=given, bins=2)
    assert [curve.category for curve in found.curves] == [c.category for c in expected.curves]
    assert neuron_report(source_of(atlas), address).can_label


def test_a_recording_that_ended_before_its_sample_goes_on(tmp_path: Path) -> None:
    path = sampled(tmp_path, 40)
    whole = (path / "sample" / "atlas.json").read_bytes()
    shutil.rmtree(path / "sample")
    with pytest.raises(SynestheteError, match="recorded without") as error:
        analyze(path)
    assert "with a sample" in error.value.hint
    shutil.rmtree(tmp_path / "images")
    shutil.rmtree(tmp_path / "model")
    assert sampled(tmp_path, 40) == path
    assert (path / "sample" / "atlas.json").read_bytes() == whole


def test_a_sample_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = sampled(tmp_path, 40)
    matrix = path / "sample" / "layers" / LAYER / "activations.npy"
    data = bytearray(matrix.read_bytes())
    data[-1] ^= 1
    matrix.write_bytes(data)
    (line,) = open_atlas(path).verify()
    assert line.startswith(f"sample/layers/{LAYER}/activations.npy has other content")


def test_a_sample_of_another_model_is_refused(tmp_path: Path, dense: Atlas) -> None:
    path = sampled(tmp_path, 40)
    manifest = open_atlas(path).manifest
    shutil.rmtree(path / "sample")
    shutil.copytree(dense.path, path / "sample")
    atlas = open_atlas(path)
    recipe = manifest["recipe"]
    other = {**recipe, "model": {**recipe["model"], "weights_sha256": "0" * 64}}
    atlas.manifest = {**manifest, "recipe": other}
    with pytest.raises(SynestheteError, match="sample is of another model"):
        _ = atlas.sampled
