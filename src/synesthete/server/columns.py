"""The units of a layer as columns: filters, orders and counts over 100,000 of them in milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.atlas import Neuron
from synesthete.server.coded import Coded, coded, spread

if TYPE_CHECKING:
    from synesthete.atlas import Atlas

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
ORDER = ("photo", "drawing", "symbol", "word")


@dataclass(frozen=True)
class Columns:
    """What is known of the units of a layer; every column has a row per unit.

    Attributes
    ----------
    layer
        Its name.
    modalities
        Those that were tested, in the order in which they are shown.
    concept, family, name
        As of `Neuron`; "" for none.
    multimodality, q, sparseness, mean, std, maximum, confidence, low, high
        As of `Neuron`; `low` and `high` are the interval of the confidence. NaN for none.
    multimodal, dead
        Whether it passes; whether it gives the same value for every image.
    n_concepts
        How many concepts pass.
    auc
        `[modalities, units]`.
    passes
        `[modalities, units]`: whether the AUC reaches the threshold.
    """

    layer: str
    modalities: tuple[str, ...]
    concept: Coded
    family: Coded
    name: Coded
    multimodality: Float64
    q: Float64
    sparseness: Float64
    mean: Float64
    std: Float64
    maximum: Float64
    confidence: Float64
    low: Float64
    high: Float64
    multimodal: Bool
    dead: Bool
    n_concepts: npt.NDArray[np.int64]
    auc: Float64
    passes: Bool

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.multimodal)

    def address(self, unit: int) -> str:
        """`layer:unit`."""
        return f"{self.layer}:{unit}"

    def called(self, unit: int) -> str:
        """Its tested name, else the concept that it answers to best; "" for none."""
        return self.name[unit] or self.concept[unit]

    def profile(self, unit: int) -> tuple[str, ...]:
        """The modalities in which it passes."""
        return tuple(name for place, name in enumerate(self.modalities) if self.passes[place, unit])

    def neuron(self, unit: int) -> Neuron:
        """One unit as `Atlas.neuron` gives it."""
        auc = {name: float(self.auc[place, unit]) for place, name in enumerate(self.modalities)}
        return Neuron(
            address=self.address(unit),
            layer=self.layer,
            unit=unit,
            concept=self.concept[unit],
            multimodality=float(self.multimodality[unit]),
            q=float(self.q[unit]),
            auc={name: value for name, value in auc.items() if not math.isnan(value)},
            multimodal=bool(self.multimodal[unit]),
            n_concepts=int(self.n_concepts[unit]),
            sparseness=float(self.sparseness[unit]),
            dead=bool(self.dead[unit]),
            mean=float(self.mean[unit]),
            std=float(self.std[unit]),
            maximum=float(self.maximum[unit]),
            family=self.family[unit],
            name=self.name[unit] or None,
            confidence=float(self.confidence[unit]),
        )


def read_columns(atlas: Atlas, layer: str) -> Columns:
    """The columns of a layer, from its tables.

    Raises
    ------
    SynestheteError
        When the atlas is not analysed, or damaged.
    """
    table = atlas.neuron_table(layer)
    names, families = (atlas.unit_table(layer, kind) for kind in ("names", "families"))
    units = table.num_rows
    modalities = in_order([name[4:] for name in table.column_names if name.startswith("auc_")])
    auc = np.stack([_numbers(table[f"auc_{name}"]) for name in modalities])
    threshold = float(atlas.manifest["analysis"]["threshold"])
    with np.errstate(invalid="ignore"):
        passes = np.asarray(auc >= threshold)
    interval = ("confidence", "confidence_low", "confidence_high")
    confidence, low, high = (_spread_numbers(units, names, column) for column in interval)
    return Columns(
        layer=layer,
        modalities=modalities,
        concept=coded(table["concept"]),
        family=coded(table["family"]) if families is None else spread(units, families, "family"),
        name=spread(units, names, "name"),
        **{
            key: _numbers(table[key]) for key in ("multimodality", "q", "sparseness", "mean", "std")
        },
        maximum=_numbers(table["maximum"]),
        confidence=confidence,
        low=low,
        high=high,
        multimodal=_bools(table["multimodal"]),
        dead=_bools(table["dead"]),
        n_concepts=np.nan_to_num(_numbers(table["n_concepts"])).astype(np.int64),
        auc=auc,
        passes=passes,
    )


def in_order(modalities: list[str]) -> tuple[str, ...]:
    """Modalities as they are always shown: the built-in ones first.

    Examples
    --------
    >>> in_order(["word", "sketch", "photo"])
    ('photo', 'word', 'sketch')
    """
    known = [name for name in ORDER if name in modalities]
    return (*known, *sorted(set(modalities) - set(ORDER)))


def _numbers(column: Any) -> Float64:
    made: Float64 = column.cast(pa.float64()).to_numpy()
    return made


def _bools(column: Any) -> Bool:
    import pyarrow.compute as pc

    made: Bool = pc.fill_null(column, False).to_numpy().astype(bool)
    return made


def _spread_numbers(units: int, table: pa.Table | None, column: str) -> Float64:
    values = np.full(units, np.nan)
    if table is not None:
        best = table["rank"].to_numpy() == 0
        values[table["unit"].to_numpy()[best]] = _numbers(table[column])[best]
    return values
