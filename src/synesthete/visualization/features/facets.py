"""Facets: kinds of images that a visualization is steered to, as linear probes on an atlas's images or a folder; cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete._core.user_files import UnusableFile, read_inside
from synesthete.analysis.design import readable_rows
from synesthete.analysis.provenance import own_probes
from synesthete.atlas import Atlas
from synesthete.atlas.arrays import npz_bytes, read_npz
from synesthete.atlas.files import write_file
from synesthete.atlas.visualizations import FOLDER, PLAIN
from synesthete.errors import SynestheteError, near
from synesthete.probes import ProbeSet, UnreadableImage, decode
from synesthete.visualization.features.parameterization import Natural, natural_statistics

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

PER_FACET, GENERIC, LEAST = 96, 256, 16
COLOURS, GRID, CHUNK = 192, 8, 32
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
RECIPE = 1
PENALTY = 0.3
HELD_OUT = 3  # every third image is held out to measure accuracy
DEPICTIONS = ("photo", "drawing")
FACES = (
    "alien, angel, angry, baby, blowing a kiss, clown, cowboy, crying, devil, embarrassed, eye roll, face mask, grin, "
    "in love, man, mind blown, nerd, neutral, old man, old woman, party, sad, santa claus, scream, smile, sobbing, "
    "tears of joy, thinking, tongue out, wink, woman, zipped mouth"
)
POSES = (
    "badminton, basketball, cycling, dancer, golf, juggling, rock climbing, running, skier, snowboarding, surfing, "
    "swimming, walking, weightlifting, yoga"
)


@dataclass(frozen=True)
class Rule:
    """Images of any of these families or concepts, and of any of these modalities; empty means all."""

    families: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def rows(self, labels: pa.Table) -> Bool:
        """Which rows of a probe set's labels match."""
        kept = np.ones(labels.num_rows, bool)
        if self.families or self.concepts:
            kept = _among(labels["family"], self.families) | _among(
                labels["concept"], self.concepts
            )
        if self.modalities:
            kept &= _among(labels["modality"], self.modalities)
        return kept


# The facets of Goh et al. (2021) and of the modalities. The built-in probe set has neither flags, brands nor rooms:
# `flag` and `indoor` wait for probe sets with such families, and `logo` is learned from emblems and signs.
RULES: dict[str, Rule] = {
    "photo": Rule(modalities=("photo",)),
    "face": Rule(families=("face",), concepts=tuple(FACES.split(", ")), modalities=DEPICTIONS),
    "word": Rule(modalities=("word",)),
    "symbol": Rule(modalities=("symbol",)),
    "logo": Rule(
        families=("logo", "brand", "sign", "religion", "zodiac", "symbol"),
        modalities=("drawing",),
    ),
    "nature": Rule(families=("nature", "animal", "plant", "weather"), modalities=DEPICTIONS),
    "food": Rule(families=("food", "drink"), modalities=DEPICTIONS),
    "object": Rule(
        families=("household", "tool", "office", "technology", "music", "clothing"),
        modalities=DEPICTIONS,
    ),
    "place": Rule(families=("place", "architecture"), modalities=DEPICTIONS),
    "flag": Rule(families=("flag",)),
    "indoor": Rule(families=("indoor",), modalities=DEPICTIONS),
    "pose": Rule(families=("pose",), concepts=tuple(POSES.split(", ")), modalities=DEPICTIONS),
}


def _among(column: pa.ChunkedArray, wanted: Iterable[str]) -> Bool:
    return np.isin(column.to_numpy().astype(str), np.array([*wanted], dtype=str))


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """A linear probe on a layer's maps.

    Attributes
    ----------
    weights
        `[units, rows, columns]`, root mean square 1.
    threshold, spread
        An image is classified as of the facet when the product of weights and map exceeds the threshold; the spread is
        the standard deviation of that product over all images.
    accuracy
        Balanced accuracy on images it was not fitted on (0.5 is chance).
    images, others
        How many of the facet, and how many not, in all.
    """

    weights: Float32
    threshold: float
    spread: float
    accuracy: float
    images: int
    others: int

    def margins(self, maps: Float32) -> Float64:
        """How far maps `[batch, units, rows, columns]` lie beyond the threshold, in standard deviations."""
        product = maps.reshape(len(maps), -1) @ self.weights.reshape(-1)
        return (product.astype(np.float64) - self.threshold) / self.spread


