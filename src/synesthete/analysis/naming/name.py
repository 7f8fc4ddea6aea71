"""Name the units of an atlas, beside the same for its controls, and write the names into it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Float32, Float64, Floating, Int64
from synesthete._core.progress import Progress, Steps
from synesthete.analysis.design import labelled_design, tower_of
from synesthete.analysis.multimodality import DEFAULT, is_constant
from synesthete.analysis.naming.candidates import (
    Candidates,
    Images,
    Tested,
    alike,
    contrast,
    labelled,
    mean_auc,
    propose,
    test,
)
from synesthete.analysis.naming.hypernyms import Chains, Hypernym, hypernyms, narrowed
from synesthete.analysis.naming.scorers import SCORERS, cos_cubed
from synesthete.analysis.provenance import RANDOM_TWIN, control_activations, own_model
from synesthete.analysis.vocabulary import BUILT_IN, CONCEPTS, load_vocabulary
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.errors import SynestheteError, one_of

OURS = "ours"
METHODS = (OURS, *SCORERS)  # who may propose names
SAME_DECIMALS = 5  # texts whose embeddings are equal to so many decimals count as one
CONTROL_SHARE = 0.05  # of the control's units may get a name
LEAST_THRESHOLD = 0.75
PRECISION = (
    DEFAULT.ap
)  # a name's average precision, mean over modalities, is at least that of the verdict "multimodal"
WITHOUT_CONTROL = 0.9


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

    Candidates come from several scorers on one half of the artists; a name holds when, on the held-out half,
    its average precision is at least 0.2 and its AUC reaches a threshold that at most 5 % of the units of the randomly initialised
    control reach too, at a false discovery rate of 1 %. A concept that the unit does not prefer to its siblings in WordNet gives way to
    what they all are, where that predicts better. Units without such a name are unknown.

    Parameters
    ----------
    atlas_path
        An atlas recorded with the dense matrix, or with a sample.
    vocabulary
        `concepts` (the probe images' labels; needs no model), `english`, `wordnet-nouns`, or a file. All others
        load the atlas's model, to compare images and words by embedding.
    method
        Which scorers propose candidates: `ours`, several; or one of CLIP-Dissect's, `softwpmi`, `wpmi`, `rank-reorder`,
        `cos-cubed`, which load the model. The test is the same.
    layers
        Only these; the names of the others are kept. None for all.
    threshold
        Instead of the one that the control gives (0.9 for an atlas without one).
    seed
        Of the shuffled control.
    progress
        Called with (steps done, total steps).

    Returns
    -------
    dict
        What the manifest keeps of the layers named now: under `layers`, for each, the settings
        (`vocabulary`, `words`, `method`, ...), `threshold` and where it comes from, `units`, `named`,
        `named_random_twin`, `named_shuffled`, `several_names`, `precision`, `hypernyms` (name → its concepts, of those given), `median_auc_named`, `median_auc_unknown`.

    Raises
    ------
    SynestheteError
        No dense matrix, no labels, no such vocabulary, method or layer, another model than the atlas's.
    """
    if threshold is not None and not 0.5 <= threshold < 1:
        raise SynestheteError(f"the threshold must be at least 0.5 and below 1, not {threshold}")
    if method not in METHODS:
        raise SynestheteError(f"there is no method {method!r}", hint=one_of(method, METHODS))
    atlas = open_atlas(atlas_path)
    sample = atlas.sampled
    chosen = [atlas.layer(name)["name"] for name in dict.fromkeys(layers or atlas.layers)]
    matrices = {layer: sample.activations(layer) for layer in chosen}
    tasks = {
        tower: naming_task(sample, vocabulary, method, tower=tower)
        for tower in dict.fromkeys(tower_of(atlas, layer) for layer in chosen)
    }
    steps = Steps(progress, 3 * len(matrices))
    tables, notes = {}, {}
    for layer, matrix in matrices.items():
        task = tasks[tower_of(atlas, layer)]
        settings = {
            "vocabulary": vocabulary if vocabulary in BUILT_IN else Path(vocabulary).name,
            "vocabulary_sha256": hashlib.sha256("\n".join(task.words).encode()).hexdigest(),
            "words": len(task.words),
            "words_left_out": task.left_out,
            "method": method,
            "images_chosen_on": len(task.chosen_on.rows),
            "images_tested_on": len(task.tested_on.rows),
            "seed": seed,
        }
        activations = control_activations(sample, layer)
        twin = None if activations is None else task.named(activations)
        steps.advance()
        at, source = control_threshold(threshold, None if twin is None else twin[1], PRECISION)
        candidates, tested, held, kinds = task.narrowed(matrix, *task.named(matrix), at)
        steps.advance()
        permuted = task.shuffled(matrix, seed)
        of_shuffled = task.narrowed(permuted, *task.named(permuted), at)[2]
        of_twin = None
        if activations is not None and twin is not None:
            of_twin = task.narrowed(activations, *twin, at)[2]
        steps.advance()
        words = [*task.words, *(one.name for one in kinds)]
        tables[layer] = _table(candidates, tested, held, words, task.modalities)
        notes[layer] = settings | {
            "threshold": at,
            "threshold_from": source,
            "precision": PRECISION,
            "hypernyms": {
                one.name: sorted(task.words[i] for i in one.members)
                for i, one in enumerate(kinds, start=len(task.words))
                if (held & (candidates.word == i)).any()
            },
            "units": int(matrix.shape[1]),
            "named": int(held.any(axis=1).sum()),
            "named_random_twin": None if of_twin is None else int(of_twin.any(axis=1).sum()),
            "named_shuffled": int(of_shuffled.any(axis=1).sum()),
            "several_names": int((held.sum(axis=1) > 1).sum()),
            "median_auc_named": _median(tested.auc[:, 0][held[:, 0]]),
            "median_auc_unknown": _median(tested.auc[:, 0][~held.any(axis=1)]),
        }
    earlier = atlas.manifest.get("names", {}).get("layers", {})
    write_unit_tables(atlas_path, "names", tables, {"layers": earlier | notes})
    return {"layers": notes}


