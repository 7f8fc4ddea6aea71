"""Whatever is sent, the answer is as the schema says and never a crash (schemathesis, a bounded number of requests)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from starlette.testclient import TestClient

from synesthete.catalog.server.app import create_app
from synesthete.server.auth import LOOPBACK, Gate
from tests.torture.contracts import TOKEN, Patient, catalogue, explore

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
DOCS = Path(__file__).parents[3] / "docs" / "catalog-api.md"


@pytest.fixture(scope="module")
def copied(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(filled, tmp_path_factory.mktemp("fuzzed") / "shop.catalog"))


@pytest.fixture(scope="module")
def served(copied: Path) -> FastAPI:
    app = create_app(copied, Gate(TOKEN, hosts=[*LOOPBACK, "testserver"]))
    app.state.shared = Patient()
    return app


def test_every_answer_is_as_described(copied: Path) -> None:
    app, known = catalogue(copied)
    labels = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert len(labels) == 24

    found = explore(app, known, examples=4, seed=1)

    assert not found.failures, found.shown()
    assert found.operations == labels
    assert set(CHECKS.get_all_names()) - {"max_response_time"} <= set(found.checks)
    assert {"examples", "coverage", "fuzzing", "stateful"} <= set(found.phases)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[" * 100_000, "nested deeper"), ('{"text": ' + "{" * 5000 + "}" * 5000 + "}", "nested deeper"),
        ('{"text": "\\ud800"}', "lone surrogate"), ('{"\\udfff": 1}', "lone surrogate"),
        ('{"text": "a", "cut": NaN}', "not a JSON number"), ('{"text": "a", "limit": 1e999}', "too large"),
        ('{"text": "a", "limit": ' + "9" * 5000 + "}", "64 bits"), ("{", "not JSON"), ("\udcff", "not UTF-8"),
        ('{"text": "a", "limit": "5"}', "limit"), ('{"text": "a", "limit": true}', "limit"),
        ('{"text": "a", "cut": false}', "cut"), ('{"text": "a", "image": "a"}', "not base64"),
        ('{"text": "a", "without": "b"}', "without"), ('{"text": "a", "x": 1}', "not known"),
    ],
)  # fmt: skip
def test_hostile_json_is_refused(served: FastAPI, body: str, message: str) -> None:
    with TestClient(served, base_url="http://127.0.0.1", headers=HEADERS) as client:
        answer = client.post(
            "/api/v1/search",
            content=body.encode("utf-8", "surrogateescape"),
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]


def test_a_whole_number_may_be_written_as_a_fraction(served: FastAPI) -> None:
    with TestClient(served, base_url="http://127.0.0.1", headers=HEADERS) as client:
        assert (
            len(client.post("/api/v1/search", json={"text": "mug", "limit": 3.0}).json()["hits"])
            == 3
        )
        assert client.post("/api/v1/search", json={"text": "mug", "limit": 3.5}).status_code == 422


def test_without_a_key_every_answer_is_401(served: FastAPI) -> None:
    """401 comes before 403, 404, 405, 413 and 422."""
    with TestClient(served, base_url="http://127.0.0.1") as client:
        for method, path, body in (
            ("POST", "/api/v1/items", b"{"), ("TRACE", "/api/v1/items", b""), ("GET", "/nothing", b""),
            ("POST", "/api/v1/search", b"x" * (17 * 2**20)), ("GET", "/api/v1/items?limit=no", b""),
        ):  # fmt: skip
            answer = client.request(method, path, content=body)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "DELETE", "PROPFIND"])
def test_a_method_not_used_gets_those_that_are(served: FastAPI, method: str) -> None:
    with TestClient(served, base_url="http://127.0.0.1", headers=HEADERS) as client:
        for path, allowed in (
            ("items", "GET, HEAD, POST"),
            ("search", "POST"),
            ("item", "GET, HEAD"),
        ):
            answer = client.request(method, f"/api/v1/{path}")
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    where=st.sampled_from(
        [
            "/search",
            "/events",
            "/items",
            "/suggest",
            "/recommend",
            "/align",
            "/classify",
            "/queue/x/decision",
        ]
    ),
    body=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda s: s.encode("utf-8", "surrogatepass")),
    kind=st.sampled_from(["application/json", "text/plain", "multipart/form-data", "nonsense"]),
)
def test_bodies_that_are_none(served: FastAPI, where: str, body: bytes, kind: str) -> None:
    with TestClient(
        served, base_url="http://127.0.0.1", headers=HEADERS, raise_server_exceptions=True
    ) as client:
        answer = client.post(f"/api/v1{where}", content=body, headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500
        assert answer.json()["error"]["status"] == answer.status_code


def test_every_endpoint_is_documented(served: FastAPI) -> None:
    page = DOCS.read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(GET|POST) (/[^`]*)`", page, re.MULTILINE))
    there = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, row in served.openapi()["paths"].items()
        if path.startswith("/api/v1")
        for method in row
    }
    assert documented == there
