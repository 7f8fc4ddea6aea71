"""Items out of whatever there is: a table, a folder with one, a folder of images and texts, or the built-in probe set."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete._core.user_files import FileInside, UnusableFile, decoded, leads_out, read_inside
from synesthete.catalog.schema import ImageSource, Item, Quarantined
from synesthete.catalog.tables import SUFFIXES, item_rows, price_of, split
from synesthete.errors import SynestheteError

METADATA = tuple(f"{stem}{suffix}" for stem in ("metadata", "items") for suffix in SUFFIXES)
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

DEMO_IMAGES = 3  # of an item, at most: a photo before drawings, and those before symbols
_DEMO_MODALITIES = ("photo", "drawing", "symbol")


def read_items(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
) -> Iterator[Item | Quarantined]:
    """Items of a table or a folder, one by one, and what could not be read.

    A folder is read as its `metadata` or `items` table (`.csv`, `.jsonl`, `.parquet`), or as its Parquet files. Without
    these every folder in it that has images and no further folders is one item with all its images, called by its
    name, in the category of the folder above; unless all images lie in the outermost folder, or their folder holds
    several items' texts: then every image is an item of its own. `.txt` files are descriptions, in which lines such as
    `Title: Blue mug` fill that part, or an attribute; a `.json` file has the parts by name. A file that leads out of
    the folder through a link is set aside.

    Parameters
    ----------
    columns, images
        As for `item_rows`.

    Raises
    ------
    SynestheteError
        Nothing there, nothing in it, a table that cannot be read.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise SynestheteError(f"no such folder or table: '{source}'")
    if path.is_file():
        return item_rows(path, columns=columns, images=images)
    for name in METADATA:
        if (path / name).is_file():
            return item_rows(path / name, columns=columns, images=images or path, root=path)
    tables = sorted(path.glob("**/*.parquet"))
    if tables:
        return chain.from_iterable(
            item_rows(one, columns=columns, images=images, root=path) for one in tables
        )
    return _folder(path)


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


def _folder(root: Path) -> Iterator[Item | Quarantined]:
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


def demo_items() -> Iterator[Item]:
    """Every second concept of the probe set `concepts`, with up to three images by different artists.

    The family is the category; ways of showing and artists are attributes. Words are left out: a catalogue has few
    images of its products' names.
    """
    from synesthete.probes import load_probes
    from synesthete.probes.decoding import UnreadableImage

    probes = load_probes("concepts", texts=False)
    rows: dict[str, list[int]] = defaultdict(list)
    labels = probes.labels.select(["concept", "modality", "artist", "family"]).to_pylist()
    for row, label in enumerate(labels):
        if label["modality"] in _DEMO_MODALITIES:
            rows[label["concept"]].append(row)
    for concept in sorted(rows)[::2]:
        chosen: list[int] = []
        for row in sorted(
            rows[concept], key=lambda r: (_DEMO_MODALITIES.index(labels[r]["modality"]), r)
        ):
            if len(chosen) < DEMO_IMAGES and labels[row]["artist"] not in {
                labels[r]["artist"] for r in chosen
            }:
                chosen.append(row)
        images: list[ImageSource] = []
        for row in chosen:
            try:
                stream = io.BytesIO()
                probes.image(row).save(stream, "PNG")
            except UnreadableImage:
                continue
            images.append(stream.getvalue())
        first = labels[chosen[0]]
        yield Item(
            concept.replace(" ", "-"),
            title=concept,
            category=first["family"],
            attributes={
                "shown as": tuple(dict.fromkeys(labels[row]["modality"] for row in chosen)),
                "artist": tuple(dict.fromkeys(labels[row]["artist"] for row in chosen)),
            },
            images=tuple(images),
        )
