"""Recommendations: the profile by hand, MMR by its formula, muting, reasons that add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.catalog import Catalog, Signal
from synesthete.catalog.query_encoder import QueryEncoder
from synesthete.catalog.recommend import diversified, profile_of
from synesthete.catalog.search import DETAILS, reasons_for, unit_reasons, unit_shares
from synesthete.catalog.tables import read_signals
from synesthete.errors import SynestheteError
from tests.catalog.conftest import image


def slow_mmr(scores: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        best, best_value = -1, -np.inf
        for one in range(len(scores)):
            if one in chosen:
                continue
            alike = max((float(vectors[one] @ vectors[other]) for other in chosen), default=0.0)
            value = (1 - diversity) * float(scores[one]) - diversity * alike
            if value > best_value:
                best, best_value = one, value
        chosen.append(best)
    return chosen


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 12),
    k=st.integers(1, 8),
    diversity=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_mmr_is_its_formula(seed: int, count: int, k: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    # Dyadic numbers, so that both ways of summing give the same and ties are ties.
    vectors = rng.integers(-2, 3, (count, 3)).astype(np.float32) / 2
    scores = rng.integers(-8, 9, count).astype(np.float32) / 8
    assert diversified(scores, vectors, k, diversity).tolist() == slow_mmr(
        scores, vectors, k, diversity
    )


def test_the_profile_by_hand(catalog: Catalog) -> None:
    encoder = QueryEncoder(catalog.snapshot(), lambda: catalog.model)
    signals = [
        Signal("like", item="lamp-red", weight=2.0),
        Signal("like", text="a garden", age_days=30.0),
        Signal("dislike", item="chair-blue"),
    ]
    lamp, chair = catalog.vectors(["lamp-red", "chair-blue"])
    likes = 2.0 * lamp + 0.5 * encoder.text("a garden")
    likes /= np.linalg.norm(likes)
    across = chair - (chair @ likes) * likes
    across /= np.linalg.norm(across)
    share = min(1.0, 1.0 / 1.25)  # beside the mean weight of the likes
    expected = likes - 0.7 * share * across
    profile = profile_of(encoder, signals, half_life_days=30.0)
    assert np.allclose(profile.query.vector, expected / np.linalg.norm(expected), atol=1e-5)
    hits = catalog.recommend(signals, limit=24, diversity=0.0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    ids = {hit.id for hit in hits}
    assert len(ids) == 22
    assert not ids & {"lamp-red", "chair-blue"}


def test_old_likes_count_less(catalog: Catalog) -> None:
    def nearest(age: float) -> np.ndarray:
        signals = [Signal(item="lamp-red", age_days=age), Signal(item="bowl-blue")]
        encoder = QueryEncoder(catalog.snapshot(), lambda: catalog.model)
        return profile_of(encoder, signals, half_life_days=10).query.vector

    lamp = catalog.vectors(["lamp-red"])[0]
    cosines = [float(nearest(age) @ lamp) for age in (0, 10, 100)]
    assert cosines[0] > cosines[1] > cosines[2]


def test_diversity_spreads(catalog: Catalog) -> None:
    def spread(diversity: float) -> float:
        hits = catalog.recommend([Signal(item="lamp-red")], limit=6, diversity=diversity)
        vectors = catalog.vectors([hit.id for hit in hits])
        return float((vectors @ vectors.T).mean())

    assert spread(0.8) < spread(0.0)


def test_muting_leaves_out_and_turns_away(catalog: Catalog) -> None:
    hits = catalog.recommend([Signal(item="lamp-red")], mute=["lamp"], limit=24, reasons=5)
    assert hits
    assert not any("lamp" in hit.id for hit in hits)
    encoder = QueryEncoder(catalog.snapshot(), lambda: catalog.model)
    muted = encoder.text("lamp")
    profile = profile_of(encoder, [Signal(item="lamp-red")], muted=[muted])
    assert abs(float(profile.query.vector @ muted)) < 1e-5
    rows = catalog.snapshot().rows(["lamp-red"])
    message = reasons_for(catalog.snapshot(), encoder.text("lamp"), rows, limit=9, muted=["lamp"])[
        0
    ]
    assert not any("lamp" in one.text for one in message)


def test_cold_start(catalog: Catalog) -> None:
    assert len(catalog.recommend([Signal(text="a red lamp")], limit=5)) == 5
    assert len(catalog.recommend([Signal(image=image("red", 8))], limit=5)) == 5
    nearest = catalog.recommend([Signal(item="lamp-red")], limit=1, diversity=0.0)[0]
    assert nearest.reasons[0].kind == "profile"
    assert nearest.reasons[0].text == "like red lamp"


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ([], "at least one like"),
        ([Signal("dislike", item="lamp-red")], "at least one like"),
        ([Signal(item="none")], "no item 'none'"),
        ([Signal()], "exactly one"),
        ([Signal(item="lamp-red", text="x")], "exactly one"),
        ([Signal(item="lamp-red", weight=0)], "weight"),
        ([Signal(item="lamp-red", age_days=-1)], "days"),
        ([Signal("love", item="lamp-red")], "a like or a dislike"),  # type: ignore[arg-type]
    ],
)
def test_wrong_signals(catalog: Catalog, signals: list[Signal], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        catalog.recommend(signals)


def test_wrong_numbers(catalog: Catalog) -> None:
    for wrong in ({"diversity": 2.0}, {"half_life_days": 0.0}, {"limit": 0}):
        with pytest.raises(SynestheteError, match="expected"):
            catalog.recommend([Signal(item="lamp-red")], **wrong)  # type: ignore[arg-type]


def test_signals_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "me.jsonl"
    (tmp_path / "a.png").write_bytes(image("red", 1))
    file.write_text(
        '{"item": "a", "age_days": 3}\n{"side": "dislike", "text": "x"}\n{"image": "a.png"}\n'
    )
    assert read_signals(file) == [
        Signal(item="a", age_days=3.0),
        Signal("dislike", text="x"),
        Signal(image=(tmp_path / "a.png").resolve()),
    ]
    for line, message in (
        ('{"thing": 1}', "no key 'thing'"),
        ('{"side": "hate", "item": "a"}', "write like or dislike"),
        ('{"item": "a", "weight": "much"}', "are numbers"),
        ('{"image": "../../etc/passwd"}', "leads out"),
        ("[1]", "not an object"),
    ):
        file.write_text(line)
        with pytest.raises(SynestheteError, match=message):
            read_signals(file)


def test_shares_of_units_one_by_one(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    query = QueryEncoder(snapshot, lambda: catalog.model).text("a red thing")
    rows = snapshot.rows(["lamp-red"], DETAILS)
    shares = unit_shares(snapshot, query, rows)[0]
    image_vector, text_vector = rows.array("images")[0], rows.array("texts")[0]
    space = snapshot.space
    p, t = image_vector - space.image_centre, text_vector - space.text_centre
    both = 0.5 * p / np.linalg.norm(p) + 0.5 * t / np.linalg.norm(t)
    answers = rows.array("units")[0] - snapshot.unit_centre
    for unit in (0, 7, 100):
        weight = float(query @ snapshot.reference.path[:, unit])
        expected = weight * answers[unit] * 0.5 / np.linalg.norm(p) / np.linalg.norm(both)
        assert shares[unit] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert not unit_shares(snapshot, query, snapshot.rows(["mug-white"], DETAILS)).any()


def test_what_units_add_follows_the_cosine(catalog: Catalog) -> None:
    """The sum over units explains most of how the images' cosines differ between items."""
    snapshot = catalog.snapshot()
    explained = catalog.manifest["reference"]["explained"]
    query = QueryEncoder(snapshot, lambda: catalog.model).text("a red thing")
    rows = snapshot.rows([one for one in snapshot.ids if one != "mug-white"], DETAILS)
    images = snapshot.space.images(rows.array("images"))
    scale = np.linalg.norm(rows.array("images") - snapshot.space.image_centre, axis=1)
    answers = rows.array("units") - snapshot.unit_centre
    message = answers @ (query @ snapshot.reference.path) / scale
    assert np.corrcoef(message, images @ query)[0, 1] > np.sqrt(max(explained, 0)) - 0.4


