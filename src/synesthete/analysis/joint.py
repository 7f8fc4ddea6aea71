"""Layer `joint@NAME`: the latents of a sparse dictionary of the shared space, added to a finished atlas and analysed like any layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synesthete._core.arrays import Bool, Float16
from synesthete._core.progress import Progress, Steps
from synesthete.analysis.analyze import Labelled, LayerAnalysis, LayerData, analyze_layer
from synesthete.analysis.design import design_of, labelled_rows, tower_of
from synesthete.analysis.dictionary import (
    JOINT,
    ROTATED_EMBEDDING,
    Dictionary,
    dictionary_bytes,
    dictionary_file,
    joint_rows,
    modality_gap,
    quality,
    train,
    train_rotated,
    untrained,
)
from synesthete.analysis.dictionary import STEPS as TRAINING_STEPS
from synesthete.analysis.dictionary_training import every_tenth
from synesthete.analysis.multimodality import Criteria
from synesthete.analysis.provenance import RANDOM_TWIN, control_activations
from synesthete.atlas import Atlas, open_atlas, write_layer
from synesthete.atlas.arrays import npy_bytes, npz_bytes
from synesthete.atlas.manifest import RANDOM_DICTIONARY, WORD_ORDER, layer_folder
from synesthete.errors import SynestheteError
from synesthete.recording.exemplars import exemplars_of
from synesthete.recording.plan import group_codes
from synesthete.recording.statistics import UnitStatistics

MOST_LATENTS = 16_384
EVERY = 100  # training steps to one step of progress
SETTINGS = ("latents", "k", "seed")


def add_dictionary(
    atlas_path: str | Path,
    *,
    name: str = "topk",
    latents: int = 1024,
    k: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a sparse dictionary of an atlas's image and text embeddings, and add its latents as the layer `joint@NAME`.

    Trained are the dictionary, one of the random twin's embeddings, and one of the embeddings rotated at random, without labels, on
    images and texts by the half of the artists that units are not scored on (`held_out`). The layer gets activations, statistics and exemplars like a recorded one,
    and in an analysed atlas the same analysis. An atlas that has this very dictionary is left as it is.

    Parameters
    ----------
    atlas_path
        An atlas recorded with the layer `joint` and the dense matrix.
    name
        Letters, digits, `-` and `_`.
    latents, k
        How many latents, and how many of them an embedding is the sum of.
    seed
        Of the training and of the random directions.
    progress
        Called with (steps done, total steps).

    Returns
    -------
    dict
        What the manifest keeps under `dictionaries`: settings, `modality_gap`, and for the dictionary and (under `controls`)
        each control what `quality` gives.

    Raises
    ------
    SynestheteError
        A setting is out of range, the atlas lacks the layer `joint`, or has a dictionary of this name and other settings.
    """
    _check(name, latents, k)
    atlas = open_atlas(atlas_path)
    layer = f"{JOINT}@{name}"
    settings = {"latents": latents, "k": k, "seed": seed}
    known: dict[str, Any] = atlas.manifest.get("dictionaries", {})
    if name in known:
        if {key: known[name].get(key) for key in ("layer", *SETTINGS)} != {
            "layer": layer,
            **settings,
        }:
            raise SynestheteError(
                f"{atlas.path} has a dictionary {name!r} of other settings",
                hint="give another --name",
            )
        return dict(known[name])
    if JOINT not in atlas.layers:
        raise SynestheteError(
            f"{atlas.path} was recorded without the layer {JOINT}",
            hint=f"record it with --layer {JOINT} and a probe set that has texts",
        )
    embeddings, of_text, there = joint_rows(atlas)
    held = held_out(atlas)
    rows = np.flatnonzero(there & ~held)
    if len(rows) < 2:
        raise SynestheteError(f"{atlas.path} has no two images or texts to learn a dictionary from")
    recorded = control_activations(atlas, JOINT)
    twin: Float16 | None = None if recorded is None else np.asarray(recorded, np.float16)
    trained = 2 + (twin is not None)
    steps = Steps(progress, trained * (TRAINING_STEPS // EVERY) + 3)

    def fit(how: Callable[..., Dictionary], values: Float16) -> Dictionary:
        step = _Every(steps)
        return how(values[rows], of_text[rows], latents=latents, k=k, seed=seed, step=step)

    found = {"model": fit(train, embeddings), ROTATED_EMBEDDING: fit(train_rotated, embeddings)}
    found[RANDOM_DICTIONARY] = untrained(
        embeddings[rows], of_text[rows], latents=latents, k=k, seed=seed + 1
    )
    own = dict.fromkeys(found, embeddings)
    if twin is not None:
        found[RANDOM_TWIN], own[RANDOM_TWIN] = fit(train, twin), twin
    values = {kind: one.encode(own[kind], of_text) for kind, one in found.items()}
    if (shuffled := control_activations(atlas, JOINT, WORD_ORDER)) is not None:
        values[WORD_ORDER] = found["model"].encode(shuffled, of_text)
    measured = {
        kind: quality(one, own[kind][there], of_text[there], held[there])
        for kind, one in found.items()
    }
    notes = {
        **settings,
        "layer": layer,
        "trained_on": len(rows),
        **measured.pop("model"),
        "modality_gap": modality_gap(embeddings[there].astype(np.float64), of_text[there]),
        "controls": measured,
    }
    steps.advance()
    _add(atlas, layer, notes, found, values, steps)
    return notes


def held_out(atlas: Atlas) -> Bool:
    """`[rows]`: which images and texts have no part in training: the scoring half, and in an atlas without two halves every tenth."""
    rows = labelled_rows(atlas, "joint")
    found = np.zeros(len(atlas.probes), np.bool_)
    if len(rows):
        found[rows] = design_of(atlas, rows, "joint", at_least=1).split.scoring
    if found[rows].all() or not found.any():
        found = every_tenth(len(found))
    return found


class _Every:
    """Counts training steps, and advances once in `EVERY` of them."""

    def __init__(self, steps: Steps) -> None:
        self._steps, self._done = steps, 0

    def __call__(self) -> None:
        self._done += 1
        if self._done % EVERY == 0:
            self._steps.advance()


def _check(name: str, latents: int, k: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise SynestheteError(
            f"{name[:60]!r} cannot be the name of a dictionary",
            hint="up to 40 letters, digits, - and _",
        )
    if not 2 <= latents <= MOST_LATENTS:
        raise SynestheteError(f"a dictionary has 2 to {MOST_LATENTS:,} latents, not {latents}")
    if not 1 <= k <= latents:
        raise SynestheteError(f"k is from 1 to the number of latents ({latents}), not {k}")


def _add(
    atlas: Atlas,
    layer: str,
    notes: dict[str, Any],
    dictionaries: dict[str, Dictionary],
    values: dict[str, Float16],
    steps: Steps,
) -> None:
    """Write the layer with all that belongs to it."""
    own, folder, name = values["model"], layer_folder(layer), layer.partition("@")[2]
    there = np.flatnonzero(np.isfinite(own).all(axis=1))
    statistics = UnitStatistics.of(own[there]).finish()
    codes = group_codes(atlas.probes, range(len(own)), atlas.groups)[there]
    exemplars = exemplars_of(
        own[there],
        np.full((len(there), own.shape[1]), -1, np.int16),
        there,
        codes,
        atlas.groups,
        int(atlas.manifest["recipe"]["exemplars"]["ends"]),
    )
    contents = {
        dictionary_file(name): dictionary_bytes(dictionaries),
        f"layers/{folder}/activations.npy": npy_bytes(own),
        f"layers/{folder}/statistics.npz": npz_bytes(statistics.arrays()),
        f"layers/{folder}/exemplars.npz": npz_bytes(exemplars.arrays()),
    }
    if RANDOM_TWIN in values:
        file = f"controls/{RANDOM_TWIN}/layers/{folder}/activations.npy"
        contents[file] = npy_bytes(values[RANDOM_TWIN])
    found = None
    if atlas.analysed:
        data = LayerData(
            activations=own,
            twins={name: values[name] for name in (RANDOM_TWIN,) if name in values},
            statistics=statistics,
            more={
                kind: values[kind]
                for kind in (WORD_ORDER, RANDOM_DICTIONARY, ROTATED_EMBEDDING)
                if kind in values
            },
        )
        found = _analysis(atlas, data, steps)
    write_layer(
        atlas.path,
        {
            "name": layer,
            "units": own.shape[1],
            "kind": "dictionary",
            "tower": "joint",
            "dictionary": name,
        },
        contents,
        tables=None if found is None else (found.neurons, found.selectivity),
        counts=None if found is None else found.counts,
        notes={"dictionaries": {**atlas.manifest.get("dictionaries", {}), name: notes}},
    )


def _analysis(atlas: Atlas, data: LayerData, steps: Steps) -> LayerAnalysis:
    """The analysis of the layer, by the criteria of the atlas's."""
    settings = atlas.manifest["analysis"]
    criteria = Criteria(*(float(settings[key]) for key in ("threshold", "q", "ap", "cell")))
    seed = int(settings["seed"])
    labelled = Labelled.of(atlas, "joint", seed)
    found = analyze_layer(atlas, data, labelled, criteria=criteria, seed=seed, step=steps.advance)
    if tower_of(atlas, atlas.main_layers[0]) != "joint":
        found.counts["design"] = labelled.notes()
    return found
