"""Two models: units that match are found, and what is matched by chance is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synesthete.analysis import analyze
from synesthete.analysis.compare import compare_models, concept_sets
from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.manifest import TWINS
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.probes import load_probes
from synesthete.recording import record
from tests.recording.fakes import FakeLayer, FakeModel, FakeReading
from tests.small_atlas import write_model

LAYER, OTHER = "visual.layer4.1", "visual.layer4.0"
CONCEPTS = [f"c{i:02}" for i in range(14)]
LISTED = [(c, m, a) for c in CONCEPTS for m in ("photo", "drawing", "word") for a in "abcd"]
UNITS = len(CONCEPTS) + 2


class Model(FakeModel):
    """Unit `order[k]` answers to concept k; the others to nothing. What the image is about it reads out of its first pixel."""

    def __init__(self, order: list[int], seed: int = 1) -> None:
        super().__init__(seed=seed)
        self._layers = {LAYER: FakeLayer(LAYER, UNITS), OTHER: FakeLayer(OTHER, UNITS)}
        self.order = order

    def read(self, pixels: Any, layers: Any, reduction: str = "max") -> FakeReading:
        codes = np.rint((pixels.numpy()[:, 0, 0, 0] + 0.5) * 255).astype(int)
        known = {}
        for layer in layers:
            values = np.zeros((len(codes), UNITS), np.float32)
            for row, code in zip(values, codes, strict=True):
                place = CONCEPTS.index(LISTED[min(code, len(LISTED) - 1)][0])
                row[:] = np.random.default_rng([self.seed, code]).normal(size=UNITS) * 0.1
                if place < len(self.order) and self.seed < 1000:
                    row[self.order[place]] += 1
            known[layer] = values if layer == LAYER else values[:, ::-1]
        places = dict.fromkeys(layers, np.ones(values.shape, np.int16))
        return FakeReading(values[:, :6], known, places, dict.fromkeys(layers, (4, 4)))

    def twin(self, kind: str, seed: int = 0) -> Model:
        return Model(self.order, 1000 * (1 + TWINS.index(kind)) + seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("probes")
    rows = []
    for code, (concept, modality, artist) in enumerate(LISTED):
        shape = np.random.default_rng(CONCEPTS.index(concept)).integers(0, 200, (16, 16, 3))
        noise = np.random.default_rng([code, 1]).integers(0, 55, (16, 16, 3))
        pixels = (shape + noise).astype(np.uint8)
        pixels[0, 0] = code
        Image.fromarray(pixels).save(found / f"{code}.png")
        rows.append({"file_name": f"{code}.png", "concept": concept, "modality": modality, "artist": artist})  # fmt: skip
    (found / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


@pytest.fixture(scope="module")
def atlases(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Atlas, Atlas]:
    """Unit k of the first is about concept k; of the second unit 15 - k, for the first ten concepts only."""
    place, found = tmp_path_factory.mktemp("atlases"), []
    for name, order in (("first", list(range(14))), ("second", list(range(15, 5, -1)))):
        model: Any = Model(order, seed=1 if name == "first" else 2)
        record(model, load_probes(folder), [LAYER, OTHER], place / f"{name}.atlas")
        analyze(place / f"{name}.atlas")
        found.append(open_atlas(place / f"{name}.atlas"))
    return found[0], found[1]


@pytest.mark.parametrize("way", ["by_profile", "by_activation"])
def test_units_of_one_concept_are_partners(atlases: tuple[Atlas, Atlas], way: str) -> None:
    found = compare_models(*atlases, layer=LAYER, other_layer=LAYER)
    matching = getattr(found, way)
    assert matching.of_first.partner[:10].tolist() == list(range(15, 5, -1))
    assert matching.of_first.passes.tolist() == [True] * 10 + [False] * 6
    assert matching.of_second.passes.tolist() == [False] * 6 + [True] * 10
    for side in (matching.first, matching.second):
        assert (side.units, side.live, side.matched) == (16, 16, 10)
        assert side.low == side.high == 10
        assert side.random_twin == side.shuffled == 0
        assert side.rotation < 5
    assert matching.mutual == 10
    pairs = found.as_dict(limit=3)[way]["pairs"]
    assert [pair["first"] for pair in pairs] == [
        f"{LAYER}:{unit}" for unit, *_ in matching.pairs(3)
    ]
    if way == "by_profile":
        assert {(one, what) for one, _, _, what in matching.pairs()} == {
            (unit, CONCEPTS[unit]) for unit in range(10)
        }


def test_activations_are_scored_on_held_out_artists(atlases: tuple[Atlas, Atlas]) -> None:
    """Against a loop over the atlases' own tables."""
    matching = compare_models(*atlases, layer=LAYER, other_layer=LAYER).by_activation
    assert matching is not None
    scoring = set(atlases[0].manifest["analysis"]["halves"]["scoring"])
    rows = [row["id"] for row in atlases[0].probes.to_pylist() if row["artist"] in scoring]
    assert (matching.scored, len(matching.points)) == (len(rows), len(LISTED) - len(rows))
    for unit in (0, 7, 15):
        partner = int(matching.of_first.partner[unit])
        values = [
            np.asarray(atlas.activations(LAYER)[rows, one], float)
            for atlas, one in zip(atlases, (unit, partner), strict=True)
        ]
        assert matching.of_first.r[unit] == pytest.approx(np.corrcoef(*values)[0, 1], abs=1e-4)


