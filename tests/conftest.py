"""An S3 server and a place of it, for the tests of everything that reads or writes an object store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3 import BUCKET, s3_environment, s3_server


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(
    object_store: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A URL that is used by one test; the environment says how to reach it."""
    for name, value in s3_environment(object_store).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name}"
