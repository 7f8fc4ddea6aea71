"""What those who run a server ask it: alive, ready, and what it measures; nothing is revealed on the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import lancedb
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from synesthete.catalog import Catalog
from synesthete.catalog.server import operations
from synesthete.catalog.server.app import create_app
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Queue
from synesthete.server.auth import Gate
from tests.catalog.server.conftest import BASE, TOKEN

Keyed = Callable[..., TestClient]
PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1"
}


@pytest.fixture
def stranger(app: FastAPI) -> TestClient:
    """Somebody without a key, as a load balancer is, which names no host of ours."""
    return TestClient(app, base_url="http://10.1.2.3:8000")


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LOOKED_SECONDS", 0.0)


def ready(client: TestClient) -> tuple[int, str]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json().get("reason", "")


def numbers(client: TestClient) -> dict[tuple[str, ...], float]:
    """Name and labels to value, of everything but buckets and times of creation."""
    answer = client.get("/metrics", headers=PROMETHEUS)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("synesthete_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def test_alive_at_once_and_ready_after_the_warm_up(app: FastAPI, stranger: TestClient) -> None:
    assert stranger.get("/healthz").json() == {"status": "ok"}
    refused = stranger.get("/readyz")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json() == {"status": "not ready", "reason": operations.OPENING}
    assert not app.state.shared.ready()
    assert app.state.warm_up.run()
    assert ready(stranger) == (200, "")
    assert app.state.shared.ready()
    for path in ("/healthz", "/readyz"):
        head = stranger.head(path)
        assert (head.status_code, head.content, head.headers["cache-control"]) == (
            200,
            b"",
            "no-store",
        )


def test_nothing_else_is_open(stranger: TestClient) -> None:
    assert stranger.post("/healthz").status_code == 403
    for path in ("/healthz/", "/healthzz", "/metrics", "/api/v1/health"):
        assert stranger.get(path).status_code == 403, path
        assert stranger.get(path, headers={"Host": "127.0.0.1"}).status_code == 401, path


def test_not_ready_without_the_catalogue_or_its_indexes(
    app: FastAPI, stranger: TestClient, path: Path
) -> None:
    assert app.state.warm_up.run()
    (path / "table.json").rename(path / "away")
    assert ready(stranger) == (503, operations.FAILED[operations.OPENING])
    (path / "away").rename(path / "table.json")
    assert ready(stranger) == (200, "")
    name = json.loads((path / "table.json").read_text())["table"]
    lancedb.connect(path).open_table(name).drop_index("words_idx")
    assert ready(stranger) == (503, operations.NOT_INDEXED)
    assert str(path) not in stranger.get("/readyz").text


def test_a_model_that_cannot_be_loaded_is_named_in_the_log_alone(
    app: FastAPI,
    stranger: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(name: str) -> None:
        raise SynestheteError(f"cannot load /secret/place of {name}")

    with monkeypatch.context() as patched:
        patched.setattr("synesthete.models.load_model", fail)
        assert not app.state.warm_up.run()
    assert ready(stranger) == (503, operations.FAILED[operations.LOADING])
    assert "/secret/place" in capsys.readouterr().err
    assert app.state.warm_up.run(), "it is tried again"
    assert ready(stranger) == (200, "")


def test_an_empty_catalogue_gets_ready(empty: Catalog) -> None:
    assert create_app(empty.path, Gate(TOKEN)).state.warm_up.run()


def test_metrics_need_their_scope(client: TestClient, keyed: Keyed, app: FastAPI) -> None:
    anyone = TestClient(app, base_url=BASE)
    assert anyone.get("/metrics", headers=PROMETHEUS).status_code == 401
    assert (
        keyed("read", "write", "events", "review").get("/metrics", headers=PROMETHEUS).status_code
        == 403
    )
    assert numbers(keyed("metrics"))["items",] == 30
    assert "<!doctype html>" in client.get("/metrics").text, "people get the page"


def test_requests_are_counted_by_route_and_status(
    client: TestClient, keyed: Keyed, app: FastAPI
) -> None:
    before = set(numbers(client))
    program = keyed("read", per_minute=2)
    for name in ("item-01", "secret-name", "other-name"):
        program.get(f"/api/v1/item?id={name}")
    for number in range(5):
        client.get(f"/api/v1/queue/{number:016x}")
        client.get(f"/nothing-{number}")
        client.request(f"M{number}", "/", headers={"Origin": BASE})
        client.get(f"/static/{number}.css")
    client.head("/api/v1/health")
    found = numbers(client)
    assert {key: value for key, value in found.items() if key[0] == "requests_total" and key not in before} == {
        ("requests_total", "GET", "/api/v1/item", "200"): 1,
        ("requests_total", "GET", "/api/v1/item", "404"): 1,
        ("requests_total", "GET", "/api/v1/item", "429"): 1,
        ("requests_total", "GET", "/api/v1/queue/{ticket}", "404"): 5,
        ("requests_total", "GET", "none", "404"): 5,
        ("requests_total", "other", "none", "405"): 5,
        ("requests_total", "GET", "/static", "404"): 5,
        ("requests_total", "HEAD", "/api/v1/health", "200"): 1,
        ("requests_total", "GET", "/metrics", "200"): 1,
    }  # fmt: skip
    assert found["request_seconds_count", "GET", "/api/v1/queue/{ticket}"] == 5


def test_queue_encoders_and_webhooks_are_measured(
    app: FastAPI, client: TestClient, path: Path
) -> None:
    assert app.state.warm_up.run()
    first = numbers(client)
    assert (first["encoder_seconds_count", "image"], first["encoder_seconds_count", "text"]) == (
        1,
        1,
    )
    client.post("/api/v1/search", json={"text": "a text that nobody gave before"})
    queue = Queue(path)
    tickets = [
        queue.add("suggest", {"reference": f"r{n}", "proposal": "mug"}, reason="unsure", confidence=0.1)
        for n in range(3)
    ]  # fmt: skip
    second = numbers(client)
    assert second["encoder_seconds_count", "text"] == 2
    assert (first["queue_waiting",], second["queue_waiting",]) == (0, 3)
    app.state.folder.webhooks.add("https://shop.example/x")
    queue.decide(tickets[0], "accept", actor="ann")
    app.state.folder.webhooks.collect()
    third = numbers(client)
    assert (third["queue_waiting",], third["webhook_deliveries_waiting",]) == (2, 1)


def test_without_prometheus_client_only_metrics_are_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    app = create_app(path, Gate(TOKEN))
    assert app.state.warm_up.run()
    client = TestClient(app, base_url=BASE, headers={"Authorization": f"Bearer {TOKEN}"})
    assert client.get("/api/v1/health").status_code == 200
    answer = client.get("/metrics", headers=PROMETHEUS)
    assert answer.status_code == 501
    assert answer.json()["error"]["hint"] == "pip install 'synesthete[serve]'"
