"""Neurons as a reader meets them: rows of `neurons.parquet`, with filters and search."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Float64
from synesthete._core.notebook import bundle_of, html_of
from synesthete._core.text import first_of
from synesthete.atlas.arrays import arrow_mask, column_numbers
from synesthete.errors import SynestheteError, near

CANDIDATES = 8

# Columns every neurons.parquet has, with their types; auc_<modality> and p_<modality> come on top.
COLUMNS: dict[str, pa.DataType] = {
    "unit": pa.int32(),
    "concept": pa.string(),
    "family": pa.string(),
    "multimodality": pa.float64(),
    "q": pa.float64(),
    "verdict": pa.string(),
    "selective": pa.bool_(),
    "multimodal": pa.bool_(),
    "concept_cell": pa.bool_(),
    "passed": pa.int32(),
    "lower": pa.float64(),
    "n_concepts": pa.int32(),
    "sparseness": pa.float64(),
    "dead": pa.bool_(),
    "mean": pa.float64(),
    "std": pa.float64(),
    "maximum": pa.float64(),
}


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """One unit and what is known of it.

    Attributes
    ----------
    address, layer, unit
        Where it is: `address` is `layer:unit`.
    concept
        What it answers to, chosen on one half of the artists; empty for none.
    family
        The family it was assigned; until one was, the family of its concept; empty for none.
    name, confidence
        Its tested name and how well that held on images it was not chosen on (AUC); None and NaN when
        no name held, or none was looked for.
    heading
        What it is called everywhere: the name or the concept, whichever predicts held-out activation better (`name_leads`); empty for
        none.
    also
        The other of the two, such as `also named toolbox` or `concept tomato`; empty where they agree or one is missing.
    multimodality
        AUC of that concept in the weakest modality, on the other half; NaN for a dead unit.
    q
        The largest false discovery rate among `word` and its two other best modalities.
    auc, ap, n
        Modality → AUC, average precision and number of the concept's images on the scoring half; modalities that are not there
        were not tested.
    verdict
        The highest of `none`, `selective` (AUC and q pass in three modalities, `word` among them), `multimodal` (average precision
        too) and `concept cell` (average precision of the stricter threshold); `untested` where the images do not allow to say.
    multimodal
        Whether it is multimodal or a concept cell.
    passed
        Modalities in which AUC, q and average precision pass.
    lower
        Lower end of the average precision's interval over artists, the smallest among `word` and the two best other modalities.
    n_concepts
        How many concepts pass on their own.
    sparseness
        Lifetime sparseness, 0 (answers alike to all images) to 1 (answers to one).
    dead
        Whether it gives the same value for every image.
    mean, std, maximum
        Over all images, in the units of the activation.
    source
        Folder of the atlas that it was read from; a notebook draws its card from there.
    """

    address: str
    layer: str
    unit: int
    concept: str
    multimodality: float
    q: float
    auc: dict[str, float]
    ap: dict[str, float]
    n: dict[str, int]
    verdict: str
    multimodal: bool
    passed: int
    lower: float
    n_concepts: int
    sparseness: float
    dead: bool
    mean: float
    std: float
    maximum: float
    family: str
    name: str | None = None
    confidence: float = math.nan
    heading: str = ""
    also: str = ""
    source: Path | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The neuron as JSON can write it: NaN becomes None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
            if key != "source"
        }

    def _repr_html_(self) -> str | None:
        """Its card, where a notebook shows it."""
        return html_of("neuron", self)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, Any] | None:
        """A widget that goes through its atlas, in a notebook with anywidget; its card is shown beside or instead."""
        return bundle_of("neuron", self)


def neurons_of(
    layer: str,
    table: pa.Table,
    names: pa.Table | None = None,
    families: pa.Table | None = None,
) -> list[Neuron]:
    """The neurons of one layer from its tables, in the order of the rows of `neurons.parquet`."""
    modalities = [name[4:] for name in table.column_names if name.startswith("auc_")]
    neurons = [_neuron(layer, row, modalities) for row in table.to_pylist()]
    leads = name_leads(table, names)
    for row in _best(names):
        neuron, name = neurons[row["unit"]], row["name"]
        neurons[row["unit"]] = replace(
            neuron,
            name=name,
            confidence=_number(row["confidence"]),
            heading=name if leads[row["unit"]] else neuron.concept,
            also=also_called(name, neuron.concept, name_leads=bool(leads[row["unit"]])),
        )
    if families is not None:
        neurons = [replace(neuron, family="") for neuron in neurons]
    for row in _best(families):
        neurons[row["unit"]] = replace(neurons[row["unit"]], family=row["family"])
    return neurons


def name_leads(table: pa.Table, names: pa.Table | None) -> Bool:
    """Which units are headed by their tested name, the others by their concept.

    The one of higher average precision on the scoring half of the artists, mean over the modalities in which both were measured
    (each over its own where they share none). Equal ones, and those of which one was not measured: the name, which was tested
    against all words of a vocabulary.

    Parameters
    ----------
    table, names
        `neurons.parquet`, and `names.parquet` where there is one.

    Returns
    -------
    array `[units]`
        False where no name held.
    """
    leads = np.zeros(table.num_rows, np.bool_)
    if names is None or not names.num_rows:
        return leads
    best = names.filter(arrow_mask(column_numbers(names["rank"]) == 0))
    units = column_numbers(best["unit"])
    columns = [name for name in table.column_names if name.startswith("ap_")]
    columns = [name for name in columns if not name.startswith("ap_low_")]

    def measured(of: pa.Table, rows: Any) -> Float64:
        missing = np.full(len(rows), np.nan)
        values = [
            column_numbers(of[name].cast(pa.float64()))[rows]
            if name in of.column_names
            else missing
            for name in columns
        ]
        return np.reshape(values, (len(columns), len(rows))).astype(np.float64)

    of_name, of_concept = measured(best, np.arange(len(units))), measured(table, units)
    both = np.isfinite(of_name) & np.isfinite(of_concept)
    both |= ~both.any(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_name, of_concept = (
            np.where(both & np.isfinite(values), values, 0.0).sum(axis=0)
            / (both & np.isfinite(values)).sum(axis=0)
            for values in (of_name, of_concept)
        )
        leads[units] = ~(of_concept > of_name)
    return leads


def also_called(name: str, concept: str, *, name_leads: bool) -> str:
    """What a heading leaves out, in words; empty where name and concept agree or one is missing.

    Examples
    --------
    >>> also_called("toolbox", "tomato", name_leads=False), also_called("Apple", "apple", name_leads=True)
    ('also named toolbox', '')
    """
    if not name or not concept or name.casefold() == concept.casefold():
        return ""
    return f"concept {concept}" if name_leads else f"also named {name}"


def _best(table: pa.Table | None) -> list[dict[str, Any]]:
    """Each unit's row of rank 0."""
    return [row for row in (table.to_pylist() if table is not None else []) if row["rank"] == 0]


