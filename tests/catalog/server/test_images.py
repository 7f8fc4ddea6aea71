"""Images in requests of the catalogue: every endpoint that takes one keeps to the limits."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from synesthete.probes import request_images
from synesthete.probes.request_images import Gate
from tests.catalog.server.conftest import png


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def of_size(width: int, height: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, kind)
    return stream.getvalue()


def bodies(data: bytes) -> dict[str, Any]:
    return {
        "search": {"image": text(data)},
        "recommend": {"signals": [{"image": text(data)}]},
        "align": {"copies": ["a mug"], "images": [text(png("red")), text(data)]},
        "suggest": {"image": text(data), "brief": "a mug"},
    }


@pytest.mark.parametrize("door", ["search", "recommend", "align", "suggest"])
def test_an_image_above_the_limit_is_413_and_a_jpeg_is_drafted(
    client: TestClient, door: str
) -> None:
    answer = client.post(f"/api/v1/{door}", json=bodies(of_size(4001, 4000))[door])
    assert answer.status_code == 413
    assert "limit of 16,000,000" in answer.json()["error"]["message"]
    answer = client.post(f"/api/v1/{door}", json=bodies(of_size(5000, 4000, "JPEG"))[door])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("door", ["search", "recommend", "align", "suggest"])
def test_when_all_places_are_taken_it_is_503_with_retry_after(
    client: TestClient, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(most_waiting=0)
    monkeypatch.setattr(request_images, "GATE", gate)
    with gate.enter(2):
        answer = client.post(f"/api/v1/{door}", json=bodies(png("red"))[door])
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert client.post("/api/v1/search", json={"text": "mug"}).status_code == 200
    answer = client.post(f"/api/v1/{door}", json=bodies(png("red"))[door])
    assert answer.status_code == 200


def test_an_item_with_a_bomb_is_set_aside_and_the_others_are_taken(client: TestClient) -> None:
    items = [
        {"id": "bomb", "images": [text(of_size(4001, 4000))]},
        {"id": "fine", "images": [text(png("red"))]},
    ]
    answer = client.post("/api/v1/items", json={"items": items})
    assert answer.status_code == 200
    assert answer.json()["added"] == 1
    assert "limit of 16,000,000" in str(answer.json()["quarantined"])


def test_the_images_of_one_request_are_limited_together(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_images, "MAX_PIXELS_TOGETHER", 2 * 40 * 40)
    images = [text(png(colour)) for colour in ("red", "blue", "green")]
    answer = client.post("/api/v1/align", json={"copies": ["a mug"], "images": images})
    assert answer.status_code == 413
    assert "3,200 pixels together" in answer.json()["error"]["message"]
    answer = client.post("/api/v1/align", json={"copies": ["a mug"], "images": images[:2]})
    assert answer.status_code == 200


def test_pages_have_the_same_limits(client: TestClient) -> None:
    csrf = client.app.state.gate.csrf  # type: ignore[attr-defined]
    for path in ("search", "recommend", "align", "suggest"):
        field = "images" if path == "align" else "image"
        answer = client.post(
            f"/{path}", data={"csrf": csrf, "copies": "a mug"},
            files={field: ("a.png", of_size(4001, 4000))},
        )  # fmt: skip
        assert answer.status_code == 413, path
