"""Search against an obvious re-implementation: fused vectors, filters, negatives, duplicates, relevance."""

from __future__ import annotations

import re

import numpy as np
import pytest

from synesthete.catalog import Catalog, Item
from synesthete.catalog.encode import make_query
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.reference import COMMON, RARE
from synesthete.catalog.relevance import TRIED, kind_of, null_distribution, relevance
from synesthete.catalog.search import WORDS, best
from synesthete.catalog.words import MISSPELT, folded, misspelt, searched
from synesthete.errors import SynestheteError
from tests.catalog.conftest import image


def slow_fused(catalog: Catalog) -> tuple[list[str], np.ndarray]:
    """Item by item, in double precision, rounded to half at the end."""
    snapshot, reference = catalog.snapshot(), catalog.reference
    rows = snapshot.rows(snapshot.ids, ("images", "texts"))
    images, texts = rows.array("images"), rows.array("texts")

    def centre(rows: np.ndarray, ground: np.ndarray) -> np.ndarray:
        there = [row.astype(float) for row in rows if np.abs(row).sum() > 0]
        return (sum(there) + 64 * ground.astype(float).mean(0)) / (len(there) + 64)

    def unit(row: np.ndarray, middle: np.ndarray) -> np.ndarray:
        if np.abs(row).sum() == 0:
            return np.zeros(len(row))
        return (row - middle) / np.linalg.norm(row - middle)

    image_centre = centre(images, reference.image_vectors)
    text_centre = centre(texts, reference.text_vectors)
    found = []
    for p, t in zip(images, texts, strict=True):
        both = 0.5 * unit(p, image_centre) + 0.5 * unit(t, text_centre)
        found.append(both / np.linalg.norm(both))
    return snapshot.ids, np.array(found).astype(np.float16).astype(np.float64)


def test_search_equals_comparing_with_everything(catalog: Catalog) -> None:
    ids, vectors = slow_fused(catalog)
    raw = catalog.model.encode_texts(["a purple zebra"])[0]  # words that no item has
    query = raw - catalog.reference.text_vectors.mean(0)
    scores = vectors @ (query / np.linalg.norm(query))
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))
    hits = catalog.search("a purple zebra", limit=24, group=False)
    assert [hit.id for hit in hits] == [ids[i] for i in order]
    assert np.allclose([hit.score for hit in hits], scores[order], atol=2e-3)


def test_more_than_there_are(catalog: Catalog) -> None:
    assert len(catalog.search("mug", limit=1000, group=False)) == 24
    with pytest.raises(SynestheteError, match="limit is 0"):
        catalog.search("mug", limit=0)


def test_an_empty_catalogue_finds_nothing(empty: Catalog) -> None:
    assert empty.search("mug") == []
    assert empty.search("mug", where=["colour=red"]) == []


