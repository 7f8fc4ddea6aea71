"""The examples in the documentation of this room run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from synesthete.models.sources import CONFIGURATION, MINI

DOCS = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.mark.skipif(not (MINI / CONFIGURATION).is_file(), reason="mini is not built yet")
def test_the_examples_run() -> None:
    found = doctest.testfile(str(DOCS), module_relative=False)
    assert found.attempted > 8
    assert found.failed == 0
