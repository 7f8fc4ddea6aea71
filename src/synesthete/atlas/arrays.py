"""Arrays on disk: `.npy`, `.npz` and Parquet with reproducible bytes, and reading that trusts nothing."""

from __future__ import annotations

import io
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from synesthete._core.user_files import ANY_SIZE, UnusableFile, open_file
from synesthete.errors import SynestheteError

Shape = tuple[int | None, ...]
ROW_GROUP = 65_536  # rows that Parquet files keep together
# Raised by zipfile, zlib and numpy on damaged or hostile input.
_DAMAGE = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, OSError, SyntaxError, MemoryError,
    RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError,
)  # fmt: skip
_MOST_BYTES = 1 << 31  # of one array that is read whole
NUMBERS = "biuf"  # kinds of dtype, in place of a dtype that is expected
STRINGS = "U"


def arrow_mask(rows: NDArray[np.bool_]) -> pa.BooleanArray:
    """Which rows of a table its `filter` keeps.

    `pyarrow.array`, and comparisons with a Python value, import pandas where it is installed, which takes longer than reading an atlas.

    Examples
    --------
    >>> table = pa.table({"unit": [4, 7, 4]})
    >>> table.filter(arrow_mask(table["unit"].to_numpy() == 4)).num_rows
    2
    """
    bits = pa.py_buffer(np.packbits(rows, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.bool_(), len(rows), [None, bits])


def arrow_text(text: str) -> pa.Scalar:
    """A text that a column is compared with, for the same reason.

    Examples
    --------
    >>> arrow_text("apple").as_py()
    'apple'
    """
    content = text.encode()
    offsets = np.array([0, len(content)], np.int32).tobytes()
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )[0]


def arrow_integers(numbers: Iterable[int]) -> pa.Int64Array:
    """Rows that `take` takes, for the same reason.

    Examples
    --------
    >>> pa.table({"name": ["a", "b"]}).take(arrow_integers([1])).to_pylist()
    [{'name': 'b'}]
    """
    values = np.fromiter(numbers, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values.tobytes())])


def column_numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers as its `to_numpy` would give it, which imports pandas; where one is missing, float64 with NaN.

    Examples
    --------
    >>> column_numbers(pa.chunked_array([[4, 7], [4]])).tolist()
    [4, 7, 4]
    >>> column_numbers(pa.array([0.5, None])).tolist()
    [0.5, nan]
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if not chunks or column.null_count:
        return np.array(
            column.to_pylist(), np.float64 if column.null_count else column.type.to_pandas_dtype()
        )
    parts = [np.from_dlpack(chunk) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def npy_header(shape: tuple[int, ...], dtype: Any) -> bytes:
    """Header of a row-major `.npy` file, version 1.0."""
    stream = io.BytesIO()
    descr = npy.dtype_to_descr(np.dtype(dtype))
    npy.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
    )
    return stream.getvalue()


def npy_pieces(
    shape: tuple[int, ...], dtype: Any, blocks: Iterable[NDArray[Any]]
) -> Iterator[bytes]:
    """A `.npy` file in pieces: the header, then blocks of rows as they come."""
    yield npy_header(shape, dtype)
    for block in blocks:
        yield np.ascontiguousarray(block, dtype=dtype).tobytes()


def npy_bytes(values: NDArray[np.float16]) -> bytes:
    """A `.npy` file of float16."""
    return b"".join(npy_pieces(values.shape, np.float16, [values]))


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A compressed `.npz` file whose bytes depend on nothing but names and values.

    `numpy.savez` stamps every member with the time of day; here the date is fixed and the
    members are in the order of their names.

    Examples
    --------
    >>> one = npz_bytes({"a": np.arange(3), "b": np.ones(2)})
    >>> one == npz_bytes({"b": np.ones(2), "a": np.arange(3)})
    True
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            member.create_system = 3
            content = npy_header(array.shape, array.dtype) + array.tobytes()
            archive.writestr(member, content, compresslevel=1)
    return stream.getvalue()


def _header(stream: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{name} has .npy version {version} instead of (1, 0)")
    shape, fortran, dtype = npy.read_array_header_1_0(stream)
    if fortran:
        raise ValueError(f"{name} is column-major instead of row-major")
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} has the impossible shape {list(shape)}")
    return shape, dtype


def _check(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], expected: tuple[Any, Shape]
) -> None:
    wanted, wanted_shape = expected
    fits = len(shape) == len(wanted_shape) and all(
        want is None or have == want for have, want in zip(shape, wanted_shape, strict=True)
    )
    kinds = wanted if wanted in (NUMBERS, STRINGS) else ""
    right = dtype.kind in kinds if kinds else dtype == np.dtype(wanted)
    if not right or not fits:
        raise ValueError(
            f"{name} is {dtype} {list(shape)} instead of {kinds or np.dtype(wanted)} "
            f"{['any' if want is None else want for want in wanted_shape]}"
        )


