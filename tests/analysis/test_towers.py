"""Image and text units that answer to the same concepts are found, and their controls are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.analysis import analyze
from synesthete.analysis.joint_scores import CLASSES, concept_pairs, joint_scores, scores_of
from synesthete.analysis.towers import default_layers, tower_pairs
from synesthete.atlas import open_atlas
from synesthete.atlas.manifest import TWINS
from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.recording import record
from synesthete.report import neuron_report, source_of
from tests.recording.fakes import FakeLayer, FakeModel, FakeReading

IMAGE, TEXT = "visual.layer4.1", "text.transformer.resblocks.0.mlp"
CONCEPTS = [f"c{i:02}" for i in range(14)]
LISTED = [f"{c}|{m}|{a}" for c in CONCEPTS for m in ("photo", "drawing") for a in "abcd"]
# Unit k answers to concept k in images, and to concept 13 - k in texts; the last to nothing; `joint` to k in both.
UNITS = len(CONCEPTS) + 1


class Model(FakeModel):
    """Reads what the file is about out of its first pixel, and texts as they are."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed=seed)
        self._layers = {
            IMAGE: FakeLayer(IMAGE, UNITS),
            TEXT: FakeLayer(TEXT, UNITS, "mlp", None, "text"),
            "joint": FakeLayer("joint", UNITS, "embedding", None, "joint"),
        }
        self.embedding_dim = UNITS  # type: ignore[misc]

    def read(self, pixels: Any, layers: Any, reduction: str = "max") -> FakeReading:
        codes = np.rint((pixels.numpy()[:, 0, 0, 0] + 0.5) * 255).astype(int)
        return self._read([LISTED[min(code, len(LISTED) - 1)] for code in codes], layers, "")

    def read_texts(self, texts: list[str], layers: Any, reduction: str = "end") -> FakeReading:
        return self._read(texts, layers, "text")

    def _read(self, texts: list[str], layers: Any, tower: str) -> FakeReading:
        known = {}
        for layer in layers:
            values = np.zeros((len(texts), UNITS), np.float32)
            for row, text in zip(values, texts, strict=True):
                place = CONCEPTS.index(text.split("|")[0])
                seed = [self.seed, *text.encode()]
                row[:] = np.random.default_rng(seed).normal(size=UNITS) * 0.1
                if self.seed < 1000:
                    row[13 - place if layer == TEXT else place] += 1
            known[layer] = values
        first = next(iter(known.values()))
        places = dict.fromkeys(layers, np.ones(first.shape, np.int16))
        return FakeReading(known.get("joint", first), known, places, {})

    def tokens(self, text: str) -> list[Any]:
        return []

    def twin(self, kind: str, seed: int = 0) -> Model:
        return Model(1000 * (1 + TWINS.index(kind)) + seed)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("probes")
    rows = []
    for code, text in enumerate(LISTED):
        concept, modality, artist = text.split("|")
        Image.new("RGB", (16, 16), (code, 0, 0)).save(folder / f"{code}.png")
        rows.append({"file_name": f"{code}.png", "concept": concept, "modality": modality, "artist": artist})  # fmt: skip
    for concept in CONCEPTS:
        for modality in ("name", "description"):
            for artist in "abcd":
                text = f"{concept}|{modality}|{artist}"
                rows.append({"text": text, "concept": concept, "modality": modality, "artist": f"t{artist}"})  # fmt: skip
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model: Any = Model()
    out = tmp_path_factory.mktemp("a") / "x.atlas"
    record(model, load_probes(folder), [IMAGE, TEXT, "joint"], out)
    analyze(out)
    return out


def test_partners_share_their_concept(path: Path) -> None:
    atlas = open_atlas(path)
    layers = default_layers(atlas)
    assert layers == (IMAGE, TEXT)
    found = tower_pairs(atlas, IMAGE, TEXT)
    assert found.concepts == tuple(CONCEPTS)
    for matches in (found.of_images, found.of_texts):
        assert matches.partner[:14].tolist() == list(range(13, -1, -1))
        assert matches.passes[:14].all()
        assert not matches.passes[14]
    assert found.of_images.shared[:14].tolist() == list(range(14))
    assert found.of_texts.shared[:14].tolist() == list(range(13, -1, -1))
    counts = found.counts
    assert counts["image_units"] == counts["text_units"] == 14
    for control in ("random_twin", "shuffled"):
        assert counts[f"image_units_{control}"] == counts[f"text_units_{control}"] == 0
    assert (counts["image_units_rotation"] or 0) < 7
    # A unit of one concept shares nothing in the concepts that it was not chosen by.
    assert (counts["image_units_held_out_concepts"] or 0) < 3


