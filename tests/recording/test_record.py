"""What `record` writes: equal to a plain loop, the same bytes however it is cut up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.half import to_half
from synesthete.atlas.manifest import TWINS
from synesthete.errors import SynestheteError
from synesthete.recording import make_plan, record, record_shard
from synesthete.recording.exemplars import merge_exemplars
from tests.oracles import recording as oracle
from tests.recording.fakes import FakeModel, FakeProbes
from tests.recording.trees import tree

LAYERS = ["visual.layer4.1", "visual.layer4.1:pre"]
BROKEN = {3: "truncated", 70: "animated", 149: "zero bytes"}


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    out = tmp_path_factory.mktemp("record") / "x.atlas"
    return open_atlas(record(FakeModel(), FakeProbes(broken=BROKEN), LAYERS, out))


def plainly(model: FakeModel, image: int) -> dict[str, np.ndarray]:
    """What the model answers to one image alone."""
    pixels = torch.zeros(32, 3, 16, 16)
    pixels[0] = model.preprocess(FakeProbes().image(image))
    reading = model.read(pixels, LAYERS)
    found = {name: values[0] for name, values in reading.activations.items()}
    places = {f"{name} place": values[0] for name, values in reading.positions.items()}
    return found | places | {"embedding": reading.embeddings[0]}


def test_matrices_equal_a_plain_loop(atlas: Atlas) -> None:
    model = FakeModel()
    twins = {name: model.twin(name) for name in TWINS}
    for image in range(150):
        expected = plainly(model, image)
        of_twins = {name: plainly(twin, image) for name, twin in twins.items()}
        for layer in LAYERS:
            row = atlas.activations(layer)[image]
            of_controls = {name: atlas.control_activations(name, layer)[image] for name in TWINS}
            if image in BROKEN:
                assert np.isnan(row).all()
                assert all(np.isnan(one).all() for one in of_controls.values())
            else:
                assert np.array_equal(row, to_half(expected[layer]))
                for name, one in of_controls.items():
                    assert np.array_equal(one, to_half(of_twins[name][layer])), name
        embedding = atlas.embeddings()[image]
        wanted = np.full(6, np.nan) if image in BROKEN else to_half(expected["embedding"])
        assert np.array_equal(embedding, wanted, equal_nan=True)


def test_statistics_and_exemplars_equal_the_oracle(atlas: Atlas) -> None:
    model = FakeModel()
    good = [image for image in range(150) if image not in BROKEN]
    answers = {image: plainly(model, image) for image in good}
    for layer in LAYERS:
        statistics, exemplars = atlas.statistics(layer), atlas.exemplars(layer)
        for unit in range(atlas.layer(layer)["units"]):
            values = {image: oracle.rounded(answers[image][layer][unit]) for image in good}
            expected = oracle.statistics(list(values.values()))
            for name in ("count", "nonfinite", "mean", "m2", "minimum", "maximum"):
                assert getattr(statistics, name)[unit] == expected[name]
            for modality in atlas.groups:
                mine = [
                    (image, values[image], int(answers[image][f"{layer} place"][unit]))
                    for image in good
                    if atlas.probes["modality"][image].as_py() == modality
                ]
                chosen = oracle.exemplars(mine, 16, 4)
                for end in ("top", "bottom", "stratified"):
                    one = getattr(exemplars, end)(unit, modality)
                    assert one.ids.tolist() == [image for image, _, _ in chosen[end]]
                    assert one.positions.tolist() == [place for _, _, place in chosen[end]]


@pytest.mark.parametrize(("batch_size", "shard_size"), [(1, 64), (500, 100), (33, 4096)])
def test_batch_and_shard_size_change_nothing(
    atlas: Atlas, tmp_path: Path, batch_size: int, shard_size: int
) -> None:
    out = tmp_path / "y.atlas"
    sizes = {"batch_size": batch_size, "shard_size": shard_size}
    record(FakeModel(), FakeProbes(broken=BROKEN), LAYERS, out, **sizes)
    assert tree(out) == tree(atlas.path)


def test_shards_computed_in_any_order_merge_to_the_same(atlas: Atlas) -> None:
    model, probes = FakeModel(), FakeProbes(broken=BROKEN)
    choice = {"reduction": "max", "dense": None, "exemplars": 16, "twins": (), "seed": 0}
    plan = make_plan(model, probes, LAYERS, **choice)
    ranges = [range(128, 150), range(64), range(64, 128)]
    found = [record_shard(model, probes, ids, plan).layers[LAYERS[1]] for ids in ranges]
    statistics = found[0].statistics.merge(found[1].statistics).merge(found[2].statistics)
    exemplars = merge_exemplars(found[2].exemplars, found[0].exemplars)
    exemplars = merge_exemplars(found[1].exemplars, exemplars)
    for ours, recorded in (
        (statistics.finish(), atlas.statistics(LAYERS[1])),
        (exemplars, atlas.exemplars(LAYERS[1])),
    ):
        for name, array in ours.arrays().items():
            assert array.tobytes() == recorded.arrays()[name].tobytes(), name


def test_quarantined_images_keep_their_row_and_count_nowhere(atlas: Atlas) -> None:
    rows = atlas.probes.to_pylist()
    bad = {row["id"]: row["reason"] for row in rows if row["status"] == "quarantined"}
    assert bad == BROKEN
    assert {row["reason"] for row in rows if row["status"] == "ok"} == {""}
    assert atlas.summary()["images"] == 147
    assert atlas.summary()["quarantined"] == 3
    assert sum(atlas.summary()["modalities"].values()) == 147
    assert (atlas.statistics(LAYERS[0]).count == 147).all()


def test_thumbnails_show_what_the_model_saw(atlas: Atlas) -> None:
    model, probes = FakeModel(), FakeProbes()
    for image in (0, 63, 64, 148):
        seen = model.geometry(probes.image(image)).resize((96, 96))
        shown = np.asarray(atlas.thumbnail(image), dtype=float)
        assert np.abs(shown - np.asarray(seen, dtype=float)).mean() < 30
    position = atlas.thumbnail_position(65)
    assert (position.left, position.top, position.size) == (96, 0, 96)


def test_many_images_keep_thumbnails_of_exemplars_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synesthete.recording.plan.THUMBNAIL_LIMIT", 100)
    out = record(FakeModel(), FakeProbes(broken=BROKEN), None, tmp_path / "x.atlas", exemplars=1)
    atlas = open_atlas(out)
    kept = set(atlas.exemplars(LAYERS[0]).all_ids().tolist())
    for image in range(150):
        if image in kept:
            assert atlas.thumbnail(image).size == (96, 96)
        else:
            with pytest.raises(Exception, match="has no thumbnail"):
                atlas.thumbnail(image)
    assert 0 < len(kept) < 147
    assert atlas.verify() == []


def test_without_the_dense_matrix(tmp_path: Path, atlas: Atlas) -> None:
    out = record(
        FakeModel(), FakeProbes(broken=BROKEN), LAYERS, tmp_path / "x.atlas", dense=False, sample=0
    )
    sparse = open_atlas(out)
    with pytest.raises(Exception, match=r"recorded without .*activations\.npy.*dense=True"):
        sparse.activations(LAYERS[0])
    with pytest.raises(Exception, match="no control 'random_twin'; it has none"):
        sparse.control_activations("random_twin", LAYERS[0])
    for layer in LAYERS:
        ours, theirs = sparse.statistics(layer).arrays(), atlas.statistics(layer).arrays()
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    assert sparse.fingerprint != atlas.fingerprint


def test_dense_is_settled_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = {"reduction": "max", "dense": None, "exemplars": 1, "twins": None, "seed": 0}
    monkeypatch.setattr("synesthete.recording.plan.DENSE_LIMIT_BYTES", 150 * 5 * 2)
    assert make_plan(FakeModel(), FakeProbes(150), None, **choice).dense
    plan = make_plan(FakeModel(), FakeProbes(151), None, **choice)
    assert not plan.dense
    assert plan.twins == ()


def test_twins_are_settled_by_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = {"reduction": "max", "dense": None, "exemplars": 1, "seed": 0}
    monkeypatch.setattr("synesthete.recording.plan.TWINS_LIMIT", 150)
    model, few, many = FakeModel(), FakeProbes(150), FakeProbes(151)
    assert make_plan(model, few, None, twins=None, **choice).twins == TWINS
    assert make_plan(model, many, None, twins=None, **choice).twins == ("random_twin",)
    # In one order, whatever order they were chosen for in.
    chosen = ["permuted", "random_twin"]
    assert make_plan(model, many, None, twins=chosen, **choice).twins == ("random_twin", "permuted")
    # Layers of images have no words to shuffle.
    assert make_plan(model, few, None, twins=["word_order"], **choice).twins == ()
    with pytest.raises(SynestheteError, match=r"no twin 'permutd'.*did you mean 'permuted'"):
        make_plan(model, few, None, twins=["permutd"], **choice)


def test_values_that_are_not_numbers_are_counted_apart(tmp_path: Path) -> None:
    class Broken(FakeModel):
        def read(self, pixels, layers, reduction="max"):  # type: ignore[no-untyped-def]
            reading = super().read(pixels, layers, reduction)
            values = reading.activations[LAYERS[0]]
            values[:, 0] = [np.nan, np.inf, -np.inf, 1e30] * 8
            return reading

    atlas = open_atlas(record(Broken(), FakeProbes(64), None, tmp_path / "x.atlas"))
    statistics = atlas.statistics(LAYERS[0])
    assert statistics.nonfinite.tolist() == [48, 0, 0, 0, 0]
    assert statistics.count[0] == 16
    assert statistics.maximum[0] == 65504
    assert len(atlas.exemplars(LAYERS[0]).top(0)) == 16


def test_images_without_a_modality_have_a_group_of_their_own(tmp_path: Path) -> None:
    probes = FakeProbes(70)
    names = ["" if index % 10 == 0 else "photo" for index in range(70)]
    place = probes.labels.column_names.index("modality")
    probes.labels = probes.labels.set_column(place, "modality", [names])
    atlas = open_atlas(record(FakeModel(), probes, None, tmp_path / "x.atlas"))
    assert atlas.groups == ["photo", ""]
    assert atlas.summary()["modalities"] == {"photo": 63}
    assert set(atlas.exemplars(LAYERS[0]).top(0, "").ids % 10) == {0}
