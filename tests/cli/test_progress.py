"""Progress on standard error."""

from __future__ import annotations

import pytest

from synesthete.cli import progress
from synesthete.cli.progress import Reporter


def test_a_total_that_nobody_knows_is_not_invented(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    with Reporter("indexing", "items") as reporter:
        reporter(512, 0)
        reporter(1024, 2048)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "indexing: 512 items"
    assert lines[1].startswith("indexing: 1,024 of 2,048 items")