def fit_probes(maps: Float32, member: Bool) -> list[LinearProbe]:
    """Fit a probe per facet: ridge regression on membership, both classes weighing the same.

    Solved in the space of images, since these are fewer than weights: w = Xᵀ (K + λ S⁻¹)⁻¹ y. The accuracy is of
    probes fitted without every third image; the weights returned are of all.

    Parameters
    ----------
    maps
        `[images, units, rows, columns]`.
    member
        `[facets, images]`: which are of a facet.

    Raises
    ------
    SynestheteError
        When a facet has fewer than six images, or all are of it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(60)[None] % 2 == 0
    >>> maps = rng.normal(size=(60, 3, 2, 2)).astype(np.float32)
    >>> maps[member[0], 1] += 2
    >>> (probe,) = fit_probes(maps, member)
    >>> probe.accuracy > 0.9, int(np.abs(probe.weights).sum((1, 2)).argmax())
    (True, 1)
    """
    if (member.sum(axis=1) < 6).any() or (~member).sum(axis=1).min() < 6:
        raise SynestheteError("a probe needs six images of its facet and six others")
    flat = maps.reshape(len(maps), -1).astype(np.float32)
    centre = flat.mean(axis=0)
    flat = flat - centre
    gram = flat @ flat.T
    found = []
    for mine in member:
        # Every third of each class, so that small facets are tested too.
        order = np.empty(len(mine), np.int64)
        order[mine], order[~mine] = np.arange(mine.sum()), np.arange((~mine).sum())
        held = order % HELD_OUT == 0
        some = _dual(gram, mine, ~held)
        product = gram @ some
        cut = _threshold(product[~held], mine[~held])
        right = (product[held] > cut) == mine[held]
        accuracy = 0.5 * (right[mine[held]].mean() + right[~mine[held]].mean())
        every = _dual(gram, mine, np.ones(len(mine), bool))
        weights = every @ flat
        scale = float(np.sqrt((weights**2).mean())) or 1.0
        product = gram @ every / scale
        cut = _threshold(product, mine) + float(centre @ weights) / scale
        found.append(
            LinearProbe(
                weights=(weights / scale).reshape(maps.shape[1:]).astype(np.float32),
                threshold=cut,
                spread=float(product.std()) or 1.0,
                accuracy=float(accuracy),
                images=int(mine.sum()),
                others=int((~mine).sum()),
            )
        )
    return found


def _dual(gram: Float32, mine: Bool, used: Bool) -> Float32:
    """Coefficients of the images, zero for those not used."""
    rows = np.flatnonzero(used)
    label = mine[rows]
    weight = np.where(label, 0.5 / label.sum(), 0.5 / (~label).sum()) * len(rows)
    inner = gram[np.ix_(rows, rows)].astype(np.float64)
    ridge = PENALTY * np.trace(inner) / len(rows)
    target = np.where(label, 1.0, -1.0)
    found = np.zeros(len(mine), np.float32)
    found[rows] = np.linalg.solve(inner + np.diag(ridge / weight), target)
    return found


def _threshold(product: Floating, mine: Bool) -> float:
    """Half-way between the means of the two classes."""
    return float((product[mine].mean() + product[~mine].mean()) / 2)


