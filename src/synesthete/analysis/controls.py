"""Controls: what the same count comes to where units mean nothing by construction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Floating, Int64
from synesthete.analysis.design import Design, shuffled
from synesthete.analysis.image_statistics import without_statistics
from synesthete.analysis.multimodality import DEFAULT, Criteria, Scores, is_constant, score_units
from synesthete.analysis.provenance import RANDOM_TWIN
from synesthete.analysis.selectivity import concept_scores
from synesthete.analysis.text_controls import Texts, among_matched
from synesthete.atlas.summary import VERDICTS
from synesthete.probes.probe_set import IMAGE_MODALITIES

PERMUTED, ROTATION, SHUFFLED = "permuted", "rotation", "shuffled"
SHUFFLES = 10
ROTATIONS = 2  # seeds, of each of two kinds
BLOCK = 4096  # units that are mixed with each other; wider layers are mixed in random blocks
CURVE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # thresholds of average precision that counts are given at
ALIKE = 0.8  # units whose activations correlate more are one finding
FIVE = 5  # modalities, of images and texts together: so many show a whole concept cell
LETTERS = 1  # words whose names differ by at most so many letters are of equal length
INITIALISATIONS = (RANDOM_TWIN, "random_he")
# Beside the counts, of a network: how many findings they are, and the same test with something simple ruled out.
BESIDE = (
    "distinct",
    "distinct_selective",
    "selective_equal_length",
    "multimodal_equal_length",
    "selective_matched_texts",
    "multimodal_matched_texts",
    "concepts_in_five",
    *(f"{verdict}_without_statistics" for verdict in VERDICTS),
    "selective_kept_without_statistics",
    "multimodal_kept_without_statistics",
)
KEYS = (
    *VERDICTS,
    *BESIDE,
    *(f"mean_{verdict}" for verdict in VERDICTS),
    "curve",
    "passing",
    "concepts",
    "runs",
    "each",
    "participation_ratio",
)


def rotated(activations: Floating, *, seed: int, standardised: bool) -> Floating:
    """Random orthogonal mixtures of the live units: the same information in another basis.

    Whatever mixtures reach is a property of the layer and not of its units (Bau et al. 2017, section 3.3).

    Parameters
    ----------
    activations
        `[images, units]`.
    seed
        Of the rotation (QR of a Gaussian matrix), and of the blocks of layers with more than `BLOCK` live units.
    standardised
        Whether units are scaled to unit variance before they are mixed; otherwise they are centred only.

    Returns
    -------
    array `[images, live units]`, float16 as recorded activations are

    Examples
    --------
    >>> import numpy as np
    >>> acts = np.random.default_rng(0).normal(size=(50, 4))
    >>> mixed = rotated(acts, seed=0, standardised=False)
    >>> bool(np.allclose(mixed.var(axis=0).sum(), acts.var(axis=0).sum(), rtol=0.01))
    True
    """
    live = np.flatnonzero(~is_constant(activations))
    generator = np.random.default_rng([seed, int(standardised)])
    order = generator.permutation(live)
    found = np.empty((len(activations), len(live)), np.float16)
    for start in range(0, len(order), BLOCK):
        values = activations[:, order[start : start + BLOCK]].astype(np.float32)
        values -= values.mean(axis=0)
        if standardised:
            values /= values.std(axis=0)
        width = values.shape[1]
        basis = np.linalg.qr(generator.normal(size=(width, width)))[0].astype(np.float32)
        found[:, start : start + width] = np.clip(values @ basis, -65504, 65504)
    return found


def participation_ratio(activations: Floating) -> float:
    """In how many directions the live units vary: (sum of eigenvalues)^2 / sum of their squares, of the correlation matrix.

    1 when all units are copies of one, the number of units when none depends on another; NaN without a live unit.

    Examples
    --------
    >>> import numpy as np
    >>> round(participation_ratio(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])), 6)
    1.0
    """
    values = activations[:, ~is_constant(activations)].astype(np.float32)
    if not values.shape[1]:
        return float("nan")
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    # The smaller of the two Gram matrices has the same eigenvalues.
    small = values.T @ values if values.shape[1] <= len(values) else values @ values.T
    small /= np.float32(len(values))
    return float(np.trace(small, dtype=np.float64) ** 2 / np.square(small, dtype=np.float64).sum())


def distinct(activations: Floating) -> int:
    """How many findings units are: those whose activations correlate above 0.8, directly or through others, are one.

    Examples
    --------
    >>> import numpy as np
    >>> one, two = np.random.default_rng(0).normal(size=(2, 100))
    >>> distinct(np.stack([one, 2 * one, two, one - 0.1 * two], axis=1))
    2
    """
    # Here, so that reading an atlas does not load it.
    from scipy.sparse.csgraph import connected_components

    values = np.nan_to_num(np.asarray(activations, np.float32))
    if not values.shape[1]:
        return 0
    values -= values.mean(axis=0)
    values /= np.maximum(np.linalg.norm(values, axis=0), np.finfo(np.float32).tiny)
    return int(connected_components(values.T @ values > ALIKE, directed=False)[0])


def counts(
    scores: Scores,
    design: Design,
    activations: Floating | None = None,
    *,
    ap: float = DEFAULT.ap,
) -> dict[str, Any]:
    """What a set of scores comes to: units of each verdict and by concept, the curve over average precision, and units that pass by modality.

    Parameters
    ----------
    activations
        `[images, units]` that were scored; with them also how many `distinct` findings the units are.
    ap
        Average precision from which a unit passes in a modality.
    """
    codes, units = np.unique(scores.concept[scores.multimodal], return_counts=True)
    found = {
        "selective": int(scores.selective.sum()),
        "multimodal": int(scores.multimodal.sum()),
        "concept_cells": int(scores.concept_cell.sum()),
        "curve": [int(scores.at(ap, design.needed).sum()) for ap in CURVE],
        "passing": dict(zip(design.modalities, scores.fine(ap).sum(axis=0).tolist(), strict=True)),
        "concepts": {design.concepts[c]: int(n) for c, n in zip(codes, units, strict=True)},
    }
    if design.tower == "joint":
        found["concepts_in_five"] = _in_five(scores, design, ap)
    if activations is not None:
        found |= {
            "distinct": distinct(activations[:, scores.multimodal]),
            "distinct_selective": distinct(activations[:, scores.selective]),
        }
    return found


def _in_five(scores: Scores, design: Design, ap: float) -> int | None:
    """Concepts with a unit that passes in five modalities, `anecdote` and one of images among them; None without anecdotes."""
    names = design.modalities
    if "anecdote" not in names:
        return None
    fine = scores.fine(ap)
    whole = (fine.sum(axis=1) >= FIVE) & fine[:, names.index("anecdote")]
    whole &= fine[:, [name in IMAGE_MODALITIES for name in names]].any(axis=1)
    return len(np.unique(scores.concept[whole]))


def measured(
    activations: Floating,
    design: Design,
    criteria: Criteria,
    *,
    scores: Scores | None = None,
    statistics: Float64 | None = None,
    texts: Texts | None = None,
) -> dict[str, Any]:
    """What a model's activations come to, or those of a control that has activations of its own.

    Parameters
    ----------
    scores
        Of the activations, where they are known already.
    statistics
        `[images, statistics]` to regress out of the activations; None to leave that.
    texts
        Whose matched texts (`among_matched`) to compare with; None to leave that.

    Returns
    -------
    dict
        What `counts` gives; `participation_ratio`; `..._equal_length`, units that pass in `word` against names of equal length too; `..._matched_texts`; and
        with the image statistics regressed out of the activations `..._without_statistics`, and how many of those passed before for the
        same concept (`..._kept_without_statistics`).
    """
    if scores is None:
        (scores,) = score_units(activations, design, criteria=criteria)
    ratio = participation_ratio(activations)
    found = dict.fromkeys(BESIDE) | counts(scores, design, activations, ap=criteria.ap)
    found["participation_ratio"] = ratio if np.isfinite(ratio) else None
    if texts is not None:
        found |= among_matched(activations, scores, design, texts, criteria)
    if design.required is not None:
        auc, ap = against_equal_length(activations, scores.concept, design)
        with np.errstate(invalid="ignore"):
            passes = auc >= criteria.auc
            exact = passes & (ap >= criteria.ap)
        found["selective_equal_length"] = int((scores.selective & passes).sum())
        found["multimodal_equal_length"] = int((scores.multimodal & exact).sum())
    if statistics is not None:
        rest = without_statistics(activations, statistics, design)
        (after,) = score_units(rest, design, criteria=criteria)
        same = after.concept == scores.concept
        found |= {
            "selective_without_statistics": int(after.selective.sum()),
            "multimodal_without_statistics": int(after.multimodal.sum()),
            "concept_cells_without_statistics": int(after.concept_cell.sum()),
            "selective_kept_without_statistics": int(
                (after.selective & scores.selective & same).sum()
            ),
            "multimodal_kept_without_statistics": int(
                (after.multimodal & scores.multimodal & same).sum()
            ),
        }
    return found


def against_equal_length(
    activations: Floating, concept: Int64, design: Design
) -> tuple[Float64, Float64]:
    """AUC and average precision of each unit for its concept among written words whose names are as long, within one letter.

    A long name is drawn in small letters: what separates it from all other words may be their size.

    Parameters
    ----------
    concept
        Code of each unit's concept, `[units]`; -1 for none.

    Returns
    -------
    tuple of arrays `[units]`
        On the scoring half; NaN where there is no word to compare with.
    """
    assert design.required is not None
    rows = design.images(design.required, scoring=True)
    letters = np.array([len(name) for name in design.concepts])
    found = np.full((2, len(concept)), np.nan)
    for length in np.unique(letters[concept[concept >= 0]]):
        units = np.flatnonzero((concept >= 0) & (letters[concept] == length))
        near = rows[np.abs(letters[design.concept[rows]] - length) <= LETTERS]
        if len(near):
            labels = [(design.concept[near], concept[units])]
            (one,) = concept_scores(activations[np.ix_(near, units)], labels, len(design.concepts))
            found[:, units] = one.auc, one.ap
    return found[0], found[1]


def control_counts(
    activations: Floating,
    twins: Mapping[str, Floating],
    design: Design,
    *,
    criteria: Criteria,
    seed: int,
    statistics: Float64 | None = None,
    texts: Texts | None = None,
    more: Mapping[str, Floating] = MappingProxyType({}),
) -> dict[str, Any]:
    """Counts of every control of a layer.

    Parameters
    ----------
    activations
        `[images, units]` of the model.
    twins
        The same of the networks that know nothing, by name: those that were recorded.
    statistics
        Of the images, as for `measured`, which networks are measured without too.
    texts
        As for `measured`.
    more
        Further controls, by name.

    Returns
    -------
    dict
        For each kind (`random_twin`, `permuted`, `rotation`, `shuffled`) what `counts` gives, with `_KIND` behind every key: the largest
        over its runs (initialisations, seeds), the mean over them as `mean_...`, the number of `runs`, the multimodal units of `each`, and for mixtures and other
        networks what `measured` adds. None each where the atlas was recorded without it. `rotation_blocks`: in how many blocks of
        units the rotation was made.
    """
    networks = {
        name: measured(values, design, criteria, statistics=statistics, texts=texts)
        for name, values in twins.items()
    }
    found: dict[str, dict[str, Any] | None] = {
        RANDOM_TWIN: _largest(networks[name] for name in INITIALISATIONS if name in networks),
        PERMUTED: _largest(networks[name] for name in (PERMUTED,) if name in networks),
    }
    found |= {kind: _largest([measured(values, design, criteria)]) for kind, values in more.items()}
    found[ROTATION] = _largest(
        measured(
            rotated(activations, seed=seed * ROTATIONS + number, standardised=standardised),
            design,
            criteria,
        )
        for number in range(ROTATIONS)
        for standardised in (True, False)
    )
    labelings = [shuffled(design, seed * SHUFFLES + number) for number in range(SHUFFLES)]
    scored = score_units(activations, design, labelings=labelings, criteria=criteria)
    found[SHUFFLED] = _over([counts(one, design, activations, ap=criteria.ap) for one in scored])
    live = int((~is_constant(activations)).sum())
    return {
        f"{key}_{kind}": None if one is None else one.get(key)
        for kind, one in found.items()
        for key in KEYS
    } | {"rotation_blocks": -(-live // BLOCK)}


def _largest(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    found = list(runs)
    if not found:
        return None
    ratios = [ratio for run in found if (ratio := run["participation_ratio"]) is not None]
    return _over(found) | {"participation_ratio": float(np.mean(ratios)) if ratios else None}


def _over(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest and the mean over runs; concepts of the run with the most multimodal units."""
    worst = max(runs, key=lambda run: run["multimodal"])
    return {
        **{
            key: max(run[key] for run in runs)
            for key in (*VERDICTS, *BESIDE)
            if worst.get(key) is not None
        },
        **{
            f"mean_{verdict}": float(np.mean([run[verdict] for run in runs]))
            for verdict in VERDICTS
        },
        "curve": np.max([run["curve"] for run in runs], axis=0).tolist(),
        "passing": {name: max(run["passing"][name] for run in runs) for name in worst["passing"]},
        "concepts": worst["concepts"],
        "runs": len(runs),
        "each": [run["multimodal"] for run in runs],
    }
