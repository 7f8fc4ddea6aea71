"""Whether an item can be taken in, and its digest, by which an unchanged item is known again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from synesthete._core.text import check_name, storable
from synesthete._core.user_files import UnusableFile, read_file
from synesthete.catalog.types import Item, Picture
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage

ID_LENGTH = 512
TEXT_LENGTH = 16 * 1024 * 1024  # characters of one text
REVIEWS = 10_000
ATTRIBUTES = 500
PICTURES = 100
PICTURE_BYTES = 64 * 1024 * 1024


def cleaned(item: Item) -> Item:
    """The item with texts that any file can hold and without empty parts.

    Raises
    ------
    SynestheteError
        An id that is empty, too long or has control characters in it; a price that is no number; too much of something; nothing to index.

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
        raise SynestheteError(f"the price {item.price} is no number")
    for what, count, most in (
        ("reviews", len(item.reviews), REVIEWS),
        ("attributes", len(item.attributes), ATTRIBUTES),
        ("pictures", len(item.pictures), PICTURES),
        ("characters in a text", max(map(len, _texts(item)), default=0), TEXT_LENGTH),
    ):
        if count > most:
            raise SynestheteError(f"{count:,} {what}; at most {most:,} are kept")
    attributes = {
        _text(key): tuple(v for v in map(_text, values) if v)
        for key, values in sorted(item.attributes.items())
        if _text(key)
    }
    made = replace(
        item,
        id=name,
        title=_text(item.title),
        description=_text(item.description),
        category=_text(item.category),
        reviews=tuple(review for review in map(_text, item.reviews) if review),
        attributes={key: values for key, values in attributes.items() if values},
        price=None if item.price is None else float(item.price),
    )
    if not made.pictures and not any(_texts(made)):
        raise SynestheteError("neither a picture nor a text", hint="give it one of them")
    return made


def picture_bytes(picture: Picture) -> bytes:
    """The encoded bytes of a picture.

    Raises
    ------
    UnreadableImage
        No such file, one that leads out of its folder, not a regular one, too large.
    """
    if isinstance(picture, bytes):
        if len(picture) > PICTURE_BYTES:
            told = f"a file of {len(picture) >> 20:,} MiB, more than the limit of {PICTURE_BYTES >> 20}"
            raise UnreadableImage(told, hint="make it smaller")
        return picture
    try:
        # A path, however it was typed.
        path = Path(picture) if isinstance(picture, str) else picture
        return read_file(path, max_bytes=PICTURE_BYTES)
    except UnusableFile as error:
        raise UnreadableImage(error.reason, hint=error.hint) from None


def named(picture: Picture) -> str:
    """What a picture is called in tables and messages: its path, or `sent:` and the start of its hash."""
    if isinstance(picture, bytes):
        return "sent:" + hashlib.sha256(picture).hexdigest()[:16]
    return str(picture).encode("utf-8", "backslashreplace").decode()


def digest_of(item: Item, pictures: Sequence[bytes | None]) -> str:
    """SHA-256 over an item's texts and the bytes of its pictures (None for an unreadable one)."""
    texts = item.as_dict()
    texts["pictures"] = [
        None if data is None else hashlib.sha256(data).hexdigest() for data in pictures
    ]
    told = json.dumps(texts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _texts(item: Item) -> list[str]:
    values = [value for values in item.attributes.values() for value in values]
    return [item.title, item.description, item.category, *item.reviews, *values]


def _text(text: str) -> str:
    return storable(str(text)).strip()