@dataclass(frozen=True)
class Facets:
    """Linear probes by name, at one layer.

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
    probes: dict[str, LinearProbe]
    left_out: dict[str, str]
    fingerprint: str


def facet_names(chosen: Sequence[str] | str, folders: Mapping[str, Path]) -> list[str]:
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
    names = chosen.split(",") if isinstance(chosen, str) else list(chosen)
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
    """Train the probes of some facets, or read those trained from the same inputs before.

    Parameters
    ----------
    layer
        Where the probes read.
    names
        Built-in facets; `plain` is ignored.
    folders
        Name → folder of example images, for facets of your own.
    probes
        Where the atlas's probe set is, when its name is not enough.

    Raises
    ------
    SynestheteError
        Fewer than 16 readable examples in a folder, or another probe set than the atlas's.
    """
    folders = folders or {}
    own = {name: _examples(name, folder) for name, folder in folders.items()}
    wanted = [name for name in names if name != PLAIN and name not in own]
    labels = atlas.probes
    fine = np.zeros(labels.num_rows, np.bool_)
    fine[readable_rows(atlas)] = True
    members = {name: RULES[name].rows(labels) & fine for name in wanted}
    left_out = {
        name: f"the probe set has {int(rows.sum())} images of it, {LEAST} are needed"
        for name, rows in members.items()
        if rows.sum() < LEAST
    }
    members = {name: rows for name, rows in members.items() if name not in left_out}
    inputs = {
        "recipe": RECIPE,
        "weights": model.weights_sha256,
        "layer": layer,
        "sizes": [PER_FACET, GENERIC, GRID],
        "probes": atlas.manifest["probes"]["fingerprint"],
        "facets": sorted(members),
        "folders": {name: [digest for digest, _ in found] for name, found in sorted(own.items())},
    }
    fingerprint = _hash(inputs)
    if not members and not own:
        return Facets(layer=layer, probes={}, left_out=left_out, fingerprint=fingerprint)
    kept = _read(atlas.path, fingerprint)
    if kept is None:
        rows = _chosen(members, fine)
        of = [np.isin(rows, np.flatnonzero(members[name])) for name in members]
        extra = [image for found in own.values() for _, image in found]
        maps = _maps(model, layer, own_probes(atlas, probes), rows, extra)
        total = len(rows) + len(extra)
        member = np.zeros((len(of) + len(own), total), bool)
        for place, mask in enumerate(of):
            member[place, : len(rows)] = mask
        at = len(rows)
        for place, found in enumerate(own.values(), start=len(of)):
            member[place, at : at + len(found)] = True
            at += len(found)
        fitted = [_as_stored(probe) for probe in fit_probes(maps, member)]
        kept = dict(zip([*members, *own], fitted, strict=True))
        _write(atlas.path, fingerprint, kept)
    return Facets(layer=layer, probes=kept, left_out=left_out, fingerprint=fingerprint)


def load_natural(atlas: Atlas, side: int, probes: str | Path | None = None) -> Natural:
    """Colours and spectra of an atlas's photos (of all its images where it has few), kept for the next time."""
    readable = readable_rows(atlas)
    photos = readable[RULES["photo"].rows(atlas.probes)[readable]]
    rows = photos if len(photos) >= LEAST else readable
    rows = rows[np.linspace(0, len(rows) - 1, min(COLOURS, len(rows))).astype(int)]
    inputs = {"natural": RECIPE, "probes": atlas.manifest["probes"]["fingerprint"], "side": side}
    file = _file(atlas.path, _hash(inputs))
    shapes = {"colour": (3, 3), "centre": (3,), "magnitude": (3, side, side // 2 + 1)}
    if file.exists():
        try:
            expected = {name: (np.float32, shape) for name, shape in shapes.items()}
            return Natural(**read_npz(read_inside(atlas.path, file), expected, source=file.name))
        except SynestheteError:
            pass  # A damaged cache is computed again.
    recorded = own_probes(atlas, probes)
    found = natural_statistics([recorded.image(int(row)) for row in rows], side)
    write_file(file, npz_bytes({name: getattr(found, name) for name in shapes}))
    return found


def _examples(name: str, folder: Path) -> list[tuple[str, Image.Image]]:
    if not folder.is_dir():
        raise SynestheteError(f"the facet {name!r} needs a folder of images, not {folder}")
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
            f"the facet {name!r} has {len(found)} readable images in {folder}, {LEAST} are needed",
            hint="a probe fitted on fewer is not reliable",
        )
    return found


def _chosen(members: Mapping[str, Bool], fine: Bool) -> Int64:
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
    recorded: ProbeSet,
    rows: Int64,
    extra: Sequence[Image.Image],
) -> Float32:
    """Response maps of images and examples, at most `GRID` positions a side."""
    import torch

    found = []
    images: list[int | Image.Image] = [*(int(row) for row in rows), *extra]
    for start in range(0, len(images), CHUNK):
        some = images[start : start + CHUNK]
        pixels = torch.stack(
            [model.preprocess(recorded.image(i) if isinstance(i, int) else i) for i in some]
        )
        found.append(pooled(model, pixels, layer).astype(np.float16))
    return np.concatenate(found).astype(np.float32)


def pooled(model: ImageTextModel, pixels: Any, layer: str) -> Float32:
    """Response maps of a batch at the size that probes read, `[batch, units, rows, columns]`."""
    from torch.nn import functional

    maps = model.maps(pixels, layer)
    size = (min(GRID, maps.shape[2]), min(GRID, maps.shape[3]))
    small = functional.adaptive_avg_pool2d(maps, size)
    return np.asarray(small.numpy(), np.float32)


def _hash(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]


def _file(path: Path, fingerprint: str) -> Path:
    return path / FOLDER / "facets" / f"{fingerprint}.npz"


def _read(path: Path, fingerprint: str) -> dict[str, LinearProbe] | None:
    file = _file(path, fingerprint)
    if not file.exists():
        return None
    try:
        expected: Any = {
            "names": (np.uint8, (None,)),
            "weights": (np.float16, (None, None, None, None)),
            "numbers": (np.float64, (None, 5)),
        }
        found = read_npz(read_inside(path, file), expected, source=file.name)
        names = bytes(found["names"]).decode().split("\n")
        numbers = zip(names, found["weights"], found["numbers"].tolist(), strict=True)
        return {
            name: LinearProbe(
                weights=weights.astype(np.float32),
                threshold=threshold,
                spread=spread,
                accuracy=accuracy,
                images=int(images),
                others=int(others),
            )
            for name, weights, (threshold, spread, accuracy, images, others) in numbers
        }
    except (SynestheteError, ValueError):
        return None  # A damaged cache is computed again.


def _as_stored(probe: LinearProbe) -> LinearProbe:
    """A probe in the precision of its file, so that this run and the next one make the same images."""
    return replace(probe, weights=probe.weights.astype(np.float16).astype(np.float32))


def _write(path: Path, fingerprint: str, probes: Mapping[str, LinearProbe]) -> None:
    numbers = [[p.threshold, p.spread, p.accuracy, p.images, p.others] for p in probes.values()]
    arrays: dict[str, npt.NDArray[Any]] = {
        "names": np.frombuffer("\n".join(probes).encode(), np.uint8),
        "weights": np.stack([p.weights for p in probes.values()]).astype(np.float16),
        "numbers": np.array(numbers, np.float64),
    }
    write_file(_file(path, fingerprint), npz_bytes(arrays))
