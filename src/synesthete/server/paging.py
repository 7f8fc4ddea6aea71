"""Pages of a long list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="Which page of the list.")]


@dataclass(frozen=True)
class Paging:
    """Which part of a list is shown; `first` counts from 1."""

    page: int
    pages: int
    total: int
    first: int
    last: int


def paging(page: int, total: int, size: int) -> Paging:
    """Where a page lies; a page beyond the last is the last.

    Examples
    --------
    >>> paging(9, 130, 60)
    Paging(page=3, pages=3, total=130, first=121, last=130)
    """
    pages = max(1, -(-total // size))
    page = min(max(page, 1), pages)
    first = (page - 1) * size
    return Paging(page, pages, total, min(first + 1, total), min(first + size, total))
