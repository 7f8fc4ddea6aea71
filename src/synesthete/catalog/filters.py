"""Filters: what items have to have, as people write it and as SQL."""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from synesthete.catalog.fields import Where
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.store.table import quoted
from synesthete.catalog.words import as_number, facet, folded_value
from synesthete.errors import SynestheteError, near

_FORM = re.compile(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
OWN = ("id", "title", "category", "price")
_NAMED = ("category", "attributes")


@dataclass(frozen=True)
class Filter:
    """One condition: a name, a comparison, and the values of which any may hold."""

    name: str
    comparison: str
    values: tuple[str, ...]


def parse(where: Where) -> list[Filter]:
    """Filters of their short form, or of a mapping of names to allowed values.

    Raises
    ------
    SynestheteError
        A filter that is none, or compares with what is not a valid number.

    Examples
    --------
    >>> parse(["colour=red|white", "price<=5"])
    [Filter(name='colour', comparison='=', values=('red', 'white')), Filter(name='price', comparison='<=', values=('5',))]
    """
    if isinstance(where, str):
        where = [where]
    if isinstance(where, Mapping):
        return [
            Filter(name, "=", (values,) if isinstance(values, str) else tuple(map(str, values)))
            for name, values in where.items()
        ]
    found = []
    for text in where:
        match = _FORM.fullmatch(text)
        if not match:
            hint = "write name=value, name!=value, name<number or name>=number"
            raise SynestheteError(f"{text!r} is no filter", hint=hint)
        name, comparison, value = match.groups()
        values = tuple(one.strip() for one in value.split("|"))
        if comparison in ("<", "<=", ">", ">="):
            _number(value, text)
        found.append(Filter(name, comparison, values))
    return found


def condition(snapshot: Snapshot, where: Where, without: Collection[str] = ()) -> str | None:
    """The filters as a condition of SQL, and without some ids; None when there is nothing to filter by.

    Raises
    ------
    SynestheteError
        A name that no item has; near names are listed.
    """
    parts = [_sql(snapshot, one) for one in parse(where)]
    if without:
        parts.append(f"id NOT IN ({quoted(without)})")
    return " AND ".join(parts) or None


def values_by_name(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Names of attributes, and `category`, to their values: as filters compare them, and as an item spells them."""
    return snapshot.computed("values", lambda: _values_of(snapshot), _values_after).by_name


def attribute_names(snapshot: Snapshot) -> list[str]:
    """Names of all attributes, sorted."""
    return sorted(values_by_name(snapshot).keys() - {"category"})


def known_name(snapshot: Snapshot, name: str, names: Sequence[str] = OWN) -> None:
    """Refuse a name that is none of an item's own (`names`), and that no item has as an attribute.

    Raises
    ------
    SynestheteError
        Near names are its hint.
    """
    if name not in names and name not in values_by_name(snapshot) and len(snapshot):
        names = [*names, *attribute_names(snapshot)]
        hint = near(name, names) or f"it has {', '.join(names[:20])}"
        raise SynestheteError(f"no item has {name!r}", hint=hint)


@dataclass(frozen=True)
class _Values:
    """How many times each name has each value, as items spell it; and what `values_by_name` gives of them."""

    counts: Counter[tuple[str, str]]
    by_name: dict[str, dict[str, str]]


def _values_of(snapshot: Snapshot) -> _Values:
    counts = _counted(snapshot.scan(_NAMED))
    return _Values(counts, _spelt({}, counts))


def _values_after(known: _Values, snapshot: Snapshot) -> _Values:
    """Those of the next snapshot: what came is added, what was replaced or deleted is taken off."""
    lost = snapshot.lost(_NAMED)
    if lost is None:
        return _values_of(snapshot)
    came, gone = _counted(snapshot.fresh), _counted(lost)
    counts = known.counts.copy()
    counts.update(came)
    counts.subtract(gone)
    ended = [pair for pair in gone if counts[pair] <= 0]
    for pair in ended:
        del counts[pair]
    # Another spelling of a value that is gone may be there still.
    again = {name for name, _ in ended}
    by_name = {name: dict(some) for name, some in known.by_name.items() if name not in again}
    pairs = counts if again else came
    return _Values(
        counts, _spelt(by_name, (one for one in pairs if one in came or one[0] in again))
    )


def _counted(batches: Iterable[pa.RecordBatch]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for batch in batches:
        for one in pc.value_counts(batch["category"]).to_pylist():
            if one["values"]:
                found["category", one["values"]] += one["counts"]
        attributes = pc.list_flatten(batch["attributes"])
        lists = pc.struct_field(attributes, "values")
        names = pc.struct_field(attributes, "name").take(pc.list_parent_indices(lists))
        columns = {"name": names, "value": pc.list_flatten(lists)}
        distinct = pa.table(columns).group_by(["name", "value"]).aggregate([([], "count_all")])
        rows = (distinct[name].to_pylist() for name in ("name", "value", "count_all"))
        for name, value, count in zip(*rows, strict=True):
            found[name, value] += count
    return found


def _spelt(
    found: dict[str, dict[str, str]], pairs: Iterable[tuple[str, str]]
) -> dict[str, dict[str, str]]:
    """With some more names and values."""
    for name, value in pairs:
        spellings, compared = found.setdefault(name, {}), folded_value(value)
        spellings[compared] = min(spellings.get(compared, value), value)
    return found


def _sql(snapshot: Snapshot, one: Filter) -> str:
    known_name(snapshot, one.name)
    if one.comparison in ("=", "!="):
        right = _equal(one)
        return f"NOT ({right})" if one.comparison == "!=" else right
    limit = _number(one.values[0], one.name)
    if one.name == "price":
        return f"price {one.comparison} CAST('{limit!r}' AS DOUBLE)"
    values = values_by_name(snapshot).get(one.name, {})
    return _has_any(one.name, [v for v in values if _COMPARE[one.comparison](as_number(v), limit)])


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _equal(one: Filter) -> str:
    if one.name == "price":
        numbers = [f"CAST('{n!r}' AS DOUBLE)" for n in map(as_number, one.values) if n == n]
        return f"coalesce(price IN ({', '.join(numbers)}), false)" if numbers else "false"
    if one.name in ("id", "title"):
        values = {form for v in one.values for form in (v.strip().casefold(), v.strip().lower())}
        return f"lower({one.name}) IN ({quoted(sorted(values))})"
    return _has_any(one.name, [folded_value(value) for value in one.values])


def _has_any(name: str, values: Sequence[str]) -> str:
    if not values:
        return "false"
    return f"array_has_any(facets, [{quoted(sorted(facet(name, value) for value in values))}])"


def _number(text: str, where: str) -> float:
    number = as_number(text)
    if math.isnan(number):
        raise SynestheteError(f"{text!r} in the filter {where!r} is not a valid number")
    return number