def test_untested_names_are_not_given(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    shares = np.zeros(len(snapshot.reference.names), np.float32)
    shares[[3, 5, 8]] = (0.3, 0.2, -0.1)
    names = snapshot.reference.names
    snapshot.reference.tested[5] = True
    try:
        most = unit_reasons(snapshot, shares, 9)
        every = unit_reasons(snapshot, shares, 9, untested=True)
        left = unit_reasons(snapshot, shares, 9, quiet={names[5].casefold()})
    finally:
        snapshot.reference.tested[5] = False
    assert [(one.text, one.tested) for one in most] == [(names[5], True)]
    assert [(one.text, one.tested) for one in every] == [
        ("without a tested name", False),
        (names[5], True),
    ]
    away = unit_reasons(snapshot, shares, 9, sign=-1, untested=True)
    assert [one.weight for one in away] == [pytest.approx(-0.1)]
    assert left == []


def test_reasons_in_words(catalog: Catalog) -> None:
    hits = catalog.search("red lamp", limit=3, reasons=4)
    by_id = {hit.id: hit for hit in catalog.search("red lamp", limit=24, group=False, reasons=4)}
    words = [one.text for one in by_id["lamp-red"].reasons if one.kind == "words"]
    assert words == ["shares the words red, lamp"]
    for hit in hits:
        assert 1 <= len(hit.reasons) <= 4
        for one in hit.reasons:
            assert one.text
            assert (one.kind == "unit") == bool(one.address)
    assert catalog.search("red lamp", limit=1, reasons=0)[0].reasons == ()
