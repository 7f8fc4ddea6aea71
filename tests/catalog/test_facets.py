"""Order, pages and counts of a search against plain Python over random items."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from synesthete.catalog import Catalog, Item
from synesthete.catalog.facets import items_page
from synesthete.catalog.requests import Search, SearchPage
from synesthete.catalog.schema import Hit
from synesthete.catalog.search import DEPTH, HEAD
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from tests.catalog.conftest import image

COLOURS = ("red", "Red", "blue", "dark green", "Weiß")
SIZES = ("5", "5.0", "12", "1e1", "large", "-3")
KINDS = ("mug", "Lamp", "plate", "")


def random_items(n: int, seed: int) -> list[Item]:
    """Few words and values, so that there is much that is equal."""
    rng = random.Random(seed)
    items = []
    for number in rng.sample(range(10_000), n):
        attributes: dict[str, tuple[str, ...]] = {}
        if rng.random() < 0.8:
            attributes["colour"] = tuple(rng.choices(COLOURS, k=rng.randint(1, 3)))
        if rng.random() < 0.6:
            attributes["size"] = tuple(rng.choices(SIZES, k=rng.randint(1, 2)))
        kind = rng.choice(KINDS)
        items.append(
            Item(
                f"i{number}",
                title=rng.choice(("", "a mug", "A Lamp", "a plate", "zebra")),
                description=f"{rng.choice(COLOURS)} {kind} {rng.randint(0, 9)}",
                category=kind,
                price=rng.choice((None, 0.0, 2.5, 9.99, 120.0)),
                attributes=attributes,
            )
        )
    return items


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, model: ImageTextModel) -> Catalog:
    catalog = Catalog.create(tmp_path_factory.mktemp("facets") / "many.catalog", model)
    assert catalog.upsert(random_items(150, seed=1)).added == 150
    # An item replaced: what is counted is how things are now.
    catalog.upsert([Item("new", title="a mug", category="mug", attributes={"colour": ("Teal",)})])
    return catalog


def compared(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return value.strip().casefold()
    return repr(number)


def values_of(item: Item, name: str) -> set[str]:
    own = (item.category,) if name == "category" and item.category else ()
    return {compared(value) for value in (*own, *item.attributes.get(name, ()))}


def slow_counts(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Item by item: a value counts once for each."""
    counts: dict[str, Counter[str]] = {}
    for item in items:
        for name in ("category", *item.attributes):
            counts.setdefault(name, Counter()).update(values_of(item, name))
    return {name: dict(found) for name, found in counts.items() if found}


def slow_order(items: Sequence[Item], sort: str) -> list[str]:
    """One pass for each item: its value, or none."""
    name, down = sort.removeprefix("-"), sort.startswith("-")

    def key(item: Item) -> Any:
        if name == "price":
            return None if item.price is None else (0, item.price, "")
        if name == "title":
            return (1, 0.0, item.title.casefold()) if item.title else None
        if name == "id":
            return (1, 0.0, item.id)
        keys = []
        for value in values_of(item, name):
            try:
                keys.append((0, float(value), ""))
            except ValueError:
                keys.append((1, 0.0, value))
        return (max(keys) if down else min(keys)) if keys else None

    there = sorted((item for item in items if key(item) is not None), key=lambda item: item.id)
    there = sorted(there, key=key, reverse=down)
    gone = sorted(item.id for item in items if key(item) is None)
    return [item.id for item in there] + gone


def counted(page: SearchPage) -> dict[str, dict[str, int]]:
    return {
        one.name: {compared(value.value): value.count for value in one.values}
        for one in page.facets
    }


def joined(catalog: Catalog, limit: int, **more: Any) -> list[Any]:
    hits, offset = [], 0
    while offset is not None:
        page = catalog.answer(Search(limit=limit, offset=offset, **more))
        hits += page.hits
        offset = page.next  # type: ignore[assignment]
    return hits


