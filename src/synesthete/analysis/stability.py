"""Stability: how far the counts, and each unit's concept, move when other artists select and score it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synesthete._core.arrays import Bool, Floating, Int64
from synesthete.analysis.design import Design, design_of, labelled_rows, tower_of
from synesthete.analysis.multimodality import DEFAULT, Criteria, Scores, score_halves
from synesthete.atlas import Atlas
from synesthete.atlas.summary import VERDICTS
from synesthete.errors import SynestheteError

SPLITS, RESAMPLES = 10, 10


def other_splits(design: Design, splits: int, *, seed: int = 0) -> list[Design]:
    """The same labels with random halves: of the artists of each modality one half, drawn at random, scores and the other selects.

    An artist belongs to the modality of most of their images.

    Examples
    --------
    >>> design = Design.of(["apple", "dog"] * 2, ["word"] * 4, ["a", "a", "b", "b"])
    >>> [one.split.scoring.tolist() for one in other_splits(design, 2)]
    [[False, False, True, True], [True, True, False, False]]
    """
    generator = np.random.default_rng([seed, 0])
    found = []
    for _ in range(splits):
        scoring = [
            generator.permutation(some)[int(generator.integers(2)) :: 2]
            for some in _by_modality(design, np.unique(design.artist))
        ]
        found.append(design.scored_on(np.isin(design.artist, np.concatenate(scoring))))
    return found


def resampled(design: Design, resamples: int, *, seed: int = 0) -> list[Design]:
    """The same halves with the artists of a bootstrap sample of each modality's artists in each half, every one once.

    An artist who is drawn twice adds no evidence: repeated images would make p values smaller than the images warrant. So
    repetitions are left out (Hennig 2007, doi 10.1016/j.csda.2006.11.025), and these runs are of about two thirds of the artists.

    Examples
    --------
    >>> design = Design.of(["apple", "dog"] * 4, ["word"] * 8, list("aabbccdd"))
    >>> all((one.modality >= 0).sum() in (4, 6, 8) for one in resampled(design, 5))
    True
    """
    generator = np.random.default_rng([seed, 1])
    scoring = design.split.scoring
    groups = [
        some
        for half in (False, True)
        for some in _by_modality(design, np.unique(design.artist[scoring == half]))
    ]
    found = []
    for _ in range(resamples):
        drawn = [generator.choice(some, some.size) for some in groups]
        found.append(design.only(np.isin(design.artist, np.concatenate(drawn))))
    return found


def _by_modality(design: Design, artists: Int64) -> list[Int64]:
    """These artists in groups, by the modality of most of their images; none is empty."""
    count = np.zeros((int(design.artist.max()) + 1, len(design.modalities)), np.int64)
    np.add.at(count, (design.artist, design.modality), 1)
    most = count.argmax(axis=1)[artists]
    return [artists[most == modality] for modality in np.unique(most)]


def stability(
    activations: Floating,
    design: Design,
    *,
    criteria: Criteria = DEFAULT,
    splits: int = SPLITS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, list[int]]]:
    """Repeat the analysis of a layer with the halves exchanged, on random splits and on resampled artists.

    The images are sorted once, so that a run costs about a quarter of an analysis (docs/selectivity.md#stability).

    Parameters
    ----------
    activations
        `[images, units]`, the images in the order of `design`.
    design
        Labels and halves, of which some concept is eligible.
    splits, resamples
        How many runs of each.
    seed
        Of both.

    Returns
    -------
    dict
        For `exchanged`, `splits` and `resamples` lists with a number for each run: concepts that were `eligible`; units that were
        `selective`, `multimodal` and `concept_cells` (each verdict with those above it); of those that have the verdict in the
        analysis, how many have it in the run with the same concept (`kept_selective`, ...); how many of the multimodal ones
        (`same_concept`) and of all live units (`same_concept_live`) were given the same concept, whatever the verdict.

    Examples
    --------
    >>> from synesthete.analysis.planted import plant, planted_design
    >>> design = planted_design(30)
    >>> found = stability(plant(design, 40, noise=0.1).activations, design, splits=2, resamples=0)
    >>> len(found["splits"]["multimodal"]), len(found["exchanged"]["multimodal"]), found["resamples"]["multimodal"]
    (2, 1, [])
    """
    runs = {
        "exchanged": [design.scored_on(~design.split.scoring)],
        "splits": other_splits(design, splits, seed=seed),
        "resamples": resampled(design, resamples, seed=seed),
    }
    designs = [design, *(one for some in runs.values() for one in some)]
    printed, *others = score_halves(activations, designs, criteria=criteria)
    found, start = {}, 0
    for name, some in runs.items():
        found[name] = _compared(printed, others[start : start + len(some)], some)
        start += len(some)
    return found


def _compared(
    printed: Scores, runs: Sequence[Scores], designs: Sequence[Design]
) -> dict[str, list[int]]:
    live = printed.concept >= 0
    same = [run.concept == printed.concept for run in runs]
    found = {"eligible": [int(one.split.eligible.sum()) for one in designs]}
    for verdict in VERDICTS:
        first, then = _called(printed, verdict), [_called(run, verdict) for run in runs]
        found[verdict] = [int(called.sum()) for called in then]
        found[f"kept_{verdict}"] = [
            int((first & called & agree).sum()) for called, agree in zip(then, same, strict=True)
        ]
    found["same_concept"] = [int((agree & printed.multimodal).sum()) for agree in same]
    found["same_concept_live"] = [int((agree & live).sum()) for agree in same]
    return found


def _called(scores: Scores, verdict: str) -> Bool:
    return scores.concept_cell if verdict == "concept_cells" else getattr(scores, verdict)


def measure_stability(
    atlas: Atlas, *, splits: int = SPLITS, resamples: int = RESAMPLES, seed: int | None = None
) -> dict[str, dict[str, Any]]:
    """`stability` of an analysed atlas's main layers (`Atlas.main_layers`), by its own thresholds. Changes nothing.

    Parameters
    ----------
    seed
        Of splits and resamples; None for the analysis's own.

    Returns
    -------
    dict
        Layer → what `stability` returns.

    Raises
    ------
    SynestheteError
        When the atlas is not analysed, or its images do not allow to count multimodal units.
    """
    analysis = atlas.manifest["analysis"]
    if analysis is None:
        raise SynestheteError(
            f"{atlas.path} is not analysed", hint=f"run: synesthete analyze {atlas.path}"
        )
    tower = tower_of(atlas, atlas.main_layers[0])
    sample = atlas.sampled
    rows = labelled_rows(sample, tower)
    design = design_of(sample, rows, tower)
    design.require_testable()
    criteria = Criteria(*(analysis[key] for key in ("threshold", "q", "ap", "cell")))
    seed = int(analysis["seed"]) if seed is None else seed
    found = {}
    for layer in atlas.main_layers:
        activations = np.asarray(sample.activations(layer)[rows])
        found[layer] = stability(
            activations, design, criteria=criteria, splits=splits, resamples=resamples, seed=seed
        )
    return found
