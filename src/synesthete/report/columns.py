"""The units and the images of an atlas as columns: filters, orders and counts over 100,000 of them in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete.atlas.arrays import arrow_integers, arrow_text, column_numbers
from synesthete.atlas.neurons import also_called, name_leads

if TYPE_CHECKING:
    from synesthete.atlas import Atlas

Unit = tuple[str, int]
Keys = tuple[Float64 | Int64, ...]
Sort = Literal["multimodality", "confidence", "sparseness", "maximum", "name", "unit"]
ORDER = (
    "photo", "drawing", "symbol", "word", "name", "translation", "synonym", "description", "anecdote",
)  # fmt: skip


@dataclass(frozen=True)
class Coded:
    """Texts of rows.

    Attributes
    ----------
    codes
        `[rows]` int32: which of `texts`.
    texts
        Each text once; the first is "", for rows without one.
    """

    codes: npt.NDArray[np.int32]
    texts: tuple[str, ...]

    def __getitem__(self, row: int) -> str:
        """The text of a row."""
        return self.texts[int(self.codes[row])]

    def code(self, text: str) -> int | None:
        """The code of a text; of one in other letter case where no row has it; else None."""
        if text in self.texts:
            return self.texts.index(text)
        wanted = text.strip().casefold()
        for code, one in enumerate(self.texts):
            if one.casefold() == wanted:
                return code
        return None

    def rows(self, text: str) -> Bool:
        """`[rows]`: which rows have a text."""
        code = self.code(text)
        found: Bool = self.codes == (-1 if code is None else code)
        return found

    def counts(self, rows: Bool | None = None) -> dict[str, int]:
        """How many rows have each text, most first, then by text; rows without one are left out."""
        codes = self.codes if rows is None else self.codes[rows]
        number = np.bincount(codes, minlength=len(self.texts))
        number[0] = 0
        there = [(self.texts[i], int(number[i])) for i in np.flatnonzero(number)]
        return dict(sorted(there, key=lambda one: (-one[1], one[0])))


def coded(column: pa.ChunkedArray | pa.Array) -> Coded:
    """Code a column of texts; null counts as "".

    Examples
    --------
    >>> texts = coded(pa.array(["b", None, "a", "b"]))
    >>> texts.texts, texts.codes.tolist(), texts[3], texts.counts()
    (('', 'b', 'a'), [1, 0, 2, 1], 'b', {'b': 2, 'a': 1})
    """
    import pyarrow.compute as pc

    filled = pc.fill_null(column, arrow_text(""))
    if isinstance(filled, pa.ChunkedArray):
        filled = filled.combine_chunks()
    if isinstance(filled, pa.ChunkedArray):
        filled = pa.concat_arrays(filled.chunks) if filled.num_chunks else pa.array([], pa.string())
    table = filled.dictionary_encode()
    texts = [str(text) for text in table.dictionary.to_pylist()]
    codes = column_numbers(table.indices).astype(np.int32)
    empty = texts.index("") if "" in texts else None
    if empty is None:
        return Coded(codes + 1, ("", *texts))
    order = [empty, *(i for i in range(len(texts)) if i != empty)]
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return Coded(place[codes], tuple(texts[i] for i in order))


def spread(units: int, table: pa.Table | None, column: str) -> Coded:
    """A text column of a table of units (rank 0) as a row per unit; "" for units without a row."""
    if table is None:
        return Coded(np.zeros(units, np.int32), ("",))
    best = column_numbers(table["rank"]) == 0
    some = coded(table[column])
    codes = np.zeros(units, np.int32)
    codes[column_numbers(table["unit"])[best]] = some.codes[best]
    return Coded(codes, some.texts)


def either(first: Coded, second: Coded, rows: Bool) -> Coded:
    """The texts of `first` in some rows, of `second` in the others."""
    texts = list(dict.fromkeys([*first.texts, *second.texts]))
    number = {text: code for code, text in enumerate(texts)}
    one, other = (np.array([number[text] for text in of.texts], np.int32) for of in (first, second))
    return Coded(np.where(rows, one[first.codes], other[second.codes]), tuple(texts))


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is known of the units of a layer; every column has a row per unit.

    Attributes
    ----------
    layer
        Its name.
    modalities
        Those that were tested, in the order in which they are shown.
    concept, family, name, heading
        As of `Neuron`; "" for none.
    multimodality, q, sparseness, mean, std, maximum, confidence, low, high
        As of `Neuron`; `low` and `high` are the interval of the confidence. NaN for none.
    verdict
        As of `Neuron`.
    multimodal, dead
        Whether it is multimodal; whether it gives the same value for every image.
    passed, lower
        In how many modalities it passes, and the lower end of its average precision; what lists are sorted by.
    n_concepts
        How many concepts pass.
    auc, ap
        `[modalities, units]`: AUC and average precision.
    passes
        `[modalities, units]`: whether both reach their thresholds.
    """

    layer: str
    modalities: tuple[str, ...]
    concept: Coded
    family: Coded
    name: Coded
    heading: Coded
    multimodality: Float64
    q: Float64
    sparseness: Float64
    mean: Float64
    std: Float64
    maximum: Float64
    confidence: Float64
    low: Float64
    high: Float64
    verdict: Coded
    multimodal: Bool
    dead: Bool
    passed: Int64
    lower: Float64
    n_concepts: Int64
    auc: Float64
    ap: Float64
    passes: Bool

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.multimodal)

    def address(self, unit: int) -> str:
        """`layer:unit`."""
        return f"{self.layer}:{unit}"

    def also(self, unit: int) -> str:
        """The other of name and concept, in words; "" where they agree or one is missing."""
        name, concept = self.name[unit], self.concept[unit]
        return also_called(name, concept, name_leads=self.heading[unit] == name)

    def z_scores(self, values: Floating) -> Float64:
        """`[units]`: activations in standard deviations from the mean; -inf for units that do not vary."""
        with np.errstate(invalid="ignore", divide="ignore"):
            z: Float64 = (values - self.mean) / self.std
        z[~np.isfinite(z) | self.dead] = -np.inf
        return z

    def profile(self, unit: int) -> tuple[str, ...]:
        """The modalities in which it passes."""
        return tuple(name for place, name in enumerate(self.modalities) if self.passes[place, unit])


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
    there = set(table.column_names)
    auc = np.stack([_numbers(table[f"auc_{name}"]) for name in modalities])
    ap = np.stack(
        [
            _numbers(table[f"ap_{name}"]) if f"ap_{name}" in there else np.full(units, np.nan)
            for name in modalities
        ]
    )
    rule = atlas.manifest["analysis"]
    with np.errstate(invalid="ignore"):
        passes = np.asarray((auc >= rule["threshold"]) & (ap >= rule["ap"]))
    name, concept = spread(units, names, "name"), coded(table["concept"])
    interval = ("confidence", "confidence_low", "confidence_high")
    confidence, low, high = (_spread_numbers(units, names, column) for column in interval)
    return Columns(
        layer=layer,
        modalities=modalities,
        concept=concept,
        family=coded(table["family"]) if families is None else spread(units, families, "family"),
        name=name,
        heading=either(name, concept, name_leads(table, names)),
        **{
            key: _numbers(table[key]) for key in ("multimodality", "q", "sparseness", "mean", "std")
        },
        maximum=_numbers(table["maximum"]),
        confidence=confidence,
        low=low,
        high=high,
        verdict=coded(table["verdict"]),
        multimodal=_bools(table["multimodal"]),
        dead=_bools(table["dead"]),
        passed=np.nan_to_num(_numbers(table["passed"])).astype(np.int64),
        lower=_numbers(table["lower"]),
        n_concepts=np.nan_to_num(_numbers(table["n_concepts"])).astype(np.int64),
        auc=auc,
        ap=ap,
        passes=passes,
    )


