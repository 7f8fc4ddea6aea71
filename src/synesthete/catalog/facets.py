"""What a list of items is sorted by, and what is counted among them: values of attributes, and prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synesthete.catalog.filters import known_name, values_by_name
from synesthete.catalog.requests import RELEVANCE, Facet, FacetValue, PriceRange
from synesthete.catalog.schema import Item
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.words import SEPARATOR, as_number
from synesthete.errors import SynestheteError

COUNTED = ("id", "price", "facets")
MOST_FACETS = 20
OWN = ("id", "title", "price")  # besides the category, which is an attribute like others here
_Key = tuple[
    bool, float, str
]  # numbers come before texts from low to high, and after them from high to low


def check_sort(snapshot: Snapshot, sort: str) -> None:
    """Refuse an order by what no item has.

    Raises
    ------
    SynestheteError
        Near names are its hint.
    """
    if sort == f"-{RELEVANCE}":
        raise SynestheteError(
            "relevance goes from high to low by itself", hint="leave out the minus"
        )
    if sort != RELEVANCE:
        known_name(snapshot, sort.removeprefix("-"), [*OWN, "category", RELEVANCE])


def column_of(sort: str) -> str:
    """The column that an order looks at."""
    name = sort.removeprefix("-")
    return name if name in OWN else "facets"


def sorted_ids(batches: Iterable[pa.RecordBatch], sort: str) -> list[str]:
    """Ids of items in an order: those without a value last, ties by id.

    Of several values of an item the one counts that comes first.

    Parameters
    ----------
    batches
        With `id` and `column_of(sort)`.
    sort
        As for `Search`; anything but a name with or without a minus orders by id.
    """
    name, down = sort.removeprefix("-"), sort.startswith("-")
    keys_of = _keys_of(name)
    valued: list[tuple[_Key, str]] = []
    others: list[str] = []
    for batch in batches:
        for one, value in zip(
            *(batch[c].to_pylist() for c in ("id", column_of(sort))), strict=True
        ):
            keys = keys_of(value)
            if keys:
                valued.append((max(keys) if down else min(keys), one))
            else:
                others.append(one)
    valued.sort(key=lambda pair: pair[1])
    valued.sort(key=lambda pair: pair[0], reverse=down)
    return [one for _, one in valued] + sorted(others)


def items_page(snapshot: Snapshot, sort: str, after: str, limit: int) -> list[Item]:
    """The items that come next after one of this id, in an order; from the first after ``""``.

    Raises
    ------
    SynestheteError
        An order by what no item has; in another order than by id, `after` is not there any more.
    """
    if sort == "id":
        return snapshot.page(after, limit)
    check_sort(snapshot, sort)
    ids = sorted_ids(snapshot.scan(sorted({"id", column_of(sort)})), sort)
    if after and after not in ids:
        raise SynestheteError(f"no item {after[:80]!r} to go on after", hint="list from the start")
    start = ids.index(after) + 1 if after else 0
    return list(snapshot.items(ids[start : start + limit]))


def _keys_of(name: str) -> Callable[[Any], list[_Key]]:
    if name == RELEVANCE:  # without a query all are equal, whatever attribute is called so
        return lambda value: []
    if name == "price":
        return lambda price: [] if price is None or price != price else [(False, price, "")]
    if name in OWN:
        return lambda text: [(True, 0.0, text if name == "id" else text.casefold())] if text else []
    start = name + SEPARATOR

    def keys(facets: Sequence[str]) -> list[_Key]:
        values = [one.removeprefix(start) for one in facets if one.startswith(start)]
        numbers = [as_number(value) for value in values]
        pairs = zip(values, numbers, strict=True)
        return [(False, n, "") if n == n else (True, 0.0, value) for value, n in pairs]

    return keys


def facets_of(
    snapshot: Snapshot, batches: Iterable[pa.RecordBatch], limit: int
) -> tuple[tuple[Facet, ...], PriceRange | None]:
    """What is counted among some items, with columns `COUNTED`: of each attribute the `limit` most frequent values."""
    counts: Counter[str] = Counter()
    prices: list[tuple[float, float, int]] = []
    for batch in batches:
        columns = {
            "row": pc.list_parent_indices(batch["facets"]),
            "facet": pc.list_flatten(batch["facets"]),
        }
        # An item that has a value twice has it.
        distinct = pa.table(columns).group_by(["row", "facet"]).aggregate([])
        for one in pc.value_counts(distinct["facet"].combine_chunks()).to_pylist():
            counts[one["values"]] += one["counts"]
        known = pc.drop_null(batch["price"])
        if len(known):
            ends = pc.min_max(known).as_py()
            prices.append((ends["min"], ends["max"], len(known)))
    spellings, named = values_by_name(snapshot), dict[str, list[FacetValue]]()
    for text, number in counts.items():
        name, _, compared = text.partition(SEPARATOR)
        spelling = spellings.get(name, {}).get(compared, compared)
        named.setdefault(name, []).append(FacetValue(spelling, number))
    facets = [
        Facet(name, tuple(sorted(values, key=lambda one: (-one.count, one.value))[:limit]))
        for name, values in named.items()
    ]
    facets.sort(
        key=lambda one: (one.name != "category", -sum(v.count for v in one.values), one.name)
    )
    lows, highs, numbers = zip(*prices, strict=True) if prices else ((), (), ())
    price = PriceRange(min(lows), max(highs), sum(numbers)) if prices else None
    return tuple(facets[:MOST_FACETS]), price
