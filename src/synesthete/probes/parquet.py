"""Probe sets out of parquet files that hold the images' bytes or texts, read piece by piece."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete._core.remote_files import Unreachable
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage, decode
from synesthete.probes.labels import ALIASES, LabelTable, modality_name
from synesthete.probes.locations import Located, opened
from synesthete.probes.probe_set import TEXT, TEXT_MODALITIES, ImageSource, ProbeSet
from synesthete.probes.sources import FileSource, RecentlyUsed

IMAGE_NAMES = ("image", "img", "picture", "jpg", "png", "image_bytes", "bytes")
GROUP_BYTES = 64 * 1024 * 1024
_BATCH = 16
_READ_BUFFER = 1 << 20


def read_parquet(*files: Located, name: str = "") -> ProbeSet:
    """Read parquet files, Hugging Face's data sets among them, as one probe set.

    Parameters
    ----------
    files
        With the same columns: an image column of `struct{bytes, path}` or of binary type or, for texts,
        `text` (where both are there, rows of a modality of texts are texts), and any of `key`, `concept` or `label`, `modality`, `caption` or `text`, `artist`, `family`,
        `source`, `licence` or `license`, `author`. Integer labels take the names that a Hugging
        Face schema gives them.
    name
        Name of the set; the first file's by default.

    Raises
    ------
    SynestheteError
        A damaged file, no image column or more than one to choose from, or no concept column.

    Notes
    -----
    Labels are read at once. Images are read by row group while a group is small, and within larger
    groups in order from the group's start, so memory stays bounded whatever the file's size; in
    large groups reading in order is fast and reading at random is not.
    """
    schema = _schema(files[0])
    column = _image_column(schema, files[0])
    has_images = column != TEXT
    if not set(schema.names).intersection(ALIASES["concept"]):
        hint = f"name one of its columns concept: {', '.join(schema.names)}"
        raise SynestheteError(f"'{files[0]}' has no column concept or label", hint=hint)
    is_struct = has_images and pa.types.is_struct(schema.field(column).type)
    wanted = ["key", *(alias for aliases in ALIASES.values() for alias in aliases)]
    columns = [n for n in wanted if n in schema.names and not (n == column and has_images)]
    if is_struct and _has_field(schema.field(column).type, "path"):
        columns.append(f"{column}.path")
    class_names = _class_names(schema)
    labels = LabelTable()
    for path in files:
        if path is not files[0] and not set(schema.names) <= set(_schema(path).names):
            raise SynestheteError(f"'{path}' has other columns than '{files[0].name}'")
        for row, record in enumerate(_records(path, columns)):
            inner = (record.pop(column, None) if has_images else None) or {}
            values = {n: _as_text(v, class_names.get(n, ())) for n, v in record.items()}
            key = (
                values.get("key", "").strip()
                or str(inner.get("path") or "")
                or f"{path.stem}/{row:07d}"
            )
            of_texts = modality_name(values.get("modality", "")) in TEXT_MODALITIES
            text = values.get(TEXT, "") if of_texts or not has_images else None
            labels.add(key, values, text=text)
    if not len(labels):
        raise SynestheteError(f"'{files[0]}' has no rows")
    if len(labels.problems) == len(labels):
        raise SynestheteError(f"'{files[0]}' has no concept in any row")
    # Texts are in memory; a source of images is never asked for one.
    source: ImageSource
    if has_images:
        source = ParquetSource(files, f"{column}.bytes" if is_struct else column)
    else:
        source = FileSource(Path(), ())
    return ProbeSet(name or files[0].stem, labels.table(), source, problems=labels.problems)


class ParquetSource:
    """The image column of parquet files, row by row.

    Parameters
    ----------
    paths
        The files, whose rows are counted on from one to the next.
    column
        Path of the binary column, such as `image.bytes`.
    group_bytes
        Row groups whose images take no more than this are kept in memory whole, a few at a time.
    """

    def __init__(
        self, paths: Sequence[Located], column: str, *, group_bytes: int = GROUP_BYTES
    ) -> None:
        self.paths = list(paths)
        self.column = column
        self.group_bytes = group_bytes
        self._groups: list[tuple[int, int, int]] = []  # file, row group, bytes of its images
        counts: list[int] = []
        for number, path in enumerate(self.paths):
            with _open(path) as file:
                metadata = file.metadata
                leaf = _leaf(metadata, column)
                for group in range(metadata.num_row_groups):
                    about = metadata.row_group(group)
                    size = about.column(leaf).total_uncompressed_size
                    self._groups.append((number, group, size))
                    counts.append(about.num_rows)
        self._starts = [0, *accumulate(counts)][:-1]
        self._small: RecentlyUsed[list[bytes | None]] = RecentlyUsed(2 * group_bytes)
        self._stream: _Stream | None = None
        self._lock = threading.Lock()

    def image(self, row: int) -> Image.Image:
        """The decoded image of a row; raises `UnreadableImage`."""
        data = self._bytes(row)
        if data is None:
            raise UnreadableImage("no image bytes in its row", hint="store the bytes in the file")
        return decode(data)

    def digest(self, row: int) -> str:
        """SHA-256 of a row's image bytes; empty where there are none."""
        try:
            data = self._bytes(row)
        except UnreadableImage:
            return ""
        return "" if data is None else hashlib.sha256(data).hexdigest()

    def _bytes(self, row: int) -> bytes | None:
        index = bisect_right(self._starts, row) - 1
        offset = row - self._starts[index]
        try:
            if self._groups[index][2] <= self.group_bytes:
                whole: list[bytes | None] = self._small.get(index, lambda: self._whole(index))
                return whole[offset]
            with self._lock:
                stream = self._stream
                if stream is None or stream.index != index or not stream.reaches(offset):
                    stream = self._stream = _Stream(index, self._batches(index))
                return stream.at(offset)
        except (UnreadableImage, Unreachable):
            raise
        except (pa.ArrowException, OSError, IndexError, SynestheteError) as error:
            raise UnreadableImage(_short("damaged parquet data", error)) from None

    def _whole(self, index: int) -> tuple[list[bytes | None], int]:
        values = [value for batch in self._batches(index) for value in batch]
        return values, sum(len(value or b"") for value in values)

    def _batches(self, index: int) -> Iterator[list[bytes | None]]:
        number, group, _ = self._groups[index]
        with _open(self.paths[number]) as file:
            for batch in file.iter_batches(
                _BATCH, row_groups=[group], columns=[self.column], use_threads=False
            ):
                column = batch.column(0)
                if pa.types.is_struct(column.type):
                    # A null image is a null struct, whose fields `flatten` makes null as well.
                    column = column.flatten()[0]
                yield column.to_pylist()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class _Stream:
    """One pass through a large row group, of which only the batch in hand is held."""

    def __init__(self, index: int, batches: Iterator[list[bytes | None]]) -> None:
        self.index = index
        self._batches = batches
        self._batch: list[bytes | None] = []
        self._start = 0

    def reaches(self, offset: int) -> bool:
        return offset >= self._start

    def at(self, offset: int) -> bytes | None:
        while offset >= self._start + len(self._batch):
            self._start += len(self._batch)
            self._batch = []
            self._batch = next(self._batches, [])
            if not self._batch:
                raise UnreadableImage("missing from its parquet file", hint="copy the file again")
        return self._batch[offset - self._start]