def _neuron(layer: str, row: dict[str, Any], modalities: Sequence[str]) -> Neuron:
    auc, ap = (
        {name: _number(row.get(f"{score}_{name}")) for name in modalities}
        for score in ("auc", "ap")
    )
    return Neuron(
        address=f"{layer}:{row['unit']}",
        layer=layer,
        unit=int(row["unit"]),
        concept=row["concept"] or "",
        heading=row["concept"] or "",
        multimodality=_number(row["multimodality"]),
        q=_number(row["q"]),
        auc={name: value for name, value in auc.items() if not math.isnan(value)},
        ap={name: value for name, value in ap.items() if not math.isnan(value)},
        n={name: row[f"n_{name}"] for name in modalities if row.get(f"n_{name}")},
        verdict=row["verdict"] or "untested",
        multimodal=bool(row["multimodal"]),
        passed=int(row["passed"] or 0),
        lower=_number(row["lower"]),
        n_concepts=int(row["n_concepts"] or 0),
        sparseness=_number(row["sparseness"]),
        dead=bool(row["dead"]),
        mean=_number(row["mean"]),
        std=_number(row["std"]),
        maximum=_number(row["maximum"]),
        family=row["family"] or "",
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def ranked(neurons: Iterable[Neuron]) -> list[Neuron]:
    """Sorted by modalities passed, then by the interval's lower end, then by multimodality; NaN last; then by layer and unit."""

    def key(neuron: Neuron) -> tuple[int, float, float, str, int]:
        lower, score = (
            math.inf if math.isnan(value) else -value
            for value in (neuron.lower, neuron.multimodality)
        )
        return (-neuron.passed, lower, score, neuron.layer, neuron.unit)

    return sorted(neurons, key=key)


def called(text: str, neurons: Iterable[Neuron]) -> list[Neuron]:
    """Neurons whose concept or name is `text` (letter case does not matter), best first."""
    wanted = text.strip().casefold()
    return ranked(neuron for neuron in neurons if wanted and wanted in _calls(neuron))


def the_one_called(text: str, neurons: Sequence[Neuron], *, example: str) -> Neuron:
    """The neuron whose concept or name is `text`: the one that passes the test, or the only one.

    Parameters
    ----------
    example
        An address, for the message.

    Raises
    ------
    SynestheteError
        None has it: the nearest concepts and names are suggested. Several have it, and not exactly one of them is multimodal:
        the best are listed, each with its address, what it is called, and its multimodality.
    """
    found = called(text, neurons)
    if not found:
        known = sorted({call for neuron in neurons for call in (neuron.concept, neuron.name or "")})
        message = f"{text[:200]!r} is not a valid address, and no neuron has that concept or name"
        hint = near(text[:200], filter(None, known)) or f"write layer:unit, for example {example}"
        raise SynestheteError(message, hint=hint)
    passing = [neuron for neuron in found if neuron.multimodal]
    if len(passing) != 1 and len(found) > 1:
        listed = [f"{one.address} {one.heading} {one.multimodality:.2f}" for one in found]
        message = f"{text!r} names {len(found):,} neurons: {first_of(listed, CANDIDATES)}"
        raise SynestheteError(message, hint="give an address")
    return (passing or found)[0]


def matching(text: str, neurons: Sequence[Neuron]) -> list[Neuron]:
    """Neurons whose concept or name is `text`; failing that, contains it; failing that, is near it.

    Returns
    -------
    In the order given; empty when nothing is near.
    """
    wanted = text.strip().casefold()
    if not wanted:
        return []
    calls = [_calls(neuron) for neuron in neurons]

    def those(test: Callable[[set[str]], bool]) -> list[Neuron]:
        return [neuron for neuron, texts in zip(neurons, calls, strict=True) if test(texts)]

    found = those(lambda texts: wanted in texts)
    found = found or those(lambda texts: any(wanted in text for text in texts))
    if found:
        return found
    known = sorted(set().union(*calls))
    close = set(difflib.get_close_matches(wanted, known, n=3, cutoff=0.6))
    return those(lambda texts: bool(texts & close))


def _calls(neuron: Neuron) -> set[str]:
    """What a neuron is called: its concept and its name, in lower case."""
    return {text.casefold() for text in (neuron.concept, neuron.name or "") if text}
