"""Arrays on disk: `.npy`, `.npz` and Parquet with reproducible bytes, and reading that trusts nothing."""

from __future__ import annotations

import io
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

from synesthete.errors import SynestheteError

Shape = tuple[int | None, ...]
_ROW_GROUP = 65536
# Raised by zipfile, zlib and numpy on damaged or hostile input.
_DAMAGE = (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile, zlib.error, SyntaxError)


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
    return shape, dtype


def _check(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], expected: tuple[Any, Shape]
) -> None:
    wanted_dtype, wanted_shape = np.dtype(expected[0]), expected[1]
    fits = len(shape) == len(wanted_shape) and all(
        want is None or have == want for have, want in zip(shape, wanted_shape, strict=True)
    )
    if dtype != wanted_dtype or not fits:
        raise ValueError(
            f"{name} is {dtype} {list(shape)} instead of {wanted_dtype} "
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
        Name → (dtype, shape); None in a shape stands for any length.
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
                    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                    content = member.read(size + 1)
                if len(content) != size:
                    raise ValueError(f"{name} does not hold the {size:,} bytes it announces")
                # A copy, because an array over `bytes` cannot be written to.
                arrays[name] = np.frombuffer(content, dtype=dtype).reshape(shape).copy()
    except _DAMAGE as error:
        raise SynestheteError(f"{source} cannot be read: {error}") from error
    return arrays


def map_npy(path: Path, dtype: Any, shape: Shape, *, source: str) -> np.memmap[Any, Any]:
    """Memory-map a `.npy` file read-only after checking its header (never unpickles).

    Raises
    ------
    SynestheteError
        When the file is damaged or of another type, order or shape.
    """
    try:
        with path.open("rb") as file:
            found, found_dtype = _header(file, source)
            _check(source, found, found_dtype, (dtype, shape))
            offset = file.tell()
            size = int(np.prod(found, dtype=np.int64)) * found_dtype.itemsize
        if path.stat().st_size != offset + size:
            raise ValueError(f"it has {path.stat().st_size:,} bytes instead of {offset + size:,}")
        return np.memmap(path, dtype=found_dtype, mode="r", offset=offset, shape=found)
    except _DAMAGE as error:
        raise SynestheteError(f"{source} cannot be read: {error}") from error


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file whose bytes depend only on the table (no pandas notes, fixed row groups)."""
    stream = io.BytesIO()
    plain = table.replace_schema_metadata(None).combine_chunks()
    pq.write_table(plain, stream, compression="zstd", row_group_size=_ROW_GROUP)
    return stream.getvalue()


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
    except (pa.ArrowException, OSError) as error:
        raise SynestheteError(f"{source} cannot be read: {error}") from error
