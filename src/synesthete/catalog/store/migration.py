"""Catalogues of the format before: segments of Parquet and arrays, and a ledger of what is live, into the table of today."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from synesthete._core.sqlite import connect
from synesthete._core.user_files import FileInside, read_inside
from synesthete.atlas.arrays import read_npy
from synesthete.catalog.encode import Batch
from synesthete.catalog.reference import Reference
from synesthete.catalog.schema import Item, Quarantined
from synesthete.catalog.store import manifest as manifests
from synesthete.catalog.store.centres import Centres
from synesthete.catalog.store.table import ItemTable, item_of
from synesthete.errors import SynestheteError

LEDGER, SEGMENTS = "catalog.sqlite", "segments"
PIECE = 1024  # items held at once


def migrate_catalog(path: str | Path) -> tuple[int, int]:
    """Bring a catalogue to this program's format, in place; returns the format's version before and after.

    Items with their vectors, units and thumbnails, and the quarantine move; events, keys, cases, decisions and photos lie in
    files of their own, which stay as they are. Nothing is encoded again. Interrupted, call it again: the old files go last.

    Raises
    ------
    SynestheteError
        No catalogue there, a damaged one, or one of a newer format.
    """
    path = Path(path)
    manifest = manifests.read_manifest(path, oldest=1)
    before = int(manifest["version"])
    if before == 1:
        reference = Reference.from_bytes(read_inside(path, path / manifests.REFERENCE))
        described = manifest["model"]
        table = ItemTable.create(
            path, described["embedding_dim"], described["units"], Centres.of_reference(reference)
        )
        try:
            with closing(connect(path / LEDGER, wait_seconds=60.0)) as ledger:
                for batch in _batches(path, ledger):
                    table.commit(batch)
                rows = ledger.execute("SELECT id, what, reason FROM quarantine")
                table.note([Quarantined(*row) for row in rows])
        except (sqlite3.Error, KeyError, ValueError, OSError) as error:
            raise SynestheteError(f"{path} is damaged: {error}") from error
        table.tidy()
        table.close()
        manifests.write_manifest(path, {**manifest, "version": manifests.VERSION})
    shutil.rmtree(path / SEGMENTS, ignore_errors=True)
    for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"):
        (path / name).unlink(missing_ok=True)
    return before, manifests.VERSION


def _batches(path: Path, ledger: sqlite3.Connection) -> Iterator[Batch]:
    """The live items of every segment, piece by piece."""
    for (name,) in ledger.execute("SELECT name FROM segments ORDER BY name").fetchall():
        folder = path / SEGMENTS / name
        query = "SELECT row, digest FROM live WHERE segment = ? ORDER BY row"
        live = ledger.execute(query, (name,)).fetchall()
        items = pq.ParquetFile(FileInside.of(path, folder / "items.parquet"))
        thumbnails = pq.ParquetFile(FileInside.of(path, folder / "thumbnails.parquet"))
        arrays = {
            part: read_npy(
                read_inside(path, folder / f"{file}.npy"), source=str(folder / f"{file}.npy")
            )
            for part, file in (("images", "pictures"), ("texts", "texts"), ("units", "units"))
        }
        start = 0
        for table, small in zip(
            items.iter_batches(PIECE), thumbnails.iter_batches(PIECE), strict=True
        ):
            here = [
                (row - start, digest) for row, digest in live if start <= row < start + len(table)
            ]
            if here:
                rows = [row for row, _ in here]
                yield Batch(
                    items=[_item(one) for one in table.take(rows).to_pylist()],
                    digests=[digest for _, digest in here],
                    thumbnails=small["thumbnail"].take(rows).to_pylist(),
                    **{part: values[start + np.array(rows)] for part, values in arrays.items()},
                )
            start += len(table)


def _item(row: dict[str, Any]) -> Item:
    attributes = [{"name": name, "values": values} for name, values in row["attributes"]]
    return item_of(row | {"attributes": attributes, "images_from": row["pictures"]})
