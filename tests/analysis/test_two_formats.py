"""A CLIP in transformers' format and the same in open_clip's are one model: every unit matches itself."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers")

from benchmarks.two_formats import LAYER, compare_copies


def test_every_unit_matches_itself(tmp_path: Path) -> None:
    found = compare_copies(tmp_path, concepts=12)
    assert found.images > 150
    assert found.to_the_library <= 1e-5
    assert found.difference <= 1e-5
    matching = found.comparison.by_activation
    assert matching.first.live > 200
    assert found.own_partner == matching.first.matched == matching.first.live
    # What is random does not match.
    assert matching.first.shuffled < matching.first.live / 4
    assert found.comparison.layers == (LAYER, LAYER)