def read_npz(
    data: bytes, expected: Mapping[str, tuple[Any, Shape]], *, source: str
) -> dict[str, NDArray[Any]]:
    """Read the arrays that should be there, checking each header before its data is unpacked.

    Parameters
    ----------
    data
        Content of a `.npz` file.
    expected
        Name → (dtype, shape); None in a shape stands for any length, `NUMBERS` or `STRINGS` for any dtype of these.
    source
        What to call the file in an error.

    Raises
    ------
    SynestheteError
        When the file is damaged, an array is missing or has another type or shape, or an array
        would need pickle.
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name, want in expected.items():
                with archive.open(f"{name}.npy") as member:
                    shape, dtype = _header(member, name)
                    _check(name, shape, dtype, want)
                    arrays[name] = _content(member, name, shape, dtype)
    except _DAMAGE as error:
        raise _unread(source, error) from error
    return arrays


def npz_names(data: bytes, *, source: str) -> list[str]:
    """Names of the arrays in a `.npz` file; raises `SynestheteError` when it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGE as error:
        raise _unread(source, error) from error


def read_npy(data: bytes, *, source: str) -> NDArray[Any]:
    """The numbers in a `.npy` file of any shape.

    Raises
    ------
    SynestheteError
        When it is damaged, or holds anything but numbers.
    """
    stream = io.BytesIO(data)
    try:
        shape, dtype = _header(stream, "the array")
        if dtype.kind not in NUMBERS:
            raise ValueError(f"it holds {dtype}, not numbers")
        return _content(stream, "the array", shape, dtype)
    except _DAMAGE as error:
        raise _unread(source, error) from error


def _unread(source: str, error: BaseException) -> SynestheteError:
    message = " ".join(str(error).split())[:300] or type(error).__name__
    return SynestheteError(f"{source} cannot be read: {message}")


def _content(stream: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = math.prod(shape) * dtype.itemsize
    if size > _MOST_BYTES:
        raise ValueError(
            f"{name} does not hold the {size:,} bytes it announces, or they are more than the {_MOST_BYTES:,} that are read"
        )
    content = stream.read(size + 1)
    if len(content) != size:
        raise ValueError(f"{name} does not hold the {size:,} bytes it announces")
    # A copy, because an array over `bytes` cannot be written to.
    return np.frombuffer(content, dtype=dtype).reshape(shape).copy()


def map_npy(path: Path, dtype: Any, shape: Shape, *, source: str) -> np.memmap[Any, Any]:
    """Memory-map a `.npy` file read-only after checking its header (never unpickles).

    Parameters
    ----------
    path
        A file that is read from within its folder where it is a `FileInside`.

    Raises
    ------
    SynestheteError
        When the file is damaged or of another type, order or shape.
    """
    try:
        with open_file(path, max_bytes=ANY_SIZE) as file:
            found, found_dtype = _header(file, source)
            _check(source, found, found_dtype, (dtype, shape))
            offset = file.tell()
            size, actual = math.prod(found) * found_dtype.itemsize, os.fstat(file.fileno()).st_size
            if actual != offset + size:
                raise ValueError(f"it has {actual:,} bytes instead of {offset + size:,}")
            return np.memmap(file, dtype=found_dtype, mode="r", offset=offset, shape=found)
    except (UnusableFile, *_DAMAGE) as error:
        raise _unread(source, error) from error


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file whose bytes depend only on the table (no pandas notes, fixed row groups)."""
    starts = range(0, max(len(table), 1), ROW_GROUP)
    return b"".join(parquet_pieces(table.slice(start, ROW_GROUP) for start in starts))


def parquet_pieces(parts: Iterable[pa.Table]) -> Iterator[bytes]:
    """The same file in pieces, of tables that are its rows one after the other.

    Parameters
    ----------
    parts
        At least one, of one schema; all but the last have `ROW_GROUP` rows.
    """
    sink, writer = _Sink(), None
    for part in parts:
        plain = part.replace_schema_metadata(None).combine_chunks()
        writer = writer or pq.ParquetWriter(sink, plain.schema, compression="zstd")
        writer.write_table(plain, row_group_size=ROW_GROUP)
        yield sink.taken()
    if writer is not None:
        writer.close()
        yield sink.taken()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._written += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def read_parquet(data: bytes, *, source: str) -> pa.Table:
    """Read a Parquet file from its bytes.

    Raises
    ------
    SynestheteError
        When it is damaged.
    """
    try:
        # Arrow's threads may outlive the interpreter, which then aborts a script that ends with a read. `read_table` always has some.
        return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    # A metadata block can be wrong in any way: Arrow's bindings pass on what Python makes of it.
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise _unread(source, error) from error
