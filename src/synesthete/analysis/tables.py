"""Tables: what an analysis found of a layer, as the rows that the atlas keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.analysis.answers import Answers
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import Scores

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

KEPT_AUC = 0.8  # a row of selectivity.parquet has at least this AUC in two modalities ...
KEPT_BEST = 5  # ... or is one of the unit's best concepts


def neurons_table(
    scores: Scores,
    answers: Answers,
    design: Design,
    families: Mapping[str, str],
    unit_statistics: Mapping[str, npt.NDArray[np.floating]],
    *,
    dead: Bool,
) -> pa.Table:
    """A row per unit: its concept, scores on the scoring half, and how it answers in general.

    Parameters
    ----------
    families
        Concept to family.
    unit_statistics
        Further float columns, `[units]` each: sparseness, mean, std, maximum.
    dead
        `[units]`: constant over the images.

    Returns
    -------
    pyarrow.Table
        Columns of `synesthete.atlas.neurons.COLUMNS`, then `auc_`, `p_` and `q_` per modality, null where
        the concept is not testable. A unit without a concept, as every dead one is, has multimodality null.
    """
    concepts = ["" if code < 0 else design.concepts[code] for code in scores.concept]
    columns: dict[str, pa.Array] = {
        "unit": pa.array(np.arange(dead.size), pa.int32()),
        "concept": pa.array(concepts, pa.string()),
        "family": pa.array([families.get(name, "") for name in concepts], pa.string()),
        "multimodality": _numbers(np.where(scores.concept < 0, np.nan, scores.multimodality)),
        "q": _numbers(scores.unit_q),
        "multimodal": pa.array(scores.multimodal),
        "n_concepts": pa.array(answers.n_concepts, pa.int32()),
        "dead": pa.array(dead),
    }
    columns |= {name: _numbers(values) for name, values in unit_statistics.items()}
    for name, values in (("auc", scores.auc), ("p", scores.p), ("q", scores.q)):
        for m, modality in enumerate(design.modalities):
            columns[f"{name}_{modality}"] = _numbers(values[:, m])
    return pa.table(columns)


def selectivity_table(answers: Answers, design: Design) -> pa.Table:
    """The (unit, concept) rows worth keeping, measured on all images.

    Kept are rows with AUC at least 0.8 in two modalities and the five concepts of largest mean AUC per
    live unit (over concepts shown in two modalities or more).

    Returns
    -------
    pyarrow.Table
        unit, concept, passes, and per modality `auc_`, `p_`, `q_` (null without images) and `n_`, the number of
        images of the concept. Sorted by unit, then concept.
    """
    kept = _worth_keeping(answers)
    units, concepts = np.nonzero(kept)
    names = pa.array([design.concepts[c] for c in concepts], pa.string())
    columns: dict[str, pa.Array] = {
        "unit": pa.array(units, pa.int32()),
        "concept": names,
        "passes": pa.array(answers.passes[units, concepts]),
    }
    for m, modality in enumerate(design.modalities):
        columns[f"auc_{modality}"] = _numbers(answers.auc[m, units, concepts])
        columns[f"p_{modality}"] = _numbers(answers.p[m, units, concepts])
        columns[f"q_{modality}"] = _numbers(answers.q[m, units, concepts])
        columns[f"n_{modality}"] = pa.array(answers.n_pos[m, concepts], pa.int32())
    return pa.table(columns)


def family_of_concepts(concepts: Iterable[str], families: Iterable[str]) -> dict[str, str]:
    """The family most of a concept's images name; the first by name among equals.

    Examples
    --------
    >>> family_of_concepts(["apple", "apple", "dog"], ["food", "", "animal"])
    {'apple': 'food', 'dog': 'animal'}
    """
    votes: dict[str, Counter[str]] = {}
    for concept, family in zip(concepts, families, strict=True):
        if family:
            votes.setdefault(concept, Counter())[family] += 1
    return {
        concept: min(count, key=lambda name: (-count[name], name))
        for concept, count in sorted(votes.items())
    }


def _worth_keeping(answers: Answers) -> Bool:
    """`[units, concepts]`."""
    live = np.asarray(~np.isnan(answers.p).all(axis=(0, 2)))
    shown = (answers.n_pos > 0).sum(axis=0) >= min(2, answers.n_pos.shape[0])
    with np.errstate(invalid="ignore"):
        selective = np.asarray((answers.auc >= KEPT_AUC).sum(axis=0) >= 2)
    total = np.nansum(answers.auc, axis=0)
    mean = np.where(shown, total / np.maximum((~np.isnan(answers.auc)).sum(axis=0), 1), -1.0)
    best = np.argsort(-mean, axis=1, kind="stable")[:, :KEPT_BEST]
    np.put_along_axis(selective, best, True, axis=1)
    return np.asarray(selective & live[:, None], np.bool_)


def _numbers(values: npt.NDArray[np.floating]) -> pa.Array:
    """A float64 column in which NaN is null."""
    return pa.array(values.astype(np.float64), pa.float64(), from_pandas=True)
