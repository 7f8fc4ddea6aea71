"""Images that were made of units and directions: files beside the atlas's own, and a table that says what they reach."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from synesthete._core.user_files import UnusableFile, read_file, read_inside
from synesthete.atlas.arrays import parquet_bytes, read_parquet
from synesthete.atlas.files import (
    disk_errors,
    entry_of,
    inside,
    lock_alone,
    open_to_write,
    write_file,
)
from synesthete.atlas.manifest import layer_folder
from synesthete.errors import SynestheteError

FOLDER = "visualizations"
TABLE = "images.parquet"
DIRECTIONS = "directions"
PLAIN = "plain"
CONTENT = "content"  # column of the files where they are packed with their rows

_COLUMNS: dict[str, pa.DataType] = {
    "target": pa.string(),
    "layer": pa.string(),
    "unit": pa.int32(),
    "facet": pa.string(),
    "goal": pa.string(),
    "copy": pa.int16(),
    "file": pa.string(),
    "sha256": pa.string(),
    "activation": pa.float64(),
    "percentile": pa.float64(),
    "excites": pa.bool_(),
    "strength": pa.float64(),
    "fidelity": pa.float64(),
    "steps": pa.int32(),
    "settings": pa.string(),
    "held_out": pa.float64(),
}
ADDED = ("held_out",)  # columns that tables of earlier versions lack


@dataclass(frozen=True, kw_only=True)
class Visualization:
    """An image made from the model alone.

    Attributes
    ----------
    target
        What it is of: an address, or a direction such as `text:apple`.
    layer, unit
        Where; unit -1 for directions, and no layer for those of the embedding.
    facet
        `plain`, or the facet that it was steered towards.
    goal
        `most` or `least`: whether the target's response was made large or small.
    copy
        0, or the number among several different ones.
    file, sha256
        Name inside the atlas, and what its content hashes to.
    activation
        What the stored file reaches on the unmodified model.
    percentile
        The share of real images that lie below it (0 to 100); for `least`, at it or below.
    excites
        Whether that is beyond all but one in a thousand real images.
    strength
        Of the facet; 0 for `plain`.
    fidelity
        How far the facet's probe takes the image for one of the facet's, in standard deviations from its threshold; null
        without a facet.
    steps
        How many were made.
    settings
        Fingerprint of everything that shaped it.
    held_out
        Mean activation of the stored file, turned, moved and resized a little in ways that it was not optimised for; null in images of
        earlier versions.
    """

    target: str
    layer: str
    unit: int
    facet: str
    goal: str
    copy: int
    file: str
    sha256: str
    activation: float
    percentile: float
    excites: bool
    strength: float
    fidelity: float | None
    steps: int
    settings: str
    held_out: float | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What no other image of the atlas has."""
        return (self.target, self.facet, self.goal, self.copy)

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def folder_of(layer: str, unit: int) -> str:
    """Where the images of a layer's units lie inside the atlas; those of directions lie together.

    Examples
    --------
    >>> folder_of("visual.layer4.1:pre", 3), folder_of("visual.layer4.1", -1)
    ('visualizations/visual.layer4.1%3Apre', 'visualizations/directions')
    """
    return f"{FOLDER}/{layer_folder(layer) if unit >= 0 else DIRECTIONS}"


def file_of(layer: str, unit: int, target: str, facet: str, goal: str, copy: int) -> str:
    """Name of an image's file inside the atlas.

    Examples
    --------
    >>> file_of("visual.layer4.1", 12, "visual.layer4.1:12", "word", "least", 1)
    'visualizations/visual.layer4.1/12/word-least-1.webp'
    """
    inner = (
        str(unit) if unit >= 0 else hashlib.sha256(f"{layer}/{target}".encode()).hexdigest()[:16]
    )
    end = ("" if goal == "most" else f"-{goal}") + (f"-{copy}" if copy else "")
    return f"{folder_of(layer, unit)}/{inner}/{layer_folder(facet)}{end}.webp"


