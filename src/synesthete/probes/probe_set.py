"""A probe set: images and texts with what they show or say, how, by whom and under which licence."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from synesthete.errors import SynestheteError, near
from synesthete.probes.decoding import UnreadableImage

__all__ = [
    "COLUMNS", "IMAGE_MODALITIES", "MODALITIES", "ORIGIN", "TEXT", "TEXT_MODALITIES", "ImageSource", "ProbeSet", "UnreadableImage",
]  # fmt: skip

IMAGE_MODALITIES = ("photo", "drawing", "symbol", "word")
TEXT_MODALITIES = ("name", "translation", "synonym", "description", "anecdote")
# These say what they are about without naming it.
NAMELESS = ("description", "anecdote")
MODALITIES = (*IMAGE_MODALITIES, *TEXT_MODALITIES)
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
TEXT = "text"
# Ends a concept that a model gave an image, wherever the concept is shown.
ZERO_SHOT = " (zero-shot)"
ORIGIN = "origin"  # of a text: person, model or resource
CHUNK = 4096  # rows that become Python's objects at once
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
    """Images and texts of concepts in several modalities. Labels and texts are in memory, images are read on demand.

    Parameters
    ----------
    name
        What people call the set; not part of its fingerprint.
    labels
        One row per image or text with the string columns `COLUMNS`, and where there are texts `text` (empty for
        images) and, where it is known, `origin`. Row i is image id i. A row is a text when it has one, or is of one of `TEXT_MODALITIES`.
    source
        Reads the images; never asked for texts.
    rows
        For each image id, its row in `source`; all rows in order by default.
    problems
        Rows of `source` known to be unusable, with the reason: they stay in the set, and `image`
        raises for them, so that a recording can quarantine them by name.
    notes
        What the reader left out and people should know, in lines.

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
        notes: Sequence[str] = (),
    ) -> None:
        if labels.num_rows == 0:
            raise SynestheteError(f"probe set '{name}' has no images")
        self.name = name
        self.is_text: npt.NDArray[np.bool_] = text_rows(labels)
        of_texts = [name for name in (TEXT, ORIGIN) if name in labels.column_names]
        kept = [*COLUMNS, *of_texts] if self.is_text.any() else COLUMNS
        self.labels: pa.Table = labels.select(list(kept))
        self.source = source
        self.problems = dict(problems or {})
        self.notes = tuple(notes)
        self.rows = np.arange(len(labels)) if rows is None else np.asarray(rows, dtype=np.int64)
        if len(self.rows) != len(labels):
            raise SynestheteError(f"{len(labels)} labels for {len(self.rows)} images in '{name}'")
        # Of each row of the source, of which there may be millions; zeros where nothing can be read.
        self._digests = np.zeros(int(self.rows.max()) + 1, "V32")
        self._hashed = np.zeros(len(self._digests), np.bool_)

    def __len__(self) -> int:
        return int(self.labels.num_rows)

    def __repr__(self) -> str:
        shown = ", ".join(self.modalities)
        texts = int(self.is_text.sum())
        counts = f"{len(self) - texts} images, " + (f"{texts} texts, " if texts else "")
        return f"ProbeSet({self.name!r}, {counts}{len(self.concepts)} concepts, {shown})"

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
        if self.is_text[index]:
            raise UnreadableImage("a text, not an image")
        return self.source.image(row)

    def text(self, index: int) -> str:
        """The text of an image id.

        Raises
        ------
        UnreadableImage
            With the `reason` for the quarantine row; also when it is an image.
        """
        row = int(self.rows[index])
        if row in self.problems:
            raise UnreadableImage(self.problems[row])
        if not self.is_text[index]:
            raise UnreadableImage("an image, not a text")
        return str(self.labels[TEXT][index])

    def part(self, *, images: bool = True, texts: bool = True) -> ProbeSet:
        """The images, the texts, or both; the set itself when nothing has to be left out.

        Raises
        ------
        SynestheteError
            Nothing is left.
        """
        kept = (self.is_text & texts) | (~self.is_text & images)
        if kept.all():
            return self
        if not kept.any():
            raise SynestheteError(f"'{self.name}' holds no {'images' if images else 'texts'}")
        return self.select(indices=np.flatnonzero(kept).tolist())

    @cached_property
    def naming_texts(self) -> list[int]:
        """Ids of descriptions and anecdotes that say their concept's name, which they should do without."""
        if not self.is_text.any():
            return []
        rows = self.labels.select(["concept", "modality", TEXT]).to_pylist()
        return [
            index
            for index, row in enumerate(rows)
            if row["modality"] in NAMELESS and says(row[TEXT], row["concept"])
        ]

    @cached_property
    def table(self) -> pa.Table:
        """`labels` with the column `sha256`; the first use reads every image's bytes, one by one."""
        return pa.concat_tables(self.tables(max(len(self), 1)))

    def tables(self, rows: int = CHUNK) -> Iterator[pa.Table]:
        """`table` in parts of so many rows, of which one is in memory at a time; one without rows where the set is empty."""
        # In the order of storage, because columnar files are read from front to back.
        for row in np.sort(self.rows[~self.is_text]):
            if not self._hashed[row]:
                self._digests[row] = bytes.fromhex(self.source.digest(int(row)))
                self._hashed[row] = True
        for start in range(0, max(len(self), 1), rows):
            part = self.labels.slice(start, rows)
            digests = [self._digest_of(start + place) for place in range(len(part))]
            yield part.append_column("sha256", pa.array(digests, pa.string()))

    def _digest_of(self, index: int) -> str:
        if self.is_text[index]:
            return _digest(str(self.labels[TEXT][index]))
        digest = bytes(self._digests[int(self.rows[index])])
        return digest.hex() if digest.strip(b"\0") else ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over key, hash of the image or text, concept, modality and artist of every image in order."""
        total = hashlib.sha256()
        for part in self.tables():
            columns = (part[name].to_pylist() for name in _IDENTITY)
            for values in zip(*columns, strict=True):
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
        """The modalities: the known ones first, in the order of `MODALITIES`, then the user's own, sorted."""
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
            notes=self.notes,
        )
        chosen._digests, chosen._hashed = self._digests, self._hashed
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


