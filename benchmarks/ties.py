"""Which Mann-Whitney p holds for units that are silent on most images: `python benchmarks/ties.py`.

Units answer at random to a small share of the images and are 0 on the others; no unit knows any concept. The
share of p below a level should not exceed the level. Compared: averaged ties with the tie-corrected normal
law, averaged ties with the exact law without ties, and ours (ties count against, exact law).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from synesthete.analysis.selectivity import auc_table
from synesthete.analysis.significance import p_values, survival_table

UNITS, IMAGES, POSITIVES = 40_000, 1_000, 5
LEVELS = (1e-2, 1e-3, 1e-4)


def main() -> None:
    """Print one line per share of active images."""
    random = np.random.default_rng(0)
    print(f"{UNITS:,} units, {POSITIVES} positives among {IMAGES:,} images; share of p <= level\n")
    print("| active images | level | normal, tie-corrected | exact, ties averaged | ours |")
    print("| --- | --- | --- | --- | --- |")
    codes = (np.arange(IMAGES) < POSITIVES).astype(np.int64)
    for active in (0.002, 0.01, 0.05, 0.5):
        values = np.zeros((IMAGES, UNITS), np.float16)
        on = random.random(values.shape, np.float32) < active
        values[on] = random.random(int(on.sum()), np.float32)
        table = auc_table(values, codes, 2)
        ours = p_values(table.wins, table.n_pos, table.n_neg)[:, 1]
        pairs = POSITIVES * (IMAGES - POSITIVES)
        won = table.auc[:, 1].astype(np.float64) * pairs
        averaged = survival_table(POSITIVES, IMAGES - POSITIVES)[np.floor(won + 1e-3).astype(int)]
        silent = (values == 0).sum(axis=0).astype(np.float64)
        ties = (silent**3 - silent) / (IMAGES * (IMAGES - 1))
        spread = np.sqrt(pairs / 12 * (IMAGES + 1 - ties))
        with np.errstate(invalid="ignore", divide="ignore"):
            normal = np.nan_to_num(stats.norm.sf((won - 0.5 - pairs / 2) / spread), nan=1.0)
        for level in LEVELS:
            shares = [float((p <= level).mean()) for p in (normal, averaged, ours)]
            print(f"| {active:.1%} | {level:g} | " + " | ".join(f"{s:.5f}" for s in shares) + " |")


if __name__ == "__main__":
    main()
