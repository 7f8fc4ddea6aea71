"""The examples in the documentation of this room run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from synesthete.models.sources import CONFIGURATION, MINI

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(not (MINI / CONFIGURATION).is_file(), reason="mini is not built yet")
@pytest.mark.parametrize(("page", "least"), [("models.md", 8), ("add-an-architecture.md", 8)])
def test_the_examples_run(page: str, least: int) -> None:
    found = doctest.testfile(str(DOCS / page), module_relative=False)
    assert found.attempted > least
    assert found.failed == 0
