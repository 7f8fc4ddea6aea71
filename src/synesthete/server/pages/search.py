"""`/search?q=…`: neurons, concepts and families by what they are called, and neurons by meaning or like an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from fastapi import File, Query, UploadFile

from synesthete.errors import SynestheteError
from synesthete.report.columns import Part, Unit, by_multimodality, ranked
from synesthete.report.meaning import Matches, like_image, like_text
from synesthete.report.neuron import NeuronRow, neuron_rows, rows_of
from synesthete.report.source import Missing, Near, find_unit
from synesthete.server.errors import Refused
from synesthete.server.library import Site
from synesthete.server.page import Page, Post

if TYPE_CHECKING:
    from PIL import Image

NEURONS, OTHERS = 48, 24
Query_ = Annotated[
    str,
    Query(max_length=200, description="A concept, a name, a family or an address; or any text."),
]
By = Annotated[
    Literal["name", "meaning"],
    Query(
        description="What it is called, or what its images mean to the model, which is then loaded."
    ),
]
Limit = Annotated[int, Query(ge=1, le=NEURONS, description="Neurons at most.")]


@dataclass(frozen=True, kw_only=True)
class SearchPage:
    """What was found.

    Attributes
    ----------
    q
        The text, or the name of the image.
    neurons, total
        Neurons that are called so, the first of `total`.
    concepts, families
        Those that are called so.
    near
        What there is when nothing was.
    by
        `name`, `meaning` or `image`.
    meaning
        Neurons by meaning; null where that was not searched, or cannot be.
    why_not
        Why it cannot be; empty where it was.
    """

    q: str
    neurons: list[NeuronRow] = field(default_factory=list)
    total: int = 0
    concepts: list[Near] = field(default_factory=list)
    families: list[Near] = field(default_factory=list)
    near: list[Near] = field(default_factory=list)
    by: str = "name"
    meaning: Matches | None = None
    why_not: str = ""


def search_page(site: Site, q: Query_ = "", by: By = "name", limit: Limit = NEURONS) -> SearchPage:
    """Neurons whose name, concept or family contains the text (whole matches first), or by their address.

    Names by people count as names. With `by=meaning` also the neurons whose images lie nearest to the text in the model's embedding
    space; that loads the model on first use, and where it cannot be loaded or reads no texts `why_not` says so.
    """
    text = " ".join(q.split())
    if not text:
        return SearchPage(q="")
    if by == "name":
        return _by_name(site, text, limit)
    named = vars(_by_name(site, text, limit)) | {"by": by}
    try:
        return SearchPage(**named | {"meaning": like_text(site, text)})
    except SynestheteError as error:
        return SearchPage(**named | {"why_not": str(error)})


def search_image(
    site: Site,
    file: Annotated[UploadFile, File(description="An image file.")],
) -> SearchPage:
    """The neurons whose images lie nearest to an image in the model's embedding space. Loads the model on first use."""
    shown = _seen(site, file.file.read())
    name = " ".join((file.filename or "").split())[:100] or "an image"
    return SearchPage(q=name, by="image", meaning=like_image(site, shown))


def _seen(site: Site, data: bytes) -> Image.Image:
    """An image that was sent, as `try-image` reads it."""
    from synesthete.server.pages.try_image import image_of

    if not data:
        raise Refused(409, "no image was sent", hint="choose a file")
    return image_of(site, data, "", "")


def _by_name(site: Site, text: str, limit: int) -> SearchPage:
    if ":" in text:
        try:
            columns, unit = find_unit(site, text)
        except Missing as error:
            return SearchPage(q=text, near=error.near)
        return SearchPage(q=text, neurons=neuron_rows(site, columns, [unit]), total=1)
    parts: list[Part] = []
    families: set[str] = set()
    people = _by_people(site, text)
    for layer in site.atlas.layers if site.atlas.analysed else ():
        columns = site.opened.columns(layer)
        rank = np.full(columns.units, 9)
        for place, column in enumerate((columns.name, columns.concept, columns.family)):
            match = np.array([_match(text, one) for one in column.texts])
            rank = np.minimum(rank, match[column.codes] * 3 + place)
            if place == 2:
                families |= {one for one, m in zip(column.texts, match, strict=True) if m < 3}
        for (of, unit), how in people.items():
            if of == layer:
                rank[unit] = min(rank[unit], how * 3)
        own = np.flatnonzero(rank < 9)
        best = by_multimodality(columns, own)
        parts.append(Part(layer, own, (rank[own], *best.keys)))
    total = sum(len(part.units) for part in parts)
    known = [one for one in site.opened.probes.concept.texts if one]
    concepts = sorted((m, one) for one in known if (m := _match(text, one)) < 3)
    close = [] if total or concepts or families else _near(site, text, known)
    return SearchPage(
        q=text,
        neurons=rows_of(site, ranked(parts, 0, limit)),
        total=total,
        concepts=[Near(one, site.links.concept(one)) for _, one in concepts[:OTHERS]],
        families=[Near(one, site.links.family(one)) for one in sorted(families)[:OTHERS]],
        near=close,
    )


def _by_people(site: Site, text: str) -> dict[Unit, int]:
    """Units that people call so, and how well that matches."""
    found: dict[Unit, int] = {}
    for address, review in site.opened.reviews().items():
        layer, _, unit = address.rpartition(":")
        names = [name for kind, name in review.verdicts.values() if kind == "rename"]
        best = min((_match(text, name) for name in names), default=3)
        if best < 3:
            found[layer, int(unit)] = best
    return found


def _match(text: str, one: str) -> int:
    """0 the same, 1 at the start of a word, 2 inside, 3 not at all; letter case does not matter."""
    text, one = text.casefold(), one.casefold()
    if not one or text not in one:
        return 3
    if text == one:
        return 0
    return 1 if f" {one}".find(f" {text}") >= 0 else 2


def _near(site: Site, text: str, known: list[str]) -> list[Near]:
    import difflib

    close = difflib.get_close_matches(text, known, n=6, cutoff=0.5)
    return [Near(name, site.links.concept(name)) for name in close]


SEARCH = Page(
    path="/search",
    template="search.html",
    view=search_page,
    post=Post(submit=search_image, name="search like image", template="search.html"),
)