def read_visualizations(path: Path, folder: str) -> list[Visualization]:
    """The table of one folder, in its order; empty when there is none.

    Raises
    ------
    SynestheteError
        When it is damaged.
    """
    file = path / folder / TABLE
    if not file.exists():
        return []
    data = read_inside(path, file)
    hint = f"delete {file} and make its images again"
    try:
        table = read_parquet(data, source=f"{folder}/{TABLE}")
        for name in ADDED:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), _COLUMNS[name]))
        return _rows(table)
    except (SynestheteError, pa.ArrowException, TypeError, ValueError, KeyError) as error:
        raise SynestheteError(f"{file} is damaged ({error})", hint=hint) from error


def add_visualizations(
    path: Path, folder: str, images: Sequence[tuple[Visualization, bytes]]
) -> None:
    """Write images, and then the table with them; those of the same key are replaced.

    Killed in between, an image without a row counts for nothing and is made again.

    Raises
    ------
    SynestheteError
        When the disk is full or cannot be written.
    """
    for row, content in images:
        write_file(inside(path, row.file), content, sync=False)
    rows = {row.key: row for row in read_visualizations(path, folder)}
    rows |= {row.key: row for row, _ in images}
    ordered = sorted(
        rows.values(), key=lambda r: (r.unit, r.target, r.facet != PLAIN, r.facet, r.goal, r.copy)
    )
    write_file(path / folder / TABLE, parquet_bytes(_table(ordered)))


def pack_visualizations(images: Sequence[tuple[Visualization, bytes]]) -> bytes:
    """Rows and their files as one file, for another process."""
    contents = pa.array([content for _, content in images], pa.binary())
    return parquet_bytes(_table([row for row, _ in images]).append_column(CONTENT, contents))


def unpack_visualizations(data: bytes) -> list[tuple[Visualization, bytes]]:
    """The rows and files that another process packed.

    Raises
    ------
    SynestheteError
        They are damaged.
    """
    table = read_parquet(data, source="images of another process")
    return list(zip(_rows(table), table[CONTENT].to_pylist(), strict=True))


def _table(rows: Sequence[Visualization]) -> pa.Table:
    columns: Mapping[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in _COLUMNS
    }
    return pa.table(dict(columns), schema=pa.schema(list(_COLUMNS.items())))


def _rows(table: pa.Table) -> list[Visualization]:
    table = table.select(list(_COLUMNS)).cast(pa.schema(list(_COLUMNS.items())))
    return [Visualization(**row) for row in table.to_pylist()]


def visualization_bytes(path: Path, row: Visualization) -> bytes:
    """The WebP file of an image.

    Raises
    ------
    SynestheteError
        When it is missing or altered.
    """
    file = inside(path, row.file)
    try:
        data = read_file(file)
    except UnusableFile as error:
        raise SynestheteError(
            f"the image {file} is missing ({error.reason})", hint="make it again"
        ) from None
    if entry_of(data).sha256 != row.sha256:
        raise SynestheteError(f"the image {file} was altered", hint="delete it and make it again")
    return data


def percentile(value: float | None) -> str:
    """A percentile as people read it, cut off so that 100 is never claimed too early.

    Examples
    --------
    >>> percentile(99.9951), percentile(100.0), percentile(54.27), percentile(None)
    ('99.99', '100', '54.2', '–')
    """
    if value is None:
        return "–"
    digits = 100 if value >= 99 else 10
    return f"{int(value * digits + 1e-9) / digits:g}"


@contextlib.contextmanager
def claim_visualizations(path: Path) -> Iterator[Path]:
    """The folder of images, held by this process alone.

    Raises
    ------
    SynestheteError
        When another process is making images there, or it cannot be written.
    """
    folder = path / FOLDER
    with contextlib.ExitStack() as stack:
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
            lock = stack.enter_context(open_to_write(folder / ".lock"))
            alone = lock_alone(lock.fileno(), folder / ".lock")
        if not alone:
            raise SynestheteError(f"another process is making images in {path}")
        yield folder
