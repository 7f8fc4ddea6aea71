"""A snapshot brought up to date equals one computed from scratch: null, vocabulary, values to filter by."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.catalog import Catalog, Item, filters, relevance
from synesthete.catalog.filters import values_by_name
from synesthete.catalog.relevance import kind_of, null_distribution
from synesthete.catalog.store import table
from synesthete.catalog.store.centres import array_of
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.words import folded_value
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from tests.catalog.conftest import image, sample_items

KINDS = (kind_of(["mug"], 0), kind_of([], 1), kind_of(["a red mug for tea"], 1))


def computed(snapshot: Snapshot) -> dict[str, object]:
    """Everything that is taken over from snapshot to snapshot."""
    return {
        "words": relevance._vocabulary(snapshot),
        "values": values_by_name(snapshot),
        **{str(kind): null_distribution(snapshot, kind) for kind in KINDS},
    }


WORDS = ("thing", "harbour", "mug", "window", "purple clock")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.integers(0, 30), st.sampled_from(WORDS)),
        st.tuples(st.just("delete"), st.integers(0, 30), st.just("")),
    ),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_a_refreshed_snapshot_equals_a_new_one(
    changes: list[tuple[str, int, str]],
    shop_path: Path,
    model: ImageTextModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("refresh") / "my.catalog"
    shutil.copytree(shop_path, path)
    catalog = Catalog.open(path, model=model)
    computed(catalog.snapshot())
    ids = [item.id for item in sample_items()]
    for what, number, word in changes:
        name = ids[number] if number < len(ids) else f"new-{number}"
        if what == "upsert":
            catalog.upsert([Item(name, title=word, description=f"{word} {number}")])
        else:
            catalog.delete([name])
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # or words that may be misspelt are kept for a while
        patch.setattr(relevance, "STALE", 0.0)
        patch.setattr(relevance, "LEAST_STALE", 0)
        taken, fresh = computed(catalog.snapshot()), computed(Catalog(path).snapshot())
    # What only deleted items had is known until the catalogue is opened again.
    assert taken.pop("words") >= fresh.pop("words")  # type: ignore[operator]
    assert taken.pop("values") == fresh.pop("values")
    known_words = relevance._vocabulary(catalog.snapshot())
    if known_words == relevance._vocabulary(Catalog(path).snapshot()):
        for kind, scores in taken.items():
            assert np.allclose(scores, fresh[kind], atol=1e-6), kind  # type: ignore[call-overload]


def test_one_more_item_reads_nothing_anew(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = relevance._vocabulary(catalog.snapshot())
    words = (word for text in catalog.reference.texts for word in text.split())
    word = next(one for one in words if one not in known)
    computed(catalog.snapshot())
    before = dict(zip(catalog.snapshot().ids, catalog.vectors(), strict=True))
    real = Snapshot.scan

    def scan(self: Snapshot, columns: list[str], where: str | None = None, **more: bool) -> object:
        assert where is not None, "all items were read again"
        return real(self, columns, where, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "scan", scan)
        new = Item("new", title=word, images=(image("red", 40),), attributes={"size": ("XL",)})
        catalog.upsert([new])
        after = catalog.snapshot()
        computed(after)
        assert "xl" in values_by_name(after)["size"]
        assert word in relevance._vocabulary(after)
    vectors = dict(zip(catalog.snapshot().ids, catalog.vectors(), strict=True))
    assert all(np.array_equal(vectors[one], before[one]) for one in before)


def test_the_best_of_unrelated_queries_is_replaced_when_its_item_goes(catalog: Catalog) -> None:
    kind = kind_of(["mug"], 0)
    null_distribution(catalog.snapshot(), kind)
    kept = catalog.snapshot()._kept[("asked", kind)]
    (one, *_) = kept.best.ids.tolist()
    catalog.delete([one])
    after = null_distribution(catalog.snapshot(), kind)
    again = null_distribution(Catalog(catalog.path).snapshot(), kind)
    assert one not in catalog.snapshot()._kept[("asked", kind)].best.ids
    assert np.allclose(after, again, atol=1e-6)


def test_rows_come_in_the_order_of_the_ids(catalog: Catalog) -> None:
    snapshot = catalog.snapshot()
    ids_wanted = ["mug-red", "lamp-blue", "mug-red"]
    rows = snapshot.rows(ids_wanted, ("title",))
    assert (rows.ids, rows.values("title")) == (ids_wanted, ["red mug", "blue lamp", "red mug"])
    assert len(snapshot.rows([])) == 0
    with pytest.raises(SynestheteError, match=r"no item 'mug-rot'.*mug-red"):
        snapshot.rows(["mug-red", "mug-rot"])
    assert [item.id for item in snapshot.page("lamp-z", 2)] == snapshot.ids[12:14]
    assert [item.id for item in snapshot.page("", 100)] == snapshot.ids


def test_a_snapshot_stays_as_it_was(catalog: Catalog) -> None:
    before = catalog.snapshot()
    catalog.delete(["lamp-red"])
    assert len(before) == 24
    assert next(before.items(["lamp-red"])).title == "red lamp"
    assert len(catalog.snapshot()) == 23


def test_an_index_finds_what_few_items_pass(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "VECTOR_INDEX_ABOVE", 10)
    catalog.upsert([Item(f"thing {n}", title=f"thing {n}", category="thing") for n in range(300)])
    snapshot = catalog.snapshot()
    assert snapshot._probes
    lamps = {"lamp-red", "lamp-blue", "lamp-green", "lamp-white"}
    for text in ("zebra", "a red thing"):
        found = catalog.search(text, where=["category=lamp"], limit=10, group=False)
        assert {hit.id for hit in found} == lamps
    catalog.upsert([Item("later", title="a later thing", category="lamp")])
    found = catalog.search("zebra", where=["category=lamp"], limit=10, group=False)
    assert {hit.id for hit in found} == {*lamps, "later"}


def test_what_the_index_does_not_have_yet_is_found(
    catalog: Catalog, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "VECTOR_INDEX_ABOVE", 10)
    monkeypatch.setattr(table, "SMALL", 10)  # so that a few items wait for their index
    catalog.upsert([Item(f"thing {n}", title=f"thing {n}", category="thing") for n in range(300)])
    query = np.eye(1, model.embedding_dim, dtype=np.float32)[0]

    def check() -> Snapshot:
        """The snapshot that was brought up to date, and one that is opened now, find each row once, the nearest first."""
        snapshot = catalog.snapshot()
        rows = list(snapshot.scan(["fused"], row_ids=True))
        places = np.concatenate([one["_rowid"].to_numpy() for one in rows])
        cosines = np.concatenate([array_of(one, "fused") for one in rows]) @ query
        for one in (snapshot, Catalog.open(catalog.path, model=model).snapshot()):
            (found,) = one.nearest_rows(query, 1000, None)
            assert sorted(found.row_ids) == sorted(places.tolist())
            assert 1 - found.numbers("_distance") == pytest.approx(-np.sort(-cosines), abs=1e-3)
        return snapshot

    before = check()
    assert (before._indexed_to > 0, len(late(before))) == (True, 0)
    for number, (change, unindexed) in enumerate(
        [
            (lambda: catalog.upsert([Item("a", title="a mug"), Item("b", title="a cup")]), 2),
            (lambda: catalog.upsert([Item("thing 7", title="another thing")]), 3),
            (lambda: catalog.upsert([Item("a", title="a new mug")]), 3),
            (lambda: catalog.delete(["b", "thing 8"]), 2),
        ]
    ):
        change()
        snapshot = check()
        assert len(late(snapshot)) == unindexed, number
        assert snapshot._indexed_to == before._indexed_to
    with monkeypatch.context() as patched:  # stopped while it brings the index up to date
        patched.setattr("lancedb.table.LanceTable.optimize", Raises())
        with pytest.raises(SynestheteError, match="no more"):
            catalog.upsert([Item(f"more {n}", title=f"more {n}") for n in range(9)])
    assert check()._indexed_to == 0
    catalog.upsert([Item(f"most {n}", title=f"most {n}") for n in range(9)])
    assert check()._indexed_to > before._indexed_to
    catalog.recenter()
    catalog.upsert([Item("last", title="the last thing")])
    assert len(late(check())) == 1


def late(snapshot: Snapshot) -> list[int]:
    found = snapshot.computed("unindexed", snapshot._unindexed)
    assert found is not None
    return found.row_ids.tolist()


class Raises:
    def __call__(self, **_: object) -> None:
        raise RuntimeError("no more")


NAMES, COLOURS = ("colour", "size", "category"), ("red", "Red", "RED", "blue", "5", "5.0")
ITEMS = st.tuples(
    st.integers(0, 12),
    st.sampled_from(("", "mug", "Mug", "lamp")),
    st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(COLOURS), max_size=3)),
)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rounds=st.lists(st.tuples(st.lists(ITEMS, max_size=4), st.sets(st.integers(0, 12), max_size=3)), min_size=1, max_size=5))  # fmt: skip
def test_counts_after_changes_are_those_of_a_full_scan(
    rounds: list[tuple[list[tuple[int, str, dict[str, list[str]]]], set[int]]],
    empty_path: Path,
    model: ImageTextModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("counts") / "my.catalog"
    shutil.copytree(empty_path, path)
    catalog = Catalog.open(path, model=model)
    catalog.upsert([Item("0", title="first", category="mug", attributes={"colour": ("red",)})])
    values_by_name(catalog.snapshot())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "_values_of", None)  # all items are never counted again
        for upserted, deleted in rounds:
            items = {
                str(number): Item(
                    str(number),
                    title="thing",
                    category=category,
                    attributes={name: tuple(values) for name, values in attributes.items()},
                )
                for number, category, attributes in upserted
            }
            catalog.upsert(items.values(), tidy=False)
            catalog.delete(map(str, deleted), tidy=False)
            expected: Counter[tuple[str, str]] = Counter()
            for item in catalog.items():
                pairs = [("category", item.category)] if item.category else []
                expected.update(pairs)
                for name, values in item.attributes.items():
                    expected.update((name, value) for value in values)
            known = catalog.snapshot()._kept["values"]
            assert known.counts == expected
            spelt: dict[str, dict[str, str]] = {}
            for name, value in sorted(expected, reverse=True):
                spelt.setdefault(name, {})[folded_value(value)] = value
            assert values_by_name(catalog.snapshot()) == spelt


def test_a_version_that_is_gone_is_counted_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    values_by_name(catalog.snapshot())

    def gone(self: Snapshot, ids: object) -> dict[str, int]:
        raise SynestheteError("that version is gone")

    monkeypatch.setattr(Snapshot, "there", gone)
    catalog.upsert([Item("lamp-red", title="a lamp", attributes={"colour": ("crimson",)})])
    assert "crimson" in values_by_name(catalog.snapshot())["colour"]
    assert values_by_name(catalog.snapshot()) == values_by_name(Catalog(catalog.path).snapshot())
