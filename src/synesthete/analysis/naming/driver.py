"""The driver: name the units of an atlas, beside the same for its controls, and write the names into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.analysis.naming.choice import Candidates, Tested
from synesthete.analysis.naming.ground import METHODS, OURS, ground_of
from synesthete.analysis.vocabulary import BUILT_IN, CONCEPTS
from synesthete.atlas import open_atlas, write_unit_tables
from synesthete.errors import SynestheteError, near

Progress = Callable[[int, int], None]

TWIN = "random_twin"
TWIN_SHARE = 0.05  # of the random twin's units may get a name
LEAST_THRESHOLD = 0.75
WITHOUT_TWIN = 0.9


def name_neurons(
    atlas_path: str | Path,
    *,
    vocabulary: str = CONCEPTS,
    method: str = OURS,
    layers: Sequence[str] | None = None,
    threshold: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Name the units of an atlas and write the names that hold into it (docs/naming.md).

    Candidates come from several scorers on one half of the artists; a name holds when, on the other half,
    its AUC reaches a threshold that at most 5 % of the random twin's units reach, at a false discovery rate
    of 1 %. Units without such a name are unknown.

    Parameters
    ----------
    atlas_path
        An atlas recorded with the dense matrix.
    vocabulary
        `concepts` (the probe images' labels; needs no model), `english`, `wordnet-nouns`, or a file. All others
        load the atlas's model, to ask which images are like which word.
    method
        Who proposes: `ours`, several scorers; or one of CLIP-Dissect's, `softwpmi`, `wpmi`, `rank-reorder`,
        `cos-cubed`, which load the model. The test is the same.
    layers
        These only, the names of the others stay; None for all.
    threshold
        Instead of the one that the twin gives (0.9 for an atlas without a twin).
    seed
        Of the shuffled control.
    progress
        Called with (steps done, steps in all).

    Returns
    -------
    dict
        What the manifest keeps of the layers named now: under `layers`, for each, the settings
        (`vocabulary`, `words`, `method`, ...), `threshold` and where it comes from, `units`, `named`,
        `named_random_twin`, `named_shuffled`, `several_names`, `median_auc_named`, `median_auc_unknown`.

    Raises
    ------
    SynestheteError
        No dense matrix, no labels, no such vocabulary, method or layer, another model than the atlas's.
    """
    if threshold is not None and not 0.5 <= threshold < 1:
        raise SynestheteError(f"the threshold must be at least 0.5 and below 1, not {threshold}")
    if method not in METHODS:
        hint = near(method, METHODS) or f"one of {', '.join(METHODS)}"
        raise SynestheteError(f"there is no method {method!r}", hint=hint)
    atlas = open_atlas(atlas_path)
    chosen = [atlas.layer(name)["name"] for name in dict.fromkeys(layers or atlas.layers)]
    matrices = {layer: atlas.activations(layer) for layer in chosen}
    ground = ground_of(atlas, vocabulary, method)
    settings = {
        "vocabulary": vocabulary if vocabulary in BUILT_IN else Path(vocabulary).name,
        "vocabulary_sha256": hashlib.sha256("\n".join(ground.words).encode()).hexdigest(),
        "words": len(ground.words),
        "words_left_out": ground.left_out,
        "method": method,
        "images_chosen_on": len(ground.chosen_on.rows),
        "images_tested_on": len(ground.tested_on.rows),
        "seed": seed,
    }
    steps, done = 3 * len(matrices), 0
    tables, notes = {}, {}
    for layer, matrix in matrices.items():
        candidates, tested = ground.named(matrix)
        done = _tell(progress, done, steps)
        twin = None
        if TWIN in atlas.manifest["controls"]:
            twin = ground.named(atlas.control_activations(TWIN, layer))[1]
        done = _tell(progress, done, steps)
        control = ground.named(ground.shuffled(matrix, seed))[1]
        done = _tell(progress, done, steps)
        at, source = twin_threshold(threshold, twin)
        held = tested.held(at)
        tables[layer] = _table(candidates, tested, held, ground.words)
        notes[layer] = settings | {
            "threshold": at,
            "threshold_from": source,
            "units": int(matrix.shape[1]),
            "named": int(held.any(axis=1).sum()),
            "named_random_twin": None if twin is None else int(twin.held(at).any(axis=1).sum()),
            "named_shuffled": int(control.held(at).any(axis=1).sum()),
            "several_names": int((held.sum(axis=1) > 1).sum()),
            "median_auc_named": _median(tested.auc[:, 0][held[:, 0]]),
            "median_auc_unknown": _median(tested.auc[:, 0][~held.any(axis=1)]),
        }
    earlier = atlas.manifest.get("names", {}).get("layers", {})
    write_unit_tables(atlas_path, "names", tables, {"layers": earlier | notes})
    return {"layers": notes}


def twin_threshold(given: float | None, twin: Tested | None) -> tuple[float, str]:
    """The AUC needed, and where it comes from: given, the random twin, or the default."""
    if given is not None:
        return given, "given"
    if twin is None:
        return WITHOUT_TWIN, "default"
    best = np.where(twin.held(0.0), twin.auc, 0.0).max(axis=1)
    level = float(np.quantile(best, 1 - TWIN_SHARE, method="higher"))
    # Just above it, so that no more than the share reaches it.
    return max(LEAST_THRESHOLD, round(float(np.nextafter(level, 1.0)) + 5e-5, 4)), TWIN


def _table(
    found: Candidates, tested: Tested, held: npt.NDArray[np.bool_], words: list[str]
) -> pa.Table:
    units, places = np.nonzero(held)
    rank = held.cumsum(axis=1)[units, places] - 1
    return pa.table(
        {
            "unit": pa.array(units, pa.int32()),
            "rank": pa.array(rank, pa.int16()),
            "name": pa.array([words[i] for i in found.word[units, places]], pa.string()),
            "method": pa.array(
                [found.methods[i] for i in found.method[units, places]], pa.string()
            ),
            "score": pa.array(found.score[units, places], pa.float64()),
            "confidence": pa.array(tested.auc[units, places], pa.float64()),
            "confidence_low": pa.array(tested.low[units, places], pa.float64()),
            "confidence_high": pa.array(tested.high[units, places], pa.float64()),
        }
    )


def _median(values: npt.NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(np.median(finite)), 4) if finite.size else None


def _tell(progress: Progress | None, done: int, steps: int) -> int:
    if progress is not None:
        progress(done + 1, steps)
    return done + 1
