"""Showing the model a text gives what a plain reading gives, at an address that can be kept, whatever the text is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from synesthete.analysis import analyze
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import open_atlas
from synesthete.models import load_model
from synesthete.probes import load_probes
from synesthete.recording import record
from synesthete.server import Gate, create_app
from tests.server.conftest import BEARER, TOKEN, client_of
from tests.small_atlas import ARTISTS, CONCEPTS, LAYER, write_images, write_model

TEXT, LAYERS = "text.transformer.resblocks.0.mlp", (LAYER, "text.transformer.resblocks.0.mlp")
SENTENCE = "It grows on trees and the doctor stays away"
KINDS = ("name", "description", "anecdote")


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of images and texts, of a small random model."""
    root = tmp_path_factory.mktemp("reading")
    spec = write_model(root / "model")
    images = write_images(root / "images")
    for concept, family in CONCEPTS.items():
        folder = root / "images" / f"text-{family}"
        folder.mkdir()
        for kind in KINDS:
            for artist in ARTISTS:
                named = kind == "name" and artist == ARTISTS[0]
                text = concept if named else f"{family} {artist} {kind} of it"
                row = {"text": text, "concept": concept}
                row |= {"modality": kind, "artist": f"writer {artist}", "family": family}
                (folder / f"{kind}-{artist}.json").write_text(json.dumps(row))
    rows = [json.loads(file.read_text()) for file in sorted(images.parent.glob("text-*/*.json"))]
    import csv

    with images.open(newline="", encoding="utf-8") as file:
        pictured = list(csv.DictReader(file))
    table = images.parent / "metadata.jsonl"
    images.unlink()
    table.write_text("".join(json.dumps(row) + "\n" for row in [*pictured, *rows]))
    path = record(
        load_model(spec),
        load_probes(table),
        [*LAYERS, "joint"],
        root / "reading.atlas",
        exemplars=8,
    )
    analyze(path)
    return path


@pytest.fixture(scope="module")
def client(reading: Path) -> Iterator[TestClient]:
    with client_of(reading, BEARER) as one:
        yield one


def ask(client: TestClient, text: str) -> dict[str, Any]:
    answer = client.get("/try-text.json", params={"text": text})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_text_is_read_as_the_library_reads_it(client: TestClient, reading: Path) -> None:
    found, atlas = ask(client, SENTENCE), open_atlas(reading)
    model = load_model(atlas.manifest["model"]["name"])
    read = model.read_texts([SENTENCE], [TEXT, "joint"])
    cosines = class_embeddings(model, atlas.concepts) @ read.embeddings[0]
    best = np.argsort(-cosines)[:5]
    assert [one["concept"] for one in found["guesses"]] == [atlas.concepts[i] for i in best]
    assert found["guesses"][0]["cosine"] == pytest.approx(float(cosines.max()), abs=1e-5)
    assert [one["layer"] for one in found["layers"]] == [TEXT, "joint"]
    texts = np.flatnonzero([bool(text) for text in atlas.probes["text"].to_pylist()])
    tokens = model.tokens(SENTENCE)
    for one in found["layers"]:
        known = np.asarray(atlas.activations(one["layer"])[texts], np.float64)
        values = read.activations[one["layer"]][0]
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (values - known.mean(axis=0)) / known.std(axis=0)
        z[~np.isfinite(z)] = -np.inf
        assert one["compared"] == len(texts)
        assert one["fired"]
        units = [fired["neuron"]["unit"] for fired in one["fired"]]
        np.testing.assert_allclose(z[units], np.sort(z)[::-1][: len(units)], rtol=1e-4)
        for unit, fired in zip(units, one["fired"], strict=True):
            assert fired["z"] == pytest.approx(z[unit], rel=1e-4)
            assert fired["share"] == pytest.approx((known[:, unit] >= values[unit]).mean())
            if one["layer"] == TEXT:
                token = tokens[read.positions[TEXT][0][unit]]
                assert (fired["token"]["start"], fired["word"]) == (token.start, token.text)


def test_examples_are_what_the_model_is_surest_of(client: TestClient, reading: Path) -> None:
    page, atlas = client.get("/try-image.json").json(), open_atlas(reading)
    rows, known = atlas.probes.to_pylist(), np.asarray(atlas.embeddings(), np.float32)
    names = {row["concept"]: i for i, row in enumerate(rows) if row["text"] == row["concept"]}
    assert set(names) == set(atlas.concepts)
    margins: dict[str, float] = {}
    for i, row in enumerate(rows):
        if (row["text"] or "").count(" ") > 3:
            cosines = {concept: float(known[i] @ known[j]) for concept, j in names.items()}
            margins[row["text"]] = cosines.pop(row["concept"]) - max(cosines.values())
    right = [margin for margin in margins.values() if margin > 0]
    assert page["sentences_right"] == [len(right), len(margins)]
    assert page["sentences"]
    for one in page["sentences"]:
        assert margins[one["text"]] >= np.median(right or list(margins.values())) - 1e-6
    pictured = [row for row in rows if row["modality"] == "photo" and row["status"] == "ok"]
    assert page["images_right"][1] == len(pictured)
    assert f"{len(right)} of {len(margins)} sentences" in client.get("/try-image").text


