"""Probe sets out of WebDataset tars: consecutive members of one key are a sample; nothing is extracted, nothing unpickled."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage, decode
from synesthete.probes.labels import ALIASES, LabelTable
from synesthete.probes.locations import Located, opened, size_of
from synesthete.probes.probe_set import ProbeSet
from synesthete.probes.sources import MAX_FILE_BYTES
from synesthete.probes.tar import Member, blocks, members

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2", "avif")
TEXT = "txt"
MAX_LABEL_BYTES = 1 << 20
# Reading these can run code; others that are not read cannot.
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz", "ten", "joblib", "dill")
_LABELS = frozenset(alias for aliases in ALIASES.values() for alias in aliases)


def read_tars(files: Sequence[Located], name: str) -> ProbeSet:
    """Read tars as one probe set, in the order given; the first reading hashes every image on the way.

    A sample's key is the path of its members up to the first dot of their names. Of each sample are read: images (`.jpg`, `.png`,
    `.webp`, ...), a caption (`.txt`; without an image it is a text), labels: `.json` (an object with `concept` or `label`, `modality`, `artist`,
    `caption`, ... as the columns of a table), `.cls` (the concept), or a member for each of them (`.concept`, `.modality`, ...). What else there is is ignored.

    Raises
    ------
    SynestheteError
        A tar is damaged or ends early, or holds no sample.

    Notes
    -----
    Memory holds the labels and 56 bytes for each image.
    """
    index = _Index()
    for number, file in enumerate(files):
        index.read(number, file)
    labels = index.labels
    if not len(labels):
        raise SynestheteError(
            f"no images in '{files[0]}'", hint="a sample is KEY.jpg with KEY.json"
        )
    labels.require_concepts()
    if len(labels.problems) == len(labels):
        row, reason = next(iter(labels.problems.items()))
        key = labels.columns["key"][row]
        raise SynestheteError(f"no usable image in '{files[0]}': '{key}' {reason}")
    source = TarSource(files, index.places, index.digests)
    return ProbeSet(name, labels.table(), source, problems=labels.problems, notes=index.notes())


class TarSource:
    """Images in tars, read where they are.

    Parameters
    ----------
    files
        The tars.
    places
        For each row the number of its tar, and offset and size of its bytes.
    digests
        For each row the SHA-256 of its bytes, in hexadecimal; empty where there are none.
    """

    def __init__(
        self,
        files: Sequence[Located],
        places: Sequence[tuple[int, int, int]],
        digests: Sequence[bytes],
    ) -> None:
        self.files = list(files)
        self._places = np.array(places, np.int64).reshape(-1, 3)
        self._digests = np.array(digests, "V32")
        self._open: tuple[int, BinaryIO] | None = None
        self._lock = threading.Lock()

    def image(self, row: int) -> Image.Image:
        """The decoded image of a row; raises `UnreadableImage`."""
        number, offset, size = (int(value) for value in self._places[row])
        with self._lock:
            try:
                if self._open is None or self._open[0] != number:
                    self._close()
                    self._open = number, opened(self.files[number])
                self._open[1].seek(offset)
                data = self._open[1].read(size)
            except OSError as error:
                raise UnreadableImage(f"cannot be read: {error.strerror or error}") from None
        if hashlib.sha256(data).digest() != bytes(self._digests[row]):
            raise UnreadableImage("other bytes than when its tar was listed", hint="start again")
        return decode(data)

    def digest(self, row: int) -> str:
        """SHA-256 of a row's bytes; empty where there are none."""
        digest = bytes(self._digests[row])
        return digest.hex() if digest.strip(b"\0") else ""

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