FILTERS: dict[tuple[str, ...], Callable[[Item], bool]] = {
    ("price>=0",): lambda item: item.price is not None,
    ("colour=red",): lambda item: "red" in values_of(item, "colour"),
    ("colour!=red", "size=5"): lambda item: (
        "red" not in values_of(item, "colour") and "5.0" in values_of(item, "size")
    ),
    ("category=lamp|mug", "price<10"): lambda item: (
        values_of(item, "category") & {"lamp", "mug"} != set()
        and item.price is not None
        and item.price < 10
    ),
    ("size>4",): lambda item: any(
        float(one) > 4 for one in values_of(item, "size") if one != "large"
    ),
    ("colour=no such",): lambda item: False,
}
SORTS = (
    "id", "-id", "price", "-price", "title", "-title", "category", "-category", "colour", "size", "-size",
)  # fmt: skip


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_filters_alone_list_and_count_what_passes(shop: Catalog, where: tuple[str, ...]) -> None:
    passing = [item for item in shop.items() if FILTERS[where](item)]
    page = shop.answer(Search(where=where, limit=1000, facets=100))
    assert [hit.id for hit in page.hits] == sorted(item.id for item in passing)
    assert {(hit.score, hit.relevance, hit.relevant) for hit in page.hits} <= {(0.0, 1.0, True)}
    assert (page.total, page.next) == (len(passing), None)
    assert counted(page) == slow_counts(passing)
    prices = [item.price for item in passing if item.price is not None]
    expected = (min(prices), max(prices), len(prices)) if prices else None
    price = page.price and (page.price.low, page.price.high, page.price.count)
    assert price == expected
    for facet in page.facets:
        order = [(-one.count, one.value) for one in facet.values]
        assert order == sorted(order)
    few = shop.answer(Search(where=where, facets=2))
    assert [one.values for one in few.facets] == [one.values[:2] for one in page.facets]


@pytest.mark.parametrize("sort", SORTS)
def test_orders(shop: Catalog, sort: str) -> None:
    items = list(shop.items())
    expected = slow_order(items, sort)
    assert [hit.id for hit in shop.answer(Search(sort=sort, limit=1000)).hits] == expected
    assert [hit.id for hit in joined(shop, 17, sort=sort)] == expected
    listed: list[str] = []
    while page := items_page(shop.snapshot(), sort, listed[-1] if listed else "", 40):
        listed += [item.id for item in page]
    assert listed == expected


@pytest.mark.parametrize("seed", range(6))
def test_pages_joined_are_one_answer(shop: Catalog, seed: int) -> None:
    rng = random.Random(seed)
    more: dict[str, Any] = {
        "text": rng.choice(("mug", "red lamp", "blue plte 3", "a purple elephant")),
        "where": rng.choice(((), ("price<100",), ("colour=red|blue",))),
        "cut": rng.choice((0.0, 0.3, 0.9)),
        "only_relevant": rng.random() < 0.5,
        "group": rng.random() < 0.7,
        "sort": rng.choice(("relevance", "relevance", "-price", "title", "size")),
    }
    whole = shop.answer(Search(limit=1000, **more)).hits
    assert joined(shop, rng.choice((1, 7, 10, 50)) if len(whole) < 40 else 23, **more) == whole
    if more["sort"] != "relevance":
        chosen = {hit.id for hit in whole}
        items = [item for item in shop.items() if item.id in chosen]
        assert [hit.id for hit in whole] == slow_order(items, more["sort"])
        assert all(hit.relevance >= more["cut"] for hit in whole)


@pytest.mark.parametrize(("text", "cut"), [("red lamp", 0.2), ("mug", 0.5), ("zebra", 0.99)])
def test_counts_of_a_query_are_what_a_filter_leaves(shop: Catalog, text: str, cut: float) -> None:
    hits = shop.search(text, limit=1000, group=False, reasons=0)
    matching = {hit.id for hit in hits if hit.relevance >= cut}
    page = shop.answer(Search(text, cut=cut, facets=100, limit=5))
    assert 0 < page.total == len(matching) <= 151
    assert counted(page) == slow_counts([item for item in shop.items() if item.id in matching])
    for facet in page.facets:
        for one in facet.values:
            where = {facet.name: [one.value]}
            left = shop.answer(Search(text, cut=cut, where=where, limit=1, facets=1))
            assert left.total == one.count, (facet.name, one)


def test_a_first_page_counts_at_least_so_many(shop: Catalog) -> None:
    """It is of the same list as all others, near-duplicates included, but no more of it is ranked."""
    for text in ("red lamp", "mug", "a purple elephant"):
        deep = shop.answer(Search(text, cut=0.2, limit=10, facets=1))
        page = shop.answer(Search(text, cut=0.2, limit=10))
        assert page.hits == deep.hits
        assert page.total <= deep.total
        assert not deep.at_least
        assert page.at_least or page.total == deep.total
    assert shop.answer(Search("red lamp", cut=0.2, limit=2)).at_least
    few = shop.answer(Search("mug", where=["id=new"]))
    assert (few.total, few.at_least, few.next) == (
        len([h for h in few.hits if h.relevant]),
        False,
        None,
    )


