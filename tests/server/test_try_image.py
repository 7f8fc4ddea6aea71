"""Showing the model an image or a word gives what a plain reading gives."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import open_atlas
from synesthete.atlas.writing import unit_table_file
from synesthete.models import load_model
from tests.small_atlas import CONCEPTS, LAYER


def png(size: tuple[int, int] = (50, 40), seed: int = 0, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)).save(
        stream, kind
    )
    return stream.getvalue()


def test_an_image_is_read_as_the_library_reads_it(shared: TestClient, original: Path) -> None:
    found = shared.post("/try-image.json", files={"file": ("my cat.png", png())}).json()
    atlas = open_atlas(original)
    model = load_model(atlas.manifest["model"]["name"])
    reading = model.read(model.preprocess(Image.open(io.BytesIO(png())))[None], [LAYER])
    values = reading.activations[LAYER][0]
    assert found["shown"] == "my cat.png"
    for one in found["fired"]:
        assert one["activation"] == pytest.approx(float(values[one["neuron"]["unit"]]), abs=1e-4)
        box = one["box"]
        assert (
            box["row"] * box["columns"] + box["column"]
            == reading.positions[LAYER][0][one["neuron"]["unit"]]
        )
    scores = [one["z"] for one in found["fired"]]
    assert scores == sorted(scores, reverse=True)
    stats = atlas.statistics(LAYER)
    z = (values - stats.mean) / stats.std
    assert found["fired"][0]["neuron"]["unit"] == int(
        np.nanargmax(np.where(np.isfinite(z), z, -np.inf))
    )
    cosines = class_embeddings(model, atlas.concepts) @ reading.embeddings[0]
    assert found["guesses"][0]["concept"] == atlas.concepts[int(np.argmax(cosines))]
    assert found["guesses"][0]["cosine"] == pytest.approx(float(cosines.max()), abs=1e-5)
    decision = found["decision"]
    assert decision["label"] == found["guesses"][0]["concept"]
    assert decision["other"] == found["guesses"][1]["concept"]
    assert shared.get(found["image"]).content[8:12] == b"WEBP"


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_all_common_formats(shared: TestClient, kind: str) -> None:
    answer = shared.post("/try-image.json", files={"file": ("a", png(kind=kind))})
    assert answer.status_code == 200


def test_a_word_is_drawn(shared: TestClient) -> None:
    answer = shared.post(
        "/try-image", data={"word": " red  apple "}, headers={"accept": "text/html"}
    )
    assert answer.status_code == 200
    assert "looks at red apple" in answer.text
    other = shared.post("/try-image.json", data={"word": "boat"}).json()
    assert other["shown"] == "boat"


@pytest.mark.parametrize(
    ("files", "data", "status", "message"),
    [
        (None, {}, 409, "either"),
        ({"file": ("a.png", png())}, {"word": "a"}, 409, "either"),
        ({"file": ("a.png", b"no image")}, {}, 409, "cannot be read"),
        ({"file": ("a.png", b"")}, {}, 409, "either"),
        ({"file": ("a.png", png()[:60])}, {}, 409, "cannot be read"),
        (None, {"word": "x" * 61}, 422, "at most 60"),
        (None, {"word": "\U0001f600"}, 409, "cannot be drawn"),
        ({"file": ("a.svg", b"<svg/>")}, {}, 409, "cannot be read"),
    ],
)
def test_bad_images_and_words(
    shared: TestClient, files: object, data: dict[str, str], status: int, message: str
) -> None:
    answer = shared.post("/try-image.json", files=files, data=data)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://HOST/try-image?atlas=a", 'href="/try-image?atlas=a">Back to the form'),
        ("http://HOST//evil.example/a", 'href="/evil.example/a">Back to the form'),
        ("http://HOST/\\evil.example", 'href="/evil.example">Back to the form'),
        ("http://evil.example/try-image", ">Home<"),
        ("javascript:alert(1)", ">Home<"),
        ("", ">Home<"),
        ("http://[bad", ">Home<"),
    ],
)
def test_a_refused_form_leads_back_to_it_and_nowhere_else(
    shared: TestClient, referer: str, back: str
) -> None:
    host = shared.base_url.netloc.decode()
    headers = {"accept": "text/html", "referer": referer.replace("HOST", host)}
    answer = shared.post("/try-image", data={}, headers=headers)
    assert answer.status_code == 409
    assert back in answer.text
    assert "evil.example" not in answer.text or 'href="/evil.example' in answer.text


def test_a_decompression_bomb_is_refused(shared: TestClient) -> None:
    stream = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 1_000_000
    answer = shared.post("/try-image.json", files={"file": ("bomb.png", stream.getvalue())})
    assert answer.status_code == 413
    assert "limit of 16,000,000" in answer.json()["error"]["message"]


def test_a_damaged_table_is_an_error_and_not_a_missing_explanation(
    client: TestClient, atlas_path: Path
) -> None:
    assert client.get("/neurons.json").status_code == 200  # read while it was sound
    table = atlas_path / unit_table_file(LAYER, "names")
    table.write_bytes(b"PAR1 no table")
    answer = client.post("/try-image.json", data={"word": "boat"})
    assert answer.status_code == 409, answer.text
    assert "names.parquet" in answer.json()["error"]["message"]


def test_other_weights_are_refused(
    client: TestClient, atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setattr("synesthete.server.library.LOOK_EVERY", 0.0)
    manifest = json.loads((atlas_path / "atlas.json").read_text())
    manifest["model"]["name"] = "local-dir:/nowhere"
    from synesthete.atlas.manifest import write_manifest

    write_manifest(atlas_path, manifest)
    answer = client.post("/try-image.json", data={"word": "boat"})
    assert answer.status_code in (409, 503)


def test_a_result_has_an_address(shared: TestClient) -> None:
    """Of a file while it is kept, of a drawn word for good; the page starts with examples."""
    sent = shared.post("/try-image.json", files={"file": ("a.png", png(seed=9))}).json()
    again = shared.get(sent["path"].replace("/result", "/result.json")).json()
    assert sent["kept"] > 0
    assert (again["shown"], again["guesses"], again["path"]) == (
        sent["shown"], sent["guesses"], sent["path"],
    )  # fmt: skip
    page = shared.get("/try-image.json").json()
    assert page["examples"] == [], (
        "of other sets than the built-in ones only thumbnails are at hand"
    )
    html = shared.get(page["words"][0]["path"], headers={"accept": "text/html"})
    assert html.status_code == 200
    assert "Link to this result" in html.text
    assert "while the server keeps" not in html.text
    first = again["fired"][0]["neuron"]
    html = shared.get(sent["path"], headers={"accept": "text/html"}).text
    assert f'src="{first["image"]}"' in html
    assert shared.get("/try-image/result.json", params={"held": "x"}).status_code == 404
    first = shared.get("/try-image/result.json").json()
    assert first["shown"] in CONCEPTS
