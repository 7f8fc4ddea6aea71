"""A folder of somebody's own photos as a probe set: in folders by concept, nested, loose, or all of these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa

from synesthete.errors import SynestheteError
from synesthete.probes.builtin import load_builtin, with_words
from synesthete.probes.folders import LocalFolder
from synesthete.probes.labels import LabelTable, modality_name
from synesthete.probes.probe_set import (
    IMAGE_MODALITIES,
    ZERO_SHOT,
    ByNumber,
    ProbeSet,
    plain_concept,
)
from synesthete.probes.readers import described_elsewhere, read_path
from synesthete.probes.sources import JoinedSource

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".jp2",
        ".avif",
        ".heic",
        ".heif",
    ]
)
COMPANIONS = ("drawing", "symbol")  # of the built-in set, with the concepts of the photos
LISTED = 3


def load_photos(path: str | Path, labels: Mapping[str, tuple[str, str]] | None = None) -> ProbeSet:
    """Read a folder of photos, however they lie in it, and add what a test of their concepts needs.

    The concept of an image is the folder that holds it, unless that bears the name of a modality of images (`drawings`): then the one
    above. An image without such a folder has the concept that `labels` gives, or none. Files of other kinds are left out. A folder that describes
    its images (`metadata.csv`, COCO, parquet files or tars only) is read as `load_probes` reads it.

    Behind the photos come the drawings and symbols of the same concepts in the built-in set, where the folder has none of
    that concept and modality, and the concepts' names, drawn.

    Parameters
    ----------
    path
        A folder of this machine.
    labels
        Key of an image without a folder → its concept, and a caption that says where that comes from.

    Raises
    ------
    SynestheteError
        No folder, or no image in it that can be read.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise SynestheteError(f"'{root}' {what}", hint="name a folder of photos")
    folder = LocalFolder(root)
    names = folder.names()
    shipped = load_builtin()
    if described_elsewhere(folder, names):
        photos = read_path(root)
    else:
        photos = _by_place(folder, names, labels or {}, _families(shipped))
    _check_readable(photos)
    return with_words(_with_companions(photos, shipped))


def _check_readable(photos: ProbeSet) -> None:
    """Before the work: one image at least."""
    reasons = []
    for index in range(len(photos)):
        try:
            photos.image(index)
        except SynestheteError as error:
            reasons.append(error.message)
        else:
            return
    raise SynestheteError(
        f"of {len(photos):,} images in '{photos.name}' none can be read: {reasons[0] if reasons else 'there is none'}",
        hint="name a folder of photos",
    )


def zero_shot_concept(name: str) -> str:
    """A concept that a model gave, as it is shown.

    Examples
    --------
    >>> zero_shot_concept("apple"), plain_concept("apple (zero-shot)")
    ('apple (zero-shot)', 'apple')
    """
    return name + ZERO_SHOT


def unlabelled(probes: ProbeSet) -> list[int]:
    """Ids of the images without a concept that are not known to be unreadable."""
    concepts = probes.labels["concept"].to_pylist()
    rows = probes.rows.tolist()
    return [i for i, name in enumerate(concepts) if not name and rows[i] not in probes.problems]


def _by_place(
    folder: LocalFolder,
    names: list[str],
    labels: Mapping[str, tuple[str, str]],
    families: Mapping[str, str],
) -> ProbeSet:
    kept = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    others = [name for name in names if PurePosixPath(name).suffix.lower() not in SUFFIXES]
    if not kept:
        what = f"{len(others)} files, none of them an image" if others else "no file"
        raise SynestheteError(f"'{folder}' holds {what}", hint="name a folder of photos")
    table = LabelTable(concepts=False)
    for name in kept:
        key = "/".join(Path(name).parts)
        concept, modality = _place(Path(name).parts[:-1])
        caption = ""
        if not concept:
            concept, caption = labels.get(key, ("", ""))
        family = families.get(plain_concept(concept).casefold(), "")
        values = {"concept": concept, "modality": modality, "caption": caption, "family": family}
        table.add(key, values, folder.problem(name))
    notes = []
    if others:
        shown = ", ".join(others[:LISTED]) + (", ..." if len(others) > LISTED else "")
        notes = [f"left out, not images: {len(others):,} ({shown})"]
    return ProbeSet(
        folder.name,
        table.table(),
        folder.source(kept),
        problems=table.problems,
        notes=notes,
    )


def _place(folders: tuple[str, ...]) -> tuple[str, str]:
    """Concept and modality by the folders that an image is in, the outermost first.

    Examples
    --------
    >>> _place(("2024", "red_apple")), _place(("apple", "Drawings")), _place(("photos",)), _place(())
    (('red apple', ''), ('apple', 'drawing'), ('', 'photo'), ('', ''))
    """
    modality = ""
    for name in reversed(folders):
        if modality_name(name) not in IMAGE_MODALITIES:
            # Of photos/apple/1.jpg the modality is further out.
            outer = (modality_name(one) for one in folders)
            return name.replace("_", " "), modality or next(
                (one for one in outer if one in IMAGE_MODALITIES), ""
            )
        modality = modality or modality_name(name)
    return "", modality


def _families(shipped: ProbeSet) -> dict[str, str]:
    labels = shipped.labels
    pairs = zip(labels["concept"].to_pylist(), labels["family"].to_pylist(), strict=True)
    return {concept.casefold(): family for concept, family in pairs if family}


def _with_companions(photos: ProbeSet, shipped: ProbeSet) -> ProbeSet:
    """The photos, and the built-in drawings and symbols of their concepts."""
    named = {plain_concept(concept).casefold(): concept for concept in photos.concepts}
    columns = (photos.labels[name].to_pylist() for name in ("concept", "modality"))
    there = set(zip(*columns, strict=True))
    rows, added = [], []
    for row, label in enumerate(shipped.labels.to_pylist()):
        concept = named.get(label["concept"].casefold())
        if (
            label["modality"] in COMPANIONS
            and concept
            and (concept, label["modality"]) not in there
        ):
            rows.append(row)
            added.append(
                {name: label[name] for name in photos.labels.column_names if name in label}
            )
            added[-1]["concept"] = concept
    if not rows:
        return photos
    schema = pa.schema([(name, pa.string()) for name in photos.labels.column_names])
    blank = dict.fromkeys(schema.names, "")
    behind = pa.Table.from_pylist([blank | label for label in added], schema=schema)
    chosen = shipped.select(indices=rows)
    return ProbeSet(
        photos.name,
        pa.concat_tables([photos.labels.cast(schema), behind]),
        JoinedSource([(ByNumber(photos), len(photos)), (ByNumber(chosen), len(chosen))]),
        notes=photos.notes,
        problems={
            i: photos.problems[r]
            for i, r in enumerate(photos.rows.tolist())
            if r in photos.problems
        },
    )
