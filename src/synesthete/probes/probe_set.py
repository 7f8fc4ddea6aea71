"""A probe set: images with what they show, how, by whom and under which licence."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

from synesthete.errors import SynestheteError, near
from synesthete.probes.decoding import UnreadableImage

__all__ = ["COLUMNS", "MODALITIES", "ImageSource", "ProbeSet", "UnreadableImage"]

MODALITIES = ("photo", "drawing", "symbol", "word")
COLUMNS = (
    "key",
    "concept",
    "modality",
    "artist",
    "caption",
    "family",
    "source",
    "licence",
    "author",
)
_IDENTITY = ("key", "sha256", "concept", "modality", "artist")


class ImageSource(Protocol):
    """Where a probe set's images come from, by row of the set as it was read."""

    def image(self, row: int) -> Image.Image:
        """The RGB image of a row; raises `UnreadableImage`."""
        ...

    def digest(self, row: int) -> str:
        """SHA-256 in hexadecimal of what makes the image; empty where nothing can be read."""
        ...


class ProbeSet:
    """Images of concepts in several modalities. Labels are in memory, images are read on demand.

    Parameters
    ----------
    name
        What people call the set; not part of its fingerprint.
    labels
        One row per image with the string columns `COLUMNS`. Row i is image id i.
    source
        Reads the images.
    rows
        For each image id, its row in `source`; all rows in order by default.
    problems
        Rows of `source` known to be unusable, with the reason: they stay in the set, and `image`
        raises for them, so that a recording can quarantine them by name.

    Raises
    ------
    SynestheteError
        No image at all, or labels and rows of different length.
    """

    def __init__(
        self,
        name: str,
        labels: pa.Table,
        source: ImageSource,
        *,
        rows: Sequence[int] | None = None,
        problems: Mapping[int, str] | None = None,
    ) -> None:
        if labels.num_rows == 0:
            raise SynestheteError(f"probe set '{name}' has no images")
        self.name = name
        self.labels: pa.Table = labels.select(list(COLUMNS))
        self.source = source
        self.problems = dict(problems or {})
        self.rows = np.arange(len(labels)) if rows is None else np.asarray(rows, dtype=np.int64)
        if len(self.rows) != len(labels):
            raise SynestheteError(f"{len(labels)} labels for {len(self.rows)} images in '{name}'")
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        return int(self.labels.num_rows)

    def __repr__(self) -> str:
        shown = ", ".join(self.modalities)
        return (
            f"ProbeSet({self.name!r}, {len(self)} images, {len(self.concepts)} concepts, {shown})"
        )

    def image(self, index: int) -> Image.Image:
        """The image of an image id.

        Parameters
        ----------
        index
            Image id, 0 to `len(self) - 1`.

        Returns
        -------
        Image.Image
            RGB, upright, transparency on white.

        Raises
        ------
        UnreadableImage
            With the `reason` for the quarantine row.
        """
        row = int(self.rows[index])
        if row in self.problems:
            raise UnreadableImage(self.problems[row])
        return self.source.image(row)

    @cached_property
    def table(self) -> pa.Table:
        """`labels` with the column `sha256`; the first use reads every image's bytes, one by one."""
        # In the order of storage, because columnar files are read from front to back.
        for row in np.sort(self.rows):
            if int(row) not in self._digests:
                self._digests[int(row)] = self.source.digest(int(row))
        digests = [self._digests[int(row)] for row in self.rows]
        return self.labels.append_column("sha256", pa.array(digests, pa.string()))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over key, image hash, concept, modality and artist of every image in order."""
        total = hashlib.sha256()
        for batch in self.table.select(list(_IDENTITY)).to_batches(max_chunksize=4096):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                for value in values:
                    encoded = value.encode()
                    # The length keeps ("ab", "c") and ("a", "bc") apart.
                    total.update(len(encoded).to_bytes(8, "little") + encoded)
        return total.hexdigest()

    @cached_property
    def concepts(self) -> list[str]:
        """The concepts, sorted."""
        return sorted(set(self.labels["concept"].unique().to_pylist()) - {""})

    @cached_property
    def modalities(self) -> list[str]:
        """The modalities: the four known ones first, then the user's own, sorted."""
        present = set(self.labels["modality"].unique().to_pylist()) - {""}
        return [m for m in MODALITIES if m in present] + sorted(present - set(MODALITIES))

    def select(
        self,
        *,
        concepts: Iterable[str] | None = None,
        modalities: Iterable[str] | None = None,
        indices: Iterable[int] | None = None,
    ) -> ProbeSet:
        """A probe set of some of the images; image ids are renumbered.

        Parameters
        ----------
        concepts, modalities
            Keep images of these only.
        indices
            Keep these image ids, in this order.

        Raises
        ------
        SynestheteError
            A concept, modality or image id that the set does not have, or nothing left.
        """
        kept = np.arange(len(self)) if indices is None else np.fromiter(indices, dtype=np.int64)
        if len(kept) and not (kept.min() >= 0 and kept.max() < len(self)):
            raise SynestheteError(
                f"image ids of '{self.name}' run from 0 to {len(self) - 1}, "
                f"not {kept.min()} to {kept.max()}"
            )
        for column, wanted, known in (
            ("concept", concepts, self.concepts),
            ("modality", modalities, self.modalities),
        ):
            if wanted is not None:
                kept = kept[self._among(column, list(wanted), known)[kept]]
        if not len(kept):
            raise SynestheteError(
                f"no image of '{self.name}' is both of these concepts and modalities"
            )
        chosen = ProbeSet(
            self.name,
            self.labels.take(pa.array(kept)),
            self.source,
            rows=self.rows[kept].tolist(),
            problems=self.problems,
        )
        chosen._digests = self._digests
        return chosen

    def _among(
        self, column: str, wanted: Sequence[str], known: Collection[str]
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        for value in wanted:
            if value not in known:
                hint = near(value, known) or f"it has {', '.join(sorted(known)[:12])}"
                raise SynestheteError(f"no {column} '{value}' in '{self.name}'", hint=hint)
        values = self.labels[column].to_numpy()
        return np.isin(values.astype(str), np.asarray(wanted, dtype=str))
