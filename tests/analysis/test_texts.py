"""Images and texts are analysed each with its own rule, and what reads both with both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.analysis import analyze
from synesthete.analysis.design import Design, labelled_rows
from synesthete.analysis.families import assign_families
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.naming import name_neurons
from synesthete.analysis.stability import measure_stability
from synesthete.atlas import open_atlas
from synesthete.atlas.manifest import TWINS
from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.recording import record
from synesthete.report import neuron_report, source_of
from tests.recording.fakes import FakeLayer, FakeModel, FakeReading

IMAGE, TEXT = "visual.layer4.1", "text.transformer.resblocks.0.mlp"
CONCEPTS = ("apple", "cat", "dog", "pear", "tree")
IMAGES = ("photo", "drawing", "word")
TEXTS = ("name", "synonym", "description", "anecdote")
ARTISTS = ("a", "b", "c", "d")
# Unit k < 5 answers to concept k in every modality; 5 to apple in names and synonyms only; 6 to noise.
UNITS = 7


def answer(text: str) -> list[float]:
    """What the units give for "concept|modality|artist"."""
    concept, modality, _ = text.split("|")
    noise = np.random.default_rng(list(text.encode())).normal(size=UNITS) * 0.01
    values = noise
    values[CONCEPTS.index(concept)] += 1.0
    values[5] += float(concept == "apple" and modality in ("name", "synonym"))
    return [float(value) for value in values]


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
        return self._read([LISTED[min(code, len(LISTED) - 1)] for code in codes], layers)

    def read_texts(self, texts: list[str], layers: Any, reduction: str = "end") -> FakeReading:
        return self._read(texts, layers)

    def _read(self, texts: list[str], layers: Any) -> FakeReading:
        values = np.array([answer(text) for text in texts], np.float32)
        if self.seed >= 1000:
            values = np.random.default_rng(self.seed).normal(size=values.shape).astype(np.float32)
        places = np.ones(values.shape, np.int16)
        known = dict.fromkeys(layers, values)
        return FakeReading(values, known, dict.fromkeys(layers, places), {})

    def tokens(self, text: str) -> list[Any]:
        from synesthete.models.tokens import Token

        return [Token("", 0, 0), Token(text[:3], 0, 3), Token("", len(text), len(text))]

    def twin(self, kind: str, seed: int = 0) -> Model:
        return Model(1000 * (1 + TWINS.index(kind)) + seed)


LISTED = [
    f"{concept}|{modality}|{artist}"
    for concept in CONCEPTS
    for modality in IMAGES
    for artist in ARTISTS
]


def written_images(folder: Path, artist_of: str = "{}") -> list[dict[str, str]]:
    """Write `LISTED` as images; returns their rows of metadata."""
    from PIL import Image

    rows = []
    for code, text in enumerate(LISTED):
        concept, modality, artist = text.split("|")
        Image.new("RGB", (16, 16), (code, 0, 0)).save(folder / f"{code}.png")
        labels = {"concept": concept, "modality": modality, "artist": artist_of.format(artist)}
        rows.append({"file_name": f"{code}.png", **labels})
    return rows


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes")
    rows = written_images(folder)
    for concept in CONCEPTS:
        for modality in TEXTS:
            for artist in ARTISTS:
                text = f"{concept}|{modality}|{artist}"
                rows.append(
                    {
                        "text": text,
                        "concept": concept,
                        "modality": modality,
                        "artist": f"t{artist}",
                        "origin": "model" if artist == "a" else "person",
                    }
                )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model: Any = Model()
    return record(
        model, load_probes(folder), ["joint", TEXT, IMAGE], tmp_path_factory.mktemp("a") / "x.atlas"
    )


@pytest.fixture(scope="module")
def analysed(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("b") / "x.atlas"
    shutil.copytree(recorded, path)
    analyze(path, q=0.2)
    return path


def test_layers_stand_in_the_order_of_towers(recorded: Path) -> None:
    atlas = open_atlas(recorded)
    assert atlas.layers == [IMAGE, TEXT, "joint"]
    assert atlas.main_layers == [IMAGE]


def test_each_layer_has_its_own_modalities_and_rule(analysed: Path) -> None:
    atlas = open_atlas(analysed)
    tables = {layer: atlas.neuron_table(layer) for layer in atlas.layers}
    tested = {
        layer: {name[4:] for name in table.column_names if name.startswith("auc_")}
        for layer, table in tables.items()
    }
    assert tested == {IMAGE: set(IMAGES), TEXT: set(TEXTS), "joint": {*IMAGES, *TEXTS}}
    for layer, table in tables.items():
        assert table["concept"].to_pylist()[:5] == list(CONCEPTS), layer
        assert table["multimodal"].to_pylist()[:5] == [True] * 5, layer
        assert not any(table["multimodal"].to_pylist()[6:])
    # Names and synonyms alone are no three modalities with a description or an anecdote among them.
    assert not tables[TEXT]["multimodal"][5].as_py()
    notes = atlas.manifest["analysis"]
    assert notes["rule"]["required"] == "word"
    assert notes["layers"][TEXT]["design"]["rule"]["required"] == [["description", "anecdote"]]
    assert notes["layers"]["joint"]["design"]["rule"]["required"][1] == ["description", "anecdote"]
    assert set(notes["modalities"]) == set(IMAGES)
    assert set(notes["layers"][TEXT]["design"]["modalities"]) == set(TEXTS)
    assert notes["layers"][TEXT]["design"]["images"] == len(CONCEPTS) * len(TEXTS) * len(ARTISTS)
    assert notes["layers"][TEXT]["multimodal_random_twin"] == 0


def test_counts_and_lists_are_of_the_image_layer(analysed: Path) -> None:
    atlas = open_atlas(analysed)
    summary = atlas.summary()
    assert summary["units"] == UNITS
    assert summary["multimodal"] == summary["layers"][IMAGE]["multimodal"] == 5
    assert list(summary["layers"]) == [IMAGE, TEXT, "joint"]
    assert summary["layers"]["joint"]["multimodal"] == 5
    assert summary["layers"][TEXT]["tower"] == "text"
    assert summary["texts"] == len(CONCEPTS) * len(TEXTS) * len(ARTISTS)
    assert {neuron.layer for neuron in atlas.neurons()} == {IMAGE}
    assert {neuron.layer for neuron in atlas.neurons(TEXT)} == {TEXT}
    json.dumps(summary)


def test_stability_is_of_the_main_layers(analysed: Path) -> None:
    found = measure_stability(open_atlas(analysed), splits=2, resamples=0)
    assert list(found) == [IMAGE]
    assert found[IMAGE]["exchanged"]["multimodal"] == [5]


def test_a_test_set_need_not_have_texts(analysed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    rows = written_images(folder, "other {}")
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model: Any = Model()
    test = record(model, load_probes(folder), [IMAGE], tmp_path / "test.atlas")
    path = tmp_path / "tested.atlas"
    shutil.copytree(analysed, path)
    analyze(path, q=0.2, test=test)
    layers = open_atlas(path).manifest["analysis"]["layers"]
    assert layers[IMAGE]["multimodal_test"] == 5
    assert layers[TEXT].get("multimodal_test") is None


def test_a_rule_needs_one_of_each_group() -> None:
    """A joint unit that answers to images alone, or to texts alone, is none that means a concept in both."""
    rows = [(c, m, a) for c in CONCEPTS for m in (*IMAGES, *TEXTS) for a in ARTISTS]
    design = Design.of(*zip(*rows, strict=True), tower="joint")
    assert design.needed == ((0, 1, 2), (5, 6))
    units = {
        "everything": {*IMAGES, *TEXTS},
        "images": set(IMAGES),
        "texts": set(TEXTS),
        "names": {"name", "synonym", "photo", "word"},
        "cell": {"photo", "name", "anecdote"},
    }
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(rows), len(units))) * 0.01
    for row, (concept, modality, _) in enumerate(rows):
        for unit, modalities in enumerate(units.values()):
            values[row, unit] += float(concept == "apple" and modality in modalities)
    from synesthete.analysis.multimodality import Criteria

    (scores,) = score_units(values.astype(np.float32), design, criteria=Criteria(q=0.2))
    assert scores.multimodal.tolist() == [True, False, False, False, True]
    images = Design.of(*zip(*rows, strict=True), tower="image")
    (scores,) = score_units(values.astype(np.float32), images, criteria=Criteria(q=0.2))
    # Of the images' rule, the written word is what counts.
    assert scores.multimodal.tolist() == [True, True, False, True, False]


def test_texts_without_descriptions_are_not_tested(recorded: Path, tmp_path: Path) -> None:
    rows = [(c, m, a) for c in CONCEPTS for m in ("name", "synonym", "tweet") for a in ARTISTS]
    design = Design.of(*zip(*rows, strict=True), tower="text")
    problem = design.problem()
    assert problem is not None
    assert "needs some of description or anecdote" in problem.message
    assert labelled_rows(open_atlas(recorded), "text").size == 80


def test_names_families_and_reports_of_text_units(analysed: Path) -> None:
    name_neurons(analysed)
    assign_families(analysed)
    atlas = open_atlas(analysed)
    found = {neuron.unit: neuron for neuron in atlas.neurons(TEXT)}
    assert [found[unit].name for unit in range(5)] == list(CONCEPTS)
    source = source_of(atlas)
    report = neuron_report(source, f"{TEXT}:0")
    assert [part.modality for part in report.modalities] == list(TEXTS)
    first = report.modalities[2].exemplars[0]
    assert first.text == "apple|description|a"
    assert first.parts == ("", "app", "le|description|a")
    assert report.rule.sentence.count("a description or anecdote among them") == 1
    assert "as name, synonym, description and anecdote" in report.sentence
    images = neuron_report(source, f"{IMAGE}:0")
    assert [part.modality for part in images.modalities] == list(IMAGES)
    assert all(one.text is None for part in images.modalities for one in part.exemplars)
    joint = neuron_report(source, "joint:0")
    assert [part.modality for part in joint.modalities] == [*IMAGES, *TEXTS]
    from synesthete.report.card import draw

    card = draw(report, atlas.thumbnail)
    assert "“app”" in card
    assert atlas.thumbnail(first.image).size == (96, 96)


def test_a_text_unit_has_no_image_of_what_it_sees(analysed: Path) -> None:
    from synesthete.analysis.decomposition import decompose
    from synesthete.visualization.features import unit_target

    atlas = open_atlas(analysed)
    with pytest.raises(SynestheteError, match=f"{TEXT}:0 reads texts, so there is no image"):
        unit_target(atlas, f"{TEXT}:0")
    with pytest.raises(SynestheteError, match="is a dimension of the embedding, so there is no"):
        unit_target(atlas, "joint:0")
    with pytest.raises(SynestheteError, match="reads texts, and this is about images"):
        decompose(atlas, "apple", layer=TEXT)
