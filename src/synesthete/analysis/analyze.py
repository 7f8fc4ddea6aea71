"""Analyse every layer of an atlas, with its controls, and write neurons, selectivity and counts into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete._core.progress import Progress, Steps
from synesthete.analysis.concept_tests import ConceptTests, run_concept_tests
from synesthete.analysis.design import (
    AT_LEAST,
    REQUIRED_MODALITY,
    Design,
    labelled_rows,
    readable_rows,
    shuffled,
)
from synesthete.analysis.multimodality import LEVEL, THRESHOLD, Scores, is_constant, score_units
from synesthete.analysis.provenance import RANDOM_TWIN, control_activations
from synesthete.atlas import (
    Atlas,
    clear_analysis,
    open_atlas,
    write_analysis,
    write_neurons,
    write_selectivity,
)
from synesthete.errors import SynestheteError

SHUFFLES = 10
STEPS = 3  # of progress, per layer: the model, its control, tables written
KEPT_AUC = 0.8  # a row of selectivity.parquet has at least this AUC in two modalities ...
KEPT_BEST = 5  # ... or is one of the unit's best concepts


def analyze(
    atlas_path: str | Path,
    *,
    threshold: float = THRESHOLD,
    q: float = LEVEL,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Find the multimodal neurons of a recorded atlas and write them into it.

    Where multimodality cannot be tested on the probe images (no written words, too few modalities, artists or
    concepts), units get what the images allow: concept and AUC in the available modalities, or
    statistics alone. The counts are null then, and `not_tested` in the notes gives the reason and what to add.

    Writes `neurons.parquet` and `selectivity.parquet` of every layer and the section `analysis` of the
    manifest (docs/selectivity.md), replacing an earlier analysis. Deterministic: the same atlas and arguments give the same bytes.

    Parameters
    ----------
    atlas_path
        An atlas recorded with the dense matrix.
    threshold, q
        AUC and false discovery rate at which a modality passes.
    seed
        Of the shuffled labels.
    progress
        Called with (steps done, total steps).

    Raises
    ------
    SynestheteError
        When `threshold` or `q` is out of range, or the atlas lacks the dense matrix.
    """
    if not 0.5 < threshold <= 1:
        raise SynestheteError(f"the AUC threshold must be above 0.5 and at most 1, not {threshold}")
    if not 0 < q < 1:
        raise SynestheteError(f"the false discovery rate q must be between 0 and 1, not {q}")
    atlas = open_atlas(atlas_path)
    rows = labelled_rows(atlas)
    if not rows.size:
        rows = readable_rows(atlas)
    probes = atlas.probes.take(pa.array(rows))
    names = {key: probes[key].to_pylist() for key in ("concept", "modality", "artist", "family")}
    design = Design.of(names["concept"], names["modality"], names["artist"], at_least=1)
    problem = design.problem()
    labelings = [design.concept]
    if problem is None:
        labelings += [shuffled(design, seed * SHUFFLES + i) for i in range(SHUFFLES)]
    families = family_of_concepts(names["concept"], names["family"])
    matrices = {layer: atlas.activations(layer) for layer in atlas.layers}
    clear_analysis(atlas_path)
    steps = Steps(progress, STEPS * len(matrices))
    counts = {}
    for layer, matrix in matrices.items():
        activations = np.asarray(matrix[rows])
        scores = score_units(activations, design, labelings=labelings, threshold=threshold, level=q)
        tests = run_concept_tests(
            activations, design, labelings=labelings[:2], threshold=threshold, level=q
        )
        sparseness, dead = lifetime_sparseness(activations), is_constant(activations)
        steps.advance()
        counts[layer] = {"units": int(dead.size), "live_units": int((~dead).sum())}
        if problem is None:
            counts[layer] |= _counts(scores, tests, sparseness, design)
            counts[layer] |= _control_counts(atlas, layer, rows, design, threshold, q)
        else:
            counts[layer] |= _no_counts(scores[0], tests[0], sparseness)
        steps.advance()
        statistics = atlas.statistics(layer)
        columns: dict[str, Floating] = {
            "sparseness": sparseness,
            "mean": statistics.mean,
            "std": statistics.std,
            "maximum": statistics.maximum.astype(np.float64),
        }
        neurons = neurons_table(scores[0], tests[0], design, families, columns, dead=dead)
        write_neurons(atlas_path, layer, neurons)
        write_selectivity(atlas_path, layer, selectivity_table(tests[0], design))
        steps.advance()
    write_analysis(
        atlas_path,
        {
            "threshold": threshold,
            "q": q,
            "seed": seed,
            "layers": counts,
            **_notes(design, int(atlas.manifest["probes"]["images"])),
            **(
                {"not_tested": {"reason": problem.message, "hint": problem.hint}} if problem else {}
            ),
        },
    )