def test_pages_of_an_image_query_are_of_one_list(
    shop: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is searched for as many items for each: how deep it looks behind a filter depends on that."""
    by_vector, limits = Snapshot.by_vector, set[int]()

    def noting(self: Snapshot, vector: Any, limit: int, *more: Any) -> Any:
        limits.add(limit)
        return by_vector(self, vector, limit, *more)

    shot, where = image("red", 50), ["price<200"]
    whole = shop.answer(Search(image=shot, where=where, limit=1000))
    assert len(whole.hits) > HEAD + 10
    monkeypatch.setattr(Snapshot, "by_vector", noting)
    joined: list[Hit] = []
    start: int | None = 0
    while start is not None:
        page = shop.answer(Search(image=shot, where=where, limit=10, offset=start))
        joined, start = [*joined, *page.hits], page.next
    assert joined == whole.hits
    assert limits == {DEPTH}


def test_a_filter_changes_no_score(shop: Catalog) -> None:
    whole = {hit.id: hit for hit in shop.search("blue lanp", limit=1000, group=False)}
    for hit in shop.search("blue lanp", where=["colour=red"], limit=1000, group=False):
        assert hit == whole[hit.id]


def test_spellings_are_an_items_own(shop: Catalog) -> None:
    (facet,) = [one for one in shop.answer(Search(where=["id=new"], facets=5)).facets if one.name == "colour"]  # fmt: skip
    assert [one.value for one in facet.values] == ["Teal"]
    assert shop.answer(Search(where=["colour=weiß"], facets=9)).total > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Search(sort="prise", text="x"), "did you mean 'price'"),
        (Search(sort="-color"), "did you mean 'colour'"),
        (Search(sort="-relevance"), "from high to low by itself"),
        (Search("x", offset=-1), "offset is -1"),
        (Search("x", facets=-1), "facets is -1"),
        (Search(where=["price<5"], limit=0), "limit is 0"),
        (Search(where=["price<5"], without=["red"]), "nothing to search for"),
        (Search(), "nothing to search for"),
    ],
)
def test_wrong_requests(shop: Catalog, wrong: Search, message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        shop.answer(wrong)


def test_beyond_the_end_and_of_nothing(shop: Catalog, empty: Catalog) -> None:
    page = shop.answer(Search("mug", offset=5000))
    assert (page.hits, page.next) == ([], None)
    assert (page.total, page.at_least) == (shop.answer(Search("mug", facets=1)).total, False)
    nothing = empty.answer(Search("mug", sort="colour", facets=3, where=["colour=red"]))
    assert nothing == SearchPage(hits=[], next=None, total=0)
    assert empty.answer(Search(sort="price", facets=3)) == SearchPage(hits=[], next=None, total=0)


def test_an_item_that_is_gone_ends_a_list(shop: Catalog) -> None:
    with pytest.raises(SynestheteError, match="list from the start"):
        items_page(shop.snapshot(), "price", "never", 5)
    assert items_page(shop.snapshot(), "id", "never", 5)


def test_names_of_items_that_are_gone_are_not_known_any_more(
    catalog: Catalog, tmp_path: Path, model: ImageTextModel
) -> None:
    first = Item("a", title="mug", attributes={"tint": ("Red",), "weight": ("5",)})
    catalog.upsert([first, Item("b", title="cup", attributes={"glaze": ("matt",)})])
    assert catalog.answer(Search(where=["weight=5", "tint=RED"])).total == 1
    catalog.upsert([Item("a", title="mug", attributes={"tint": ("red",)})])
    catalog.delete(["b"])
    for one in (catalog, Catalog.open(tmp_path / "my.catalog", model=model)):
        for name in ("weight", "glaze"):
            with pytest.raises(SynestheteError, match=f"no item has '{name}'"):
                one.answer(Search(where=[f"{name}=5"]))
        facets = {f.name: f.values for f in one.answer(Search(where=["tint=red"], facets=3)).facets}
        assert [value.value for value in facets["tint"]] == ["red"]


def test_an_attribute_called_relevance_is_no_order(empty: Catalog) -> None:
    values = {"a": "3", "b": "1", "c": "2"}
    empty.upsert(
        [Item(one, title="mug", attributes={"relevance": (v,)}) for one, v in values.items()]
    )
    page = empty.answer(Search(where=["relevance>0"]))
    assert [hit.id for hit in page.hits] == ["a", "b", "c"]
    assert [item.id for item in items_page(empty.snapshot(), "relevance", "", 5)] == list("abc")
