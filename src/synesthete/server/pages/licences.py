"""`/licences`: whose images these are, and under which licence each may be shown."""

from __future__ import annotations

from dataclasses import dataclass

from synesthete.report.images import Shown, images
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.paging import PageNumber, Paging, paging

SIZE = 120


@dataclass(frozen=True)
class Source:
    """Images of one artist and licence."""

    licence: str
    modality: str
    artist: str
    images: int


@dataclass(frozen=True)
class Credit:
    """One image, its author, source and licence."""

    image: Shown
    author: str
    source: str
    licence: str


@dataclass(frozen=True)
class LicencesPage:
    """All sources, and image by image."""

    sources: list[Source]
    paging: Paging
    credits: list[Credit]


def licences_page(site: Site, page: PageNumber = 1) -> LicencesPage:
    """Source, licence and author of every probe image."""
    probes = site.opened.probes
    readable = [int(i) for i in probes.readable.nonzero()[0]]
    sources = site.opened.computed("sources", lambda: _sources(site, readable))
    where = paging(page, len(readable), SIZE)
    rows = readable[max(where.first - 1, 0) : where.last]
    facts = probes.rows(rows)
    credits = [
        Credit(shown, row.get("author") or "", row.get("source") or "", row.get("licence") or "")
        for shown, row in zip(images(site, rows), facts, strict=True)
    ]
    return LicencesPage(sources, where, credits)


def _sources(site: Site, rows: list[int]) -> list[Source]:
    table = site.opened.probes.table.take(rows)
    keys = ["licence", "modality", "artist"]
    grouped = table.group_by(keys).aggregate([([], "count_all")]).to_pylist()
    made = [
        Source(
            row["licence"] or "", row["modality"] or "", row["artist"] or "", int(row["count_all"])
        )
        for row in grouped
    ]
    return sorted(made, key=lambda one: (one.modality, -one.images, one.artist, one.licence))


LICENCES = Page("/licences", "licences.html", licences_page)
