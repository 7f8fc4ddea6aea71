"""`open_atlas` and `Atlas`: everything a reader asks of an atlas, without a model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthete._core.arrays import Int64
from synesthete._core.notebook import html_of
from synesthete._core.remote_files import is_url
from synesthete._core.user_files import ANY_SIZE, UnusableFile, read_file
from synesthete.atlas.arrays import Shape, column_numbers, map_npy, read_parquet
from synesthete.atlas.exemplars import Exemplars, parse_exemplars
from synesthete.atlas.files import difference, entry_of, inside
from synesthete.atlas.manifest import (
    MANIFEST,
    SAMPLE,
    damaged,
    file_differences,
    layer_folder,
    listed_files,
    read_manifest,
)
from synesthete.atlas.mirror import Mirror, mirror_at
from synesthete.atlas.neurons import (
    Neuron,
    called,
    matching,
    neurons_of,
    ranked,
    the_one_called,
)
from synesthete.atlas.statistics import Statistics, parse_statistics
from synesthete.atlas.summary import summarise
from synesthete.atlas.thumbnails import INDEX, ThumbnailIndex, ThumbnailPosition, cut, text_tile
from synesthete.atlas.visualizations import (
    Visualization,
    folder_of,
    read_visualizations,
    visualization_bytes,
)
from synesthete.atlas.words import EMBEDDINGS, TABLE, activations_file, need_words
from synesthete.atlas.writing import unit_table_file
from synesthete.errors import SynestheteError, near

if TYPE_CHECKING:
    from PIL import Image


def open_atlas(path: str | Path) -> Atlas:
    """Open an atlas for reading.

    Parameters
    ----------
    path
        Folder of the atlas, or its URL: files are then fetched when they are read, into a cache (docs/recording.md).

    Raises
    ------
    SynestheteError
        When there is no atlas, the folder is something else, it has another format or is incomplete, or a file is missing
        or its size differs from the manifest. Contents are checked when they are read
        (memory-mapped matrices only by `Atlas.verify`).
    """
    mirror = Mirror(str(path)) if is_url(path) else mirror_at(Path(path))
    if mirror is not None:
        mirror.refresh()
        return Atlas(mirror.folder, read_manifest(mirror.folder), mirror)
    path = Path(path)
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*.atlas")]
        raise SynestheteError(f"there is no atlas at {path}", hint=near(path.name, beside))
    manifest = read_manifest(path)
    differences = file_differences(path, manifest, hashes=False)
    if differences:
        raise damaged(path, differences)
    return Atlas(path, manifest)


class Atlas:
    """An atlas on disk; make one with `open_atlas`.

    Attributes
    ----------
    path
        Folder of the atlas.
    manifest
        The content of `atlas.json`.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], mirror: Mirror | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._mirror = mirror
        self._contents = Contents(path, manifest, mirror)
        self._layers = {entry["name"]: entry for entry in manifest["layers"]}
        self.statistics = cache(self._statistics)
        self.exemplars = cache(self._exemplars)
        self._neurons_of = cache(self._neurons)

    def _repr_html_(self) -> str | None:
        """Its counts with their controls, where a notebook shows it."""
        return html_of("atlas", self)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the atlas was made of."""
        return str(self.manifest["fingerprint"])

    @property
    def layers(self) -> list[str]:
        """Names of the layers, in the order recorded."""
        return list(self._layers)

    @property
    def main_layers(self) -> list[str]:
        """Those that counts are of when nobody names a layer: of images, or where none reads images those of its first layer's kind.

        Latents of a sparse dictionary are not counted together with neurons.
        """
        own = [name for name, entry in self._layers.items() if "dictionary" not in entry]
        towers = {name: self._layers[name].get("tower", "image") for name in own or self._layers}
        first = "image" if "image" in towers.values() else next(iter(towers.values()))
        return [name for name, tower in towers.items() if tower == first]

    @cached_property
    def sampled(self) -> Atlas:
        """The atlas that analyses read: this one, or where it keeps no dense matrix the sample of its images and texts that does.

        Raises
        ------
        SynestheteError
            The sample is damaged, or of another model or other layers.
        """
        path = self.path / SAMPLE
        if self.manifest["dense"]:
            return self
        mirror = self._mirror
        if not (mirror.has_sample() if mirror else (path / MANIFEST).exists()):
            return self
        sample = open_atlas(path)
        keys = ("model", "layers", "reduction", "text_reduction", "preprocessing")
        mine, other = (one.manifest["recipe"] for one in (self, sample))
        alike = all(mine.get(key) == other.get(key) for key in keys)
        if not alike:
            raise damaged(self.path, [f"{SAMPLE} is of another model or other layers"])
        return sample

    @cached_property
    def sampled_rows(self) -> Int64:
        """Which image of this atlas each one of `sampled` is, `[images]`.

        Raises
        ------
        SynestheteError
            As of `sampled`, or the sample has other images.
        """
        if self.sampled is self:
            return np.arange(self.probes.num_rows)
        mine, theirs = (
            pc.binary_join_element_wise(table["key"], table["sha256"], "/")
            for table in (self.probes, self.sampled.probes)
        )
        rows = pc.index_in(theirs, value_set=mine)
        if rows.null_count:
            raise damaged(self.path, [f"{SAMPLE} has other images"])
        return column_numbers(rows).astype(np.int64)

    @property
    def analysed(self) -> bool:
        """Whether an analysis has been finished."""
        return self.manifest["analysis"] is not None

    def layer(self, name: str) -> dict[str, Any]:
        """What the manifest says of a layer: name, units, kind, grid ([height, width] or None), unless it reads images tower."""
        if name not in self._layers:
            message = f"no layer {name!r} in {self.path}; it has {', '.join(self._layers)}"
            raise SynestheteError(message, hint=near(name, self._layers))
        entry: dict[str, Any] = self._layers[name]
        return entry

    @cached_property
    def probes(self) -> pa.Table:
        """A row per image or text: id, key, sha256, concept, family, modality, artist, caption, source,
        licence, author, in an atlas with texts `text` and `tokens` (start and stop of each token), status ("ok" or "quarantined"), reason.
        """
        return self._contents.table("probes.parquet")

    @cached_property
    def groups(self) -> list[str]:
        """The groups that exemplars are kept in: the modalities, and "" for images without one."""
        return [group["modality"] for group in self.manifest["probes"]["groups"]]

    def activations(self, layer: str) -> np.memmap[Any, Any]:
        """Activations [images, units] float16, memory-mapped; NaN rows for what is quarantined, or not read by the layer.

        Raises
        ------
        SynestheteError
            When the atlas was recorded without the dense matrix.
        """
        return self._matrix(f"{self._folder(layer)}/activations.npy", self.layer(layer)["units"])

    def control_activations(self, control: str, layer: str) -> np.memmap[Any, Any]:
        """Activations of a control ("random_twin") for the same images, [images, units] float16."""
        if control not in self.manifest["controls"]:
            known = ", ".join(self.manifest["controls"]) or "none"
            raise SynestheteError(f"{self.path} has no control {control!r}; it has {known}")
        name = f"controls/{control}/{self._folder(layer)}/activations.npy"
        return self._matrix(name, self.layer(layer)["units"])

    def embeddings(self) -> np.memmap[Any, Any]:
        """Image embeddings [images, dim] float16, length 1; NaN rows for quarantined images."""
        return self._matrix("embeddings.npy", self.manifest["model"]["embedding_dim"])

    def dictionary(self, name: str) -> bytes:
        """The file of a sparse dictionary (safetensors), by the name that the layer's entry gives."""
        return self._contents.read(f"dictionaries/{name}.safetensors")

    def _statistics(self, layer: str) -> Statistics:
        """Statistics of every unit of a layer."""
        name = f"{self._folder(layer)}/statistics.npz"
        return parse_statistics(self._contents.read(name), self.layer(layer)["units"], source=name)

    def _exemplars(self, layer: str) -> Exemplars:
        """Exemplars of every unit of a layer."""
        name = f"{self._folder(layer)}/exemplars.npz"
        limit = self.manifest["recipe"]["exemplars"]["ends"]
        units = self.layer(layer)["units"]
        return parse_exemplars(self._contents.read(name), units, self.groups, limit, source=name)

    def neuron_table(self, layer: str) -> pa.Table:
        """`neurons.parquet` of a layer as it is: a row per unit, in order (for readers of columns)."""
        self._need_analysis()
        name = f"{self._folder(layer)}/neurons.parquet"
        return self._contents.table(name)

    def selectivity(self, layer: str) -> pa.Table:
        """Unit × concept rows that the analysis found worth keeping."""
        self._need_analysis()
        name = f"{self._folder(layer)}/selectivity.parquet"
        return self._contents.table(name)

    def unit_table(self, layer: str, table: str) -> pa.Table | None:
        """Rows (unit, rank, ...) of what was concluded about units: `names` or `families`; None when not made."""
        name = unit_table_file(str(self.layer(layer)["name"]), table)
        if name not in self._contents or table not in self.manifest:
            return None
        return self._contents.table(name)

    @cached_property
    def words(self) -> list[str]:
        """The drawn words that units were shown (`synesthete words`), in order.

        Raises
        ------
        SynestheteError
            When there are none yet.
        """
        need_words(self)
        column = self._contents.table(TABLE)["word"]
        return [str(word) for word in column.to_pylist()]

    def word_activations(self, layer: str) -> np.memmap[Any, Any]:
        """What each unit says of each drawn word, [words, units] float16, memory-mapped."""
        need_words(self)
        name = activations_file(str(self.layer(layer)["name"]))
        return self._matrix(name, self.layer(layer)["units"], rows=len(self.words))

    def word_embeddings(self) -> np.memmap[Any, Any]:
        """Embeddings of the drawn words, the mean over their images, [words, dim] float16."""
        need_words(self)
        return self._matrix(
            EMBEDDINGS, self.manifest["model"]["embedding_dim"], rows=len(self.words)
        )

    def neurons(
        self,
        layer: str | None = None,
        *,
        multimodal: bool | None = None,
        concept: str | None = None,
        limit: int | None = None,
    ) -> list[Neuron]:
        """Neurons sorted by multimodality, highest first, then by address.

        Parameters
        ----------
        layer
            One layer; None for the main ones (`main_layers`).
        multimodal
            True or False for those that pass or do not pass; None for all.
        concept
            Only neurons of this concept (letter case does not matter).
        limit
            At most this many.

        Raises
        ------
        SynestheteError
            When the atlas is not analysed, or it has no such layer or concept.
        """
        self._need_analysis()
        names = self.main_layers if layer is None else [str(self.layer(layer)["name"])]
        found = [neuron for name in names for neuron in self._neurons_of(name)]
        if multimodal is not None:
            found = [neuron for neuron in found if neuron.multimodal == multimodal]
        if concept is not None:
            wanted = self._concept(concept).casefold()
            found = [neuron for neuron in found if neuron.concept.casefold() == wanted]
        return ranked(found)[: None if limit is None else max(limit, 0)]

    def neuron(self, address: str) -> Neuron:
        """The neuron at an address, or the one that has a concept or name (see `locate`).

        Raises
        ------
        SynestheteError
            As `locate`; or the atlas is not analysed.
        """
        self._need_analysis()
        layer, unit = self.locate(address)
        return self._neurons_of(layer)[unit]

    def address(self, text: str) -> str:
        """The address `layer:unit` of what `locate` finds."""
        layer, unit = self.locate(text)
        return f"{layer}:{unit}"

    def locate(self, text: str) -> tuple[str, int]:
        """Layer and unit that a text names.

        Parameters
        ----------
        text
            An address `layer:unit`; a unit's number, where the atlas has one layer; or, of an analysed atlas, a concept or a
            name (letter case does not matter) that exactly one multimodal neuron has, or exactly one neuron.

        Raises
        ------
        SynestheteError
            There is no such layer or unit (near addresses are listed), no neuron has the concept or name (near ones are
            listed), or several have (the best are listed).
        """
        layer, colon, number = text.rpartition(":")
        example = f"{self.layers[0]}:0"
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            if self.analysed:
                neuron = the_one_called(text, self.neurons(), example=example)
                return neuron.layer, neuron.unit
            hint = f"write layer:unit, for example {example}"
            raise SynestheteError(f"{text[:200]!r} is not a valid address", hint=hint)
        if not colon and len(self.layers) > 1:
            hint = f"write layer:unit, for example {self.layers[0]}:{number}"
            message = f"{text!r} names a unit, but the atlas has {len(self.layers)} layers"
            raise SynestheteError(message, hint=hint)
        layer = layer if colon else self.layers[0]
        units, unit = int(self.layer(layer)["units"]), int(number)
        if unit >= units:
            message = f"no unit {unit} in {layer}; its units are 0 to {units - 1}"
            options = [f"{layer}:{other}" for other in range(units)]
            raise SynestheteError(message, hint=near(f"{layer}:{number}", options))
        return layer, unit

    def find(self, text: str) -> list[Neuron]:
        """Neurons whose concept or name is the text; else contains it; else is near it. Best first."""
        return ranked(matching(text, self.neurons()))

    def called(self, text: str) -> list[Neuron]:
        """Neurons whose concept or name is the text (letter case does not matter), best first."""
        return called(text, self.neurons())

    def text(self, image: int) -> str | None:
        """The text of a row; None for an image."""
        return self._texts[image] or None if self._texts else None

    @cached_property
    def _texts(self) -> list[str]:
        known = "text" in self.probes.column_names
        return [str(text) for text in self.probes["text"].to_pylist()] if known else []

    def thumbnail_position(self, image: int) -> ThumbnailPosition:
        """Sprite file and corner of an image's thumbnail (for pages that show sprites); that of `sampled` where this atlas keeps exemplars' only."""
        if image not in self._thumbnails and self.sampled is not self:
            for row in np.flatnonzero(self.sampled_rows == image)[:1]:
                position = self.sampled.thumbnail_position(int(row))
                return replace(position, sprite=f"{SAMPLE}/{position.sprite}")
        return self._thumbnails.position(image)

    def sprite(self, name: str) -> bytes:
        """A sprite's file (WebP), by the name that `thumbnail_position` gives."""
        if name.startswith(f"{SAMPLE}/"):
            return self.sampled.sprite(name.removeprefix(f"{SAMPLE}/"))
        return self._contents.read(name)

    def thumbnail(self, image: int) -> Image.Image:
        """What the model saw of an image, RGB, 96 × 96 pixels; of a text its beginning, drawn."""
        if (content := self.text(image)) is not None:
            return text_tile(content)
        position = self.thumbnail_position(image)
        return cut(self.sprite(position.sprite), position)

    def visualizations(self, layer: str | None = None) -> list[Visualization]:
        """Images made of a layer's units, or (without one) of directions; empty when none were made."""
        named = layer if layer is None else str(self.layer(layer)["name"])
        return read_visualizations(self.path, folder_of(named or "", -1 if named is None else 0))

    def visualization(self, image: Visualization) -> bytes:
        """The file of an image (WebP)."""
        return visualization_bytes(self.path, image)

    def summary(self) -> dict[str, Any]:
        """What the atlas holds, as JSON can write it; counts are None before an analysis."""
        return summarise(self)

    def verify(self) -> list[str]:
        """Read every file and say what is not as it was written; of an atlas at a URL the files there, and copies that differ are removed.

        Returns
        -------
        One line per file that is missing, altered or unknown; empty when the atlas is sound.
        """
        if self._mirror is None:
            differences = file_differences(self.path, read_manifest(self.path), hashes=True)
        else:
            listed = listed_files(self.manifest)
            lines = [self._mirror.difference(name, entry) for name, entry in listed.items()]
            differences = [line for line in lines if line]
            for name, entry in listed.items():
                if difference(self.path, name, entry, hashes=True):
                    inside(self.path, name).unlink(missing_ok=True)
        if self.sampled is not self:
            differences += [f"{SAMPLE}/{line}" for line in self.sampled.verify()]
        return differences

    @cached_property
    def concepts(self) -> list[str]:
        """Concepts of the readable probe images, sorted."""
        columns = (self.probes[name].to_pylist() for name in ("concept", "status"))
        return sorted(
            {name for name, status in zip(*columns, strict=True) if name and status == "ok"}
        )

    @cached_property
    def _thumbnails(self) -> ThumbnailIndex:
        return ThumbnailIndex(self._contents.table(INDEX))

    def _concept(self, text: str) -> str:
        known = {name.casefold(): name for name in self.concepts}
        found = known.get(text.strip().casefold())
        if found is None:
            hint = near(text, self.concepts)
            raise SynestheteError(f"no concept {text!r} among the probe images", hint=hint)
        return found

    def _folder(self, layer: str) -> str:
        return f"layers/{layer_folder(str(self.layer(layer)['name']))}"

    def _neurons(self, layer: str) -> list[Neuron]:
        names, families = (self.unit_table(layer, kind) for kind in ("names", "families"))
        found = neurons_of(layer, self.neuron_table(layer), names, families)
        return [replace(neuron, source=self.path) for neuron in found]

    def _need_analysis(self) -> None:
        if not self.analysed:
            raise SynestheteError(
                f"{self.path} is recorded but not analysed, so its neurons are not known yet",
                hint=f"run: synesthete analyze {self.path}",
            )

    def _matrix(self, name: str, columns: int, *, rows: int | None = None) -> np.memmap[Any, Any]:
        images = int(self.manifest["probes"]["images"])
        return self._contents.matrix(name, (images if rows is None else rows, columns))


