"""Facets of an atlas: probes trained from its own images or from a folder, kept for the next time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete._core.user_files import UnusableFile, read_inside
from synesthete.analysis.provenance import own_probes
from synesthete.atlas import Atlas
from synesthete.atlas.arrays import npz_bytes, read_npz
from synesthete.atlas.files import write_file
from synesthete.atlas.visualizations import FOLDER, PLAIN
from synesthete.errors import SynestheteError, near
from synesthete.probes import ProbeSet, UnreadableImage, decode
from synesthete.visualization.features.facet_rules import RULES
from synesthete.visualization.features.natural import Natural, natural_statistics
from synesthete.visualization.features.probing import Probe, fit_probes

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

PER_FACET, GENERIC, LEAST = 96, 256, 16
COLOURS, GRID, CHUNK = 192, 8, 32
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
RECIPE = 1


@dataclass(frozen=True)
class Facets:
    """Probes by name, at one layer.

    Attributes
    ----------
    layer
        Where they are.
    probes
        Facet → probe.
    left_out
        Facet → why there is none.
    fingerprint
        Of everything they were made from.
    """

    layer: str
    probes: dict[str, Probe]
    left_out: dict[str, str]
    fingerprint: str


def facet_names(asked: Sequence[str] | str, folders: Mapping[str, Path]) -> list[str]:
    """What `all`, `none` or a list of facets means; `plain` is always first, and always there.

    Raises
    ------
    SynestheteError
        No such facet.

    Examples
    --------
    >>> facet_names("word,face", {}), facet_names("none", {})
    (['plain', 'word', 'face'], ['plain'])
    """
    names = asked.split(",") if isinstance(asked, str) else list(asked)
    names = [name.strip() for name in names if name.strip() and name.strip() not in (PLAIN, "none")]
    if names == ["all"]:
        names = list(RULES)
    for name in names:
        if name not in RULES and name not in folders:
            known = [*RULES, *folders]
            hint = near(name, known) or f"there are all, none, {', '.join(known)}; or give a folder"
            raise SynestheteError(f"no facet {name!r}", hint=hint)
    return list(dict.fromkeys([PLAIN, *names, *folders]))


def load_facets(
    atlas: Atlas,
    model: ImageTextModel,
    layer: str,
    names: Sequence[str],
    *,
    folders: Mapping[str, Path] | None = None,
    probes: str | Path | None = None,
) -> Facets:
    """Train the probes of some facets, or take those that were trained of the very same things before.

    Parameters
    ----------
    layer
        Where the probes read.
    names
        Built-in facets; `plain` is passed over.
    folders
        Name → folder of example pictures, for facets of one's own.
    probes
        Where the atlas's probe set is, when its name does not say it.

    Raises
    ------
    SynestheteError
        Fewer than 16 readable examples in a folder, or another probe set than the atlas's.
    """
    folders = folders or {}
    own = {name: _examples(name, folder) for name, folder in folders.items()}
    wanted = [name for name in names if name != PLAIN and name not in own]
    labels = atlas.probes
    fine = np.array(labels["status"].to_pylist()) == "ok"
    members = {name: RULES[name].rows(labels) & fine for name in wanted}
    left_out = {
        name: f"the probe set has {int(rows.sum())} images of it, {LEAST} are needed"
        for name, rows in members.items() if rows.sum() < LEAST
    }  # fmt: skip
    members = {name: rows for name, rows in members.items() if name not in left_out}
    told = {
        "recipe": RECIPE, "weights": model.weights_sha256, "layer": layer, "sizes": [PER_FACET, GENERIC, GRID],
        "probes": atlas.manifest["probes"]["fingerprint"], "facets": sorted(members),
        "folders": {name: [digest for digest, _ in found] for name, found in sorted(own.items())},
    }  # fmt: skip
    fingerprint = _hash(told)
    if not members and not own:
        return Facets(layer, {}, left_out, fingerprint)
    kept = _read(atlas.path, fingerprint)
    if kept is None:
        rows = _chosen(members, fine)
        pictures = own_probes(atlas, probes)
        of = [np.isin(rows, np.flatnonzero(members[name])) for name in members]
        extra = [image for found in own.values() for _, image in found]
        maps = _maps(model, layer, pictures, rows, extra)
        total = len(rows) + len(extra)
        member = np.zeros((len(of) + len(own), total), bool)
        for place, one in enumerate(of):
            member[place, : len(rows)] = one
        at = len(rows)
        for place, found in enumerate(own.values(), start=len(of)):
            member[place, at : at + len(found)] = True
            at += len(found)
        fitted = [_as_stored(one) for one in fit_probes(maps, member)]
        kept = dict(zip([*members, *own], fitted, strict=True))
        _write(atlas.path, fingerprint, kept)
    return Facets(layer, kept, left_out, fingerprint)


def load_natural(atlas: Atlas, side: int, probes: str | Path | None = None) -> Natural:
    """Colours and spectra of an atlas's photos (of all its images where it has few), kept for the next time."""
    fine = np.array(atlas.probes["status"].to_pylist()) == "ok"
    photos = RULES["photo"].rows(atlas.probes) & fine
    rows = np.flatnonzero(photos if photos.sum() >= LEAST else fine)
    rows = rows[np.linspace(0, len(rows) - 1, min(COLOURS, len(rows))).astype(int)]
    told = {"natural": RECIPE, "probes": atlas.manifest["probes"]["fingerprint"], "side": side}
    file = _file(atlas.path, _hash(told))
    shapes = {"colour": (3, 3), "centre": (3,), "magnitude": (3, side, side // 2 + 1)}
    if file.exists():
        try:
            expected = {name: (np.float32, shape) for name, shape in shapes.items()}
            return Natural(**read_npz(read_inside(atlas.path, file), expected, source=file.name))
        except SynestheteError:
            pass  # A damaged cache is made again.
    pictures = own_probes(atlas, probes)
    found = natural_statistics([pictures.image(int(row)) for row in rows], side)
    write_file(file, npz_bytes({name: getattr(found, name) for name in shapes}))
    return found


def _examples(name: str, folder: Path) -> list[tuple[str, Image.Image]]:
    if not folder.is_dir():
        raise SynestheteError(f"the facet {name!r} needs a folder of pictures, not {folder}")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    step = max(1, len(files) // PER_FACET)
    found: list[tuple[str, Image.Image]] = []
    for file in files[::step][:PER_FACET]:
        try:
            data = read_inside(folder, file)
            found.append((hashlib.sha256(data).hexdigest(), decode(data)))
        except (UnusableFile, UnreadableImage):
            continue
    if len(found) < LEAST:
        raise SynestheteError(
            f"the facet {name!r} has {len(found)} readable pictures in {folder}, {LEAST} are needed",
            hint="a probe learned from fewer tells nothing",
        )
    return found


def _chosen(
    members: Mapping[str, npt.NDArray[np.bool_]], fine: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Some images of each facet, and some of all."""
    rng = np.random.default_rng(RECIPE)
    parts = [
        rng.choice(np.flatnonzero(rows), min(PER_FACET, int(rows.sum())), replace=False)
        for rows in members.values()
    ]
    everything = np.flatnonzero(fine)
    parts.append(rng.choice(everything, min(GENERIC, len(everything)), replace=False))
    return np.unique(np.concatenate(parts))


def _maps(
    model: ImageTextModel,
    layer: str,
    pictures: ProbeSet,
    rows: npt.NDArray[np.int64],
    extra: Sequence[Image.Image],
) -> npt.NDArray[np.float32]:
    """Response maps of images and examples, at most `GRID` positions a side."""
    import torch

    found = []
    images: list[int | Image.Image] = [*(int(row) for row in rows), *extra]
    for start in range(0, len(images), CHUNK):
        some = images[start : start + CHUNK]
        pixels = torch.stack(
            [model.preprocess(pictures.image(i) if isinstance(i, int) else i) for i in some]
        )
        found.append(pooled(model, pixels, layer).astype(np.float16))
    return np.concatenate(found).astype(np.float32)


def pooled(model: ImageTextModel, pixels: Any, layer: str) -> npt.NDArray[np.float32]:
    """Response maps of a batch at the size that probes read, `[batch, units, rows, columns]`."""
    from torch.nn import functional

    maps = model.maps(pixels, layer)
    size = (min(GRID, maps.shape[2]), min(GRID, maps.shape[3]))
    small = functional.adaptive_avg_pool2d(maps, size)
    return np.asarray(small.numpy(), np.float32)


def _hash(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _file(path: Path, fingerprint: str) -> Path:
    return path / FOLDER / "facets" / f"{fingerprint}.npz"


def _read(path: Path, fingerprint: str) -> dict[str, Probe] | None:
    file = _file(path, fingerprint)
    if not file.exists():
        return None
    try:
        found = read_npz(
            read_inside(path, file),
            {"names": (np.uint8, (None,)), "weights": (np.float16, (None, None, None, None)),
             "numbers": (np.float64, (None, 5))}, source=file.name,
        )  # fmt: skip
        names = bytes(found["names"]).decode().split("\n")
        return {
            name: Probe(w.astype(np.float32), cut, spread, accuracy, int(n), int(others))
            for name, w, (cut, spread, accuracy, n, others) in zip(
                names, found["weights"], found["numbers"].tolist(), strict=True
            )
        }
    except (SynestheteError, ValueError):
        return None  # A damaged cache is made again.


def _as_stored(probe: Probe) -> Probe:
    """A probe in the precision of its file, so that this run and the next one make the same pictures."""
    return replace(probe, weights=probe.weights.astype(np.float16).astype(np.float32))


def _write(path: Path, fingerprint: str, probes: Mapping[str, Probe]) -> None:
    numbers = [[p.threshold, p.spread, p.accuracy, p.pictures, p.others] for p in probes.values()]
    arrays: dict[str, npt.NDArray[Any]] = {
        "names": np.frombuffer("\n".join(probes).encode(), np.uint8),
        "weights": np.stack([p.weights for p in probes.values()]).astype(np.float16),
        "numbers": np.array(numbers, np.float64),
    }
    write_file(_file(path, fingerprint), npz_bytes(arrays))
