"""Items out of a folder of images and texts: a folder each, or an image each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete._core.user_files import FileInside, UnusableFile, decoded, leads_out, read_inside
from synesthete.catalog.schema import ImageSource, Item, Quarantined
from synesthete.catalog.tables import price_of, split
from synesthete.errors import SynestheteError

IMAGE_SUFFIXES = frozenset(
    re.findall(r"\.\w+", ".png .jpg .jpeg .jfif .webp .gif .bmp .tif .tiff .ppm .avif .jp2 .heic")
)
TEXT_BYTES = 64 * 1024 * 1024
_LINE = re.compile(r"([A-Z][\w /&-]{0,40}):[ \t]*(.*)")
_OWN = {
    "title": "title",
    "name": "title",
    "description": "description",
    "category": "category",
    "price": "price",
}


def images_under(path: Path) -> list[Path]:
    """An image file itself, or all images in a folder, sorted; what leads out of the folder is skipped.

    Raises
    ------
    SynestheteError
        Nothing there.
    """
    if path.is_file():
        return [path]
    found: list[Path] = [
        FileInside.of(path, one)
        for one in sorted(path.rglob("*"))
        if one.suffix.lower() in IMAGE_SUFFIXES and one.is_file() and not leads_out(path, one)
    ]
    if not found:
        raise SynestheteError(f"no images at '{path}'")
    return found


def folder_items(root: Path) -> Iterator[Item | Quarantined]:
    """Items of a folder without a table; see `read_items`.

    Raises
    ------
    SynestheteError
        Neither images nor texts in it.
    """
    found = False
    for folder in sorted([root, *(one for one in root.rglob("*") if one.is_dir())]):
        if any(part.startswith(".") for part in folder.relative_to(root).parts):
            continue
        if leads_out(root, folder):
            continue
        files = sorted(one for one in folder.iterdir() if one.is_file() and one.name[0] != ".")
        shots = [one for one in files if one.suffix.lower() in IMAGE_SUFFIXES]
        texts = [one for one in files if one.suffix.lower() in (".txt", ".json")]
        if not shots and not (texts and folder != root):
            continue
        stems = {one.stem for one in shots}
        sidecars = [one for one in texts if one.stem in stems]
        if (
            folder == root
            or (len(shots) > 1 and len(sidecars) > 1)
            or (len(shots) > 1 and not texts)
        ):
            for shot in shots:
                found = True
                own = [one for one in texts if one.stem == shot.stem]
                yield from _item(root, shot.with_suffix(""), [shot], own)
        else:
            found = True
            yield from _item(root, folder, list(shots), texts)
    if not found:
        raise SynestheteError(
            f"no items in the folder '{root}'",
            hint="put a metadata.csv, images, or a folder per item into it",
        )


def _item(
    root: Path, place: Path, shots: list[Path], texts: list[Path]
) -> Iterator[Item | Quarantined]:
    relative = place.relative_to(root)
    parts: dict[str, str] = {}
    attributes: dict[str, tuple[str, ...]] = {}
    reviews: list[str] = []
    loose = []
    # File names need not be valid Unicode; ids are.
    item_id = relative.as_posix().encode("utf-8", "backslashreplace").decode()
    for file in texts:
        try:
            text = decoded(read_inside(root, file, max_bytes=TEXT_BYTES), file)
            if file.suffix.lower() != ".json":
                loose.append(_lines(text, parts, attributes))
                continue
            given = parse_json(text, file.name)
            if not isinstance(given, dict):
                raise InvalidJson(f"{file.name}: not an object")
            reviews += split(given.pop("reviews", None))
            for key, value in given.items():
                _put(parts, attributes, str(key), split(value))
        except (UnusableFile, InvalidJson) as error:
            yield Quarantined(item_id, file.name, str(error))
    words = relative.name.replace("_", " ").replace("-", " ")
    description = parts.get("description", "")
    # A description that is in its own file and in a list of facts, too, is kept once.
    rest = "\n".join(text for text in loose if text and text not in description)
    price = None
    try:
        price = price_of(parts.get("price"))
    except SynestheteError as error:
        yield Quarantined(item_id, "price", str(error))
    images: list[ImageSource] = []
    for shot in shots:
        if leads_out(root, shot):
            yield Quarantined(item_id, shot.name, "a link that leads out of the folder")
        else:
            images.append(FileInside.of(root, shot))
    yield Item(
        item_id,
        title=parts.get("title") or words,
        description="\n".join(text for text in (description, rest) if text),
        category=parts.get("category") or _category(relative),
        reviews=tuple(reviews),
        price=price,
        attributes=attributes,
        images=tuple(images),
    )


def _category(relative: Path) -> str:
    above = relative.parent.name
    return above.replace("_", " ").replace("-", " ")


def _lines(text: str, parts: dict[str, str], attributes: dict[str, tuple[str, ...]]) -> str:
    """Take `Key: value` lines out of a text; returns what is left. Web addresses are skipped."""
    rest = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if not match:
            rest.append(line)
        elif "://" not in match.group(2):
            _put(parts, attributes, match.group(1).strip(), [match.group(2).strip()])
    return "\n".join(rest).strip()


def _put(
    parts: dict[str, str], attributes: dict[str, tuple[str, ...]], key: str, values: list[str]
) -> None:
    values = [value for value in values if value]
    if not values:
        return
    if own := _OWN.get(key.casefold()):
        parts.setdefault(own, values[0])
    else:
        attributes[key.casefold()] = tuple(values)
