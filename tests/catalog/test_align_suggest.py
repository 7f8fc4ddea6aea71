"""Alignment judged by the catalogue's own pairs, and suggestions that abstain."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.catalog import Catalog, Item
from synesthete.catalog.align import own_pairs, read_campaign, verdict_of
from synesthete.catalog.schema import image_name
from synesthete.catalog.suggest import entropy, weights
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Policy
from synesthete.reviews.cases import Queue as Cases
from tests.catalog.conftest import image, sample_items


def test_own_pairs_by_hand(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    both = [key for key in snapshot.ids if key not in ("mug-white", "plate-white")]
    rows = snapshot.rows(both, ("images", "texts"))
    images = snapshot.space.images(rows.array("images"))
    texts = snapshot.space.texts(rows.array("texts"))
    cosines = images @ texts.T
    pairs = own_pairs(snapshot)
    assert np.allclose(pairs.own, np.sort(np.diag(cosines)), atol=1e-5)
    steps = [round(i * 22 / 6) for i in range(1, 6)]
    others = [cosines[i, (i - step) % 22] for step in steps for i in range(22)]
    assert np.allclose(pairs.others, np.sort(others), atol=1e-5)
    assert pairs.among_own(2.0) == 1.0
    assert pairs.among_others(float(np.median(others))) == pytest.approx(0.5, abs=0.02)


def test_verdicts() -> None:
    assert [verdict_of(x) for x in (None, 0.96, 0.95, 0.9, 0.8, 0.79)] == [
        "unsure",
        "match",
        "match",
        "unsure",
        "unsure",
        "mismatch",
    ]


def test_every_copy_against_every_image(catalog: Catalog) -> None:
    shots = [image("red", 8), image("blue", 9)]
    found = catalog.align(["a red lamp", "a blue lamp"], shots, reasons=4)
    assert len(found) == 4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert one.among_pairs is not None
        assert one.among_others is not None
        assert len(one.agreeing) == len(one.disagreeing) == len(one.regions) == 4
        assert all(reason.weight > 0 for reason in one.agreeing)
        assert all(reason.weight < 0 for reason in one.disagreeing)
        assert all(
            0 <= r.left < 1 and 0 <= r.top < 1 and r.left + r.width <= 1.001 for r in one.regions
        )
    assert found[0].as_dict()["verdict"] in ("match", "mismatch", "unsure")


def test_words_are_what_their_absence_takes(catalog: Catalog) -> None:
    shot = image("red", 8)
    whole = catalog.align(["red shiny lamp"], [shot])[0]
    for word in whole.words:
        rest = " ".join(w for w in ["red", "shiny", "lamp"] if w != word.text)
        without = catalog.align([rest], [shot])[0]
        assert word.weight == pytest.approx(whole.score - without.score, abs=1e-5)


def test_units_that_answer_to_writing_are_flagged_and_hold_a_match_back(catalog: Catalog) -> None:
    shot = image("red", 8)
    copies = [f"a {colour} {kind}" for colour in ("red", "blue") for kind in ("lamp", "mug", "sky")]
    free = catalog.align(copies, [shot], reasons=3)[0]
    reference = catalog.reference
    every = np.ones(len(reference.names), bool)
    catalog._opened.reference = dataclasses.replace(reference, typographic=every, sensitive=~every)
    catalog._opened._snapshot = None
    held = next(one for one in catalog.align(copies, [shot], reasons=3) if one.copy == free.copy)
    assert held.flags
    assert {flag.kind for flag in held.flags} == {"typographic"}
    assert held.flags[0].decides == (
        verdict_of(own_pairs(catalog.snapshot()).among_others(-1.0))
        != verdict_of(held.among_others)
    )
    assert held.verdict != "match"
    catalog._opened.reference = dataclasses.replace(reference, typographic=~every, sensitive=~every)
    catalog._opened._snapshot = None
    assert all(not one.flags for one in catalog.align(copies, [shot]))


def test_too_few_pairs_to_judge_by(empty: Catalog) -> None:
    empty.upsert(sample_items()[:5])
    (found,) = empty.align(["a mug"], [image("red", 1)])
    assert (found.among_pairs, found.among_others, found.verdict) == (None, None, "unsure")


def test_wrong_alignments(catalog: Catalog) -> None:
    for copies, images, message in (
        ([], [image("red", 1)], "nothing to align"),
        (["x"], [], "nothing to align"),
        ([" "], [image("red", 1)], "empty text"),
        (["x"], [b"x"], "."),
        (["x"], [Path("/none.png")], "no such file"),
    ):
        with pytest.raises(SynestheteError, match=message):
            catalog.align(copies, images)


def test_campaign_folders(tmp_path: Path) -> None:
    for name in ("summer.png", "summer-2.png", "winter.png", "alone.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "summer.txt").write_text("Sun!\n\nMore sun!\n", encoding="utf-8")
    (tmp_path / "winter.txt").write_text("\ufeffSnow", encoding="utf-8")
    parts = list(read_campaign(tmp_path))
    assert [(p.name, p.copies, [f.name for f in p.images]) for p in parts] == [
        ("summer", ("Sun!", "More sun!"), ["summer-2.png", "summer.png"]),
        ("winter", ("Snow",), ["winter.png"]),
    ]
    (tmp_path / "campaign.csv").write_text("image,copy\nsummer.png,A\nsummer.png,B\n")
    (part,) = read_campaign(tmp_path)
    assert part.copies == ("A", "B")
    for content, message in (
        ("image,copy\n../x.png,A\n", "leads out"),
        ("image,copy\nsummer.png,\n", "no copy"),
        ("image,copy\n", "no rows"),
    ):
        (tmp_path / "campaign.csv").write_text(content)
        with pytest.raises(SynestheteError, match=message):
            read_campaign(tmp_path)
    with pytest.raises(SynestheteError, match="no such folder"):
        read_campaign(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(SynestheteError, match="no text with an image"):
        read_campaign(tmp_path / "bare")


class Queue:
    def __init__(self) -> None:
        self.cases: list[tuple[str, Mapping[str, Any], str, float]] = []

    def add(self, kind: str, payload: Mapping[str, Any], *, reason: str, confidence: float) -> str:
        self.cases.append((kind, payload, reason, confidence))
        return f"case {len(self.cases)}"


def test_suggestions_abstain_into_the_queue(catalog: Catalog) -> None:
    queue = Queue()
    sure = catalog.suggest(None, "red lamp", threshold=0.0, queue=queue)
    assert not sure.abstained
    assert not queue.cases
    unsure = catalog.suggest(image("red", 8), "red lamp", threshold=1.0, queue=queue)
    assert unsure.abstained
    assert unsure.ticket == "case 1"
    ((kind, payload, reason, confidence),) = queue.cases
    assert (kind, payload["brief"], payload["image"]) == ("suggest", "red lamp", True)
    assert payload["reference"] == image_name(image("red", 8))
    assert payload["proposal"] == unsure.categories[0].value == next(iter(payload["choices"]))
    assert confidence == unsure.confidence
    assert "is below 1.00" in reason
    assert catalog.suggest(None, "red lamp", threshold=1.0).ticket is None


def test_cases_of_suggestions_become_labels(catalog: Catalog, empty: Catalog) -> None:
    queue = Cases(catalog.path)
    found = {
        reference: catalog.suggest(shot, brief, reference=reference, threshold=1.0, queue=queue)
        for reference, shot, brief in (
            ("photo-7", image("red", 8), "red lamp"),
            ("photo-8", image("blue", 9), None),
            ("", None, "for Ann, a red lamp"),
        )
    }
    for suggestion in found.values():
        assert suggestion.ticket is not None
        queue.decide(suggestion.ticket, "accept", actor="ann")
    labels = {one.reference: one.label for one in queue.labels("suggest")}
    (hashed,) = set(labels) - set(found)
    assert re.fullmatch("text:[0-9a-f]{16}", hashed)
    assert list(labels.values()).count("") == 0
    for reference in ("photo-7", "photo-8"):
        assert labels[reference] == found[reference].categories[0].value
    # Without categories the proposal is an item; without items there is none.
    nothing = empty.suggest(None, "a lamp", queue=queue)
    empty.upsert([Item("a", title="only one")])
    item = empty.suggest(None, "one", threshold=0.0, audit=1.0, queue=queue)
    assert [queue.case(one.ticket or "").proposal for one in (nothing, item)] == ["", "a"]


def test_answers_are_audited(catalog: Catalog) -> None:
    queue = Queue()
    found = [
        catalog.suggest(None, "red lamp", reference=f"r{n}", threshold=0.0, audit=0.5, queue=queue)
        for n in range(20)
    ]
    audited = [Policy(0.0, 0.5).what(1.0, f"r{n}") == "audit" for n in range(20)]
    assert [one.ticket is not None for one in found] == audited
    assert 0 < sum(audited) < 20
    assert not any(one.abstained for one in found)
    assert {reason for _, _, reason, _ in queue.cases} == {"audit of an answer"}


def test_suggestions_add_up(catalog: Catalog) -> None:
    found = catalog.suggest(image("red", 8), "a lamp", limit=4, threshold=0.0)
    assert len(found.items) == 4
    assert found.as_dict()["items"][0]["id"] == found.items[0].id
    assert all(0 <= one.confidence <= 1.0001 for one in (*found.categories, *found.attributes))
    assert found.categories[0].confidence * found.items[0].relevance == pytest.approx(
        found.confidence
    )
    for question in found.questions:
        assert question.bits > 0
        assert question.text.startswith(f"Which {question.attribute}: ")
        assert all(option in question.text for option in question.options)
    assert [q.bits for q in found.questions] == sorted(
        (q.bits for q in found.questions), reverse=True
    )


def test_evidence_and_bits_by_hand() -> None:
    unrelated = np.array([0.0, 0.2], np.float32)  # spread 0.1
    found = weights(np.array([0.5, 0.4], np.float32), unrelated)
    assert found[0] / found[1] == pytest.approx(np.e, rel=1e-3)
    assert entropy([0.5, 0.25, 0.25]) == 1.5
    assert weights(np.zeros(0, np.float32), unrelated).shape == (0,)


def test_wrong_suggestions(catalog: Catalog, empty: Catalog) -> None:
    with pytest.raises(SynestheteError, match="nothing to search for"):
        catalog.suggest()
    with pytest.raises(SynestheteError, match="threshold"):
        catalog.suggest(None, "x", threshold=2.0)
    with pytest.raises(SynestheteError, match="audit"):
        catalog.suggest(None, "x", audit=-1.0)
    nothing = empty.suggest(None, "a lamp")
    assert (nothing.items, nothing.confidence, nothing.abstained) == ((), 0.0, True)
    empty.upsert([Item("a", title="only one")])
    assert len(empty.suggest(None, "one").items) == 1
