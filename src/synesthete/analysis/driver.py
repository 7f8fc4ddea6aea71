"""The driver: analyse every layer of an atlas, with its controls, and write what was found into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.analysis.answers import Answers, answer_units
from synesthete.analysis.design import AT_LEAST, REQUIRED_MODALITY, Design, shuffled
from synesthete.analysis.multimodality import LEVEL, THRESHOLD, Scores, is_constant, score_units
from synesthete.analysis.sparseness import lifetime_sparseness
from synesthete.analysis.tables import family_of_concepts, neurons_table, selectivity_table
from synesthete.atlas import (
    Atlas,
    clear_analysis,
    open_atlas,
    write_analysis,
    write_neurons,
    write_selectivity,
)
from synesthete.errors import SynestheteError

Int64 = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

TWIN = "random_twin"
SHUFFLES = 10
STEPS = 3  # of progress, per layer: the model, its twin, tables written


def analyze(
    atlas_path: str | Path,
    *,
    threshold: float = THRESHOLD,
    q: float = LEVEL,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Find the multimodal neurons of a recorded atlas and write them into it.

    Where the probe images do not allow to call any unit multimodal (no written words, too few modalities, artists or
    concepts), units are described as far as the images go: concept and AUC in the modalities there are, or
    statistics alone. The counts are null then, and `not_tested` in the notes says why and what to add.

    Writes `neurons.parquet` and `selectivity.parquet` of every layer and the section `analysis` of the
    manifest (docs/selectivity.md), replacing an earlier analysis. Same atlas, same arguments: same bytes.

    Parameters
    ----------
    atlas_path
        An atlas recorded with the dense matrix.
    threshold, q
        AUC and false discovery rate at which a modality passes.
    seed
        Of the shuffled labels.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    SynestheteError
        When `threshold` or `q` is no such number, or the atlas lacks the dense matrix.
    """
    if not 0.5 < threshold <= 1:
        raise SynestheteError(f"the AUC threshold must be above 0.5 and at most 1, not {threshold}")
    if not 0 < q < 1:
        raise SynestheteError(f"the false discovery rate q must be between 0 and 1, not {q}")
    atlas = open_atlas(atlas_path)
    rows, probes = _labelled(atlas)
    names = {key: probes[key].to_pylist() for key in ("concept", "modality", "artist", "family")}
    design = Design.of(names["concept"], names["modality"], names["artist"], at_least=1)
    problem = design.problem()
    labelings = [design.concept]
    if problem is None:
        labelings += [shuffled(design, seed * SHUFFLES + i) for i in range(SHUFFLES)]
    families = family_of_concepts(names["concept"], names["family"])
    matrices = {layer: atlas.activations(layer) for layer in atlas.layers}
    clear_analysis(atlas_path)
    done, total = 0, STEPS * len(matrices)
    counts = {}
    for layer, matrix in matrices.items():
        activations = np.asarray(matrix[rows])
        scores = score_units(activations, design, labelings=labelings, threshold=threshold, level=q)
        answers = answer_units(
            activations, design, labelings=labelings[:2], threshold=threshold, level=q
        )
        sparseness, dead = lifetime_sparseness(activations), is_constant(activations)
        done = _tell(progress, done, total)
        counts[layer] = {"units": int(dead.size), "live_units": int((~dead).sum())}
        if problem is None:
            counts[layer] |= _counts(scores, answers, sparseness, design)
            counts[layer] |= _twin(atlas, layer, rows, design, threshold, q)
        else:
            counts[layer] |= _no_counts(scores[0], answers[0], sparseness)
        done = _tell(progress, done, total)
        statistics = atlas.statistics(layer)
        columns: dict[str, npt.NDArray[np.floating]] = {
            "sparseness": sparseness,
            "mean": statistics.mean,
            "std": statistics.std,
            "maximum": statistics.maximum.astype(np.float64),
        }
        neurons = neurons_table(scores[0], answers[0], design, families, columns, dead=dead)
        write_neurons(atlas_path, layer, neurons)
        write_selectivity(atlas_path, layer, selectivity_table(answers[0], design))
        done = _tell(progress, done, total)
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


