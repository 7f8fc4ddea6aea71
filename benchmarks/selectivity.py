"""Speed of the AUC table against scikit-learn's roc_auc_score in a loop, and of a whole analysis.

`python benchmarks/selectivity.py`: both in one process on the same activations; the loop runs on a part of
the units and its time is scaled to all of them.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from synesthete.analysis.analyze import selectivity_table
from synesthete.analysis.concept_tests import run_concept_tests
from synesthete.analysis.design import shuffled
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.planted import plant, planted_design
from synesthete.analysis.selectivity import auc_table

WORD = 3


def main() -> None:
    """Print the times and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--loop-units", type=int, default=2)
    options = parser.parse_args()
    design = planted_design(options.concepts)
    activations = plant(design, options.units, noise=0.3).activations
    rows = design.images(WORD)
    words, codes = activations[rows], design.concept[rows]
    print(f"{design.concept.size:,} images × {options.units} units × {options.concepts} concepts")

    start = time.perf_counter()
    table = auc_table(words, codes, options.concepts)
    ours = time.perf_counter() - start

    start = time.perf_counter()
    positive = [codes == concept for concept in range(options.concepts)]
    loop = [
        [roc_auc_score(shown, words[:, unit].astype(np.float64)) for shown in positive]
        for unit in range(options.loop_units)
    ]
    per_auc = (time.perf_counter() - start) / (options.loop_units * options.concepts)
    theirs = per_auc * options.units * options.concepts
    worst = float(np.abs(table.auc[: options.loop_units] - np.array(loop)).max())
    print(
        f"AUC table of one modality ({rows.size:,} images): {ours:.2f} s; scikit-learn loop "
        f"{theirs:,.0f} s (measured on {options.loop_units} units); ratio {theirs / ours:,.0f}; "
        f"largest difference {worst:.1e}"
    )

    start = time.perf_counter()
    labelings = [design.concept, *(shuffled(design, seed) for seed in range(10))]
    score_units(activations, design, labelings=labelings)
    scored = time.perf_counter()
    answers = run_concept_tests(activations, design, labelings=labelings[:2])
    answered = time.perf_counter()
    twin = np.random.default_rng(0).normal(size=activations.shape).astype(np.float16)
    score_units(twin, design)
    run_concept_tests(twin, design)
    controlled = time.perf_counter()
    selectivity_table(answers[0], design)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"whole analysis: {end - start:.1f} s (choose and score, model and 10 shuffles "
        f"{scored - start:.1f} s; all concepts, model and 1 shuffle {answered - scored:.1f} s; twin "
        f"{controlled - answered:.1f} s; rows kept {end - controlled:.1f} s), peak memory {peak:.1f} GiB"
    )


if __name__ == "__main__":
    main()
