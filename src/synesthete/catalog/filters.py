"""Filters on what is known of items: `colour=red`, `colour!=red`, `price<5`, `category=mug`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from synesthete.catalog.snapshot import Snapshot
from synesthete.errors import SynestheteError, near

Where = Mapping[str, Sequence[str]] | Sequence[str]

_FORM = re.compile(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
OWN = ("id", "title", "category", "price")


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
        A filter that is none, or compares with what is no number.

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


def rows_passing(snapshot: Snapshot, where: Where) -> npt.NDArray[np.int64] | None:
    """Rows that pass every filter, ascending; None when there is no filter.

    Raises
    ------
    SynestheteError
        A name that no item has; near names are listed.
    """
    filters = parse(where)
    if not filters:
        return None
    keep = np.ones(len(snapshot), bool)
    for one in filters:
        keep &= _passing(snapshot, one)
    return np.flatnonzero(keep)


def attribute_names(snapshot: Snapshot) -> list[str]:
    """Names of all attributes, sorted."""
    if not len(snapshot):
        return []
    keys = snapshot.column("attributes").keys
    return sorted(snapshot.computed("attribute names", lambda: pc.unique(keys).to_pylist()))


def values_of(snapshot: Snapshot, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Row and value of every value that items have under a name."""
    return snapshot.computed(("values", name), lambda: _values(snapshot, name))


def _passing(snapshot: Snapshot, one: Filter) -> npt.NDArray[np.bool_]:
    if len(snapshot) and one.name not in OWN and one.name not in attribute_names(snapshot):
        names = [*OWN, *attribute_names(snapshot)]
        hint = near(one.name, names) or f"it has {', '.join(names[:20])}"
        raise SynestheteError(f"no item has {one.name!r}", hint=hint)
    rows, values = values_of(snapshot, one.name)
    if one.comparison in ("=", "!="):
        wanted = {_plain(value) for value in one.values}
        right = np.array([_plain(value) in wanted for value in values], bool)
    else:
        limit = _number(one.values[0], one.name)
        numbers = np.array([_as_number(value) for value in values], np.float64)
        with np.errstate(invalid="ignore"):
            right = {
                "<": numbers < limit,
                "<=": numbers <= limit,
                ">": numbers > limit,
                ">=": numbers >= limit,
            }[one.comparison]
    keep = np.zeros(len(snapshot), bool)
    keep[rows[right]] = True
    return ~keep if one.comparison == "!=" else keep


def _values(snapshot: Snapshot, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    if not len(snapshot):
        return np.zeros(0, np.int64), []
    if name in OWN:
        texts = snapshot.column(name).to_pylist()
        there = [row for row, value in enumerate(texts) if value not in (None, "")]
        return np.array(there, np.int64), [_told(texts[row]) for row in there]
    lists = pc.map_lookup(
        snapshot.column("attributes"), pa.scalar(name, pa.large_string()), "first"
    )
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows, pc.list_flatten(lists).to_pylist()


def _told(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _plain(value: str) -> str:
    number = _as_number(value)
    return value.strip().casefold() if math.isnan(number) else repr(number)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str, where: str) -> float:
    number = _as_number(text)
    if math.isnan(number):
        raise SynestheteError(f"{text!r} in the filter {where!r} is no number")
    return number
