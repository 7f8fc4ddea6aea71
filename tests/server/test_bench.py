"""The edit bench: its answers are the edited model's, its door is guarded, and a picture is sent once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from synesthete.atlas import open_atlas
from synesthete.editing import plan_edits
from synesthete.models import load_model
from synesthete.recording.zero_shot import class_embeddings
from synesthete.server import Gate, create_app
from tests.server.test_probing import png
from tests.small_atlas import LAYER

UNITS = [f"{LAYER}:0", f"{LAYER}:1"]


def test_the_answers_are_those_of_the_edited_model(shared: TestClient, made: Path) -> None:
    found = shared.post(
        "/bench.json",
        files={"picture": ("a.png", png())},
        data={"unit": UNITS, "listed": [f"{LAYER}:7"]},
    ).json()
    atlas = open_atlas(made)
    model = load_model(atlas.manifest["model"]["name"])
    pixels = model.preprocess(Image.open(io.BytesIO(png())))[None]
    texts = torch.from_numpy(class_embeddings(model, atlas.concepts))
    scale = float(model.network.logit_scale.exp())
    with model.edited(plan_edits(model, ablate=UNITS)):
        after = torch.softmax(scale * texts @ torch.from_numpy(model.encode_images(pixels)[0]), 0)
    before = torch.softmax(scale * texts @ torch.from_numpy(model.encode_images(pixels)[0]), 0)
    place = {name: i for i, name in enumerate(atlas.concepts)}
    for one in found["answers"]:
        assert one["before"] == pytest.approx(float(before[place[one["concept"]]]), abs=1e-4)
        assert one["after"] == pytest.approx(float(after[place[one["concept"]]]), abs=1e-4)
    assert [one["after"] for one in found["answers"]] == sorted(
        (one["after"] for one in found["answers"]), reverse=True
    )
    assert {one["neuron"]["address"]: one["edited"] for one in found["units"]} == {
        **dict.fromkeys(UNITS, True), f"{LAYER}:7": False
    }  # fmt: skip
    assert 0 <= found["control"] <= 1


def test_the_picture_stays_on_the_bench(shared: TestClient) -> None:
    first = shared.post("/bench.json", files={"picture": ("a.png", png())}).json()
    assert first["control"] is None
    again = shared.post(
        "/bench.json", data={"held": first["held"], "unit": UNITS, "do": "steer"}
    ).json()
    assert again["held"] == first["held"]
    assert [a["before"] for a in again["answers"]] == pytest.approx(
        [
            {b["concept"]: b["before"] for b in first["answers"]}[a["concept"]]
            for a in again["answers"]
        ]
    )
    labelled = shared.post("/bench.json", data={"held": first["held"], "label": "boat"}).json()
    assert labelled["picture"] != first["picture"]
    shown = Image.open(io.BytesIO(shared.get(labelled["picture"]).content)).convert("RGB")
    plain = Image.open(io.BytesIO(shared.get(first["picture"]).content)).convert("RGB")
    assert (np.abs(np.asarray(shown, int) - np.asarray(plain, int)).max(-1) > 60).mean() > 0.01


def test_an_image_of_the_atlas(shared: TestClient) -> None:
    page = shared.get("/bench.json").json()
    assert page["answers"] == []
    assert page["units"]
    assert len({one["concept"] for one in page["built_in"]}) == len(page["built_in"]) > 0
    found = shared.post("/bench.json", data={"image": page["built_in"][0]["key"]}).json()
    assert found["answers"]
    html = shared.post(
        "/bench", data={"held": found["held"], "unit": UNITS[0], "more": UNITS[1]}, headers={"accept": "text/html"}
    )  # fmt: skip
    assert html.status_code == 200
    assert html.text.count("checked") == 1
    assert "Control: with as many random neurons" in html.text
    named = shared.get("/bench", params={"unit": UNITS[1]}, headers={"accept": "text/html"})
    assert UNITS[1] in named.text


def test_what_an_answer_leans_on(shared: TestClient, made: Path) -> None:
    """Neurons that speak for the first answer, with what is left of it when each alone is off; none twice."""
    found = shared.post(
        "/bench.json", files={"picture": ("a.png", png())}, data={"listed": UNITS}
    ).json()
    addresses = [one["neuron"]["address"] for one in found["leaning"]]
    assert addresses
    assert not set(addresses) & set(UNITS)
    model = load_model(open_atlas(made).manifest["model"]["name"])
    concepts = open_atlas(made).concepts
    texts, scale = class_embeddings(model, concepts), float(model.network.logit_scale.exp())
    pixels = model.preprocess(Image.open(io.BytesIO(png())))[None]
    first = max(found["answers"], key=lambda one: one["before"])
    for one in found["leaning"]:
        with model.edited(plan_edits(model, ablate=[one["neuron"]["address"]])):
            scores = torch.from_numpy(scale * texts @ model.encode_images(pixels)[0])
        left = float(torch.softmax(scores, 0)[concepts.index(first["concept"])])
        assert one["without"] == pytest.approx(left, abs=1e-4)
    assert min(one["without"] for one in found["leaning"]) < first["before"]
    # Once ticked, a neuron lies on the bench.
    again = shared.post("/bench.json", data={"held": found["held"], "unit": addresses[0]}).json()
    assert addresses[0] in [one["neuron"]["address"] for one in again["units"]]
    assert addresses[0] not in [one["neuron"]["address"] for one in again["leaning"]]
    html = shared.post("/bench", data={"held": found["held"]}, headers={"accept": "text/html"}).text
    assert "What this answer leans on" in html
    assert "alone off:" in html


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        ({}, 409, "no picture on the bench"), ({"held": "nothing"}, 404, "not kept"), ({"image": "xyz"}, 404, "no such image"),
        ({"word": "boat", "unit": f"{LAYER}:99999"}, 404, "no unit"), ({"word": "boat", "unit": "x"}, 404, "not a valid address"),
        ({"word": "boat", "do": "explode"}, 422, "do"), ({"word": "boat", "label": "\U0001f600"}, 409, "cannot be written"),
        ({"word": "boat", "label": "x" * 61}, 422, "label"), ({"word": "boat", "unit": [UNITS[0]] * 65}, 422, "unit"),
    ],
)  # fmt: skip
def test_bad_requests(shared: TestClient, data: dict[str, object], status: int, told: str) -> None:
    answer = shared.post("/bench.json", data=data)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]["message"]


def test_the_door(made: Path) -> None:
    with TestClient(create_app([made], Gate("t")), base_url="http://127.0.0.1:8000") as stranger:
        assert stranger.get("/bench").status_code == 401
        assert stranger.post("/bench.json", data={"word": "boat"}).status_code in (401, 403)