def test_a_joint_unit_is_marked_on_the_word_without_which_it_falls_most(
    client: TestClient, reading: Path
) -> None:
    model = load_model(open_atlas(reading).manifest["model"]["name"])
    words = SENTENCE.split(" ")
    whole = model.encode_texts([SENTENCE])[0]
    without = model.encode_texts(
        [" ".join(w for j, w in enumerate(words) if j != i) for i in range(len(words))]
    )
    (joint,) = [one for one in ask(client, SENTENCE)["layers"] if one["layer"] == "joint"]
    marked = 0
    for fired in joint["fired"]:
        falls = whole[fired["neuron"]["unit"]] - without[:, fired["neuron"]["unit"]]
        if falls.max() <= 0:
            assert fired["word"] is None
        else:
            assert fired["word"] == words[int(falls.argmax())]
            marked += 1
    assert marked


def test_the_address_is_permanent_and_the_page_marks_the_words(client: TestClient) -> None:
    html = client.get("/try-text", params={"text": SENTENCE}, headers={"accept": "text/html"})
    again = client.get("/try-text", params={"text": SENTENCE}, headers={"accept": "text/html"})
    assert html.status_code == 200
    assert html.headers["etag"] == again.headers["etag"]
    assert "/try-text.json?text=It" in html.text
    word = ask(client, SENTENCE)["layers"][0]["fired"][0]["word"]
    assert f"on <mark><bdi>{word}</bdi></mark>" in html.text
    assert 'action="/try-text"' in client.get("/try-image", headers={"accept": "text/html"}).text


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x00\x07", "\u200b\u202e\u200f"])
def test_a_text_that_shows_nothing_is_refused(client: TestClient, text: str) -> None:
    answer = client.get("/try-text.json", params={"text": text})
    assert answer.status_code == 409
    assert "no text to read" in answer.json()["error"]["message"]
    assert client.get("/try-text.json").status_code == 422


@pytest.mark.parametrize("length", [40, 900, 6_000])
def test_a_text_that_is_too_long_is_cut_and_the_page_says_so(
    client: TestClient, length: int
) -> None:
    text = " ".join(f"w{i}" for i in range(length))[: 8 * length]
    found = ask(client, text)
    assert found["truncated"]
    assert 0 < found["read"] < len(found["text"]) <= 4_000
    assert text.startswith(found["text"])
    html = client.get("/try-text", params={"text": text}, headers={"accept": "text/html"}).text
    assert f"cut after {found['read']:,} characters" in html
    # What was cut has no part in the answer.
    rest = ask(client, found["text"][: found["read"]])
    assert rest["guesses"] == found["guesses"]
    assert rest["read"] == found["read"]
    assert not rest["truncated"]
    for one in found["layers"]:
        for fired in one["fired"]:
            assert fired["token"] is None or fired["token"]["stop"] <= found["read"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("red\x00fruit \x1b[31m here\x7f", "red fruit  [31m here"),
        ("تفاحة حمراء", "تفاحة حمراء"),
        ("safe \u202eevil\u202c text", "safe \u202eevil\u202c text"),
        ("an \U0001f34e a day \U0001f469\u200d\U0001f680", "an \U0001f34e a day \U0001f469\u200d\U0001f680"),
        ("\U0001f34e", "\U0001f34e"),
        ("虹が空にかかる", "虹が空にかかる"),
        ("<script>alert(1) {{ 7*7 }}", "<script>alert(1) {{ 7*7 }}"),
        ("e\u0301clair", "\u00e9clair"),
        ("&amp; &lt;b&gt; fruit", "&amp; &lt;b&gt; fruit"),
    ],
)  # fmt: skip
def test_any_letters_are_read_and_shown_as_text(client: TestClient, text: str, kept: str) -> None:
    found = ask(client, text)
    assert found["text"] == kept
    assert not found["truncated"]
    for one in found["layers"]:
        for fired in one["fired"]:
            if fired["token"] is not None:
                assert fired["word"] == kept[fired["token"]["start"] : fired["token"]["stop"]]
                assert fired["word"]
    answer = client.get("/try-text", params={"text": text}, headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "\x1b" not in answer.text
    assert 'class="sentence" dir="auto"' in answer.text


def test_bytes_that_are_no_text_are_read_as_what_can_be_read(client: TestClient) -> None:
    for raw in ("%ED%A0%80%ff", "%c3", "a%00b"):
        answer = client.get(f"/try-text.json?text=apple{raw}")
        assert answer.status_code == 200
        assert answer.json()["text"].startswith("apple")


def test_an_atlas_of_images_alone_still_gives_labels(shared: TestClient, original: Path) -> None:
    found = shared.get("/try-text.json", params={"text": SENTENCE}).json()
    assert found["layers"] == []
    assert len(found["guesses"]) == len(open_atlas(original).concepts)
    html = shared.get("/try-text", params={"text": SENTENCE}, headers={"accept": "text/html"}).text
    assert "no layer that reads texts" in html


def test_nobody_without_a_token_makes_the_model_work(reading: Path) -> None:
    with TestClient(create_app([reading], Gate(TOKEN)), base_url="http://127.0.0.1:8000") as one:
        assert one.get("/try-text.json", params={"text": SENTENCE}).status_code == 401
