"""A product of a shop's export, gathered out of several rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synesthete._core.row_reader import Row
from synesthete.catalog.schema import ImageSource, Item, Quarantined
from synesthete.catalog.sources.reading import Reading
from synesthete.catalog.tables import as_text, price_of
from synesthete.errors import SynestheteError


class Product:
    """What the rows of a product say together: attributes and images in their order, and the lowest price.

    Parameters
    ----------
    item_id
        Of the item.
    reading
        Where images are.
    """

    def __init__(self, item_id: str, reading: Reading) -> None:
        self.id, self._reading = item_id, reading
        self._attributes: dict[str, dict[str, None]] = {}
        self._prices: list[float] = []
        self._images: dict[ImageSource, None] = {}
        self._shown: set[str] = set()
        self._aside: list[Quarantined] = []

    def note(self, attribute: str, values: Iterable[str]) -> None:
        """Add values of an attribute."""
        for value in values:
            if attribute.strip() and value.strip():
                known = self._attributes.setdefault(attribute.strip().casefold(), {})
                known[value.strip()] = None

    def offer(self, cell: str) -> None:
        """Take a price in; exports never group thousands."""
        try:
            price = price_of(cell, grouped=False)
        except SynestheteError as error:
            self._aside.append(Quarantined(self.id, "price", str(error)))
        else:
            self._prices += [] if price is None else [price]

    def show(self, names: Iterable[str]) -> None:
        """Add images."""
        for name in dict.fromkeys(filter(None, names)):
            if name in self._shown:
                continue
            self._shown.add(name)
            image = self._reading.image(name)
            if isinstance(image, str):
                self._aside.append(Quarantined(self.id, "image", image))
            elif image is not None:
                self._images[image] = None

    def finished(
        self, *, title: str, description: str, category: str
    ) -> Iterator[Item | Quarantined]:
        """The item, after what of it cannot be used."""
        yield from self._aside
        yield Item(
            self.id,
            title=title,
            description=description,
            category=category,
            price=min(self._prices, default=None),
            attributes={name: tuple(values) for name, values in self._attributes.items()},
            images=tuple(self._images),
        )


def cell_of(row: Row, parts: Mapping[str, Any], part: str) -> str:
    """A cell of a row as text."""
    return as_text(row.get(parts.get(part, ""))).strip()
