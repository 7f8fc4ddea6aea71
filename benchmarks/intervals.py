"""How often the interval of an average precision holds the truth: `python benchmarks/intervals.py [--json]`.

Units whose concept is shown by few artists, one or two images each, among 250 images of other concepts; 4,000 samples of artists per
cell. The truth is the mean average precision over such samples: what the measurement would give with other artists. Three populations:
artists who are all alike, artists who differ (half of the variance), and artists of whom a share is not responded to at all; each at
several strengths. The package prints the lower end only, which should be above the truth in at most 2.5 % of samples. A row gives for each
interval the smallest coverage over all populations, and the median lower end for a unit that ranks all of the concept's images first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtri

from synesthete._core.arrays import Float64
from synesthete._core.intervals import exact, wilson
from synesthete.analysis.selectivity import concept_scores

ARTISTS = (2, 3, 4, 6, 10, 20)
OTHERS = 250
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
RESAMPLES = 400
NOMINAL = 0.975


def populations() -> Iterator[tuple[str, Callable[[np.random.Generator, int, int], Float64]]]:
    """Name, and what gives the mean response to the images of each artist, `[samples, artists]`."""
    for strength in STRENGTHS:
        yield "alike", lambda g, n, a, d=strength: np.full((n, a), d)
        yield "differing", lambda g, n, a, d=strength: d + g.normal(size=(n, a))
    for share in SHARES:
        yield "some answered", lambda g, n, a, s=share: np.where(g.random((n, a)) < s, 6.0, 0.0)


def measured(responses: Float64, images: int, generator: np.random.Generator) -> Float64:
    """Average precision `[samples]` by the package, of units that respond so to the artists' images."""
    samples, artists = responses.shape
    own = np.repeat(responses, images, axis=1) + generator.normal(size=(samples, artists * images))
    others = ndtri(
        (np.arange(OTHERS) + 0.5) / OTHERS
    )  # the same for all: artists are what is sampled
    activations = np.concatenate([own.T, np.tile(others[:, None], samples)])
    codes = np.r_[np.zeros(artists * images, np.int64), np.ones(OTHERS, np.int64)]
    (found,) = concept_scores(activations, [(codes, np.zeros(samples, np.int64))], 2)
    return found.ap


def bootstrap(
    responses: Float64, images: int, generator: np.random.Generator, samples: int
) -> Float64:
    """Lower ends of the percentile bootstrap over artists, of the first samples (each artist's images are drawn with the artist)."""
    lows = []
    for one in responses[:samples]:
        own = one[:, None] + generator.normal(size=(len(one), images))
        drawn = own[generator.integers(len(one), size=(RESAMPLES, len(one)))]
        lows.append(np.quantile(_precision(drawn.reshape(RESAMPLES, -1)), 1 - NOMINAL))
    return np.array(lows)


def _precision(own: Float64) -> Float64:
    others = ndtri((np.arange(OTHERS) + 0.5) / OTHERS)
    ranked = -np.sort(-own, axis=1)
    above = OTHERS - np.searchsorted(others, ranked, side="right")
    place = np.arange(1, own.shape[1] + 1)
    return np.asarray((place / (place + above)).mean(axis=1))


def coverage(artists: int, samples: int, seed: int) -> dict[str, float]:
    """The smallest coverage of each interval's lower end over populations and images per artist, and where Wilson's is."""
    generator = np.random.default_rng([seed, artists])
    worst = {"wilson": 1.0, "exact": 1.0, "bootstrap": 1.0}
    mean: dict[str, list[float]] = {name: [] for name in worst}
    for _, respond in populations():
        for images in (1, 2):
            responses = respond(generator, samples, artists)
            ap = measured(responses, images, generator)
            truth = float(ap.mean())
            lows = {
                "wilson": wilson(ap, artists)[0],
                "exact": exact(ap, artists)[0],
                "bootstrap": bootstrap(responses, images, generator, samples // 20),
            }
            for name, low in lows.items():
                share = float((low <= truth).mean())
                worst[name] = min(worst[name], share)
                mean[name].append(share)
    found = {f"{name}_least": value for name, value in worst.items()}
    found |= {f"{name}_mean": float(np.mean(values)) for name, values in mean.items()}
    found |= {
        "wilson_of_one": float(wilson(1.0, artists)[0]),
        "exact_of_one": float(exact(1.0, artists)[0]),
    }
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {n: coverage(n, options.samples, options.seed) for n in ARTISTS}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"Nominal {NOMINAL:.1%}; smallest (mean) over {2 * (2 * len(STRENGTHS) + len(SHARES))} populations, {options.samples} samples each (bootstrap: {options.samples // 20})\n")  # fmt: skip
    print("| artists | Wilson | exact | bootstrap | lower end at 1: Wilson | exact |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for artists, row in found.items():
        cells = (
            f"{row[f'{name}_least']:.1%} ({row[f'{name}_mean']:.1%})"
            for name in ("wilson", "exact", "bootstrap")
        )
        print(f"| {artists} | {' | '.join(cells)} | {row['wilson_of_one']:.2f} | {row['exact_of_one']:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
