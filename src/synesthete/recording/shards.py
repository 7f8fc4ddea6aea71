"""Shards on disk: committed by one rename, checked before they count, read back for merging."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from synesthete._core.json_reader import read_json
from synesthete._core.user_files import ANY_SIZE, read_inside
from synesthete.atlas.arrays import map_npy, npy_pieces, npz_bytes, read_npz
from synesthete.atlas.exemplars import Exemplars, parse_exemplars
from synesthete.atlas.files import FileEntry, difference, disk_errors, sync_folder, write_file
from synesthete.atlas.manifest import is_intact, sealed
from synesthete.errors import SynestheteError
from synesthete.recording.elsewhere import RemoteWork
from synesthete.recording.plan import Plan
from synesthete.recording.shard import Halves, ShardResult
from synesthete.recording.statistics import UnitStatistics

SHARD_MANIFEST = "manifest.json"


def shard_folder(work: Path, number: int) -> Path:
    """Where a shard lies once it is committed."""
    return work / f"shard-{number:05d}"


def commit_shard(
    work: Path,
    number: int,
    result: ShardResult,
    plan: Plan,
    fingerprint: str,
    *,
    remote: RemoteWork | None = None,
) -> None:
    """Write a shard aside, then rename it into place: it counts from then on, whole. One that is there already stays.

    Of a recording into an object store it counts when it was added there; where another machine was earlier, that one's counts.

    Raises
    ------
    SynestheteError
        When the disk is full or cannot be written; earlier shards stay as they are.
    """
    final = shard_folder(work, number)
    # Aside by a name of its own: another worker may be computing the same shard.
    aside = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")
    with disk_errors(final):
        aside.mkdir(parents=True)
        try:
            _write(aside, result, plan, fingerprint)
            if remote is not None:
                own = remote.commit(number, aside)
                # What is in its place here is of no use now: another machine's is fetched at the end.
                shutil.rmtree(final, ignore_errors=True)
                if not own:
                    shutil.rmtree(aside)
                    return
        except BaseException:
            # A half-written shard is of no use, and after "disk full" it stands in the way.
            shutil.rmtree(aside, ignore_errors=True)
            raise
        try:
            aside.rename(final)
        except OSError:
            if not final.exists():
                raise
            if find_shard(work, number, result.ids, plan, fingerprint) is None:
                shutil.rmtree(final)
                aside.rename(final)
            else:
                shutil.rmtree(aside)
        sync_folder(work)


def clear_unfinished(work: Path) -> None:
    """Remove what workers that were killed left aside; nobody else may be recording."""
    for aside in work.glob(".shard-*.tmp"):
        shutil.rmtree(aside, ignore_errors=True)


def _write(folder: Path, result: ShardResult, plan: Plan, fingerprint: str) -> None:
    files: dict[str, Any] = {}
    for name, content in _contents(result, plan).items():
        files[name] = write_file(folder / name, content, sync=False).as_dict()
    manifest = {
        "fingerprint": fingerprint,
        "first": result.ids.start,
        "stop": result.ids.stop,
        "unreadable": {str(image): why for image, why in result.unreadable.items()},
        "sprites": sorted(result.sprites),
        "grids": [result.layers[name].grid for name in plan.layers],
        "files": files,
    }
    write_file(folder / SHARD_MANIFEST, sealed(manifest))


def _contents(result: ShardResult, plan: Plan) -> dict[str, Any]:
    contents: dict[str, Any] = {"embeddings.npy": _npy(result.embeddings)}
    for index, name in enumerate(plan.layers):
        layer = result.layers[name]
        contents[f"statistics-{index}.npz"] = npz_bytes(layer.statistics.arrays())
        contents[f"exemplars-{index}.npz"] = npz_bytes(layer.exemplars.arrays())
        if layer.activations is not None:
            contents[f"activations-{index}.npy"] = _npy(layer.activations)
        for twin, activations in layer.twins.items():
            contents[f"{twin}-{index}.npy"] = _npy(activations)
    for number, sheet in result.sprites.items():
        contents[f"sprite-{number}.webp"] = sheet
    return contents


def _npy(rows: Halves) -> Any:
    return npy_pieces(rows.shape, np.float16, [rows])


class StoredShard:
    """A committed shard.

    Parameters
    ----------
    folder
        Where it lies.
    plan
        What was kept.
    manifest
        Its manifest, already checked.
    """

    def __init__(self, folder: Path, plan: Plan, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.ids = range(manifest["first"], manifest["stop"])
        self.unreadable = {int(image): why for image, why in manifest["unreadable"].items()}
        self.sprites: list[int] = manifest["sprites"]
        self.grids: list[list[int] | None] = manifest["grids"]
        self._plan = plan

    def rows(self, name: str, columns: int) -> Halves:
        """A matrix of the shard, [images, columns] float16, memory-mapped."""
        path = self.folder / name
        return map_npy(path, np.float16, (len(self.ids), columns), source=str(path))

    def statistics(self, index: int) -> UnitStatistics:
        """Statistics of the layer of this index in the plan."""
        path = self.folder / f"statistics-{index}.npz"
        shapes = UnitStatistics.shapes(self._plan.units[index])
        return UnitStatistics(
            **read_npz(read_inside(self.folder, path, max_bytes=ANY_SIZE), shapes, source=str(path))
        )

    def exemplars(self, index: int) -> Exemplars:
        """Exemplars of the layer of this index in the plan."""
        path, plan = self.folder / f"exemplars-{index}.npz", self._plan
        data, units = read_inside(self.folder, path, max_bytes=ANY_SIZE), plan.units[index]
        return parse_exemplars(data, units, plan.groups, plan.exemplars, source=str(path))

    def sprite(self, number: int) -> bytes:
        """A sprite of the shard, WebP."""
        return read_inside(self.folder, self.folder / f"sprite-{number}.webp")


def find_shard(
    work: Path, number: int, ids: range, plan: Plan, fingerprint: str
) -> StoredShard | None:
    """A committed shard if it is there and every byte of it is as it was written, else None."""
    folder = shard_folder(work, number)
    try:
        manifest = read_json(folder / SHARD_MANIFEST, root=work)
        if not is_intact(manifest) or manifest["fingerprint"] != fingerprint:
            return None
        for name, entry in manifest["files"].items():
            listed = FileEntry(entry["bytes"], entry["sha256"])
            if difference(folder, name, listed, hashes=True):
                return None
        shard = StoredShard(folder, plan, manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SynestheteError):
        return None
    return shard if shard.ids == ids else None