def control_threshold(
    given: float | None, control: Tested | None, precision: float = 0.0
) -> tuple[float, str]:
    """The AUC needed beside an average precision, and where it comes from: given, the randomly initialised control, or the default."""
    if given is not None:
        return given, "given"
    if control is None:
        return WITHOUT_CONTROL, "default"
    best = np.where(control.held(0.0, precision), control.auc, 0.0).max(axis=1)
    level = float(np.quantile(best, 1 - CONTROL_SHARE, method="higher"))
    # Just above it, so that no more than the share reaches it.
    return max(LEAST_THRESHOLD, round(float(np.nextafter(level, 1.0)) + 5e-5, 4)), RANDOM_TWIN


def _table(
    found: Candidates,
    tested: Tested,
    held: Bool,
    words: Sequence[str],
    modalities: Sequence[str],
) -> pa.Table:
    """A row per name that holds, each unit's in the order of the candidates."""
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
            **{
                f"ap_{modality}": pa.array(
                    tested.ap[code, units, places], pa.float64(), from_pandas=True
                )
                for code, modality in enumerate(modalities[: len(tested.ap)])
            },
        }
    )


def _median(values: Float64) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(np.median(finite)), 4) if finite.size else None


@dataclass(frozen=True, kw_only=True)
class NamingTask:
    """What names are chosen and tested on.

    Attributes
    ----------
    words
        The vocabulary.
    chosen_on, tested_on
        Images of the two halves, with those that are about each word.
    embeddings
        Of the selection images and of the words; None where neither the vocabulary nor the method needs
        them.
    modalities
        Names of the modalities, by code.
    chains
        Hypernyms of each word; empty where names are not compared with their siblings.
    method
        Who proposes: one of `METHODS`.
    left_out
        How many words of the vocabulary the model cannot tell from others.
    """

    words: list[str]
    chosen_on: Images
    tested_on: Images
    embeddings: tuple[Float32, Float32] | None
    modalities: tuple[str, ...] = ()
    chains: Chains = ()
    method: str = OURS
    left_out: int = 0

    def scores(self, activations: Floating) -> dict[str, Float32]:
        """Every scorer's `[units, words]`."""
        values = np.nan_to_num(activations)
        if self.method != OURS:
            assert self.embeddings is not None
            return {self.method: SCORERS[self.method](values, *self.embeddings)}
        scores = {
            "auc": mean_auc(activations, self.chosen_on),
            "contrast": contrast(activations, self.chosen_on),
        }
        if self.embeddings is not None:
            scores["cos-cubed"] = cos_cubed(values, *self.embeddings)
        return scores

    def named(self, matrix: Floating) -> tuple[Candidates, Tested]:
        """Candidates and their test for `[all images, units]`; constant units have none."""
        first = np.asarray(matrix[self.chosen_on.rows])
        found = propose(self.scores(first))
        found.word[is_constant(first)] = -1
        return found, test(np.asarray(matrix[self.tested_on.rows]), self.tested_on, found)

    def narrowed(
        self, matrix: Floating, found: Candidates, tested: Tested, at: float
    ) -> tuple[Candidates, Tested, Bool, list[Hypernym]]:
        """What `hypernyms.narrowed` gives for `[all images, units]`; without hypernyms, the candidates and which of them hold."""
        if not self.chains:
            return found, tested, tested.held(at, PRECISION), []
        return narrowed(
            np.asarray(matrix[self.tested_on.rows]),
            self.tested_on,
            found,
            tested,
            chains=self.chains,
            at=at,
            precision=PRECISION,
        )

    def shuffled(self, matrix: Floating, seed: int) -> Floating:
        """Activations permuted among the images of each half and modality: the null distribution of names."""
        out = np.array(matrix)
        rng = np.random.default_rng(seed)
        for half in (self.chosen_on, self.tested_on):
            for here, _ in half.by_modality():
                rows = half.rows[here]
                out[rows] = matrix[rng.permutation(rows)]
        return out


