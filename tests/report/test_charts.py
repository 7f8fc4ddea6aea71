"""The curve of a defence: every series and every number is in the drawing, whatever they are."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from synesthete.report.charts import Line, pareto_chart
from synesthete.report.svg import render

FALLING = [(0, 0.8, 0.6), (1, 0.79, 0.4), (2, 0.77, 0.1)]


def test_all_series_are_drawn_and_named() -> None:
    lines = [Line("greedy", FALLING), Line("gradient", FALLING[:2]), Line("random", FALLING[:1])]
    svg = pareto_chart(
        "Fewer <units>",
        "n = 40",
        lines,
        kept="accuracy",
        harm="success",
        proposal=(2, 0.77, 0.1, 0.05, 0.2),
    )
    root = ET.fromstring(svg)
    words = " ".join(root.itertext())
    for label in (
        "Fewer <units>",
        "n = 40",
        "greedy",
        "by gradient",
        "random units",
        "2 units",
        "unedited",
    ):
        assert label in words
    assert render(svg).startswith(b"\x89PNG")


@pytest.mark.parametrize("points", [[], [(0, 0.5, 0.5)], [(0, 0.0, 0.0), (1, 0.0, 0.0)]])
def test_flat_or_empty_curves(points: list[tuple[int, float, float]]) -> None:
    assert pareto_chart("a", "b", [Line("greedy", points)], kept="k", harm="h").startswith("<svg")