class Contents:
    """The files that an atlas's manifest lists.

    Parameters
    ----------
    path
        Folder of the atlas.
    manifest
        The content of `atlas.json`.
    mirror
        Of an atlas elsewhere: fetches what is read.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], mirror: Mirror | None = None) -> None:
        self._path = path
        self._files = listed_files(manifest)
        self._mirror = mirror

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> bytes:
        """A whole file, checked against the manifest; of an atlas elsewhere a copy that differs is fetched once more.

        Raises
        ------
        SynestheteError
            When the manifest does not list it, or it is missing or altered.
        """
        if name not in self._files:
            raise damaged(self._path, [f"atlas.json does not list {name}"])
        self._fetch(name)
        data = self._read(name)
        sound = entry_of(data) == self._files[name]
        if not sound and self._mirror is not None:
            self._mirror.fetch_again(name, self._files[name])
            data = self._read(name)
            sound = entry_of(data) == self._files[name]
        if not sound:
            message = f"{name} has other content than when it was written (SHA-256 differs)"
            raise damaged(self._path, [message])
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
            hint = "record with the dense matrix (dense=True), or with a sample"
            raise SynestheteError(message, hint=hint)
        self._fetch(name)
        return map_npy(inside(self._path, name), np.float16, shape, source=name)

    def _read(self, name: str) -> bytes:
        try:
            return read_file(inside(self._path, name), max_bytes=ANY_SIZE)
        except UnusableFile as error:
            raise damaged(self._path, [f"{name} is missing ({error.reason})"]) from None

    def _fetch(self, name: str) -> None:
        if self._mirror is not None:
            self._mirror.fetch(name, self._files[name])