def test_of_an_atlas_that_is_too_large_its_sample_is_compared(
    atlases: tuple[Atlas, Atlas], folder: Path, tmp_path: Path
) -> None:
    model: Any = Model(list(range(14)))
    # Most of the images, as many of each modality; what is left out is not compared.
    path = record(model, load_probes(folder), [LAYER, OTHER], tmp_path / "large.atlas", dense=False, sample=150)  # fmt: skip
    analyze(path)
    large = open_atlas(path)
    assert not large.manifest["dense"]
    kept = set(large.sampled.probes["sha256"].to_pylist())
    assert len(kept) == 150 < len(LISTED) == large.probes.num_rows
    for pair in ((large, atlases[1]), (atlases[1], large)):
        found = compare_models(*pair, layer=LAYER, other_layer=LAYER)
        assert not found.missing
        for matching in (found.by_profile, found.by_activation):
            assert matching is not None
            first = pair[0] is large
            expected = [True] * 10 + [False] * 6 if first else [False] * 6 + [True] * 10
            assert matching.of_first.passes.tolist() == expected
            assert matching.mutual == 10
            assert matching.first.random_twin == 0
        # Images are numbered as in the whole atlas.
        assert found.by_activation is not None
        digests = pair[0].probes["sha256"].to_pylist()
        points = found.by_activation.points
        assert {digests[int(row)] for row in points} <= kept
        assert len(points) + found.by_activation.scored == 150
        assert found.concepts is not None
        assert set() < set(found.concepts.both) <= set(CONCEPTS[:10])
        for unit, _, _, row in found.by_activation.pairs():
            about = CONCEPTS[unit] if first else CONCEPTS[15 - unit]
            assert LISTED[digests_of(atlases[0]).index(digests[int(row)])][0] == about
    both = compare_models(large, layer=LAYER, other_layer=OTHER)
    assert both.by_profile is not None
    assert both.by_profile.of_first.partner.tolist() == list(range(15, -1, -1))
    bare = record(model, load_probes(folder), [LAYER], tmp_path / "bare.atlas", dense=False, sample=0)  # fmt: skip
    with pytest.raises(SynestheteError, match="nor a sample of them"):
        compare_models(atlases[0], open_atlas(bare), layer=LAYER)


def digests_of(atlas: Atlas) -> list[str]:
    return [str(one) for one in atlas.probes["sha256"].to_pylist()]


def test_concepts_that_both_have_a_unit_for(atlases: tuple[Atlas, Atlas]) -> None:
    found = compare_models(*atlases, layer=LAYER, other_layer=LAYER).concepts
    assert found is not None
    assert list(found.both) == CONCEPTS[:10]
    assert list(found.only_first) == CONCEPTS[10:]
    assert found.only_second == found.neither == ()
    assert found.by_chance == 10
    none = concept_sets([{"a"}, {"b"}], [{"a", "b", "c"}, {"b", "c", "a", "d"}])
    assert (none.both, none.only_first, none.only_second, none.neither) == ((), ("a",), ("b",), ("c",))  # fmt: skip
    assert none.p == 1.0


def test_two_layers_of_one_atlas(atlases: tuple[Atlas, Atlas]) -> None:
    found = compare_models(atlases[0], layer=LAYER, other_layer=OTHER)
    for matching in (found.by_profile, found.by_activation):
        assert matching is not None
        assert matching.of_first.partner.tolist() == list(range(15, -1, -1))
        assert matching.first.matched == matching.mutual == 16


def test_a_copy_matches_unit_for_unit(folder: Path, tmp_path: Path) -> None:
    """The same weights under another name, recorded from other image files of the same pixels' bytes."""
    write_model(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copied")
    atlases = []
    for name in ("original", "copied"):
        model = load_model(f"local-dir:{tmp_path / name}", device="cpu")
        record(
            model, load_probes(folder), ["visual.layer4.0"], tmp_path / f"{name}.atlas", twins=()
        )
        atlases.append(open_atlas(tmp_path / f"{name}.atlas"))
    found = compare_models(*atlases)
    assert found.models[0] != found.models[1]
    for matching in (found.by_profile, found.by_activation):
        assert matching is not None
        for matches in (matching.of_first, matching.of_second):
            live = matches.partner >= 0
            assert live.sum() > 100
            assert (matches.partner == np.arange(len(live)))[live].all()
            np.testing.assert_allclose(matches.r[live], 1.0, atol=1e-4)
            assert matches.passes[live].all()
        assert matching.first.matched == matching.mutual == matching.first.live
        assert matching.first.random_twin is None
    assert found.concepts is None
    assert "not analysed" in found.missing["concepts"]


def test_what_cannot_be_compared(atlases: tuple[Atlas, Atlas], tmp_path: Path) -> None:
    first = atlases[0]
    with pytest.raises(SynestheteError, match="compared with itself"):
        compare_models(first, first, layer=LAYER, other_layer=LAYER)
    with pytest.raises(SynestheteError, match="no layer 'nothing'"):
        compare_models(first, layer="nothing")
    for code in range(60):
        Image.new("RGB", (16, 16), (code, 90, 0)).save(tmp_path / f"{code}.png")
    model: Any = Model(list(range(14)))
    record(model, load_probes(tmp_path), [LAYER], tmp_path / "plain.atlas", twins=())
    with pytest.raises(SynestheteError, match=r"no concept and modality.*both were shown 0 images"):
        compare_models(open_atlas(tmp_path / "plain.atlas"), first)
