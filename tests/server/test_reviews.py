"""What people say is kept, shown, and never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from synesthete.reviews import read
from tests.small_atlas import LAYER

ADDRESS = f"{LAYER}:0"


def say(client: TestClient, **more: str) -> dict[str, object]:
    answer = client.post("/reviews.json", data={"address": ADDRESS, "rater": "ada"} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_verdicts_are_shown_beside_what_was_measured(client: TestClient, atlas_path: Path) -> None:
    waiting = [one["neuron"]["address"] for one in client.get("/reviews.json").json()["waiting"]]
    assert ADDRESS in waiting
    say(client, kind="rename", value="granny smith")
    facts = client.get(f"/neuron/{ADDRESS}.json").json()
    assert facts["neuron"]["name"] == "red apple"
    assert facts["review"]["name"] == "granny smith"
    say(client, kind="accept", rater="ben")
    assert client.get(f"/neuron/{ADDRESS}.json").json()["review"]["disputed"] is True
    say(client, kind="flag", value="<b>sensitive</b>")
    page = client.get(f"/neuron/{ADDRESS}", headers={"accept": "text/html"}).text
    assert "&lt;b&gt;sensitive" in page
    reviews = client.get("/reviews.json").json()
    assert reviews["acts"] == 3
    assert reviews["reviewed"][0]["neuron"]["address"] == ADDRESS
    assert [act.kind for act in read(atlas_path)] == ["rename", "accept", "flag"]


def test_labels_are_blind_and_kept(client: TestClient, atlas_path: Path) -> None:
    session = client.get(f"/label/{ADDRESS}.json").json()
    assert set(session["images"][0]) == {"id", "path"}
    assert session == client.get(f"/label/{ADDRESS}.json").json()
    page = client.get(f"/label/{ADDRESS}", headers={"accept": "text/html"}).text
    assert "red apple" not in page
    image = session["images"][0]["id"]
    act = say(client, kind="label", value="an apple", image=image, question=session["question"])
    kept = read(atlas_path)
    assert [one.value for one in kept] == ["an apple"]
    assert len(str(act["image"])) == 64
    other = client.get(f"/label/{ADDRESS}.json", params={"seed": 1}).json()
    assert other["images"] != session["images"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"kind": "rename"}, 409),
        ({"kind": "label", "value": "x"}, 409),
        ({"kind": "sing"}, 422),
        ({"kind": "note", "value": "x" * 2001}, 422),
        ({"kind": "accept", "rater": " "}, 409),
        ({"kind": "accept", "rater": "machine"}, 409),
        ({"kind": "accept", "address": "x:1"}, 404),
        ({"kind": "label", "value": "x", "image": "f" * 16, "question": "q"}, 404),
        ({"kind": "request", "value": "x"}, 422),
        ({"kind": "note", "value": "a\x00b"}, 409),
    ],
)
def test_invalid_reviews_are_refused(
    client: TestClient, atlas_path: Path, more: dict[str, str], status: int
) -> None:
    answer = client.post("/reviews.json", data={"address": ADDRESS, "rater": "ada"} | more)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert not read(atlas_path)
