"""The driver: name the units of an atlas, beside the same for its controls, and write the names into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import is_constant
from synesthete.analysis.naming.choice import Candidates, Tested, contrast, propose, test
from synesthete.analysis.naming.scorers import cos_cubed, soft_wpmi
from synesthete.analysis.naming.sets import Images, alike, balanced_auc, labelled
from synesthete.analysis.own_model import own_model
from synesthete.analysis.vocabulary import BUILT_IN, CONCEPTS, load_vocabulary
from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

TWIN = "random_twin"
TWIN_SHARE = 0.05  # of the random twin's units may get a name
LEAST_THRESHOLD = 0.75
WITHOUT_TWIN = 0.9


@dataclass(frozen=True)
class Ground:
    """What names are chosen and tested on: words, and images of both halves."""

    words: list[str]
    chosen_on: Images
    tested_on: Images
    embeddings: (
        tuple[Float32, Float32] | None
    )  # of selection images and of words, for free vocabularies

    def scores(self, activations: npt.NDArray[np.floating]) -> dict[str, Float32]:
        """Every scorer's `[units, words]`."""
        auc = balanced_auc(activations, self.chosen_on).auc
        if self.embeddings is None:
            return {"auc": auc, "contrast": contrast(activations, self.chosen_on)}
        images, words = self.embeddings
        values = np.nan_to_num(np.asarray(activations, np.float32))
        return {
            "auc": auc,
            "softwpmi": soft_wpmi(values, images, words),
            "cos-cubed": cos_cubed(values, images, words),
        }

    def named(self, matrix: npt.NDArray[np.floating]) -> tuple[Candidates, Tested]:
        """Candidates and their test for `[all images, units]`; constant units have none."""
        first, second = (
            np.asarray(matrix[self.chosen_on.rows]),
            np.asarray(matrix[self.tested_on.rows]),
        )
        found = propose(self.scores(first))
        found.word[is_constant(first)] = -1
        return found, test(second, self.tested_on, found)

    def shuffled(self, matrix: npt.NDArray[np.floating], seed: int) -> npt.NDArray[np.floating]:
        """The activations dealt out anew among the images of each half and modality."""
        out = np.array(matrix)
        rng = np.random.default_rng(seed)
        for half in (self.chosen_on, self.tested_on):
            for here, _ in half.by_modality():
                rows = half.rows[here]
                out[rows] = matrix[rng.permutation(rows)]
        return out


def name_neurons(
    atlas_path: str | Path,
    *,
    vocabulary: str = CONCEPTS,
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
    threshold
        Instead of the one that the twin gives (0.9 for an atlas without a twin).
    seed
        Of the shuffled control.
    progress
        Called with (steps done, steps in all).

    Returns
    -------
    dict
        The notes that the manifest keeps: `vocabulary`, `words`, `threshold`, `threshold_from`, and under
        `layers` for each `units`, `named`, `named_random_twin`, `named_shuffled`, `median_auc_named` and
        `median_auc_unknown`.

    Raises
    ------
    SynestheteError
        No dense matrix, no labels (with `concepts`), no such vocabulary, another model than the atlas's.
    """
    if threshold is not None and not 0.5 <= threshold < 1:
        raise SynestheteError(f"the threshold must be at least 0.5 and below 1, not {threshold}")
    atlas = open_atlas(atlas_path)
    matrices = {layer: atlas.activations(layer) for layer in atlas.layers}
    ground = ground_of(atlas, vocabulary)
    steps, done = 3 * len(matrices), 0
    tables, layers = {}, {}
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
        layers[layer] = {
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
    notes = {
        "vocabulary": vocabulary if vocabulary in BUILT_IN else Path(vocabulary).name,
        "vocabulary_sha256": hashlib.sha256("\n".join(ground.words).encode()).hexdigest(),
        "words": len(ground.words),
        "images_chosen_on": len(ground.chosen_on.rows),
        "images_tested_on": len(ground.tested_on.rows),
        "seed": seed,
        "layers": layers,
    }
    write_unit_tables(atlas_path, "names", tables, notes)
    return notes


def ground_of(atlas: Atlas, vocabulary: str) -> Ground:
    """The words of a vocabulary and the labelled images of an atlas, in the two halves of their artists."""
    table = atlas.probes
    columns = {key: table[key].to_pylist() for key in ("status", "concept", "modality", "artist")}
    labels = zip(columns["status"], columns["concept"], columns["modality"], strict=True)
    fine = np.array([s == "ok" and bool(c) and bool(m) for s, c, m in labels], np.bool_)
    rows = np.flatnonzero(fine)
    if not len(rows):
        raise SynestheteError(
            f"the images of {atlas.path} have no concept and modality",
            hint="naming splits them by modality and artist; record a labelled probe set",
        )
    design = Design.of(
        *([columns[key][i] for i in rows] for key in ("concept", "modality", "artist"))
    )
    words = load_vocabulary(vocabulary, design.concepts)
    scoring = design.halves.scoring
    halves = [np.flatnonzero(scoring == half) for half in (False, True)]
    if any(not len(half) for half in halves):
        raise SynestheteError(
            "all probe images are by one artist",
            hint="names are chosen on some artists and tested on others",
        )
    if vocabulary == CONCEPTS:
        made = [
            labelled(rows[half], design.concept[half], design.modality[half], len(words))
            for half in halves
        ]
        return Ground(words, made[0], made[1], None)
    texts = text_embeddings(atlas, words)
    images = np.asarray(atlas.embeddings()[rows], np.float32)
    made = [alike(rows[half], design.modality[half], images[half], texts) for half in halves]
    return Ground(words, made[0], made[1], (images[halves[0]], texts))


def text_embeddings(atlas: Atlas, words: list[str]) -> Float32:
    """Embeddings `[words, dim]` by the model that the atlas was recorded with; others are refused."""
    from synesthete.recording.zero_shot import class_embeddings

    return class_embeddings(own_model(atlas), words)


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