def _control_counts(
    atlas: Atlas, layer: str, rows: Int64, design: Design, threshold: float, level: float
) -> dict[str, Any]:
    """Counts for the randomly initialised control; None each when the atlas has none."""
    keys = ("multimodal", "concepts", "answering", "polysemantic", "median_sparseness")
    control = control_activations(atlas, layer)
    if control is None:
        return {f"{key}_{RANDOM_TWIN}": None for key in keys}
    activations = np.asarray(control[rows])
    scores = score_units(activations, design, threshold=threshold, level=level)[0]
    tests = run_concept_tests(activations, design, threshold=threshold, level=level)[0]
    values = (
        int(scores.multimodal.sum()),
        _concepts(scores, design),
        int((tests.n_concepts > 0).sum()),
        int((tests.n_concepts > 1).sum()),
        _median(lifetime_sparseness(activations)),
    )
    return {f"{key}_{RANDOM_TWIN}": value for key, value in zip(keys, values, strict=True)}


def _counts(
    scores: list[Scores],
    tests: list[ConceptTests],
    sparseness: Float64,
    design: Design,
) -> dict[str, Any]:
    """Counts for the model (first of each list) and for shuffled labels (the others)."""
    shuffles = [int(found.multimodal.sum()) for found in scores[1:]]
    true, control = tests
    return {
        "multimodal": int(scores[0].multimodal.sum()),
        "multimodal_shuffled": shuffles[0],
        "multimodal_shuffles": shuffles,
        "concepts": _concepts(scores[0], design),
        "concepts_shuffled": _concepts(scores[1], design),
        "answering": int((true.n_concepts > 0).sum()),
        "answering_shuffled": int((control.n_concepts > 0).sum()),
        "polysemantic": int((true.n_concepts > 1).sum()),
        "polysemantic_shuffled": int((control.n_concepts > 1).sum()),
        "median_sparseness": _median(sparseness),
        "hypotheses": scores[0].hypotheses,
        "hypotheses_all_images": true.hypotheses,
    }


def _no_counts(scores: Scores, tests: ConceptTests, sparseness: Float64) -> dict[str, Any]:
    """The same keys where nothing can be counted as multimodal: null, which is another thing than none."""
    kinds = ("multimodal", "concepts", "answering", "polysemantic")
    return {
        **{f"{kind}{of}": None for kind in kinds for of in ("", "_shuffled", f"_{RANDOM_TWIN}")},
        "multimodal_shuffles": None,
        "median_sparseness": _median(sparseness),
        f"median_sparseness_{RANDOM_TWIN}": None,
        "hypotheses": scores.hypotheses,
        "hypotheses_all_images": tests.hypotheses,
    }


def _concepts(scores: Scores, design: Design) -> dict[str, int]:
    """How many multimodal units each concept has, for those that have one."""
    codes, units = np.unique(scores.concept[scores.multimodal], return_counts=True)
    return {design.concepts[c]: int(n) for c, n in zip(codes, units, strict=True)}


def _notes(design: Design, images: int) -> Mapping[str, Any]:
    """How the images were divided: what a reader needs to assess or repeat the analysis."""
    split = design.split
    per_modality = {}
    for m, name in enumerate(design.modalities):
        per_modality[name] = {
            "images_selection": int(design.images(m, scoring=False).size),
            "images_scoring": int(design.images(m, scoring=True).size),
            "concepts": int(np.unique(design.concept[design.images(m)]).size),
            "concepts_testable": int(split.testable[m].sum()),
        }
    return {
        "images": int(design.concept.size),
        "images_without_label": images - int(design.concept.size),
        "concepts": len(design.concepts),
        "concepts_eligible": int(split.eligible.sum()),
        "modalities": per_modality,
        "rule": {"required": REQUIRED_MODALITY, "at_least": AT_LEAST, "choice": "stouffer"},
        "halves": {
            "selection": list(split.selection_artists),
            "scoring": list(split.scoring_artists),
            "images_of_unknown_artist": split.unknown_artist,
        },
    }


