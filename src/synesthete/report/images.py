"""The images of an atlas as reports show them: opaque ids, thumbnails, where a maximum lies, and feature visualizations."""

from __future__ import annotations

import hashlib
import hmac
import io
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from synesthete._core.arrays import Int64
from synesthete._core.cache import Bounded, file_stamp
from synesthete.atlas.visualizations import PLAIN, TABLE, folder_of

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.atlas import Atlas, ExemplarList, Visualization
    from synesthete.report.columns import Columns
    from synesthete.report.source import Source

DIGITS = 16
SPRITES, TILES, MOSAICS = 24, 12_000, 4_000
QUALITY = 84
GROUND = (128, 128, 128, 0)


class OpaqueIds:
    """Image ids as people see them in addresses.

    An id is the first 64 bits of HMAC-SHA256 of the image's number under the atlas's fingerprint: the same
    in every run, so that addresses are permanent, and different in every atlas.

    Parameters
    ----------
    fingerprint
        Of the atlas.
    images
        How many it has.

    Examples
    --------
    >>> ids = OpaqueIds("f00d", 3)
    >>> ids.number(ids.key(2)), ids.number("0123456789abcdef"), ids.number("../etc/passwd")
    (2, None, None)
    """

    def __init__(self, fingerprint: str, images: int) -> None:
        self._secret = f"synesthete image {fingerprint}".encode()
        self._images = images
        self._sorted: tuple[npt.NDArray[np.uint64], Int64] | None = None

    def key(self, image: int) -> str:
        """The opaque id of an image."""
        return self._digest(image).hex()

    def number(self, key: str) -> int | None:
        """The image of an opaque id; None where there is none."""
        if len(key) != DIGITS or not set(key) <= set("0123456789abcdef"):
            return None
        keys, numbers = self._index()
        wanted = np.uint64(int(key, 16))
        place = int(np.searchsorted(keys, wanted))
        if place == len(keys) or keys[place] != wanted:
            return None
        return int(numbers[place])

    def _digest(self, image: int) -> bytes:
        return hmac.digest(self._secret, str(image).encode(), "sha256")[: DIGITS // 2]

    def _index(self) -> tuple[npt.NDArray[np.uint64], Int64]:
        """All ids sorted, 16 bytes an image; computed on first use."""
        if self._sorted is None:
            every = b"".join(self._digest(image) for image in range(self._images))
            keys = np.frombuffer(every, ">u8").astype(np.uint64)
            order = np.argsort(keys)
            self._sorted = keys[order], order.astype(np.int64)
        return self._sorted


def etag_of(data: bytes) -> str:
    """The ETag of some bytes."""
    return f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'


@dataclass(frozen=True)
class File:
    """A file's bytes, and the ETag of its content."""

    data: bytes
    etag: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """A file with the ETag of its bytes."""
        return cls(data, etag_of(data))


class WebP(File):
    """An encoded image."""


class Thumbnails:
    """Thumbnails of one atlas; keeps those used last, within bounds.

    Parameters
    ----------
    atlas
        Where the sprites are.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._sprites = Bounded["Image.Image"](SPRITES)
        self._tiles = Bounded[WebP](TILES)
        self._mosaics = Bounded[WebP](MOSAICS)
        # Decoding is what costs: one thread at a time, so that two never decode the same sprite.
        self._decoding = threading.Lock()
        self._prepared: dict[int, Image.Image] = {}

    def prepare(self, images: Iterable[int]) -> None:
        """Cut the thumbnails that come next, each sprite decoded once; they take the place of those prepared before (27 kB each)."""
        self._prepared = {}
        own = [image for image in set(images) if self._atlas.text(image) is None]
        places = {image: self._atlas.thumbnail_position(image) for image in own}
        for image in sorted(own, key=lambda one: places[one].sprite):
            self._prepared[image] = self.cut(image)

    def tile(self, image: int) -> WebP:
        """The thumbnail of an image.

        Raises
        ------
        SynestheteError
            When it has none, or its sprite is damaged.
        """
        return self._tiles.get(image, lambda: encoded(self.cut(image)))

    def mosaic(self, images: Sequence[int | None]) -> WebP:
        """Thumbnails row by row, as near to a square as they go; None leaves a place clear."""
        return self._mosaics.get(tuple(images), lambda: encoded(self.sheet(images)))

    def sheet(self, images: Sequence[int | None]) -> Image.Image:
        """The same as an image."""
        from PIL import Image

        from synesthete.atlas.thumbnails import THUMBNAIL_SIZE as SIDE

        columns = max(1, math.ceil(math.sqrt(len(images))))
        rows = max(1, -(-len(images) // columns))
        sheet = Image.new("RGBA", (columns * SIDE, rows * SIDE), GROUND)
        for place, image in enumerate(images):
            if image is not None:
                row, column = divmod(place, columns)
                sheet.paste(self.cut(image), (column * SIDE, row * SIDE))
        return sheet

    def cut(self, image: int) -> Image.Image:
        """A thumbnail as an image, RGB; errors as for `tile`."""
        from synesthete.atlas.thumbnails import text_tile, whole

        if image in self._prepared:
            return self._prepared[image]
        if (content := self._atlas.text(image)) is not None:
            return text_tile(content)
        position = self._atlas.thumbnail_position(image)
        with self._decoding:
            sprite = self._sprites.get(
                position.sprite,
                lambda: whole(self._atlas.sprite(position.sprite), position.sprite),
            )
        left, top, size = position.left, position.top, position.size
        return sprite.crop((left, top, left + size, top + size))


def encoded(image: Image.Image) -> WebP:
    """An image as WebP."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=QUALITY, method=2)
    return WebP.of(stream.getvalue())


@dataclass(frozen=True)
class Box:
    """The position of the layer's grid where a maximum lies: row and column of so many."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Token:
    """The characters of a text that a unit answers to most: from `start` up to `stop` (not included)."""

    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image or text as reports show it.

    Attributes
    ----------
    id
        Opaque and permanent.
    image
        Its number in the atlas; not in JSON.
    path, page
        Of the thumbnail, and of its page (empty where there is none).
    alt
        For those who do not see it.
    value
        The neuron's activation; null where the image stands for itself.
    own
        Whether it shows what the neuron is called.
    box
        Where the maximum lies; null where every position is the maximum or there is no grid.
    text
        The text; null for an image.
    origin
        Of a text: `person`, `model` or `resource`; empty where that is not known.
    token
        Which of its tokens the unit answers to most; null where that is not known.
    """

    id: str
    image: Annotated[int, Field(exclude=True)]
    path: str
    page: str
    alt: str
    concept: str
    modality: str
    caption: str
    artist: str
    value: float | None = None
    own: bool = False
    box: Box | None = None
    text: str | None = None
    origin: str = ""
    token: Token | None = None

    @property
    def parts(self) -> tuple[str, str, str]:
        """The text before the token, the token, and the text behind it."""
        content, token = self.text or "", self.token or Token(0, 0)
        return content[: token.start], content[token.start : token.stop], content[token.stop :]


def images(source: Source, numbers: Sequence[int]) -> list[Shown]:
    """Images that stand for themselves."""
    return [_shown(source, number, row) for number, row in _rows(source, numbers)]


def exemplars(
    source: Source, found: ExemplarList, layer: str, concepts: Sequence[str]
) -> list[Shown]:
    """Images with a neuron's activation, the concepts' own marked, the strongest position boxed."""
    grid = grid_of(source.atlas, layer)
    shown = []
    for (number, row), value, position in zip(
        _rows(source, found.ids.tolist()),
        found.values.tolist(),
        found.positions.tolist(),
        strict=True,
    ):
        # Where nothing is passed on by the ReLU, every position is the maximum: none is shown.
        of_text = source.atlas.text(number) is not None
        box = _box(int(position), grid) if value and not of_text else None
        token = _token(row, int(position)) if of_text else None
        own = bool(row["concept"]) and row["concept"] in concepts
        shown.append(_shown(source, number, row, value=float(value), own=own, box=box, token=token))
    return shown


def grid_of(atlas: Atlas, layer: str) -> tuple[int, int] | None:
    """Rows and columns of the positions that a layer is read at; None where it has none."""
    grid = atlas.layer(layer).get("grid")
    return (int(grid[0]), int(grid[1])) if grid else None


@dataclass(frozen=True)
class Standing:
    """Whose images stand for a neuron: what they are called, and their concepts."""

    text: str
    concepts: tuple[str, ...]


def standing(source: Source, columns: Columns, unit: int) -> Standing:
    """The concept or hypernym of a neuron's heading where the probe set has images of it, else the neuron's concept; "" for none."""
    heading, concept = columns.heading[unit], columns.concept[unit]
    if heading and heading == columns.name[unit]:
        notes = source.atlas.manifest.get("names", {}).get("layers", {}).get(columns.layer, {})
        if members := notes.get("hypernyms", {}).get(heading):
            return Standing(heading, tuple(members))
    known = source.opened.probes.concept
    code = known.code(heading) if heading else None
    text = known.texts[code] if code else concept
    return Standing(text, (text,) if text else ())


def strongest(source: Source, columns: Columns, unit: int, modality: str) -> int | None:
    """The image of what a neuron is called that excites it most in a modality; None where there is none.

    Without the dense matrix only the exemplars that were kept are looked at.
    """
    concepts, probes = standing(source, columns, unit).concepts, source.opened.probes
    if not concepts:
        return None
    if source.atlas.manifest["dense"]:
        own = np.flatnonzero(
            probes.readable & probes.showing(concepts) & probes.modality.rows(modality)
        )
        if not len(own):
            return None
        values = np.nan_to_num(np.asarray(source.atlas.activations(columns.layer)[own, unit]))
        return int(own[int(np.argmax(values))])
    kept = source.atlas.exemplars(columns.layer)
    ids = kept.top(unit, modality).ids.tolist() if modality in kept.groups else []
    return next((int(i) for i in ids if probes.concept[int(i)] in concepts), None)


def _rows(source: Source, numbers: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
    wanted = [int(number) for number in numbers]
    return list(zip(wanted, source.opened.probes.rows(wanted), strict=True))


def _shown(
    source: Source,
    number: int,
    row: dict[str, Any],
    *,
    value: float | None = None,
    own: bool = False,
    box: Box | None = None,
    token: Token | None = None,
) -> Shown:
    key = source.opened.ids.key(number)
    text = source.atlas.text(number)
    content = text or row["caption"] or row["concept"] or "image without a caption"
    kind = f"{row['modality']}: " if row["modality"] else ""
    by = f", by {row['artist']}" if row["artist"] else ""
    return Shown(
        id=key,
        image=number,
        path=source.links.image(key),
        page=source.links.image_page(key),
        alt=f"{kind}{content}{by}",
        concept=row["concept"] or "",
        modality=row["modality"] or "",
        caption=row["caption"] or "",
        artist=row["artist"] or "",
        value=value,
        own=own,
        box=box,
        text=text,
        origin=row.get("origin") or "",
        token=token,
    )


def _token(row: dict[str, Any], position: int) -> Token | None:
    places = row["tokens"]
    if position < 0 or 2 * position + 1 >= len(places):
        return None
    start, stop = places[2 * position : 2 * position + 2]
    return Token(start, stop) if stop > start else None


def _box(position: int, grid: tuple[int, int] | None) -> Box | None:
    if grid is None or position < 0 or grid == (1, 1):
        return None
    row, column = divmod(position, grid[1])
    return Box(row, column, grid[0], grid[1])


@dataclass(frozen=True, kw_only=True)
class ShownVisualization:
    """A feature visualization as reports show it.

    Attributes
    ----------
    facet
        `plain`, or what it was steered towards.
    goal
        `most` or `least`.
    activation, percentile
        What it reaches on the unmodified model, and the share of real images below that.
    excites
        Whether that surpasses all but one in a thousand real images.
    strength
        Of the facet.
    """

    path: str
    facet: str
    goal: str
    activation: float | None
    percentile: float | None
    excites: bool
    strength: float


def visualizations(source: Source, layer: str, unit: int) -> list[ShownVisualization]:
    """All feature visualizations of a unit, the plain one first.

    Raises
    ------
    SynestheteError
        The layer's table is damaged.
    """
    return [
        ShownVisualization(
            path=_path(source, row),
            facet=row.facet,
            goal=row.goal,
            activation=_finite(row.activation),
            percentile=_finite(row.percentile),
            excites=row.excites,
            strength=row.strength,
        )
        for row in visualization_rows(source, layer).get(unit, [])
    ]


def plain_visualizations(source: Source, layer: str) -> dict[int, str]:
    """Unit → path of its plain visualization, of those that excite their unit."""
    return {
        unit: _path(source, rows[0])
        for unit, rows in visualization_rows(source, layer).items()
        if rows[0].facet == PLAIN and rows[0].goal == "most" and rows[0].excites
    }


def _path(source: Source, row: Visualization) -> str:
    return source.links.visualization(row.target, PurePosixPath(row.file).stem)


def visualization_rows(source: Source, layer: str) -> dict[int, list[Visualization]]:
    """Unit → rows of its visualizations; the table is read again when it was replaced."""
    stamp = file_stamp(source.atlas.path / folder_of(layer, 0) / TABLE)

    def read() -> dict[int, list[Visualization]]:
        units: dict[int, list[Visualization]] = {}
        for row in source.atlas.visualizations(layer):
            units.setdefault(row.unit, []).append(row)
        return units

    return {} if stamp is None else source.opened.computed(("visualizations", layer, stamp), read)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