def _labelled(atlas: Atlas) -> tuple[Int64, pa.Table]:
    """Row numbers and rows of the readable images that have a concept and a modality; of all readable ones if none has."""
    table = atlas.probes
    columns = [table[key].to_pylist() for key in ("status", "concept", "modality")]
    fine = [s == "ok" and bool(c) and bool(m) for s, c, m in zip(*columns, strict=True)]
    if not any(fine):
        fine = [status == "ok" for status in columns[0]]
    rows = np.flatnonzero(np.array(fine, np.bool_))
    return rows, table.take(pa.array(rows))


def _twin(
    atlas: Atlas, layer: str, rows: Int64, design: Design, threshold: float, level: float
) -> dict[str, Any]:
    """Counts for the randomly initialised twin; None each when the atlas has none."""
    keys = ("multimodal", "concepts", "answering", "polysemantic", "median_sparseness")
    if TWIN not in atlas.manifest["controls"]:
        return {f"{key}_{TWIN}": None for key in keys}
    activations = np.asarray(atlas.control_activations(TWIN, layer)[rows])
    scores = score_units(activations, design, threshold=threshold, level=level)[0]
    answers = answer_units(activations, design, threshold=threshold, level=level)[0]
    values = (
        int(scores.multimodal.sum()),
        _concepts(scores, design),
        int((answers.n_concepts > 0).sum()),
        int((answers.n_concepts > 1).sum()),
        _median(lifetime_sparseness(activations)),
    )
    return {f"{key}_{TWIN}": value for key, value in zip(keys, values, strict=True)}


def _counts(
    scores: list[Scores],
    answers: list[Answers],
    sparseness: npt.NDArray[np.float64],
    design: Design,
) -> dict[str, Any]:
    """Counts for the model (first of each list) and for shuffled labels (the others)."""
    shuffles = [int(found.multimodal.sum()) for found in scores[1:]]
    true, control = answers
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


def _no_counts(
    scores: Scores, answers: Answers, sparseness: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """The same keys where nothing can be counted as multimodal: null, which is another thing than none."""
    kinds = ("multimodal", "concepts", "answering", "polysemantic")
    return {
        **{f"{kind}{of}": None for kind in kinds for of in ("", "_shuffled", f"_{TWIN}")},
        "multimodal_shuffles": None,
        "median_sparseness": _median(sparseness),
        f"median_sparseness_{TWIN}": None,
        "hypotheses": scores.hypotheses,
        "hypotheses_all_images": answers.hypotheses,
    }


def _concepts(scores: Scores, design: Design) -> dict[str, int]:
    """How many multimodal units each concept has, for those that have one."""
    codes, units = np.unique(scores.concept[scores.multimodal], return_counts=True)
    return {design.concepts[c]: int(n) for c, n in zip(codes, units, strict=True)}


def _notes(design: Design, images: int) -> Mapping[str, Any]:
    """How the images were divided: what a reader needs to judge or repeat the analysis."""
    halves = design.halves
    per_modality = {}
    for m, name in enumerate(design.modalities):
        per_modality[name] = {
            "images_selection": int(design.images(m, scoring=False).size),
            "images_scoring": int(design.images(m, scoring=True).size),
            "concepts": int(np.unique(design.concept[design.images(m)]).size),
            "concepts_testable": int(halves.testable[m].sum()),
        }
    return {
        "images": int(design.concept.size),
        "images_without_label": images - int(design.concept.size),
        "concepts": len(design.concepts),
        "concepts_eligible": int(halves.eligible.sum()),
        "modalities": per_modality,
        "rule": {"required": REQUIRED_MODALITY, "at_least": AT_LEAST, "choice": "stouffer"},
        "halves": {
            "selection": list(halves.selection_artists),
            "scoring": list(halves.scoring_artists),
            "images_of_unknown_artist": halves.unknown_artist,
        },
    }


def _median(values: npt.NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _tell(progress: Progress | None, done: int, total: int) -> int:
    if progress is not None:
        progress(done + 1, total)
    return done + 1