def in_order(modalities: Iterable[str]) -> tuple[str, ...]:
    """Modalities as they are always shown: the built-in ones first.

    Examples
    --------
    >>> in_order(["word", "sketch", "photo"])
    ('photo', 'word', 'sketch')
    """
    there = set(modalities)
    return (*(name for name in ORDER if name in there), *sorted(there - set(ORDER)))


def _numbers(column: Any) -> Float64:
    values: Float64 = column_numbers(column.cast(pa.float64()))
    return values


def _bools(column: Any) -> Bool:
    return np.array(column.to_pylist(), bool)  # None is False


def _spread_numbers(units: int, table: pa.Table | None, column: str) -> Float64:
    values = np.full(units, np.nan)
    if table is not None:
        best = column_numbers(table["rank"]) == 0
        values[column_numbers(table["unit"])[best]] = _numbers(table[column])[best]
    return values


@dataclass(frozen=True, kw_only=True)
class ProbeColumns:
    """A row per image.

    Attributes
    ----------
    table
        `Atlas.probes`.
    concept, modality, artist
        Its labels.
    readable
        Whether the image or text could be read.
    of_text
        Whether it is a text.
    scoring
        Readable and labelled, and by an artist who had no part in choosing concepts, where that is known.
    held_out
        Whether it is known.
    """

    table: pa.Table
    concept: Coded
    modality: Coded
    artist: Coded
    readable: Bool
    of_text: Bool
    scoring: Bool
    held_out: bool

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of readable images."""
        return in_order(list(self.modality.counts(self.readable)))

    @cached_property
    def photos(self) -> Int64:
        """Readable photos with a concept; without any, every readable image with one that is no written word."""
        own = self.readable & ~self.of_text & (self.concept.codes > 0) & ~self.modality.rows("word")
        photos = own & self.modality.rows("photo")
        return np.flatnonzero(photos if photos.any() else own)

    def read_by(self, layer: Mapping[str, Any]) -> Bool:
        """`[images]`: what could be read and a layer (its entry in the manifest) has activations for."""
        tower = layer.get("tower", "image")
        return (
            self.readable
            if tower == "joint"
            else self.readable & (self.of_text == (tower == "text"))
        )

    def rows(self, images: list[int]) -> list[dict[str, Any]]:
        """All that is known of some images."""
        found: list[dict[str, Any]] = self.table.take(arrow_integers(images)).to_pylist()
        return found

    def tested(self, concept: str, modality: str) -> tuple[int, int]:
        """Images of a concept that an AUC was measured with, and all of that modality."""
        here = self.scoring & self.modality.rows(modality)
        return int((here & self.concept.rows(concept)).sum()) if concept else 0, int(here.sum())

    def showing(self, concepts: Sequence[str]) -> Bool:
        """`[images]`: which show one of some concepts."""
        codes = [code for one in concepts if (code := self.concept.code(one))]
        return np.isin(self.concept.codes, codes)

    def of_concept(self, concept: str) -> dict[str, Int64]:
        """Modality → readable images of a concept."""
        own = self.readable & self.concept.rows(concept)
        return {name: np.flatnonzero(own & self.modality.rows(name)) for name in self.modalities}


def read_probe_columns(atlas: Atlas) -> ProbeColumns:
    """The columns of an atlas's images."""
    import pyarrow.compute as pc

    table = atlas.probes
    concept, artist = coded(table["concept"]), coded(table["artist"])
    readable = np.array(pc.equal(table["status"], arrow_text("ok")).to_pylist(), bool)
    analysis = atlas.manifest["analysis"] or {}
    halves = analysis.get("halves", {})
    # Images of unknown artist lie in either half, one by one, and the analysis keeps no list.
    held_out = bool(halves) and not halves.get("images_of_unknown_artist", 0)
    scoring = readable & (concept.codes > 0)
    if held_out:
        selection = set(halves["selection"])
        # Layers that read texts have halves of their own.
        for layer in analysis["layers"].values():
            selection |= set(layer.get("design", {}).get("halves", {}).get("selection", ()))
        chosen = [code for code, name in enumerate(artist.texts) if name in selection]
        scoring &= ~np.isin(artist.codes, chosen)
    return ProbeColumns(
        table=table,
        concept=concept,
        modality=coded(table["modality"]),
        artist=artist,
        readable=readable,
        of_text=_bools(pc.not_equal(table["text"], ""))
        if "text" in table.column_names
        else np.zeros(len(table), np.bool_),
        scoring=scoring,
        held_out=held_out,
    )


