"""The OpenAPI tells the truth: requests made from it, valid and invalid, get the answers that it announces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from synesthete.server import Gate, create_app
from synesthete.server.security import LOOPBACK
from tests.server.conftest import BEARER, TOKEN

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip


@pytest.fixture(scope="session")
def api(made: Path) -> Any:
    app = create_app([made], Gate(TOKEN, hosts=[*LOOPBACK, "testserver"]))
    loaded = schemathesis.openapi.from_asgi("/openapi.json", app, headers=BEARER)
    return loaded.exclude(path_regex=r"^/a/")


def test_answers_are_as_announced(api: Any) -> None:
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) > 15

    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=5, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def ask(case: Any) -> None:
            if case.method == "POST":
                case.headers = {**(case.headers or {}), "Origin": "http://testserver"}
            case.call_and_validate(headers=BEARER, checks=CHECKS)

        ask()