@dataclass(kw_only=True)
class _Sample:
    """What was met of one key."""

    key: str
    images: list[tuple[str, tuple[int, int, int], bytes, str]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    problem: str = ""
    unread: list[str] = field(default_factory=list)


class _Index:
    """Collects the samples of one tar after another."""

    def __init__(self) -> None:
        self.labels = LabelTable(concepts=False)
        self.places: list[tuple[int, int, int]] = []
        self.digests: list[bytes] = []
        self._ignored: Counter[str] = Counter()

    def read(self, number: int, file: Located) -> None:
        with opened(file) as handle:
            sample: _Sample | None = None
            for member in members(handle, size_of(file, handle), str(file)):
                folder, slash, base = member.name.rpartition("/")
                stem, dot, ending = base.partition(".")
                if member.other == "a folder" or not stem or not dot or "__MACOSX" in folder:
                    continue
                key = f"{folder}{slash}{stem}"
                if sample is None or sample.key != key:
                    self._add(sample, file)
                    sample = _Sample(key=key)
                self._take(sample, member, ending.lower(), handle, number)
            self._add(sample, file)

    def notes(self) -> list[str]:
        if not (pickled := {kind: self._ignored[kind] for kind in PICKLES if self._ignored[kind]}):
            return []
        kinds = ", ".join(f".{kind}" for kind in pickled)
        count = sum(pickled.values())
        return [f"{count:,} members ({kinds}) are not read: reading them could run code"]

    def _take(
        self, sample: _Sample, member: Member, ending: str, handle: BinaryIO, number: int
    ) -> None:
        known = ending in IMAGES or ending in (TEXT, "json", "cls") or ending in _LABELS
        if not known:
            self._ignored[ending.rpartition(".")[2]] += 1
            sample.unread.append(ending)
            return
        problem = f"{member.other} in its tar: store the file itself" if member.other else ""
        if ending in IMAGES:
            digest = b"\0" * 32
            if not problem and member.size > MAX_FILE_BYTES:
                problem = f"a file of {member.size >> 20:,} MiB: make it smaller"
            if not problem:
                digest = _digest(handle, member)
            name = f"{sample.key}.{ending}"
            place = number, member.offset, member.size
            sample.images.append((name, place, digest, problem))
            return
        if not problem and member.size > MAX_LABEL_BYTES:
            problem = f"its .{ending} has {member.size >> 20:,} MiB: labels are short"
        if not problem:
            problem = _label(sample, ending, b"".join(blocks(handle, member)))
        sample.problem = sample.problem or problem

    def _add(self, sample: _Sample | None, file: Located) -> None:
        if sample is None:
            return
        for name, place, digest, problem in sample.images:
            values = {"caption": sample.text or "", **sample.values}
            self._row(f"{file.stem}/{name}", values, problem or sample.problem, None, place, digest)
        if not sample.images and sample.text is not None:
            self._row(
                f"{file.stem}/{sample.key}.{TEXT}", sample.values, sample.problem, sample.text
            )
        elif not sample.images and (sample.unread or sample.values or sample.problem):
            kinds = ", ".join(f".{ending}" for ending in sample.unread[:3])
            problem = sample.problem or (
                f"holds no image: {kinds or 'labels'} alone; store it as .jpg, .png or .webp"
            )
            self._row(f"{file.stem}/{sample.key}", sample.values, problem, None)

    def _row(
        self,
        key: str,
        values: Mapping[str, str],
        problem: str,
        text: str | None,
        place: tuple[int, int, int] = (0, 0, 0),
        digest: bytes = b"\0" * 32,
    ) -> None:
        self.labels.add(key, values, problem, text)
        self.places.append(place)
        self.digests.append(digest)


def _digest(handle: BinaryIO, member: Member) -> bytes:
    total = hashlib.sha256()
    for block in blocks(handle, member):
        total.update(block)
    return total.digest()


def _label(sample: _Sample, ending: str, data: bytes) -> str:
    """Take a label into its sample; returns what is wrong with it."""
    if ending == "json":
        try:
            found = parse_json(data, f"its .{ending}")
        except InvalidJson as error:
            return f"its .json cannot be read: {error.reason}"
        if not isinstance(found, dict):
            return "its .json is no object"
        for name in _LABELS & found.keys():
            value = found[name]
            if isinstance(value, (dict, list)):
                value = json.dumps(value)
            sample.values.setdefault(name, "" if value is None else str(value))
        return ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return f"its .{ending} is not UTF-8: save it as UTF-8"
    if ending == TEXT:
        sample.text = text
    else:
        sample.values["concept" if ending == "cls" else ending] = text.strip()
    return ""