@dataclass(frozen=True)
class Part:
    """Some units of a layer with what they are sorted by.

    Attributes
    ----------
    layer
        Its name.
    units
        `[units]`.
    keys
        Each `[units]`; the first decides first, the lowest comes first.
    """

    layer: str
    units: Int64
    keys: Keys


def ranked(parts: Sequence[Part], first: int = 0, last: int | None = None) -> list[Unit]:
    """Layer and unit from place `first` to before `last` of the order: by the keys, then by layer, then by unit.

    Examples
    --------
    >>> one = Part("b", np.array([7, 3]), (np.array([0.5, 0.1]),))
    >>> two = Part("a", np.array([4]), (np.array([0.5]),))
    >>> ranked([one, two])
    [('b', 3), ('a', 4), ('b', 7)]
    """
    parts = sorted(parts, key=lambda part: part.layer)
    if not parts:
        return []
    units = np.concatenate([part.units for part in parts])
    layer = np.repeat(np.arange(len(parts)), [len(part.units) for part in parts])
    keys = [np.concatenate(same) for same in zip(*(part.keys for part in parts), strict=True)]
    order = np.lexsort((units, layer, *reversed(keys)))[first:last]
    return [(parts[layer[i]].layer, int(units[i])) for i in order]


def by_multimodality(columns: Columns, units: Int64) -> Part:
    """Units of a layer, the most multimodal first; those where it was not measured come last."""
    return Part(columns.layer, units, (-np.nan_to_num(columns.multimodality[units], nan=-1.0),))


def ordered(columns: Columns, units: Int64, sort: Sort) -> Int64:
    """Units in an order; what is not known comes last, ties are in the order of the units."""
    if sort == "unit":
        return units
    if sort == "name":
        texts = columns.name.texts
        order = sorted(range(len(texts)), key=lambda i: (not texts[i], texts[i].casefold()))
        rank = np.argsort(order)
        return units[np.argsort(rank[columns.name.codes[units]], kind="stable")]
    names = ("passed", "lower", "multimodality") if sort == "multimodality" else (sort,)
    keys = [np.asarray(getattr(columns, name)[units], np.float64) for name in names]
    keys = [np.where(np.isnan(values), np.inf, -values) for values in keys]
    return units[np.lexsort(keys[::-1])]
