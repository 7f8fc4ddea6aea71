"""The edit page: its answers are the edited model's, it needs the token, and an image is sent once."""

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
from tests.server.test_try_image import png
from tests.small_atlas import LAYER

UNITS = [f"{LAYER}:0", f"{LAYER}:1"]


def test_the_answers_are_those_of_the_edited_model(shared: TestClient, original: Path) -> None:
    found = shared.post(
        "/edit.json",
        files={"file": ("a.png", png())},
        data={"unit": UNITS, "listed": [f"{LAYER}:7"]},
    ).json()
    atlas = open_atlas(original)
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
        **dict.fromkeys(UNITS, True),
        f"{LAYER}:7": False,
    }
    assert 0 <= found["control"] <= 1


def test_the_image_is_kept(shared: TestClient) -> None:
    first = shared.post("/edit.json", files={"file": ("a.png", png())}).json()
    assert first["control"] is None
    again = shared.post(
        "/edit.json", data={"held": first["held"], "unit": UNITS, "op": "steer"}
    ).json()
    assert again["held"] == first["held"]
    assert [a["before"] for a in again["answers"]] == pytest.approx(
        [
            {b["concept"]: b["before"] for b in first["answers"]}[a["concept"]]
            for a in again["answers"]
        ]
    )
    labelled = shared.post("/edit.json", data={"held": first["held"], "label": "boat"}).json()
    assert labelled["image"] != first["image"]
    shown = Image.open(io.BytesIO(shared.get(labelled["image"]).content)).convert("RGB")
    plain = Image.open(io.BytesIO(shared.get(first["image"]).content)).convert("RGB")
    assert (np.abs(np.asarray(shown, int) - np.asarray(plain, int)).max(-1) > 60).mean() > 0.01


def test_an_image_of_the_atlas(shared: TestClient) -> None:
    page = shared.get("/edit.json").json()
    assert page["answers"] == []
    assert page["units"]
    assert len({one["concept"] for one in page["built_in"]}) == len(page["built_in"]) > 0
    found = shared.post("/edit.json", data={"image": page["built_in"][0]["key"]}).json()
    assert found["answers"]
    html = shared.post(
        "/edit",
        data={"held": found["held"], "unit": UNITS[0], "more": UNITS[1]},
        headers={"accept": "text/html"},
    )
    assert html.status_code == 200
    assert html.text.count("checked") == 1
    assert "Control: with as many random neurons" in html.text
    named = shared.get("/edit", params={"unit": UNITS[1]}, headers={"accept": "text/html"})
    assert UNITS[1] in named.text


def test_what_supports_an_answer(shared: TestClient, original: Path) -> None:
    """Neurons that support the first answer, with what is left of it when each alone is off; none twice."""
    found = shared.post(
        "/edit.json", files={"file": ("a.png", png())}, data={"listed": UNITS}
    ).json()
    addresses = [one["neuron"]["address"] for one in found["support"]]
    assert addresses
    assert not set(addresses) & set(UNITS)
    model = load_model(open_atlas(original).manifest["model"]["name"])
    concepts = open_atlas(original).concepts
    texts, scale = class_embeddings(model, concepts), float(model.network.logit_scale.exp())
    pixels = model.preprocess(Image.open(io.BytesIO(png())))[None]
    first = max(found["answers"], key=lambda one: one["before"])
    for one in found["support"]:
        with model.edited(plan_edits(model, ablate=[one["neuron"]["address"]])):
            scores = torch.from_numpy(scale * texts @ model.encode_images(pixels)[0])
        left = float(torch.softmax(scores, 0)[concepts.index(first["concept"])])
        assert one["without"] == pytest.approx(left, abs=1e-4)
    assert min(one["without"] for one in found["support"]) < first["before"]
    # Once ticked, a neuron is in the list.
    again = shared.post("/edit.json", data={"held": found["held"], "unit": addresses[0]}).json()
    assert addresses[0] in [one["neuron"]["address"] for one in again["units"]]
    assert addresses[0] not in [one["neuron"]["address"] for one in again["support"]]
    html = shared.post("/edit", data={"held": found["held"]}, headers={"accept": "text/html"}).text
    assert "Neurons that support this answer" in html
    assert "alone off:" in html


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        ({}, 409, "no image to classify"),
        ({"held": "nothing"}, 404, "not kept"),
        ({"image": "xyz"}, 404, "no such image"),
        ({"word": "boat", "unit": f"{LAYER}:99999"}, 404, "no unit"),
        ({"word": "boat", "unit": "x"}, 404, "not a valid address"),
        ({"word": "boat", "op": "explode"}, 422, "op"),
        ({"word": "boat", "label": "\U0001f600"}, 409, "cannot be written"),
        ({"word": "boat", "label": "x" * 61}, 422, "label"),
        ({"word": "boat", "unit": [UNITS[0]] * 65}, 422, "unit"),
    ],
)
def test_bad_requests(
    shared: TestClient, data: dict[str, object], status: int, message: str
) -> None:
    answer = shared.post("/edit.json", data=data)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_it_needs_the_token(original: Path) -> None:
    with TestClient(
        create_app([original], Gate("t")), base_url="http://127.0.0.1:8000"
    ) as stranger:
        assert stranger.get("/edit").status_code == 401
        assert stranger.post("/edit.json", data={"word": "boat"}).status_code in (401, 403)
