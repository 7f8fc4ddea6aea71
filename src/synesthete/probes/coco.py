"""Probe sets in the layout of COCO: `annotations/captions_*.json` and `instances_*.json` beside a folder of images."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from synesthete._core.json_reader import json_elements
from synesthete.errors import SynestheteError
from synesthete.probes.folders import Folder
from synesthete.probes.labels import DEFAULT_TEXT_MODALITY, LabelTable
from synesthete.probes.locations import opened
from synesthete.probes.probe_set import ProbeSet, says
from synesthete.probes.sources import MISSING

ANNOTATIONS = "annotations"
CAPTIONS, INSTANCES = "captions", "instances"
CAPTION = "caption"  # the modality of a caption that says its concept's name
_NAME = re.compile(rf"({CAPTIONS}|{INSTANCES})_(.+)\.json")
_LAYOUT = "COCO's layout is annotations/captions_X.json, annotations/instances_X.json and the images in X/"

Id: TypeAlias = int | str


def coco_files(names: Sequence[str]) -> tuple[str, ...]:
    """Which of a folder's files says what its images show; empty in a folder that is not COCO's.

    Raises
    ------
    SynestheteError
        There are several splits, and nobody said which one.

    Examples
    --------
    >>> coco_files(["annotations/captions_val.json", "annotations/instances_val.json", "val/1.jpg"])
    ('annotations/captions_val.json',)
    """
    inside = (f"{ANNOTATIONS}/{kind}_" for kind in (CAPTIONS, INSTANCES))
    found: dict[str, str] = {}
    for start in inside:
        for name in names:
            if name.startswith(start) and (parts := _NAME.fullmatch(PurePosixPath(name).name)):
                found.setdefault(parts[2], name)
    if len(found) > 1:
        raise SynestheteError(
            f"annotations of several splits: {', '.join(sorted(found))}",
            hint=f"give the file of one, such as {next(iter(found.values()))}",
        )
    return tuple(found.values())


def read_coco(folder: Folder, name: str) -> ProbeSet:
    """Read a split of COCO: images whose concept is a category, and their captions as texts.

    Parameters
    ----------
    folder
        What holds the annotations and the images.
    name
        Path in it of `captions_X.json` or `instances_X.json`; the other one is read, too, where it is beside it.

    Raises
    ------
    SynestheteError
        A file that is not as COCO's are, names an image outside the folder, or of whose images none is there.

    Notes
    -----
    An image's concept is the category whose objects cover most of it; its family the supercategory. A caption is a text of its
    image's concept: a `description`, or of modality `caption` where it says the concept's name. As photographers are not known, an
    image with its captions is an artist of its own, so that they are held out together.

    Images are the rows 0 to `[images]` - 1 in the order of the file, captions follow in theirs.
    """
    parts = _NAME.fullmatch(PurePosixPath(name).name)
    if parts is None:
        raise SynestheteError(f"'{name}' is no probe set", hint=_LAYOUT)
    split = parts[2]
    content = _Content()
    for kind in (CAPTIONS, INSTANCES):
        beside = str(PurePosixPath(name).with_name(f"{kind}_{split}.json"))
        if kind == parts[1] or not folder.missing(beside):
            _take(content, folder, beside)
    if not content.images:
        raise SynestheteError(f"'{name}' lists no images", hint=_LAYOUT)
    concepts = content.concepts()
    files = _places(folder, split, name, content)
    labels = LabelTable(concepts=bool(concepts))
    rows: list[str] = []
    for number, (image, about) in enumerate(content.images.items()):
        captions = content.captions.get(image, ())
        values = content.labels(about, concepts.get(image)) | {"caption": "".join(captions[:1])}
        file = files[number]
        labels.add(file, values, MISSING if folder.missing(file) else "")
        rows.append(file)
    for number, (image, about) in enumerate(content.images.items()):
        values = content.labels(about, concepts.get(image))
        for count, caption in enumerate(content.captions.get(image, ()), start=1):
            named = says(caption, values["concept"])
            modality = CAPTION if named else DEFAULT_TEXT_MODALITY
            key = f"{files[number]}/{CAPTION}-{count}"
            labels.add(key, values | {"modality": modality}, text=caption)
            rows.append("")
    if all(row in labels.problems for row in range(len(files))):
        raise SynestheteError(
            f"no usable image in '{name}': '{files[0]}' has {labels.problems[0]}", hint=_LAYOUT
        )
    return ProbeSet(
        split, labels.table(), folder.source(rows), problems=labels.problems, notes=content.notes()
    )


@dataclass(kw_only=True)
class _Image:
    """What a file of annotations says of an image itself."""

    file: str
    source: str
    licence: Id | None


@dataclass(kw_only=True)
class _Content:
    """What both files of a split hold."""

    images: dict[Id, _Image] = field(default_factory=dict)
    captions: dict[Id, list[str]] = field(default_factory=lambda: defaultdict(list))
    areas: dict[Id, dict[Id, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    categories: dict[Id, tuple[str, str]] = field(default_factory=dict)
    licences: dict[Id, str] = field(default_factory=dict)

    def concepts(self) -> dict[Id, tuple[str, str]]:
        """Of each image that shows one the name of the category that covers most of it, and the supercategory."""
        found = {}
        for image, areas in self.areas.items():
            # Of two that cover the same, the one that comes first by name.
            largest = min(areas, key=lambda one: (-areas[one], self._category(one)))
            found[image] = self._category(largest)
        return found

    def labels(self, image: _Image, category: tuple[str, str] | None) -> dict[str, str]:
        concept, family = category or ("", "")
        licence = "" if image.licence is None else self.licences.get(image.licence, "")
        artist = PurePosixPath(image.file).stem
        return {
            "concept": concept,
            "family": family,
            "artist": artist,
            "source": image.source,
            "licence": licence,
        }

    def notes(self) -> list[str]:
        lost = sum(len(self.captions[image]) for image in self.captions.keys() - self.images.keys())
        return [f"{lost:,} captions of images that are not listed are left out"] if lost else []

    def _category(self, one: Id) -> tuple[str, str]:
        if one not in self.categories:
            raise SynestheteError(f"category_id {one!r} is not among the categories", hint=_LAYOUT)
        return self.categories[one]


def _take(content: _Content, folder: Folder, name: str) -> None:
    """Read one file of annotations, an element at a time."""
    (located,) = folder.files([name])
    seen: set[Id] = set()
    counts: Counter[str] = Counter()
    with opened(located) as file:
        for kind, one in json_elements(file, name, hint=_LAYOUT):
            counts[kind] += 1
            if kind not in ("images", "annotations", "categories", "licenses"):
                continue
            where = f"{name}, {kind} {counts[kind]}"
            if not isinstance(one, dict):
                raise SynestheteError(f"{where}: not an object", hint=_LAYOUT)
            if kind == "images":
                _take_image(content, seen, one, where)
            elif kind == "annotations":
                _take_annotation(content, one, where)
            elif kind == "categories":
                names = _text(one, "name", where), str(one.get("supercategory") or "")
                content.categories[_id(one, "id", where)] = names
            else:
                content.licences[_id(one, "id", where)] = str(one.get("name") or "")


def _take_image(content: _Content, seen: set[Id], one: Mapping[str, Any], where: str) -> None:
    image = _id(one, "id", where)
    file = _text(one, "file_name", where)
    if image in seen:
        raise SynestheteError(f"{where}: there are two images of id {image!r}")
    seen.add(image)
    before = content.images.setdefault(
        image,
        _Image(
            file=file,
            source=str(one.get("coco_url") or one.get("flickr_url") or ""),
            licence=_id(one, "license", where) if "license" in one else None,
        ),
    )
    if before.file != file:
        raise SynestheteError(f"{where}: '{file}' is '{before.file}' in the captions")


def _take_annotation(content: _Content, one: Mapping[str, Any], where: str) -> None:
    image = _id(one, "image_id", where)
    if CAPTION in one:
        caption = one[CAPTION]
        if not isinstance(caption, str):
            raise SynestheteError(f"{where}: its caption is no text", hint=_LAYOUT)
        content.captions[image].append(caption)
    elif "category_id" in one:
        area = one.get("area", 0)
        if isinstance(area, bool) or not isinstance(area, int | float):
            raise SynestheteError(f"{where}: its area is no number", hint=_LAYOUT)
        content.areas[image][_id(one, "category_id", where)] += max(area, 0)
    else:
        raise SynestheteError(f"{where}: neither a caption nor a category_id", hint=_LAYOUT)


def _places(folder: Folder, split: str, name: str, content: _Content) -> list[str]:
    """The paths of the images in the folder, in order: under the first usual place that has one of them."""
    listed = [
        folder.inside(image.file, f"{name}, image {number!r}")
        for number, image in content.images.items()
    ]
    for place in (f"{split}/", f"images/{split}/", "images/", ""):
        paths = [folder.inside(f"{place}{file}", name) for file in listed]
        if not all(map(folder.missing, paths)):
            return paths
    raise SynestheteError(
        f"none of the {len(listed):,} images of '{name}' is in '{folder}'",
        hint=f"it should hold {split}/{listed[0]}",
    )


def _id(one: Mapping[str, Any], key: str, where: str) -> Id:
    value = one.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise SynestheteError(f"{where}: no {key}", hint=_LAYOUT)
    return value


def _text(one: Mapping[str, Any], key: str, where: str) -> str:
    value = one.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SynestheteError(f"{where}: no {key}", hint=_LAYOUT)
    return value
