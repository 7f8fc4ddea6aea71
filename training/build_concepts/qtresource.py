"""Read Qt binary resource files (`.rcc`), the archives in which GCompris ships its photographs."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

_DIRECTORY, _ZLIB, _ZSTD = 2, 1, 4


def read_rcc(path: Path) -> dict[str, bytes]:
    """Return every file of a Qt resource archive, by its path inside the archive.

    Parameters
    ----------
    path
        The `.rcc` file.

    Raises
    ------
    ValueError
        When the file is no Qt resource archive.

    Notes
    -----
    The layout is that of Qt's `rcc` tool (`qtbase/src/tools/rcc/rcc.cpp`): big-endian header
    (magic, version, offsets of tree, data and names), then a tree of fixed-size nodes.
    """
    blob = path.read_bytes()
    if blob[:4] != b"qres":
        raise ValueError(f"{path} is no Qt resource file")
    version, tree, data, names = struct.unpack(">IIII", blob[4:20])
    node_size = 22 if version >= 2 else 14
    files: dict[str, bytes] = {}

    def name_at(offset: int) -> str:
        start = names + offset
        (length,) = struct.unpack(">H", blob[start : start + 2])
        return blob[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def payload(offset: int, flags: int) -> bytes:
        start = data + offset
        (length,) = struct.unpack(">I", blob[start : start + 4])
        content = blob[start + 4 : start + 4 + length]
        if flags & _ZLIB:
            return zlib.decompress(content[4:])
        if flags & _ZSTD:
            # Python 3.11 has no zstd of its own; the command-line tool is everywhere.
            return subprocess.run(
                ["zstd", "-dc"], input=content, capture_output=True, check=True
            ).stdout
        return content

    def walk(index: int, prefix: str) -> None:
        start = tree + index * node_size
        name_offset, flags = struct.unpack(">IH", blob[start : start + 6])
        here = f"{prefix}/{name_at(name_offset)}" if index else prefix
        if flags & _DIRECTORY:
            count, first = struct.unpack(">II", blob[start + 6 : start + 14])
            for child in range(first, first + count):
                walk(child, here)
        else:
            (offset,) = struct.unpack(">I", blob[start + 10 : start + 14])
            files[here.lstrip("/")] = payload(offset, flags)

    walk(0, "")
    return files
