"""Names that are too narrow: a planted family is not called by one of its members, and average precision grades."""

from __future__ import annotations

import numpy as np
import pytest

from synesthete.analysis.design import Design
from synesthete.analysis.naming.candidates import labelled, mean_auc, precision_of, propose
from synesthete.analysis.naming.candidates import test as on_held_out
from synesthete.analysis.naming.hypernyms import HYPERNYM, Hypernym, hypernyms, narrowed
from synesthete.analysis.planted import planted_design

FAMILY = 6


@pytest.fixture(scope="module")
def design() -> Design:
    return planted_design(48)


def planted(design: Design, others: float, noise: float = 0.2, units: int = 24) -> np.ndarray:
    """Units that answer with 1 to their concept (u to concept 2u) and with `others` to its family's other members."""
    member = 2 * np.arange(units)
    own = design.concept[:, None] == member
    family = design.concept[:, None] // FAMILY == member // FAMILY
    rng = np.random.default_rng(7)
    signal = np.where(own, 1.0, others * family)
    return (signal + rng.normal(0, noise, own.shape)).astype(np.float32)


def names(design: Design, activations: np.ndarray) -> tuple[list[list[str]], np.ndarray]:
    """The names of each unit, and which of them hold by AUC, q and average precision before siblings are looked at."""
    words = len(design.concepts)
    halves = [np.flatnonzero(design.split.scoring == half) for half in (False, True)]
    chosen_on, tested_on = (
        labelled(h, design.concept[h], design.modality[h], words) for h in halves
    )
    found = propose({"auc": mean_auc(activations[halves[0]], chosen_on)})
    tested = on_held_out(activations[halves[1]], tested_on, found)
    chains = [
        (
            Hypernym(
                f"family {i // FAMILY}",
                tuple(range(i // FAMILY * FAMILY, (i // FAMILY + 1) * FAMILY)),
            ),
        )
        for i in range(words)
    ]
    kept, measured, held, kinds = narrowed(
        activations[halves[1]], tested_on, found, tested, chains=chains, at=0.75, precision=0.2
    )
    called = [*design.concepts, *(kind.name for kind in kinds)]
    rows = [[called[w] for w in some[good]] for some, good in zip(kept.word, held, strict=True)]
    for unit, slot in zip(*np.nonzero(held & (kept.word >= words)), strict=True):
        assert kept.methods[kept.method[unit, slot]] == HYPERNYM
        assert 0.9 < measured.auc[unit, slot] <= measured.high[unit, slot] <= 1
        assert measured.precision[unit, slot] > tested.precision[unit, slot]
    return rows, tested.held(0.75, 0.2)


def test_a_whole_family_is_not_called_by_one_member(design: Design) -> None:
    found, before = names(design, planted(design, others=1.0))
    assert before.any(axis=1).mean() > 0.8  # average precision alone lets the members pass
    families = [[f"family {2 * unit // FAMILY}"] for unit in range(24)]
    assert np.mean([a == b for a, b in zip(found, families, strict=True)]) >= 0.9


@pytest.mark.parametrize("others", [0.0, 0.4])
def test_a_member_that_is_preferred_keeps_its_name(design: Design, others: float) -> None:
    found, _ = names(design, planted(design, others))
    own = [design.concepts[2 * unit] for unit in range(24)]
    assert np.mean([name in some for name, some in zip(own, found, strict=True)]) >= 0.95
    assert not any(text.startswith("family") for some in found for text in some)


def slow_precision(values: np.ndarray, own: np.ndarray) -> float:
    """Among equal values the images of other concepts come first."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], own[i]))
    hits = [place for place, i in enumerate(order, start=1) if own[i]]
    return float(np.mean([(k + 1) / place for k, place in enumerate(hits)]))


def test_average_precision_by_modality_is_the_slow_one(design: Design) -> None:
    rng = np.random.default_rng(3)
    rows = np.flatnonzero(design.split.scoring)
    images = labelled(rows, design.concept[rows], design.modality[rows], len(design.concepts))
    activations = np.maximum(rng.normal(size=(len(rows), 6)), 0.4).round(1).astype(np.float32)
    words = rng.integers(-1, 48, size=(6, 3))
    found = precision_of(activations, images, words)
    assert found.shape == (4, 6, 3)
    for m, u, k in np.ndindex(found.shape):
        here = design.modality[rows] == m
        own = design.concept[rows][here] == words[u, k]
        if words[u, k] < 0 or not own.any() or own.all():
            assert np.isnan(found[m, u, k])
        else:
            assert found[m, u, k] == pytest.approx(slow_precision(activations[here, u], own))


def test_hypernyms_are_of_the_sense_that_the_family_has() -> None:
    words = ["seal", "otter", "dog", "cat", "wax", *(f"xy{i}" for i in range(40))]
    families = dict.fromkeys(words[:4], "animal") | {"wax": "office"}
    chains = hypernyms(words, families)
    # The first sense of seal in WordNet is sealing wax.
    first = chains[0][0]
    assert [words[i] for i in first.members][:2] == ["seal", "otter"]
    for chain in chains:
        sizes = [len(kind.members) for kind in chain]
        assert sizes == sorted(set(sizes))
        assert all(3 <= size <= len(words) / 8 for size in sizes)
    thumbs = ["thumbs up", "crossed fingers", "pointing up", *(f"xy{i}" for i in range(30))]
    (only,) = hypernyms(thumbs, dict.fromkeys(thumbs[:3], "body"))[0]
    assert only == Hypernym("body", (0, 1, 2))
