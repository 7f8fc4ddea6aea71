"""The microscope's OpenAPI is what it does: schemathesis, with every check and phase that it has by default."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from schemathesis.checks import CHECKS
from starlette.testclient import TestClient

from synesthete.server import Gate, create_app
from tests.server.conftest import BEARER, TOKEN
from tests.torture.contracts import explore, microscope


@pytest.fixture(scope="module")
def app(atlas_copy: Path) -> FastAPI:
    return create_app([atlas_copy], Gate(TOKEN))


def test_every_answer_is_as_described(atlas_copy: Path) -> None:
    app, known = microscope(atlas_copy)
    labels = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert len(labels) == 72
    assert sum(" /a/{atlas}/" in label for label in labels) == 36

    found = explore(app, known, examples=2, seed=1)

    assert not found.failures, found.shown()
    assert found.operations == labels
    assert set(CHECKS.get_all_names()) - {"max_response_time"} <= set(found.checks)
    assert {"examples", "coverage", "fuzzing"} <= set(found.phases)


def test_every_operation_says_how_to_prove_oneself(app: FastAPI) -> None:
    described = app.openapi()
    schemes = described["components"]["securitySchemes"]
    assert {one["type"]: one["in"] for one in schemes.values() if "in" in one} == {
        "apiKey": "cookie"
    }
    for methods in described["paths"].values():
        for operation in methods.values():
            assert operation["security"] == [{name: []} for name in schemes]


def test_every_operation_lists_its_refusals(app: FastAPI) -> None:
    for methods in app.openapi()["paths"].values():
        for operation in methods.values():
            listed = {"400", "401", "403", "404", "405", "409", "413", "422", "429", "503"}
            assert listed <= set(operation["responses"])


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "PROPFIND"])
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/index.json", "GET, HEAD"),
        ("/a/own/edit.json", "GET, HEAD, POST"),
        ("/try-image.json", "GET, HEAD, POST"),
        ("/static/style.css", "GET, HEAD"),
        ("/nothing", ""),
    ],
)
def test_a_method_not_used_gets_those_that_are(
    app: FastAPI, method: str, path: str, allowed: str
) -> None:
    with TestClient(app, base_url="http://127.0.0.1", headers=BEARER) as client:
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        assert answer.json()["error"]["status"] == 405


def test_without_a_token_every_answer_is_401(app: FastAPI) -> None:
    """401 comes before 403, 404, 405, 413 and 422."""
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for method, path, body in (
            ("POST", "/reviews.json", b""),
            ("TRACE", "/", b""),
            ("GET", "/nothing", b""),
            ("POST", "/try-image.json", b"x" * (17 * 2**20)),
            ("GET", "/layer/x.json?page=no", b""),
        ):
            answer = client.request(method, path, content=body)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