def test_filters_equal_a_loop(catalog: Catalog) -> None:
    items = list(catalog.items())
    cases = {
        ("colour=red",): lambda i: "red" in i.attributes.get("colour", ()),
        ("colour=RED|blue",): lambda i: set(i.attributes.get("colour", ())) & {"red", "blue"},
        ("colour!=red",): lambda i: "red" not in i.attributes.get("colour", ()),
        ("rooms=garden",): lambda i: "garden" in i.attributes.get("rooms", ()),
        ("price<5",): lambda i: i.price is not None and i.price < 5,
        ("price>=5", "price <= 9"): lambda i: i.price is not None and 5 <= i.price <= 9,
        ("price=7",): lambda i: i.price == 7,
        ("category=lamp", "colour=blue"): lambda i: i.id == "lamp-blue",
        ("colour=none such",): lambda i: False,
    }
    for where, passes in cases.items():
        hits = catalog.search("thing", where=list(where), limit=50, group=False)
        assert {hit.id for hit in hits} == {i.id for i in items if passes(i)}, where
    mapped = catalog.search("thing", where={"colour": ["red"]}, limit=50, group=False)
    assert {hit.id for hit in mapped} == {
        f"{kind}-red" for kind in ("mug", "plate", "lamp", "chair", "bowl", "spoon")
    }


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("color=red", "did you mean 'colour'"),
        ("red", "no filter"),
        ("price<cheap", "not a valid number"),
    ],
)
def test_wrong_filters(catalog: Catalog, where: str, message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        catalog.search("mug", where=[where])


def test_nothing_to_search_for(catalog: Catalog) -> None:
    for text in (None, "", "  \n"):
        with pytest.raises(SynestheteError, match="nothing to search for"):
            catalog.search(text)
    with pytest.raises(SynestheteError, match="empty file"):
        catalog.search(image=b"")


def test_strange_texts(catalog: Catalog) -> None:
    for text in ("🙂🍎", "תפוח אדום", "a" * 100_000, "x. " * 10_000, "\u202etxet", "\x00"):
        assert len(catalog.search(text, limit=3)) == 3


def test_without_moves_away(catalog: Catalog) -> None:
    plain = {hit.id: hit.score for hit in catalog.search("zebra", limit=24, group=False)}
    away = {
        hit.id: hit.score
        for hit in catalog.search("zebra", without=["red lamp"], limit=24, group=False)
    }
    snapshot = catalog.snapshot()
    encoder = QueryEncoder(snapshot, lambda: catalog.model)
    wanted, unwanted = encoder.text("zebra"), encoder.text("red lamp")
    across = unwanted - (unwanted @ wanted) * wanted
    across /= np.linalg.norm(across)
    expected = wanted - 0.7 * across
    expected /= np.linalg.norm(expected)
    for key, vector in zip(snapshot.ids, catalog.vectors(), strict=True):
        assert away[key] == pytest.approx(float(vector @ expected), abs=1e-4)
    assert plain != away
    one = np.ones(1, np.float32)
    for alike in (wanted, wanted * np.float32(1 + 3e-7), wanted + np.float32(1e-7)):
        assert make_query(wanted[None], one, alike[None]) == pytest.approx(wanted, abs=1e-6)


def test_near_duplicates_stand_together(catalog: Catalog) -> None:
    first = next(catalog.items(["lamp-red"]))
    catalog.upsert(
        [
            Item(
                "lamp-red-2",
                title=first.title,
                description=first.description,
                category=first.category,
                reviews=first.reviews,
                price=9.0,
                attributes=first.attributes,
                images=(image("red", 8),),
            )
        ]
    )
    hits = catalog.search("red lamp", limit=24)
    (kept,) = [hit for hit in hits if hit.id in ("lamp-red", "lamp-red-2")]
    assert kept.duplicates == (({"lamp-red", "lamp-red-2"} - {kept.id}).pop(),)
    loose = catalog.search("red lamp", limit=25, group=False)
    assert len(loose) == 25
    assert all(not hit.duplicates for hit in loose)


def test_relevance_is_the_share_of_unrelated_queries(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    _ids, vectors = slow_fused(catalog)
    reference = catalog.reference
    own = {
        word
        for item in catalog.items()
        for word in f"{item.id} {item.title} {item.description} {item.category}".lower()
        .replace("-", " ")
        .replace(".", " ")
        .split()
    }
    items = [set(re.findall(r"\w+", folded(searched(item)))) for item in catalog.items()]
    texts = [one for one in reference.texts[:300] if one not in own]
    tried = list(dict.fromkeys(texts[:TRIED]))
    best, alike = [], []
    for place, text in enumerate(texts):
        raw = reference.text_vectors[reference.texts.index(text)]
        query = raw - reference.text_vectors.mean(0)
        cosines = vectors @ (query / np.linalg.norm(query))
        word = tried[place % len(tried)]
        near = [at for at, words in enumerate(items) if misspelt(word, words)]
        if near:
            alike.append(cosines[near].max() + MISSPELT * WORDS)
        else:
            best.append(cosines.max())
    kind = kind_of(["mug"], 0)
    null = null_distribution(snapshot, kind)
    assert alike
    assert np.allclose(null[: len(best)], np.sort(best), atol=2e-3)
    # Of an item with more other words a word counts less.
    assert (null[len(best) :] <= np.sort(alike) + 2e-3).all()
    assert (null[len(best) :] > max(best)).all()
    best += alike
    for score in (-1.0, 0.2, 0.4, 0.6, 1.0):
        value = relevance(snapshot, kind, np.array([score], np.float32))[0]
        assert value == pytest.approx(np.mean(np.array(best) < score), abs=0.02)


def test_kinds_of_queries_have_their_own_null(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    kinds = [
        kind_of(["mug"], 0),
        kind_of(["a red mug for tea"], 0),
        kind_of([], 1),
        kind_of(["mug"], 1),
    ]
    nulls = [null_distribution(snapshot, kind) for kind in kinds]
    assert all(len(one) >= 40 and (np.diff(one) >= 0).all() for one in nulls)
    assert len({one.mean() for one in nulls}) == 4


def test_the_cut(catalog: Catalog) -> None:
    every = catalog.search("mug", limit=24, cut=0.5, group=False)
    assert [hit.relevant for hit in every] == [hit.relevance >= 0.5 for hit in every]
    kept = catalog.search("mug", limit=24, cut=0.5, only_relevant=True, group=False)
    assert kept == [hit for hit in every if hit.relevant]
    with pytest.raises(SynestheteError, match="the cut"):
        catalog.search("mug", cut=1.5)


def test_photos_move_the_centre_of_query_images(catalog: Catalog) -> None:
    shot = image("red", 50)
    before = catalog.search(image=shot, limit=24, group=False)
    words = catalog.search("mug", limit=24, group=False)
    assert catalog.adapt([image("red", n) for n in range(60, 70)] + [b"broken"]) == 10
    after = catalog.search(image=shot, limit=24, group=False)
    assert [hit.score for hit in before] != [hit.score for hit in after]
    assert catalog.search("mug", limit=24, group=False) == words
    with pytest.raises(SynestheteError, match="none of the photos"):
        catalog.adapt([b"broken"])


def first(catalog: Catalog, text: str) -> str:
    """The item that words alone put first: the vectors are those of a random model."""
    nothing = np.zeros(catalog.model.embedding_dim, np.float32)
    return best(catalog.snapshot(), Query(nothing, kind_of([text], 0), (text,)), 1).rows.ids[0]


def test_exact_words_and_codes_win(catalog: Catalog) -> None:
    catalog.upsert(
        [
            Item("SKU-4711-X", title="Garden hose", attributes={"part": ("ZX_90/b",)}),
            Item("b", title="Äpfel und Birnen"),
            Item("c", title="红苹果 很好吃"),
            Item("d", title="яблоко зелёное"),
            Item("e", title="น้ำส้มคั้นสด"),  # Thai: orange juice, without spaces
            Item("f", title="青いりんごジュース"),  # Japanese: apple juice
        ]
    )
    for text, expected in {
        "blue lamp": "lamp-blue",
        "LAMP, blue!": "lamp-blue",
        "green spoons": "spoon-green",
        "SKU-4711-X": "SKU-4711-X",
        "sku4711x": "SKU-4711-X",
        "zx90b": "SKU-4711-X",
        "apfel": "b",
        "苹果": "c",
        "ЯБЛОКО": "d",
        "ส้ม": "e",
        "りんご": "f",
    }.items():
        assert first(catalog, text) == expected, text
    assert catalog.search("SKU-4711-X", limit=1)[0].id == "SKU-4711-X"
    found = catalog.search("blue lamp", where=["colour=red"], limit=30, group=False)
    assert {hit.id.split("-")[1] for hit in found} == {"red"}


def test_misspelt_words_are_found_and_named(catalog: Catalog) -> None:
    for text, expected, word in (
        ("blue lanp", "lamp-blue", "lamp (for lanp)"),
        ("spoom green", "spoon-green", "spoon (for spoom)"),
        ("whitte chair", "chair-white", "white (for whitte)"),
    ):
        assert first(catalog, text) == expected
        (hit,) = [one for one in catalog.search(text, limit=30) if one.id == expected]
        (reason,) = [one for one in hit.reasons if one.kind == "words"]
        assert word in reason.text
    (hit,) = [one for one in catalog.search("blue lamp", limit=30) if one.id == "lamp-blue"]
    assert "shares the words blue, lamp" in {reason.text for reason in hit.reasons}
    # A word that is in the catalogue is not taken for another.
    assert not any("(for" in r.text for h in catalog.search("red lamp") for r in h.reasons)


def test_words_add_their_share_to_the_cosine(catalog: Catalog) -> None:
    query = catalog._embedding().encoder().query("blue lamp", None)
    cosines = dict(zip(catalog.snapshot().ids, catalog.vectors() @ query.vector, strict=True))
    gains = {
        hit.id: hit.score - cosines[hit.id]
        for hit in catalog.search("blue lamp", limit=24, group=False)
    }
    assert gains["lamp-blue"] == pytest.approx(WORDS, abs=1e-4)
    for one, gain in gains.items():
        has = one.startswith("lamp") or one.endswith("blue")
        assert 0 < gain < WORDS if has and one not in ("lamp-blue", "mug-white") else True, one
        assert has or gain == pytest.approx(0.0, abs=1e-4), one


def test_only_units_with_tested_names_are_reasons(catalog: Catalog) -> None:
    assert not catalog.reference.tested.any()
    assert not any(r.kind == "unit" for h in catalog.search("red lamp") for r in h.reasons)


def test_unrelated_queries_are_seldom_relevant(catalog: Catalog) -> None:
    """Words that are in no item, and of which the null is not made: about one in ten reaches 0.9."""
    known = set(catalog.reference.texts)
    words = [
        "harbour", "violin", "parliament", "glacier", "senator", "mathematics", "tuesday", "orchestra", "engine",
        "doctor", "thunder", "museum", "election", "whale", "algebra", "insurance", "helicopter", "mountain",
        "president", "poetry", "volcano", "satellite", "prison", "festival", "kingdom", "surgery", "pilot", "economy",
        "bacteria", "castle",
    ]  # fmt: skip
    tried = [one for one in words if one not in known]
    assert len(tried) >= 15
    relevant = sum(catalog.search(word, limit=1, reasons=0)[0].relevant for word in tried)
    assert relevant <= 0.2 * len(tried)


def test_a_word_that_is_nearly_one_of_an_item_is_not_relevant_for_that(catalog: Catalog) -> None:
    """Of a large vocabulary three words in ten are taken for an item's: those of the null, too."""
    from wordfreq import top_n_list

    common = top_n_list("en", RARE)[COMMON:]
    words = [one for one in common if one.isascii() and one.isalpha() and len(one) > 3]
    rng = np.random.default_rng(0)
    planted = [f"{one[:2]}q{one[3:]}" for one in words if rng.random() < 0.3]
    catalog.upsert(
        Item(f"book-{n}", title="book", description=" ".join(planted[n::60])) for n in range(60)
    )
    own = {word for text in catalog.reference.texts for word in text.split()}
    tried = rng.choice([one for one in words if one not in own], 120, replace=False)
    found = [catalog.search(one, limit=1, reasons=0)[0] for one in tried.tolist()]
    assert 0.03 * len(tried) <= sum(hit.relevant for hit in found) <= 0.18 * len(tried)
    # A null of cosines alone would let all of these in.
    assert sum(hit.score > 1.0 for hit in found) > 0.25 * len(tried)
