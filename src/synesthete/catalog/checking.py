"""Whether an item can be taken in, and its digest, by which an unchanged item is known again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
    if len(name) > ID_LENGTH:
        raise SynestheteError(f"an id of {len(name)} characters; at most {ID_LENGTH} are kept")
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise SynestheteError(f"the id {name[:40]!r} has control characters in it")
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
        id=name.strip(),
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
        No such file, not a regular one, too large.
    """
    if isinstance(picture, str):  # a path, however it was typed
        picture = Path(picture)
    if isinstance(picture, bytes):
        if len(picture) > PICTURE_BYTES:
            raise _too_large(len(picture))
        return picture
    try:
        if not picture.is_file():
            hint = "correct its name or leave it out"
            raise UnreadableImage("no such file", hint=hint)
        size = picture.stat().st_size
        if size > PICTURE_BYTES:
            raise _too_large(size)
        return picture.read_bytes()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise UnreadableImage(f"cannot be read ({told})") from None


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
    """Valid Unicode without zero bytes, stripped."""
    plain = str(text).replace("\0", " ")
    return plain.encode("utf-8", "replace").decode("utf-8").strip()


def _too_large(size: int) -> UnreadableImage:
    told = f"a file of {size >> 20:,} MiB, more than the limit of {PICTURE_BYTES >> 20}"
    return UnreadableImage(told, hint="make it smaller")
