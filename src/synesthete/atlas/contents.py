"""The files of an atlas, each checked against the manifest when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synesthete._core.user_files import ANY_SIZE, UnusableFile, read_file
from synesthete.atlas.arrays import Shape, map_npy, read_parquet
from synesthete.atlas.files import entry_of, inside
from synesthete.atlas.manifest import damaged, listed_files
from synesthete.errors import SynestheteError


class Contents:
    """The files that an atlas's manifest lists.

    Parameters
    ----------
    path
        Folder of the atlas.
    manifest
        The content of `atlas.json`.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self._path = path
        self._files = listed_files(manifest)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> bytes:
        """A whole file, checked against the manifest.

        Raises
        ------
        SynestheteError
            When the manifest does not list it, or it is missing or altered.
        """
        if name not in self._files:
            raise damaged(self._path, [f"atlas.json does not list {name}"])
        try:
            data = read_file(inside(self._path, name), max_bytes=ANY_SIZE)
        except UnusableFile as error:
            raise damaged(self._path, [f"{name} is missing ({error.reason})"]) from None
        if entry_of(data) != self._files[name]:
            told = f"{name} has other content than when it was written (SHA-256 differs)"
            raise damaged(self._path, [told])
        return data

    def table(self, name: str) -> pa.Table:
        """A Parquet file, checked as `read` does."""
        return read_parquet(self.read(name), source=name)

    def matrix(self, name: str, shape: Shape) -> np.memmap[Any, Any]:
        """A float16 matrix, memory-mapped; its content is checked by `Atlas.verify` only.

        Raises
        ------
        SynestheteError
            When the atlas was recorded without it, or it has another shape.
        """
        if name not in self._files:
            message = f"{self._path} was recorded without {name}"
            raise SynestheteError(message, hint="record with the dense matrix (dense=True)")
        return map_npy(inside(self._path, name), np.float16, shape, source=name)
