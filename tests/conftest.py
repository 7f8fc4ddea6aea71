"""An S3 server and a place of it, for the tests of everything that reads or writes an object store; and which files come first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import BUCKET, s3_environment, s3_server

HERE = Path(__file__).parent
# The files that take longest, the longest first: a worker that is handed one of them last works on alone.
LONG = (
    "test_docs.py",
    "recording/test_executors.py",
    "browser/test_every_page.py",
    "server/test_image_limits.py",
    "torture/test_kills.py",
    "recording/test_resume.py",
    "reproduction/test_reproduction.py",
    "torture/test_soak.py",
    "server/test_openapi.py",
    "catalog/server/test_schema.py",
    "catalog/server/test_service.py",
    "catalog/store/test_object_store.py",
    "catalog/test_reembed.py",
    "browser/test_doing.py",
    "cli/test_errors.py",
    "cli/test_making.py",
    "training/test_short_run.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


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