@contextlib.contextmanager
def _open(path: Located) -> Iterator[pq.ParquetFile]:
    with opened(path) as raw:
        try:
            # A read buffer keeps pyarrow from loading a row group's whole column at once.
            file = pq.ParquetFile(raw, buffer_size=_READ_BUFFER, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            message = _short(f"'{path}' is no readable parquet file", error)
            raise SynestheteError(message) from None
        yield file


def _schema(path: Located) -> pa.Schema:
    with _open(path) as file:
        return file.schema_arrow


def _leaf(metadata: pq.FileMetaData, column: str) -> int:
    """Number of a column among the stored leaf columns, by its dotted path."""
    schema = metadata.schema
    return next(i for i in range(len(schema)) if schema.column(i).path == column)


def _image_column(schema: pa.Schema, path: Located) -> str:
    found = [f.name for f in schema if _holds_images(f.type)]
    for name in IMAGE_NAMES:
        if name in found:
            return name
    if len(found) == 1:
        return str(found[0])
    if not found and TEXT in schema.names:
        return TEXT
    if not found:
        raise SynestheteError(
            f"'{path}' has no column of images (struct{{bytes, path}} or binary)",
            hint=f"its columns are {', '.join(schema.names)}",
        )
    raise SynestheteError(
        f"'{path}' has several columns that may be the images: {', '.join(found)}",
        hint="name the one you mean image",
    )


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return _has_field(kind, "bytes") and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_field(kind: pa.DataType, name: str) -> bool:
    return bool(kind.get_field_index(name) >= 0)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of integer labels, from the note that Hugging Face's `datasets` leaves in a schema."""
    try:
        note = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"), "the schema")
        features = note["info"]["features"]
        return {n: [str(x) for x in f["names"]] for n, f in features.items() if "names" in f}
    except (InvalidJson, KeyError, TypeError, AttributeError):
        return {}


def _records(path: Located, columns: list[str]) -> Iterator[dict[str, Any]]:
    try:
        with _open(path) as file:
            for batch in file.iter_batches(4096, columns=columns, use_threads=False):
                yield from batch.to_pylist()
    # Conversions raise what datetime, decimal and the codecs raise.
    except (
        pa.ArrowException,
        OSError,
        ArithmeticError,
        ValueError,
        TypeError,
        ImportError,
    ) as error:
        raise SynestheteError(_short(f"'{path}' cannot be read", error)) from None


def _as_text(value: object, names: Sequence[str]) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(value)


def _short(message: str, error: Exception) -> str:
    return f"{message} ({' '.join(str(error).split())[:160]})"
