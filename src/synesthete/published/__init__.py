"""Values that *Multimodal Neurons in Artificial Neural Networks* published (Goh et al. 2021), from the article's repository.

Goh, Cammarata, Voss, Carter, Petrov, Schubert, Radford and Olah, Distill 2021, doi 10.23915/distill.00030, repository
distillpub/post--multimodal, CC-BY-4.0; CREDITS.md beside this lists the files and what was changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Int64
from synesthete._core.json_reader import read_json
from synesthete._core.user_files import read_file
from synesthete.atlas.arrays import NUMBERS, STRINGS, read_npz

DATA = Path(__file__).parent
# The release that the article's unit numbers are of, as this package names it, and the layer that it reads.
MODELS = ("RN50x4/openai", "RN50x4-quickgelu/openai")
LAYER = "visual.layer4.5"
PRE = ":pre"


def table(name: str) -> dict[str, Any]:
    """One of the files: `emotions`, `person`, `typographic`, `units` or `world`."""
    found: dict[str, Any] = read_json(DATA / f"{name}.json")
    return found


@dataclass(frozen=True, kw_only=True)
class Emotions:
    """Words as sums of units of RN50x4.

    Attributes
    ----------
    words
        126 of them.
    units
        `[units]` numbers in the last block, of those that any word uses.
    weights
        `[words, units]`; those below zero, a quarter, are 0 here.
    """

    words: list[str]
    units: Int64
    weights: Float64


@lru_cache(maxsize=1)
def emotions() -> Emotions:
    """The article's emotion atlas."""
    sums: dict[str, list[tuple[float, int]]] = table("emotions")["words"]
    units = np.unique([unit for terms in sums.values() for _, unit in terms]).astype(np.int64)
    weights = np.zeros((len(sums), len(units)))
    for row, terms in zip(weights, sums.values(), strict=True):
        for weight, unit in terms:
            row[np.searchsorted(units, unit)] = max(weight, 0.0)
    return Emotions(words=list(sums), units=units, weights=weights)


@dataclass(frozen=True, kw_only=True)
class Regions:
    """How the article's region units respond to places, each scaled to 0 … 254 by the article.

    Attributes
    ----------
    model
        `[units]`, as the article's files call the models; `contrastive_4x` is RN50x4.
    unit
        `[units]` numbers in the last block.
    country, city
        `[units, 175]` and `[units, 620]`: written names, in the order of the file `world`.
    spatial
        `[units, 40, 80]`: crops of an unlabelled world map, row 0 in the north, column 0 at 180° W.
    """

    model: list[str]
    unit: list[int]
    country: Float64
    city: Float64
    spatial: Float64


@lru_cache(maxsize=1)
def regions() -> Regions:
    """The responses of 66 region units, 19 of them of RN50x4."""
    shapes = {"country": (None, None), "city": (None, None), "spatial": (None, None, None)}
    expected = {
        "model": (STRINGS, (None,)),
        "unit": (NUMBERS, (None,)),
        **{name: (np.uint8, shape) for name, shape in shapes.items()},
    }
    path = DATA / "regions.npz"
    arrays = read_npz(read_file(path), expected, source=path.name)
    return Regions(
        model=arrays["model"].tolist(),
        unit=arrays["unit"].tolist(),
        **{name: arrays[name].astype(np.float64) for name in shapes},
    )


@dataclass(frozen=True)
class World:
    """Countries and cities, in the article's order.

    Attributes
    ----------
    countries, cities
        Names.
    outlines
        Country → polygons → rings → (longitude, latitude).
    centres, positions
        `[countries, 2]` and `[cities, 2]` longitude and latitude; a country's is the middle of its largest outline.
    """

    countries: list[str]
    cities: list[str]
    outlines: list[Any]
    centres: Float64
    positions: Float64

    @property
    def places(self) -> list[str]:
        """Names of countries, then of cities."""
        return [*self.countries, *self.cities]

    def has(self, word: str) -> bool:
        """Whether a word is the name of one, in any case of its letters."""
        return word.casefold() in self._folded

    @cached_property
    def _folded(self) -> frozenset[str]:
        return frozenset(name.casefold() for name in self.places)


@lru_cache(maxsize=1)
def world() -> World:
    """The world map of the article."""
    read = table("world")
    outlines = [polygons for _, polygons in read["countries"]]
    return World(
        [name for name, _ in read["countries"]],
        [name for name, *_ in read["cities"]],
        outlines,
        np.array([_centre(polygons) for polygons in outlines]),
        np.array([position for _, *position in read["cities"]], np.float64),
    )


def _centre(polygons: Any) -> Float64:
    rings = [np.array(rings[0], np.float64) for rings in polygons]
    sizes = [np.ptp(ring[:, 0]) * np.ptp(ring[:, 1]) for ring in rings]
    ring = rings[int(np.argmax(sizes))]
    middle: Float64 = (ring.min(axis=0) + ring.max(axis=0)) / 2
    return middle


def published_name(model: str, address: str) -> str | None:
    """What the article calls a unit; None for units that it does not name and for every other model.

    Unit numbers mean something for the released weights alone, so a network of the same architecture with other weights has none.

    Parameters
    ----------
    model
        Its name, as `load_model` takes it.
    address
        `layer:unit`, before or after the non-linearity.

    Examples
    --------
    >>> published_name("RN50x4/openai", "visual.layer4.5:pre:89")
    'Donald Trump (Person Neurons)'
    >>> published_name("RN50x4/random", "visual.layer4.5:pre:89")
    """
    layer, _, unit = address.rpartition(":")
    if model not in MODELS or layer.removesuffix(PRE) != LAYER:
        return None
    return _names().get(int(unit))


@lru_cache(maxsize=1)
def _names() -> dict[int, str]:
    listed = table("units")
    found = {int(unit): str(name) for unit, name in listed["names"].items()}
    for family in listed["families"]:
        for unit, title, _ in family["units"]:
            found[unit] = f"{title} ({family['family']})"
    return found
