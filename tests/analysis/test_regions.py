"""Labels of a map's regions: what was planted is found where it lies, and nothing where places say nothing."""

from __future__ import annotations

import numpy as np

from synesthete.analysis.regions import LEVEL, label_regions


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, list[int]]]:
    """Six crowds of dots; one group is mostly in the first, one in the second, others anywhere."""
    rng = np.random.default_rng(seed)
    centre = np.array([[0, 0], [9, 0], [0, 9], [9, 9], [18, 0], [18, 9]], float)
    crowd = np.repeat(np.arange(6), 60)
    x, y = (centre[crowd] + rng.normal(0, 0.8, (360, 2))).T
    groups = {"fruit": [*rng.choice(60, 20, replace=False).tolist(), 200], "dogs": [*range(60, 80)]}
    for number in range(30):
        groups[f"random {number}"] = rng.choice(360, 20, replace=False).tolist()
    return x, y, groups


def test_what_crowds_together_is_labelled_where_it_lies() -> None:
    x, y, groups = planted()
    found = label_regions(x, y, groups.items())
    assert {one.text for one in found if not one.level} == {"fruit", "dogs"}
    for one in found:
        near = {"fruit": (0, 0), "dogs": (9, 0)}[one.text]
        assert np.hypot(one.x - near[0], one.y - near[1]) < 2
        assert one.q <= LEVEL
        assert one.count <= one.units <= 360


def test_places_that_say_nothing_have_no_label() -> None:
    labelled = 0
    for seed in range(40):
        x, y, groups = planted(seed)
        order = np.random.default_rng(seed).permutation(len(x))
        labelled += bool(label_regions(x[order], y[order], groups.items()))
    # Three levels at a false discovery rate of 5 % each, which the binomial test keeps well within.
    assert labelled <= 6


def test_without_groups_or_places_there_are_none() -> None:
    x = np.zeros(20)
    assert label_regions(x, x, []) == []
    assert label_regions(x[:0], x[:0], [("a", [])]) == []
    assert label_regions(x, x, [("a", range(10))]) == [], "all in one place"
