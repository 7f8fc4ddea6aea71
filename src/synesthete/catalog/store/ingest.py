"""Items into a catalogue, batch by batch: checked, encoded and committed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.text import check_name, storable
from synesthete.catalog.encode import Batch, Loaded, load
from synesthete.catalog.schema import Item, Quarantined, Written
from synesthete.catalog.store.shards import embedded
from synesthete.catalog.store.table import ItemTable
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor

BATCH = 256
BATCH_BYTES = 64 * 1024 * 1024  # of texts and encoded images held at once
ID_LENGTH = 512
TEXT_LENGTH = 16 * 1024 * 1024  # characters of one text
REVIEWS, ATTRIBUTES, IMAGES = 10_000, 500, 250  # of one item, at most
SHOWN = 1000  # quarantined things that are handed back; the catalogue keeps all


def upsert(
    table: ItemTable,
    model: Callable[[], ImageTextModel],
    described: Mapping[str, Any],
    items: Iterable[Item | Quarantined],
    *,
    executor: Executor | None = None,
    home: Path = Path(),
    progress: Callable[[int, int], None] | None = None,
    tidy: bool = True,
) -> Written:
    """Write items; see `Catalog.upsert`. Other processes need `home`, the catalogue's folder."""
    writer = _Writer(table, progress)
    layer, units = str(described["layer"]), int(described["units"])
    batches = embedded(writer.pieces(items), model, layer, units, executor=executor, home=home)
    for piece, batch, aside in batches:
        writer.commit(piece, batch, aside)
    # Though nothing may be new: a writer that was killed after its last batch did not get here.
    if tidy:
        table.tidy()
    return writer.written()


@dataclass(frozen=True)
class _Piece:
    """A batch: how many items it has, the digests of those that are in the table, and what was set aside before its end."""

    count: int
    known: Mapping[str, str]
    aside: list[Quarantined]


@dataclass
class _Writer:
    table: ItemTable
    progress: Callable[[int, int], None] | None

    def __post_init__(self) -> None:
        self._waiting: list[Loaded] = []
        self._bytes = 0
        self._aside: list[Quarantined] = []
        self._shown: list[Quarantined] = []
        self._counts = {"added": 0, "changed": 0, "unchanged": 0}
        self._done = 0

    def pieces(
        self, items: Iterable[Item | Quarantined]
    ) -> Iterator[tuple[_Piece, Sequence[Loaded]]]:
        """Batches, and of each the items that are new or changed."""
        seen: set[str] = set()
        for place, item in enumerate(items):
            if isinstance(item, Quarantined):
                self._aside.append(item)
                continue
            try:
                item = cleaned(item)
            except SynestheteError as error:
                self._aside.append(Quarantined(_name(item, place), "item", str(error)))
                continue
            if item.id in seen:
                reason = "this id was given before: the first item with it counts; give every item its own id"
                self._aside.append(Quarantined(item.id, f"item {place + 1}", reason))
                continue
            seen.add(item.id)
            if self._take(load(item)):
                yield self._piece()
        yield self._piece()

    def _take(self, loaded: Loaded) -> bool:
        """Whether a batch is full."""
        self._waiting.append(loaded)
        self._bytes += sum(len(data) for data in loaded.data if data)
        self._bytes += 4 * len(loaded.item.description) + sum(map(len, loaded.item.reviews))
        return len(self._waiting) >= BATCH or self._bytes >= BATCH_BYTES

    def _piece(self) -> tuple[_Piece, Sequence[Loaded]]:
        known = self.table.digests([one.item.id for one in self._waiting])
        fresh = [one for one in self._waiting if known.get(one.item.id) != one.digest]
        piece = _Piece(len(self._waiting), known, self._aside)
        self._counts["unchanged"] += len(self._waiting) - len(fresh)
        self._waiting, self._bytes, self._aside = [], 0, []
        return piece, fresh

    def commit(self, piece: _Piece, batch: Batch | None, aside: Sequence[Quarantined]) -> None:
        """Write what was made of a batch; None: nothing in it was new."""
        quarantined = [*piece.aside, *aside]
        self._shown += quarantined[: SHOWN - len(self._shown)]
        if batch is not None:
            self.table.commit(batch, quarantined)
            for item in batch.items:
                self._counts["changed" if item.id in piece.known else "added"] += 1
        else:
            self.table.note(quarantined)
        self._done += piece.count
        if self.progress is not None and self._done:
            self.progress(self._done, 0)  # a source does not say how many it has

    def written(self) -> Written:
        return Written(**self._counts, quarantined=tuple(self._shown))


def _name(item: Item, place: int) -> str:
    """What to call an item in the quarantine whose id may be anything."""
    text = str(item.id).encode("utf-8", "replace").decode()[:80].strip()
    return text or f"item {place + 1}"


def cleaned(item: Item) -> Item:
    """The item with texts that any file can hold and without empty parts.

    Raises
    ------
    SynestheteError
        An id that is empty, too long or has control characters in it; a price that is not a valid number; too much of something; nothing to index.

    Examples
    --------
    >>> cleaned(Item("7", title="  mug ")).title
    'mug'
    """
    name = item.id
    if not isinstance(name, str) or not name.strip():
        raise SynestheteError("an item without an id", hint="give every item its own id")
    name = check_name(name, "the id", max_length=ID_LENGTH)
    if item.price is not None and not math.isfinite(item.price):
        raise SynestheteError(f"the price {item.price} is not a valid number")
    for what, count, most in (
        ("reviews", len(item.reviews), REVIEWS),
        ("attributes", len(item.attributes), ATTRIBUTES),
        ("images", len(item.images), IMAGES),
        ("characters in a text", max(map(len, _texts(item)), default=0), TEXT_LENGTH),
    ):
        if count > most:
            raise SynestheteError(f"{count:,} {what}; at most {most:,} are kept")
    attributes = {
        _text(key): tuple(v for v in map(_text, values) if v)
        for key, values in sorted(item.attributes.items())
        if _text(key)
    }
    result = replace(
        item,
        id=name,
        title=_text(item.title),
        description=_text(item.description),
        category=_text(item.category),
        reviews=tuple(review for review in map(_text, item.reviews) if review),
        attributes={key: values for key, values in attributes.items() if values},
        price=None if item.price is None else float(item.price),
    )
    if not result.images and not any(_texts(result)):
        raise SynestheteError("neither an image nor a text", hint="give it one of them")
    return result


def _texts(item: Item) -> list[str]:
    values = [value for values in item.attributes.values() for value in values]
    return [item.title, item.description, item.category, *item.reviews, *values]


def _text(text: str) -> str:
    return storable(str(text)).strip()