def naming_task(
    atlas: Atlas, vocabulary: str, method: str = OURS, *, tower: str = "image"
) -> NamingTask:
    """The words of a vocabulary and the labelled images (texts, or both) of an atlas, in the two halves of their artists.

    Raises
    ------
    SynestheteError
        No labelled images, one artist only, no such vocabulary; and where embeddings are needed, another
        model than the atlas's, or one that cannot tell the words apart.
    """
    rows, design = labelled_design(atlas, purpose="names", tower=tower)
    words = load_vocabulary(vocabulary, design.concepts)
    halves = [np.flatnonzero(design.split.scoring == half) for half in (False, True)]
    texts = None
    if vocabulary != CONCEPTS or method != OURS:
        texts = text_embeddings(atlas, words)
    left_out = 0
    if vocabulary == CONCEPTS:
        chosen_on, tested_on = (
            labelled(rows[half], design.concept[half], design.modality[half], len(words))
            for half in halves
        )
    else:
        assert texts is not None
        kept = np.flatnonzero(apart(words, texts))
        if len(kept) < 2:
            raise SynestheteError(
                f"the model cannot tell the {len(words)} words of {vocabulary} apart",
                hint="give words in a script that its tokenizer knows",
            )
        left_out = len(words) - len(kept)
        words, texts = [words[i] for i in kept], texts[kept]
        chosen_on, tested_on = (
            alike(
                rows[half],
                design.modality[half],
                _images(atlas, rows[half]),
                texts,
                concepts=len(design.concepts),
            )
            for half in halves
        )
    return NamingTask(
        words=words,
        chosen_on=chosen_on,
        tested_on=tested_on,
        embeddings=None if texts is None else (_images(atlas, chosen_on.rows), texts),
        modalities=design.modalities,
        chains=hypernyms(words, probe_families(atlas)) if vocabulary == CONCEPTS else (),
        method=method,
        left_out=left_out,
    )


def apart(words: Sequence[str], texts: Float32) -> Bool:
    """Which words, of embeddings `[words, dim]`, the model tells from all others.

    Words that differ in more than letter case and have one embedding are none that the model knows: all are
    left out. Of those that differ in case the first stays.

    Examples
    --------
    >>> import numpy as np
    >>> texts = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8], [0.6, 0.8]], np.float32)
    >>> apart(["us", "cat", "US", "qwfp", "arst"], texts).tolist()
    [True, True, False, False, False]
    """
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(texts.round(SAME_DECIMALS) + 0.0):  # -0 becomes 0
        groups.setdefault(row.tobytes(), []).append(i)
    out: Bool = np.asarray(np.isfinite(texts).all(axis=1))
    for group in groups.values():
        known = len({words[i].casefold() for i in group}) == 1
        out[group[1:] if known else group] = False
    return out


def text_embeddings(atlas: Atlas, words: list[str]) -> Float32:
    """Embeddings `[words, dim]` by the model that the atlas was recorded with."""
    return class_embeddings(own_model(atlas), words)


def probe_families(atlas: Atlas) -> dict[str, str]:
    """Concept → its family in the probe set, "" for none."""
    columns = (atlas.probes[key].to_pylist() for key in ("concept", "family"))
    return {concept: family or "" for concept, family in zip(*columns, strict=True)}


def _images(atlas: Atlas, rows: Int64) -> Float32:
    return np.asarray(atlas.embeddings()[rows], np.float32)
