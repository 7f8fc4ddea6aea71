"""A snapshot brought up to date equals one computed from scratch: index, null, vocabulary, centres, whatever was changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synesthete.catalog.store.ledger import FILE
from synesthete.catalog.store.nearest import Nearest
from synesthete.catalog.store.segments import ARRAYS

from synesthete.catalog import Catalog, Item, relevance
from synesthete.catalog.relevance import kind_of, null_distribution
from synesthete.catalog.search import unit_centre
from synesthete.catalog.store import centroids, ledger
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.models.image_text_model import ImageTextModel
from tests.catalog.conftest import image, sample_items

KINDS = (kind_of(["mug"], 0), kind_of([], 1), kind_of(["a red mug for tea"], 1))


def computed(snapshot: Snapshot) -> dict[str, object]:
    """Everything that is taken over from snapshot to snapshot."""
    rows = np.arange(len(snapshot))
    return {
        "vectors": snapshot.fused(rows),
        "unit centre": unit_centre(snapshot),
        "words": sorted(relevance._vocabulary(snapshot)),
        **{str(kind): null_distribution(snapshot, kind) for kind in KINDS},
    }


def equal(one: dict[str, object], other: dict[str, object]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, np.ndarray) and "Kind" in name:
            assert np.allclose(value, other[name], atol=1e-6), name
        else:
            assert np.array_equal(value, other[name]), name


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Centres stand while fewer than half of the items have changed, and segments are merged early."""
    monkeypatch.setattr(centroids, "STEADY", 2)
    monkeypatch.setattr(ledger, "MERGE_AT", 3)


WORDS = ("thing", "harbour", "mug", "window", "purple clock")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.integers(0, 30), st.sampled_from(WORDS)),
        st.tuples(st.just("delete"), st.integers(0, 30), st.just("")),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.usefixtures("steady")
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
@pytest.mark.parametrize("ivf_above", [10**6, 10])
def test_a_refreshed_snapshot_equals_a_new_one(
    changes: list[tuple[str, int, str]],
    ivf_above: int,
    shop_path: Path,
    model: ImageTextModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("refresh") / "my.catalog"
    shutil.copytree(shop_path, path)
    catalog = Catalog(path, ivf_above=ivf_above)
    catalog._take(model)
    computed(catalog.snapshot())
    ids = [item.id for item in sample_items()]
    for what, number, word in changes:
        name = ids[number] if number < len(ids) else f"new-{number}"
        if what == "upsert":
            catalog.upsert([Item(name, title=word, description=f"{word} {number}")])
        else:
            catalog.delete([name])
        taken = computed(catalog.snapshot())
        fresh = Catalog(path, ivf_above=ivf_above)
        equal(taken, computed(fresh.snapshot()))
        fresh.close()
    catalog.close()


@pytest.mark.usefixtures("steady")
def test_one_more_item_computes_nothing_anew(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = computed(catalog.snapshot())
    monkeypatch.setattr(Nearest, "best", lambda *a: pytest.fail("all items were compared again"))
    monkeypatch.setattr(
        Nearest, "__init__", lambda *a, **k: pytest.fail("an index built from scratch")
    )
    catalog.upsert([Item("zebra", images=(image("red", 40),))])
    after = computed(catalog.snapshot())
    assert np.array_equal(after["vectors"][:-1], before["vectors"])  # type: ignore[index]
    assert np.array_equal(after["unit centre"], before["unit centre"])  # type: ignore[arg-type]


def test_in_a_small_catalogue_every_change_moves_the_centres(catalog: Catalog) -> None:
    before = catalog.snapshot().space
    catalog.upsert([Item("zebra", images=(image("red", 40),))])
    after = catalog.snapshot().space
    assert not np.array_equal(before.image_centre, after.image_centre)
    assert np.array_equal(before.text_centre, after.text_centre)


def test_sums_are_those_of_the_items(catalog: Catalog) -> None:
    kept = catalog.snapshot()._sums
    assert kept is not None
    snapshot = catalog.snapshot()
    for name in ARRAYS:
        rows = snapshot.gather(name).astype(np.float64)
        there = ~np.isnan(rows[:, 0]) if name == "units" else rows.any(axis=1)
        total, count = getattr(kept, name)
        assert np.array_equal(total, rows[there].sum(axis=0))
        assert count == there.sum()
    again = centroids.Sums.from_bytes(kept.to_bytes())
    assert all(np.array_equal(getattr(again, n)[0], getattr(kept, n)[0]) for n in ARRAYS)


def test_a_catalogue_of_the_format_before_is_opened(catalog: Catalog) -> None:
    import sqlite3

    expected = computed(catalog.snapshot())
    catalog.close()
    with sqlite3.connect(catalog.path / FILE) as connection:
        connection.execute("DROP TABLE sums")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    old = Catalog(catalog.path)
    assert old.snapshot()._sums is None
    equal(computed(old.snapshot()), expected)
    old.close()
