"""Search by meaning and by image: what is near is found, beside its control; without a model names are still searched."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from synesthete.analysis.meaning import meanings
from synesthete.atlas import open_atlas
from synesthete.atlas.manifest import read_manifest, write_manifest
from synesthete.models import load_model
from synesthete.reviews import say
from tests.server.conftest import BEARER, client_of
from tests.small_atlas import LAYER


def plain_profile(path: Path, unit: int) -> np.ndarray:
    """A unit's profile, exemplar by exemplar."""
    atlas = open_atlas(path)
    kept, statistics = atlas.exemplars(LAYER), atlas.statistics(LAYER)
    embeddings = np.asarray(atlas.embeddings(), np.float64)
    total = np.zeros(embeddings.shape[1])
    for group in range(len(kept.groups)):
        ids = kept.top_ids[group]
        mean = embeddings[np.unique(ids[ids >= 0])].mean(axis=0)
        for image, value in zip(ids[unit], kept.top_values[group, unit], strict=True):
            above = (float(value) - statistics.mean[unit]) / statistics.std[unit]
            if image >= 0 and above > 0:
                total += above * (embeddings[image] - mean)
    return total / np.linalg.norm(total)


def test_a_profile_is_the_weighted_sum_of_its_exemplars(original: Path) -> None:
    found = meanings(open_atlas(original), LAYER)
    query = np.random.default_rng(0).normal(size=found.embeddings.shape[1]).astype(np.float32)
    cosines, control = found.near(query)
    varied = np.flatnonzero(open_atlas(original).statistics(LAYER).std > 0)[:4].tolist()
    assert len(varied) == 4
    for unit in varied:
        expected = plain_profile(original, unit) @ query / np.linalg.norm(query)
        assert cosines[unit] == pytest.approx(expected, abs=1e-4)
    assert -1 <= control < 1
    assert found.near(query)[1] == control, "the control is the same each time"


def test_a_text_finds_neurons_by_meaning(shared: TestClient, original: Path) -> None:
    found = shared.get("/search.json", params={"q": "apple", "by": "meaning"}).json()
    assert found["why_not"] == ""
    assert found["neurons"], "names are searched too"
    meaning = found["meaning"]
    scores = [one["score"] for one in meaning["matches"]]
    assert len(scores) == 24
    assert scores == sorted(scores, reverse=True)
    first = meaning["matches"][0]
    assert first["score"] == pytest.approx((first["images"] + first["name"]) / 2)
    named = [one["name"] for one in meaning["matches"] if one["neuron"]["heading"] == "apple"]
    assert named == pytest.approx([1.0] * len(named), abs=1e-3), "its own name is as near as can be"
    assert meaning["units"] == open_atlas(original).layer(LAYER)["units"] - 1, (
        "dead ones are not searched"
    )


def test_an_image_finds_the_neurons_of_its_profile(shared: TestClient, original: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "#c33").save(stream, "PNG")
    answer = shared.post(
        "/search.json", files={"file": ("red.png", stream.getvalue(), "image/png")}
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    model = load_model(open_atlas(original).manifest["model"]["name"])
    embedding = model.encode_images(model.preprocess(Image.new("RGB", (64, 64), "#c33"))[None])[0]
    cosines, control = meanings(open_atlas(original), LAYER).near(embedding)
    first = found["meaning"]["matches"][0]
    assert first["neuron"]["unit"] == int(np.argmax(cosines))
    assert first["score"] == pytest.approx(float(cosines.max()), abs=1e-4)
    assert found["meaning"]["control"] == pytest.approx(control, abs=1e-4)
    assert found["by"] == "image"
    bad = shared.post("/search.json", files={"file": ("x.png", b"<html>", "image/png")})
    assert bad.status_code == 409
    assert "cannot be read" in bad.json()["error"]["message"]


def test_without_the_model_one_line_says_so_and_names_are_found(atlas_path: Path) -> None:
    manifest = read_manifest(atlas_path)
    manifest["model"]["name"] = "local-dir:/nowhere"
    write_manifest(atlas_path, manifest)
    with client_of(atlas_path, BEARER) as client:
        found = client.get("/search.json", params={"q": "apple", "by": "meaning"}).json()
        page = client.get("/search?q=apple&by=meaning", headers={"accept": "text/html"}).text
    assert found["meaning"] is None
    assert "/nowhere" in found["why_not"]
    assert "\n" not in found["why_not"]
    assert found["neurons"]
    assert "By meaning nothing can be searched" in page


def test_a_name_by_people_is_found(atlas_path: Path) -> None:
    say(atlas_path, "rename", f"{LAYER}:7", rater="ann", value="tabby")
    with client_of(atlas_path, BEARER) as client:
        found = client.get("/search.json", params={"q": "tab", "limit": 3}).json()
    assert [one["unit"] for one in found["neurons"]] == [7]
    assert found["neurons"][0]["called"] == "tabby"


def test_typing_ahead_loads_no_torch(original: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.server.conftest import client_of, BEARER\n"
        f"with client_of(Path({str(original)!r}), BEARER) as client:\n"
        "    found = client.get('/search.json', params={'q': 'app', 'limit': 2}).json()\n"
        "assert len(found['neurons']) == 2 and found['total'] > 2, found\n"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
