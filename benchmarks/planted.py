"""Precision and recall on planted units at several noise levels, beside the optimum: `python benchmarks/planted.py`.

First table: ours, with n and Wilson 95 % intervals. `optimum` knows each unit's concept and everything else but
its kind, sees all images of both halves, and is cut at precision 0.95. `by the rule` knows as much but must show
each modality on its own, from the scoring half, as the definition asks. `both ways` calls a unit that
passes with the halves as they are or exchanged; it is no part of the product.

Second table: recall when the concept is chosen by another statistic of the selection half.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import Merit, Scores, score_units, stouffer
from synesthete.analysis.planted import (
    Planted,
    best_cut,
    optimum,
    optimum_by_rule,
    plant,
    planted_design,
)

NOISE = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
CHOICE_NOISE = (0.15, 0.25, 0.35)
Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def weakest(auc: Float64, n_pos: Int64, n_neg: Int64, word: int) -> Float64:
    """AUC of the weakest modality."""
    return np.asarray(np.nanmin(auc, axis=0))


def weakest_of_three(auc: Float64, n_pos: Int64, n_neg: Int64, word: int) -> Float64:
    """The smallest AUC among `word` and the two best others."""
    others = np.delete(np.where(np.isnan(auc), -np.inf, auc), word, axis=0)
    return np.asarray(np.minimum(auc[word], np.sort(others, axis=0)[-2]))


def mean(auc: Float64, n_pos: Int64, n_neg: Int64, word: int) -> Float64:
    """Mean AUC."""
    return np.asarray(np.nanmean(auc, axis=0))


def fisher(auc: Float64, n_pos: Int64, n_neg: Int64, word: int) -> Float64:
    """Sum of -log p by the normal law."""
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (auc - 0.5) * np.sqrt(12.0 * n_pos * n_neg / (n_pos + n_neg + 1.0))[:, None, :]
    return np.asarray(-np.nansum(log_ndtr(-z), axis=0))


MERITS: dict[str, Merit] = {
    "sum of z (ours)": stouffer,
    "weakest AUC": weakest,
    "weakest of word and best two": weakest_of_three,
    "mean AUC": mean,
    "sum of log p": fisher,
}


def share(hits: int, n: int) -> str:
    """A proportion with its Wilson 95 % interval."""
    low, high = wilson_interval(hits, n)
    return f"{hits / max(n, 1):.3f} ({low:.3f}–{high:.3f})"


def row(*cells: object) -> None:
    """Print a line of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def found(result: Sequence[Planted], design: Design, merit: Merit = stouffer) -> tuple[Bool, Bool]:
    """Units called, and units whose concept is one of those planted; over all repeats."""
    scores: list[Scores] = [score_units(p.activations, design, merit=merit)[0] for p in result]
    right = [
        (s.concept == p.concept) | (s.concept == p.second)
        for s, p in zip(scores, result, strict=True)
    ]
    return np.concatenate([s.multimodal for s in scores]), np.concatenate(right)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    design = planted_design(options.concepts)
    exchanged = replace(design, halves=replace(design.halves, scoring=~design.halves.scoring))
    print(
        f"{design.concept.size:,} images, {options.concepts} concepts "
        f"({int(design.halves.eligible.sum())} eligible), {options.repeats} × {options.units} units, "
        "AUC >= 0.9, q <= 0.01\n"
    )
    row("noise", "d'", "n", "precision", "recall", "concept right", "both ways: precision, recall",
        "by the rule", "optimum")  # fmt: skip
    row(*["---"] * 9)
    choices = []
    for noise in NOISE:
        result = [plant(design, options.units, noise=noise, seed=s) for s in range(options.repeats)]
        truth = np.concatenate([planted.multimodal for planted in result])
        n = int(truth.sum())
        called, right = found(result, design)
        either = called | found(result, exchanged)[0]
        rule = np.concatenate([optimum_by_rule(planted, design) for planted in result])
        best = best_cut(np.concatenate([optimum(planted, design) for planted in result]), truth)
        hits = int((called & truth & right).sum())
        both = int((either & truth).sum())
        row(f"{noise:.2f}", f"{1 / noise:.1f}", n, share(hits, int(called.sum())), share(hits, n),
            f"{(right & truth).sum() / n:.3f}", f"{both / either.sum():.3f}, {both / n:.3f}",
            f"{(rule & truth).sum() / n:.3f}", f"{(best & truth).sum() / n:.3f}")  # fmt: skip
        if noise in CHOICE_NOISE:
            cells = []
            for merit in MERITS.values():
                called, right = found(result, design, merit)
                hits = int((called & truth & right).sum())
                cells.append(f"{hits / n:.3f} ({hits / max(called.sum(), 1):.3f})")
            choices.append((f"{noise:.2f}", *cells))
    print("\nRecall (precision) by the statistic that chooses the concept:\n")
    row("noise", *MERITS)
    row(*["---"] * (len(MERITS) + 1))
    for cells in choices:
        row(*cells)


if __name__ == "__main__":
    main()
