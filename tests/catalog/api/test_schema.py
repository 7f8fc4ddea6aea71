"""Whatever is sent, the answer is as the schema says and never a crash (schemathesis, a bounded number of requests)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks
from starlette.testclient import TestClient

from synesthete.server.security import LOOPBACK, Gate
from synesthete.server.shop import create_shop
from synesthete.server.shop.limits import Limiter
from tests.catalog.api.conftest import TOKEN

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
DOCS = Path(__file__).parents[3] / "docs" / "catalog-api.md"


class Patient(Limiter):
    """Lets everything through, so that the answers are of the endpoints."""

    def ask(self, caller: str, per_minute: int):  # type: ignore[no-untyped-def]
        return super().ask(f"{caller} {id(object())}", 10**9)


@pytest.fixture(scope="module")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    import shutil

    path = Path(shutil.copytree(made, tmp_path_factory.mktemp("fuzzed") / "shop.catalog"))
    app = create_shop(path, Gate(TOKEN, hosts=[*LOOPBACK, "testserver"]))
    app.state.limiter = Patient()
    return app


def test_answers_are_as_the_schema_says(served: FastAPI) -> None:
    """Every endpoint, with data made from its own schema: no crash, and the answer is of the form that is promised."""
    schema = schemathesis.openapi.from_dict(served.openapi())
    schema.app = served
    # What the schema does not promise: that every sound body is accepted.
    apart = [checks.positive_data_acceptance, checks.unsupported_method, checks.ignored_auth]
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.startswith("/api/v1"):
            continue

        @settings(
            max_examples=4,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            response = case.call(headers=HEADERS)
            assert response.status_code < 500, response.text
            case.validate_response(response, excluded_checks=apart)

        ask()
        tried.add(operation.label)
    assert len(tried) == 24


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
    told = set(re.findall(r"^\| `(GET|POST) (/[^`]*)`", page, re.MULTILINE))
    there = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, row in served.openapi()["paths"].items()
        if path.startswith("/api/v1")
        for method in row
    }
    assert told == there