def _median(values: Float64) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def neurons_table(
    scores: Scores,
    tests: ConceptTests,
    design: Design,
    families: Mapping[str, str],
    unit_statistics: Mapping[str, Floating],
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
        "n_concepts": pa.array(tests.n_concepts, pa.int32()),
        "dead": pa.array(dead),
    }
    columns |= {name: _numbers(values) for name, values in unit_statistics.items()}
    for name, values in (("auc", scores.auc), ("p", scores.p), ("q", scores.q)):
        for m, modality in enumerate(design.modalities):
            columns[f"{name}_{modality}"] = _numbers(values[:, m])
    return pa.table(columns)


def selectivity_table(tests: ConceptTests, design: Design) -> pa.Table:
    """The (unit, concept) rows worth keeping, measured on all images.

    Kept are rows with AUC at least 0.8 in two modalities and the five concepts of largest mean AUC per
    live unit (over concepts shown in two modalities or more).

    Returns
    -------
    pyarrow.Table
        unit, concept, passes, and per modality `auc_`, `p_`, `q_` (null without images) and `n_`, the number of
        images of the concept. Sorted by unit, then concept.
    """
    kept = _worth_keeping(tests)
    units, concepts = np.nonzero(kept)
    names = pa.array([design.concepts[c] for c in concepts], pa.string())
    columns: dict[str, pa.Array] = {
        "unit": pa.array(units, pa.int32()),
        "concept": names,
        "passes": pa.array(tests.passes[units, concepts]),
    }
    for m, modality in enumerate(design.modalities):
        columns[f"auc_{modality}"] = _numbers(tests.auc[m, units, concepts])
        columns[f"p_{modality}"] = _numbers(tests.p[m, units, concepts])
        columns[f"q_{modality}"] = _numbers(tests.q[m, units, concepts])
        columns[f"n_{modality}"] = pa.array(tests.n_pos[m, concepts], pa.int32())
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


def _worth_keeping(tests: ConceptTests) -> Bool:
    """`[units, concepts]`."""
    live = np.asarray(~np.isnan(tests.p).all(axis=(0, 2)))
    shown = (tests.n_pos > 0).sum(axis=0) >= min(2, tests.n_pos.shape[0])
    with np.errstate(invalid="ignore"):
        selective = np.asarray((tests.auc >= KEPT_AUC).sum(axis=0) >= 2)
    total = np.nansum(tests.auc, axis=0)
    mean = np.where(shown, total / np.maximum((~np.isnan(tests.auc)).sum(axis=0), 1), -1.0)
    best = np.argsort(-mean, axis=1, kind="stable")[:, :KEPT_BEST]
    np.put_along_axis(selective, best, True, axis=1)
    return np.asarray(selective & live[:, None], np.bool_)


def _numbers(values: Floating) -> pa.Array:
    """A float64 column in which NaN is null."""
    return pa.array(values.astype(np.float64), pa.float64(), from_pandas=True)


def lifetime_sparseness(activations: Floating) -> Float64:
    """Lifetime sparseness of each unit: 0 when it answers alike to every image, 1 when to one only.

    S = (1 - mean(r)^2 / mean(r^2)) / (1 - 1/n), with r the activation where positive, else 0, since the
    measure is for rates (Vinje & Gallant 2000, Science 287:1273; a signed reading is rectified).

    Parameters
    ----------
    activations
        `[images, units]`; missing values (NaN) are left out.

    Returns
    -------
    array `[units]`
        NaN for a unit that is never above zero, or has fewer than two images.

    Examples
    --------
    >>> import numpy as np
    >>> lifetime_sparseness(np.array([[1.0, 0.0], [1.0, 4.0]])).tolist()
    [0.0, 1.0]
    """
    result = np.full(activations.shape[1], np.nan)
    for unit in range(activations.shape[1]):
        values = activations[:, unit].astype(np.float64)
        rates = np.maximum(values[~np.isnan(values)], 0.0)
        squares = float((rates**2).mean()) if rates.size > 1 else 0.0
        if squares > 0:
            even = float(rates.mean()) ** 2 / squares
            result[unit] = max(0.0, (1 - even) / (1 - 1 / rates.size))
    return result
