"""The API end to end: keys and scopes, rates, pages of lists, once-only requests, and every endpoint's use."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from synesthete.catalog.events import EventLog
from synesthete.catalog.keys import SCOPES, Keys
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Queue
from tests.catalog.server.conftest import BASE, TOKEN, png

Keyed = Callable[..., TestClient]
V1 = "/api/v1"
NEED = {
    ("GET", "/health"): "read", ("GET", "/items"): "read", ("GET", "/item?id=item-01"): "read",
    ("GET", "/item/image?id=item-01"): "read", ("POST", "/items"): "write", ("POST", "/items/delete"): "write",
    ("GET", "/quarantine"): "write", ("POST", "/search"): "read", ("POST", "/recommend"): "read",
    ("POST", "/align"): "read", ("POST", "/suggest"): "read", ("POST", "/classify"): "read",
    ("POST", "/events"): "events", ("GET", "/events"): "metrics", ("GET", "/metrics"): "metrics",
    ("GET", "/experiments"): "metrics", ("GET", "/experiment?name=x"): "metrics",
    ("GET", "/assignment?experiment=x&subject=y"): "read", ("GET", "/queue"): "review", ("GET", "/queue/x"): "review",
    ("POST", "/queue/x/decision"): "review", ("GET", "/trail"): "review", ("GET", "/policy/suggest"): "review",
    ("POST", "/policy/suggest"): "review",
}  # fmt: skip


def b64(colour: str) -> str:
    return base64.b64encode(png(colour)).decode()


def test_every_endpoint_needs_its_scope(app: FastAPI, keyed: Keyed) -> None:
    listed = {
        (m.upper(), p) for p, row in app.openapi()["paths"].items() if p.startswith(V1) for m in row
    }
    plain = {
        (
            m,
            V1
            + p.split("?")[0]
            .replace("/x", "/{ticket}")
            .replace("/suggest", "/{kind}", "/policy" in p),
        )
        for m, p in NEED
    }
    assert listed == plain, "an endpoint is missing from this test"
    programs = {scope: keyed(scope) for scope in SCOPES}
    for (method, where), scope in NEED.items():
        for name, program in programs.items():
            status = program.request(
                method, V1 + where, json={} if method == "POST" else None
            ).status_code
            assert (status == 403) == (name != scope), (method, where, name, status)


def test_without_a_key_nothing_opens(app: FastAPI, path: Path) -> None:
    key, secret = Keys(path).make("p", ["read"])
    for value in (
        "",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {secret}x",
        f"Basic {secret}",
        f"Bearer syn_{key.id}_",
    ):
        with TestClient(app, base_url=BASE, headers={"Authorization": value}) as program:
            answer = program.get(f"{V1}/health")
            assert answer.status_code == 401, value
            assert answer.json()["error"]["status"] == 401
    Keys(path).revoke(key.id)
    with TestClient(app, base_url=BASE, headers={"Authorization": f"Bearer {secret}"}) as program:
        assert program.get(f"{V1}/health").status_code == 401
    with TestClient(
        app, base_url="http://evil.example", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as program:
        assert program.get(f"{V1}/health").status_code == 403


def test_a_key_revoked_on_the_way_is_not_the_owners(app: FastAPI, path: Path) -> None:
    """Between the guard and the endpoint a key may end; it must not become more than it was."""
    secret = Keys(path).make("p", ["read"])[1]
    app.state.gate.is_token = lambda token: True
    key_id = secret.split("_")[1]
    Keys(path).revoke(key_id)
    with TestClient(app, base_url=BASE, headers={"Authorization": f"Bearer {secret}"}) as program:
        assert program.get(f"{V1}/health").status_code == 401
        assert program.get("/").status_code == 401


def test_a_key_opens_no_session_of_the_owner(app: FastAPI, path: Path) -> None:
    secret = Keys(path).make("p", ["events"])[1]
    with TestClient(app, base_url=BASE, headers={"Origin": BASE}) as browser:
        answer = browser.post("/enter", data={"token": secret}, follow_redirects=False)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        answer = browser.post("/enter", data={"token": TOKEN}, follow_redirects=False)
        assert answer.status_code == 303
        assert "set-cookie" in answer.headers


def test_keys_are_kept_as_hashes(path: Path) -> None:
    secret = Keys(path).make("p", ["read"])[1]
    raw = b"".join(one.read_bytes() for one in path.glob("keys.sqlite*"))
    assert secret.split("_", 2)[2].encode() not in raw
    for name, scopes, rate in (
        ("", ["read"], 1),
        ("p", ["raed"], 1),
        ("p", [], 1),
        ("p", ["read"], 0),
        ("machine", ["read"], 1),
    ):
        with pytest.raises(SynestheteError):
            Keys(path).make(name, scopes, per_minute=rate)


def test_rates(keyed: Keyed) -> None:
    program, other = keyed("read", per_minute=3), keyed("read")
    answers = [program.get(f"{V1}/health") for _ in range(5)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
    assert answers[0].headers["ratelimit-remaining"] == "2"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    assert other.get(f"{V1}/health").status_code == 200


def test_pages_of_items_have_each_once(client: TestClient) -> None:
    seen, after = [], ""
    while True:
        page = client.get(f"{V1}/items", params={"after": after, "limit": 7}).json()
        seen += [one["id"] for one in page["items"]]
        assert page["total"] == 30
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [f"item-{i:02d}" for i in range(30)]
    assert client.get(f"{V1}/item", params={"id": "item-03"}).json()["attributes"] == {
        "colour": ["yellow"]
    }
    assert (
        client.get(f"{V1}/item/image", params={"id": "item-01"}).headers["content-type"]
        == "image/webp"
    )
    for where in ("/item", "/item/image"):
        assert client.get(f"{V1}{where}", params={"id": "gone"}).status_code == 404


def test_upserts_once(client: TestClient) -> None:
    body = {
        "items": [
            {"id": "new/1 ü", "title": "a new mug", "images": [b64("red")]},
            {"id": "empty"},
        ]
    }
    headers = {"Idempotency-Key": "first"}
    first = client.post(f"{V1}/items", json=body, headers=headers)
    assert (first.json()["added"], first.json()["quarantined"][0]["id"]) == (1, "empty")
    again = client.post(f"{V1}/items", json=body, headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = client.post(f"{V1}/items", json={"items": [{"id": "x", "title": "y"}]}, headers=headers)
    assert other.status_code == 409
    assert client.get(f"{V1}/item", params={"id": "new/1 ü"}).json()["title"] == "a new mug"
    assert client.get(f"{V1}/quarantine").json()["quarantine"][0]["id"] == "empty"
    gone = client.post(f"{V1}/items/delete", json={"ids": ["new/1 ü", "never"]})
    assert gone.json()["deleted"] == 1


def test_finding(client: TestClient) -> None:
    found = client.post(
        f"{V1}/search", json={"text": "red mug", "image": b64("red"), "limit": 3}
    ).json()["hits"]
    assert len(found) == 3
    assert {"id", "score", "relevance", "reasons"} <= set(found[0])
    filtered = client.post(
        f"{V1}/search", json={"text": "mug", "where": ["colour=blue"], "limit": 50, "group": False}
    )
    assert len(filtered.json()["hits"]) == 6
    liked = client.post(
        f"{V1}/recommend",
        json={"signals": [{"item": "item-01"}, {"side": "dislike", "text": "cup"}]},
    )
    assert "item-01" not in {one["id"] for one in liked.json()["hits"]}
    pairs = client.post(
        f"{V1}/align", json={"copies": ["a red mug", "a boat"], "images": [b64("red")]}
    ).json()["pairs"]
    assert len(pairs) == 2
    for wrong, status in (
        ({"text": "x", "where": ["nonsense=1"]}, 409),
        ({}, 409),
        ({"text": "x", "image": "!!"}, 422),
        ({"text": "x", "image": "YWJj"}, 409),
    ):
        answer = client.post(f"{V1}/search", json=wrong)
        assert answer.status_code == status, wrong
        assert answer.json()["error"]["message"]


def test_a_search_says_what_is_next_and_what_there_is(client: TestClient) -> None:
    body: dict[str, Any] = {"where": ["category=mug"], "sort": "-price", "limit": 4, "facets": 3}
    seen: list[str] = []
    while body.get("offset", 0) is not None:
        page = client.post(f"{V1}/search", json=body).json()
        seen += [one["id"] for one in page["hits"]]
        assert page["total"] == 15
        assert page["price"] == {"low": 0.0, "high": 28.0, "count": 15}
        category, colour = page["facets"]
        assert category == {"name": "category", "values": [{"value": "mug", "count": 15}]}
        assert colour["name"] == "colour"
        assert [one["count"] for one in colour["values"]] == [3, 3, 3]
        body["offset"] = page["next"]
    assert seen == [f"item-{i:02d}" for i in range(28, -1, -2)]
    plain = client.post(f"{V1}/search", json={"text": "mug", "limit": 2}).json()
    assert (plain["next"], plain["facets"], plain["price"]) == (2, [], None)
    as_names = {"text": "mug", "where": {"colour": ["red"]}, "limit": 50, "group": False}
    assert len(client.post(f"{V1}/search", json=as_names).json()["hits"]) == 6
    for wrong, status in (
        ({"text": "x", "sort": "prize"}, 409),
        ({"text": "x", "offset": -1}, 422),
        ({"text": "x", "facets": 101}, 422),
        ({"text": "x", "where": 3}, 422),
    ):
        answer = client.post(f"{V1}/search", json=wrong)
        assert answer.status_code == status, wrong
        assert answer.json()["error"]["message"]


def test_items_in_another_order(client: TestClient) -> None:
    seen, after = [], ""
    while after is not None:
        query = {"after": after, "limit": 7, "sort": "-price"}
        page = client.get(f"{V1}/items", params=query).json()
        seen += [one["id"] for one in page["items"]]
        after = page["next"]
    assert seen == [f"item-{i:02d}" for i in range(29, -1, -1)]
    gone = client.get(f"{V1}/items", params={"after": "never", "sort": "price"})
    assert (gone.status_code, client.get(f"{V1}/items?sort=prize").status_code) == (409, 409)


def test_suggestions_abstain_into_the_queue(client: TestClient) -> None:
    assert client.post(f"{V1}/policy/suggest", json={"threshold": 1.0}).json()["set_by"] == "owner"
    suggestion = client.post(
        f"{V1}/suggest", json={"image": b64("green"), "brief": "for tea"}
    ).json()
    assert suggestion["abstained"]
    case = client.get(f"{V1}/queue/{suggestion['ticket']}").json()
    assert case["open"]
    decided = client.post(
        f"{V1}/queue/{suggestion['ticket']}/decision",
        json={"verdict": "override", "label": "item-01", "actor": "ann"},
    ).json()
    assert decided["label"] == "item-01"
    assert decided["verdicts"] == {"ann (owner)": ["override", "item-01"]}
    assert client.get(f"{V1}/queue", params={"waiting": True}).json()["waiting"] == 0
    assert client.get(f"{V1}/policy/align").status_code == 422, "nothing reads it"
    acts = client.get(f"{V1}/trail", params={"limit": 2}).json()
    assert [one["did"] for one in acts["acts"]] == ["policy", "ask"]
    assert (
        client.get(f"{V1}/trail", params={"after": acts["next"]}).json()["acts"][0]["did"]
        == "override"
    )
    wrong = client.post(f"{V1}/queue/{suggestion['ticket']}/decision", json={"verdict": "override"})
    assert wrong.status_code == 409
    assert client.get(f"{V1}/queue/nope").status_code == 404


def test_suggestions_are_accepted_and_audited(client: TestClient, path: Path) -> None:
    client.post(f"{V1}/policy/suggest", json={"threshold": 0.0, "audit": 1.0})
    body = {"image": b64("green"), "reference": "photo-7"}
    suggestion = client.post(f"{V1}/suggest", json=body).json()
    assert not suggestion["abstained"]
    page = client.get(f"/queue/{suggestion['ticket']}").text
    assert "photo-7" in page
    assert 'src="/image?id=item-' in page
    decided = client.post(
        f"{V1}/queue/{suggestion['ticket']}/decision", json={"verdict": "accept"}
    ).json()
    assert decided["label"] == suggestion["categories"][0]["value"]
    (label,) = Queue(path).labels("suggest")
    assert (label.reference, label.label) == ("photo-7", decided["label"])


def event(key: str, kind: str = "impression", **more: Any) -> dict[str, Any]:
    return {"key": key, "kind": kind, "item": "item-01", "subject": "ann", "list": "l", **more}


def test_events_and_metrics(client: TestClient, path: Path) -> None:
    sent = [
        event("1"),
        event("2", "click"),
        event("3", "impression", item="gone"),
        event("4", "clik"),
    ]
    taken = client.post(f"{V1}/events", json={"events": sent}).json()
    assert (taken["added"], taken["unknown"], taken["refused"][0]["index"]) == (3, 1, 3)
    assert client.post(f"{V1}/events", json={"events": sent[:2]}).json()["replayed"] == 2
    metrics = client.get(f"{V1}/metrics").json()
    assert metrics["total"]["click"]["value"] == 1.0
    assert metrics["left_out"] == {"unknown item": 1}
    page = client.get(f"{V1}/events", params={"limit": 2}).json()
    assert [one["key"] for one in page["events"]] == ["1", "2"]
    assert client.get(f"{V1}/events", params={"after": page["next"]}).json()["next"] is None
    assert page["events"][0]["subject"] not in ("", "ann")
    client.post(f"{V1}/events", json={"events": [event("5", experiment="spring", variant="B")]})
    assert client.get(f"{V1}/experiments").json() == {"experiments": ["spring"]}
    found = client.get(f"{V1}/experiment", params={"name": "spring", "window_hours": 0}).json()
    assert found["lift"]["b"]["n"] == 1
    assert found["lift"]["a"]["value"] is None, "no number is null, not an error"
    assert client.get(f"{V1}/experiment", params={"name": "autumn"}).status_code == 404
    assert (
        client.get(f"{V1}/experiment", params={"name": "spring", "metric": "value"}).status_code
        == 409
    )
    assert EventLog(path).counts()["impression"] == 3
    assigned = client.get(
        f"{V1}/assignment", params={"experiment": "spring", "subject": "ann"}
    ).json()
    assert assigned["variant"] in "AB"


def test_classifying_without_a_classifier(client: TestClient) -> None:
    answer = client.post(
        f"{V1}/classify", json={"classifier": "spots", "records": [{"text": "secret Zebulon"}]}
    )
    assert answer.status_code == 404
    assert "Zebulon" not in answer.text
    wrong = client.post(
        f"{V1}/classify",
        json={"classifier": "../etc", "records": [{"text": "Zebulon", "mrn": "9"}]},
    )
    assert wrong.status_code == 422
    assert "Zebulon" not in wrong.text
    odd = client.post(f"{V1}/classify", json={"classifier": "x", "records": [{"Zebulon": "1"}]})
    assert "Zebulon" not in odd.text
    assert "not known" in odd.text


def test_too_much_at_once(client: TestClient) -> None:
    assert (
        client.post(
            f"{V1}/events", json={"events": [event(str(i)) for i in range(1001)]}
        ).status_code
        == 422
    )
    assert client.post(f"{V1}/search", json={"text": "x" * 20_001}).status_code == 422
    huge = client.post(
        f"{V1}/search", content=b"x" * (17 * 2**20), headers={"Content-Type": "application/json"}
    )
    assert huge.status_code == 413


def test_upserts_and_searches_at_once(client: TestClient) -> None:
    failed: list[int] = []

    def write(worker: int) -> None:
        for i in range(4):
            body = {"items": [{"id": f"w{worker}-{i}", "title": f"mug {i}"}]}
            failed.extend(
                [s] if (s := client.post(f"{V1}/items", json=body).status_code) != 200 else []
            )

    def read() -> None:
        for _ in range(8):
            failed.extend(
                [s]
                if (s := client.post(f"{V1}/search", json={"text": "mug"}).status_code) != 200
                else []
            )

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)] + [
        threading.Thread(target=read)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert client.get(f"{V1}/health").json()["items"] == 38


def test_cases_in_pages(client: TestClient, path: Path) -> None:
    for i in range(5):
        Queue(path).add(
            "classify", {"reference": str(i), "proposal": "x"}, reason="r", confidence=i / 10
        )
    first = client.get(f"{V1}/queue", params={"limit": 3}).json()
    rest = client.get(f"{V1}/queue", params={"after": first["next"], "limit": 3}).json()
    assert [one["payload"]["reference"] for one in first["cases"] + rest["cases"]] == list("01234")
    assert rest["next"] is None
    assert client.get(f"{V1}/queue", params={"kind": "suggest"}).json()["cases"] == []