def test_correlation_is_of_the_held_out_halves(path: Path) -> None:
    """Against a loop over concepts, from the atlas's own tables."""
    atlas = open_atlas(path)
    found = tower_pairs(atlas, IMAGE, TEXT, controls=False)
    analysis = atlas.manifest["analysis"]
    scoring = set(analysis["halves"]["scoring"]) | set(analysis["layers"][TEXT]["design"]["halves"]["scoring"])  # fmt: skip
    table = atlas.probes.to_pylist()

    def profile(layer: str, unit: int, kinds: tuple[str, ...]) -> list[float]:
        values, means = np.asarray(atlas.activations(layer)[:, unit], float), []
        chosen = {m: [r["id"] for r in table if r["modality"] == m and r["artist"] in scoring] for m in kinds}  # fmt: skip
        for concept in CONCEPTS:
            per = [
                (values[[i for i in ids if table[i]["concept"] == concept]].mean() - values[ids].mean()) / values[ids].std()
                for ids in chosen.values()
            ]  # fmt: skip
            means.append(float(np.mean(per)))
        return means

    for unit in (0, 5, 14):
        partner = int(found.of_images.partner[unit])
        ours = profile(IMAGE, unit, ("photo", "drawing"))
        theirs = profile(TEXT, partner, ("name", "description"))
        assert found.of_images.r[unit] == pytest.approx(np.corrcoef(ours, theirs)[0, 1], abs=1e-3)


def test_both_pages_say_it(path: Path) -> None:
    atlas = open_atlas(path)
    noted = atlas.manifest["analysis"]["pairs"]
    assert noted["counts"] == tower_pairs(atlas, IMAGE, TEXT).counts
    image, text = (neuron_report(source_of(atlas), f"{layer}:3") for layer in (IMAGE, TEXT))
    assert image.read_by is not None
    assert text.read_by is not None
    assert (image.read_by.neuron.address, text.read_by.neuron.address) == (f"{TEXT}:10", f"{IMAGE}:10")  # fmt: skip
    assert (image.read_by.tower, text.read_by.tower) == ("text", "image")
    assert (image.read_by.concept, text.read_by.concept) == ("c03", "c10")
    assert image.read_by.passes
    assert "14 neurons of this layer have such a partner; the random twin has 0" in image.read_by.sentence  # fmt: skip
    assert image.joint is None
    both = neuron_report(source_of(atlas), "joint:3")
    assert both.read_by is None
    assert both.joint is not None
    assert both.joint.partner.address == "joint:3"
    assert both.joint.dominant in CLASSES


def test_towers_that_cannot_be_paired(path: Path, tmp_path: Path) -> None:
    from tests.small_atlas import record_small

    atlas = open_atlas(path)
    with pytest.raises(SynestheteError, match="no layer of the image tower"):
        tower_pairs(atlas, TEXT, IMAGE)
    assert default_layers(open_atlas(record_small(tmp_path))) is None


def test_scores_against_a_loop(path: Path) -> None:
    generator = np.random.default_rng(0)
    images, texts = (np.maximum(generator.normal(size=(50, 6)), 0) for _ in range(2))
    images[:, 5] = texts[:, 5] = 0
    directions = generator.normal(size=(6, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = scores_of(images, texts, directions)
    for unit in range(6):
        shares = [i / (i + t) for i, t in zip(images[:, unit], texts[:, unit], strict=True) if i + t]  # fmt: skip
        if shares:
            assert found.dominance[unit] == pytest.approx(np.mean(shares))
        bridges = [
            float(np.mean(images[:, unit] * texts[:, other]) * (directions[unit] @ directions[other]))
            for other in range(6)
        ]  # fmt: skip
        assert found.bridge[unit] == pytest.approx(max(bridges))
        assert found.partner[unit] == int(np.argmax(bridges))
    assert np.isnan(found.dominance[5])


def test_dominance_says_which_modality() -> None:
    images, texts = np.ones((20, 9)), np.ones((20, 9))
    images[:, 0], texts[:, 8] = 0, 0
    found = scores_of(images, texts)
    assert found.dominance.tolist() == [0.0, *[0.5] * 7, 1.0]
    assert [CLASSES[code] for code in found.dominant] == ["text", *["cross-modal"] * 7, "image"]


def test_pairs_are_of_one_concept(path: Path) -> None:
    atlas = open_atlas(path)
    images, texts = concept_pairs(atlas)
    concept, modality = (np.array(atlas.probes[name].to_pylist()) for name in ("concept", "modality"))  # fmt: skip
    assert (concept[images] == concept[texts]).all()
    assert set(modality[images]) == {"photo", "drawing"}
    assert set(modality[texts]) == {"name", "description"}
    assert set(images.tolist()) | set(texts.tolist()) == set(range(len(concept)))
    assert joint_scores(atlas, IMAGE) is None