class ByNumber:
    """A probe set as a source: its images by their ids, with the problems that it knows of."""

    def __init__(self, probes: ProbeSet) -> None:
        self.probes = probes

    def image(self, row: int) -> Image.Image:
        """The image of an id; raises `UnreadableImage`."""
        return self.probes.image(row)

    def digest(self, row: int) -> str:
        """Its digest, as the set's own source gives it."""
        return self.probes.source.digest(int(self.probes.rows[row]))


def plain_concept(concept: str) -> str:
    """A concept without the mark of one that a model gave (`ZERO_SHOT`)."""
    return concept.removesuffix(ZERO_SHOT)


def says(text: str, name: str) -> bool:
    """Whether a text has a name in it, as whole words, in the singular or plural.

    Examples
    --------
    >>> says("Two Apples a day.", "apple"), says("A pineapple.", "apple")
    (True, False)
    """
    words = r"\s+".join(re.escape(word) for word in name.casefold().split())
    return bool(words) and re.search(rf"(?<!\w){words}(e?s)?(?!\w)", text.casefold()) is not None


def words_shuffled(text: str) -> str:
    """The words of a text in an order that its own hash decides: the same everywhere, and as good as random.

    A text of one word, or written without spaces, stays as it is.

    Examples
    --------
    >>> words_shuffled("a red fruit"), sorted(words_shuffled("a red fruit").split())
    ('red a fruit', ['a', 'fruit', 'red'])
    """
    words = text.split()
    order = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
    return " ".join(words[place] for place in order.permutation(len(words)))


def text_rows(labels: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows of a table of labels are texts `[images]`: those that have one, or are of a modality of texts."""
    if TEXT not in labels.column_names:
        return np.zeros(len(labels), np.bool_)
    import pyarrow.compute as pc  # takes long to import

    of_texts = pc.is_in(labels["modality"], pa.array(TEXT_MODALITIES))
    found = pc.or_(pc.not_equal(labels[TEXT], ""), of_texts)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
