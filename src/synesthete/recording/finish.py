"""The end of a recording: shards merged and streamed into the files of the atlas, manifest last."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from synesthete.atlas.arrays import (
    ROW_GROUP,
    npy_pieces,
    npz_bytes,
    parquet_bytes,
    parquet_pieces,
)
from synesthete.atlas.files import entry_of, sync_folder, write_file
from synesthete.atlas.manifest import (
    FORMAT,
    VERSION,
    fingerprint_of,
    layer_folder,
    write_manifest,
)
from synesthete.atlas.thumbnails import INDEX, SPRITE_TILES, sprite_of, sprite_path, thumbnail_of
from synesthete.models.dictionaries import SparseDictionary, split_layer
from synesthete.probes.probe_set import text_rows
from synesthete.recording.exemplars import merge_exemplars
from synesthete.recording.plan import Plan, group_codes
from synesthete.recording.shards import StoredShard
from synesthete.recording.statistics import UnitStatistics

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

PROBE_COLUMNS = (
    "key",
    "sha256",
    "concept",
    "family",
    "modality",
    "artist",
    "caption",
    "source",
    "licence",
    "author",
)
TEXT_COLUMNS = ("text", "origin")
_PACKAGES = ("torch", "open_clip_torch", "numpy")


class Finisher:
    """Writes the files of an atlas from its shards, one after the other in bounded memory.

    Parameters
    ----------
    out
        Folder of the atlas.
    model, probes, plan, recipe
        What was recorded.
    shards
        All of them, in order.
    """

    def __init__(
        self,
        out: Path,
        model: ImageTextModel,
        probes: ProbeSet,
        plan: Plan,
        recipe: dict[str, Any],
        shards: Sequence[StoredShard],
    ) -> None:
        self.out = out
        self.model = model
        self.probes = probes
        self.plan = plan
        self.recipe = recipe
        self.shards = shards
        self.unreadable = {id_: why for shard in shards for id_, why in shard.unreadable.items()}
        self.is_text = text_rows(probes.labels)
        self._files: dict[str, dict[str, Any]] = {}

    def write(self) -> None:
        """Write every file, and the manifest as the last."""
        self._matrix("embeddings.npy", "embeddings.npy", self.model.embedding_dim)
        exemplar_ids: set[int] = set()
        for index, name in enumerate(self.plan.layers):
            exemplar_ids |= self._layer(index, f"layers/{layer_folder(name)}")
        for name, dictionary in self._dictionaries().items():
            self._add(f"dictionaries/{name}.safetensors", dictionary.as_bytes())
        self._add("probes.parquet", parquet_pieces(self._probe_tables()))
        self._thumbnails(sorted(exemplar_ids))
        # Every file is in its folder for good before the manifest says so.
        for folder in {self.out / name for file in self._files for name in Path(file).parents}:
            sync_folder(folder)
        write_manifest(self.out, self._manifest())

    def _add(self, name: str, content: bytes | Iterable[bytes]) -> None:
        self._files[name] = write_file(self.out / name, content, sync=False).as_dict()

    def _layer(self, index: int, folder: str) -> set[int]:
        statistics = UnitStatistics.empty(self.plan.units[index])
        for shard in self.shards:
            statistics = statistics.merge(shard.statistics(index))
        self._add(f"{folder}/statistics.npz", npz_bytes(statistics.finish().arrays()))
        exemplars = reduce(merge_exemplars, (shard.exemplars(index) for shard in self.shards))
        self._add(f"{folder}/exemplars.npz", npz_bytes(exemplars.arrays()))
        if self.plan.dense:
            units = self.plan.units[index]
            self._matrix(f"{folder}/activations.npy", f"activations-{index}.npy", units)
            for twin in self.plan.twins_of(self.plan.layers[index]):
                name = f"controls/{twin}/{folder}/activations.npy"
                self._matrix(name, f"{twin}-{index}.npy", units)
        wanted = self.plan.thumbnails == "exemplars"
        return set(exemplars.all_ids().tolist()) if wanted else set()

    def _matrix(self, name: str, part: str, columns: int) -> None:
        blocks = (shard.rows(part, columns) for shard in self.shards)
        self._add(name, npy_pieces((len(self.probes), columns), np.float16, blocks))

    def _probe_tables(self) -> Iterator[pa.Table]:
        """The table of images and texts in parts, so that memory does not grow with their number."""
        start = 0
        for table in self.probes.tables(ROW_GROUP):
            ids = range(start, start + len(table))
            start = ids.stop
            reasons = [self.unreadable.get(image, "") for image in ids]
            status = ["quarantined" if image in self.unreadable else "ok" for image in ids]
            columns: dict[str, Any] = {"id": pa.array(ids, pa.int64())}
            more = [name for name in TEXT_COLUMNS if name in table.column_names]
            columns |= {name: table[name].cast(pa.string()) for name in (*PROBE_COLUMNS, *more)}
            if self.is_text.any():
                columns["tokens"] = pa.array(self._tokens(table, ids), pa.list_(pa.int32()))
            columns |= {
                "status": pa.array(status, pa.string()),
                "reason": pa.array(reasons, pa.string()),
            }
            yield pa.table(columns)

    def _tokens(self, table: pa.Table, ids: range) -> list[list[int]]:
        """Of each text where its tokens lie: start and stop of one after the other, in the order of positions."""
        return [
            [place for token in self.model.tokens(text) for place in (token.start, token.stop)]
            if is_text
            else []
            for text, is_text in zip(
                table["text"].to_pylist(), self.is_text[ids.start : ids.stop], strict=True
            )
        ]

    def _thumbnails(self, exemplar_ids: list[int]) -> None:
        late = self.plan.thumbnails == "exemplars"
        sheets = self._late_sprites(exemplar_ids) if late else self._recorded_sprites()
        ids: list[int] = []
        sprites: list[str] = []
        tiles: list[int] = []
        for sheet, places in sheets:
            name = sprite_path(entry_of(sheet).sha256)
            self._add(name, sheet)
            ids += places.values()
            tiles += places
            sprites += [name] * len(places)
        index = {
            "id": pa.array(ids, pa.int64()),
            "sprite": pa.array(sprites, pa.string()),
            "tile": pa.array(tiles, pa.int16()),
        }
        self._add(INDEX, parquet_bytes(pa.table(index)))

    def _recorded_sprites(self) -> Iterator[tuple[bytes, dict[int, int]]]:
        """Each sprite with the image id of each of its tiles."""
        for shard in self.shards:
            for number in shard.sprites:
                first = number * SPRITE_TILES
                ids = range(first, min(first + SPRITE_TILES, shard.ids.stop))
                places = {
                    id_ - first: id_
                    for id_ in ids
                    if id_ not in shard.unreadable and not self.is_text[id_]
                }
                yield shard.sprite(number), places

    def _late_sprites(self, ids: list[int]) -> Iterator[tuple[bytes, dict[int, int]]]:
        """Sprites of exemplars only, decoded again: which they are is known only now."""
        ids = [image_id for image_id in ids if not self.is_text[image_id]]
        for start in range(0, len(ids), SPRITE_TILES):
            places = dict(enumerate(ids[start : start + SPRITE_TILES]))
            images = {
                tile: thumbnail_of(self.model.geometry(self.probes.image(image_id)))
                for tile, image_id in places.items()
            }
            yield sprite_of(images), places

    def _manifest(self) -> dict[str, Any]:
        model, plan = self.model, self.plan
        return {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": fingerprint_of(self.recipe),
            "recipe": self.recipe,
            "model": {
                "name": model.name,
                "embedding_dim": model.embedding_dim,
                "weights_sha256": model.weights_sha256,
                "preprocessing": model.preprocessing.as_dict(),
                "description": model.description,
            },
            "probes": {
                "name": self.probes.name,
                "fingerprint": self.probes.fingerprint,
                "images": len(self.probes),
                "quarantined": len(self.unreadable),
                "groups": self._groups(),
                **self._texts(),
            },
            "layers": [self._layer_entry(index) for index in range(len(plan.layers))],
            "reduction": plan.reduction,
            **({"text_reduction": plan.text_reduction} if "text" in plan.towers else {}),
            "dense": plan.dense,
            "thumbnails": self.recipe["thumbnails"],
            **self._described_dictionaries(),
            "versions": {"synesthete": _version("synesthete")}
            | {package: _version(package) for package in _PACKAGES},
            "controls": self.recipe["twins"],
            "analysis": None,
            "files": self._files,
        }

    def _layer_entry(self, index: int) -> dict[str, Any]:
        name = self.plan.layers[index]
        grids = (shard.grids[index] for shard in self.shards)
        return {
            "name": name,
            "folder": layer_folder(name),
            "units": self.plan.units[index],
            "kind": self.model.layer(name).kind,
            **({} if self.plan.towers[index] == "image" else {"tower": self.plan.towers[index]}),
            **({"dictionary": split_layer(name)[1]} if name in self.plan.dictionaries else {}),
            "grid": next((grid for grid in grids if grid is not None), None),
        }

    def _dictionaries(self) -> dict[str, SparseDictionary]:
        """The dictionaries whose latents were recorded, by their own names."""
        return {
            split_layer(layer)[1]: self.model.dictionaries[layer]
            for layer in self.plan.dictionaries
        }

    def _described_dictionaries(self) -> dict[str, Any]:
        """What the manifest says of them; nothing without any."""
        layer_of: dict[str, str] = {}
        for layer in self.plan.dictionaries:
            layer_of.setdefault(split_layer(layer)[1], layer)
        notes = {
            name: {
                # First, so that no stranger's words stand for what was found.
                **one.facts,
                "layer": layer_of[name],
                "kind": one.kind,
                "latents": one.latents,
                "k": one.k,
            }
            for name, one in self._dictionaries().items()
        }
        return {"dictionaries": notes} if notes else {}

    def _texts(self) -> dict[str, int]:
        """Counts of texts, and of descriptions and anecdotes that say what they should not; nothing for images alone."""
        if not self.is_text.any():
            return {}
        naming = len(self.probes.naming_texts)
        return {"texts": int(self.is_text.sum()), "naming_texts": naming}

    def _groups(self) -> list[dict[str, Any]]:
        everything = range(len(self.probes))
        codes = group_codes(self.probes.labels, everything, self.plan.groups)
        codes = np.delete(codes, sorted(self.unreadable))
        counts = np.bincount(codes, minlength=len(self.plan.groups))
        return [
            {"modality": name, "images": int(count)}
            for name, count in zip(self.plan.groups, counts, strict=True)
        ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
