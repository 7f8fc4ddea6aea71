"""Do the catalogue's promises hold? False alarms under peeking, power, coverage and risk: `python benchmarks/catalog_metrics.py`.

First table: share of trials without any difference in which a test, looked at after every pair of visitors, ever said
that there is one. `plain z` is the usual test of two proportions at 5 %; `mSPRT` is that of Johari, Koomen, Pekelis and
Walsh (2022), with a mixture suited to the rate. Second: pairs until half and four fifths of the trials had found a true
difference, by each. Third: coverage of conformal sets at 90 %, and the risk of what is decided, over random splits.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import numpy.typing as npt

from synesthete.catalog.classify.train import fit_linear_probe
from synesthete.catalog.metrics import evidence, mean_of, share_of
from synesthete.catalog.metrics.sequences import Outcomes

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
ALPHA = 0.05
KINDS = (np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
TESTS = ("ours", "mSPRT", "plain z")


def alarms(counts: Float64, rate: float) -> dict[str, Bool]:
    """Which trials each test stops at this look; counts `[trials, kinds]`."""
    n = counts.sum(axis=1)
    a, b = (counts @ kind / n for kind in KINDS)
    pooled = (a + b) / 2
    variance = np.maximum(2 * pooled * (1 - pooled), 1e-12)
    difference = b - a
    # The mixture's spread: a tenth of the rate, what a shop hopes to see.
    tau = (0.1 * rate) ** 2
    log_ratio = 0.5 * np.log(variance / (variance + n * tau)) + n**2 * tau * difference**2 / (
        2 * variance * (variance + n * tau)
    )
    enough = n * pooled * 2 >= 10
    return {
        "ours": evidence(Outcomes(*KINDS, counts)) >= 1 / ALPHA,
        "mSPRT": (log_ratio >= math.log(1 / ALPHA)) & enough,
        "plain z": (np.abs(difference) >= 1.96 * np.sqrt(variance / n)) & enough,
    }


def trials_stopped(
    rate_a: float, rate_b: float, pairs: int, trials: int, every: int, seed: int
) -> dict[str, npt.NDArray[np.int64]]:
    """After how many pairs each test stopped each trial; a number beyond `pairs` where it never did."""
    rng = np.random.default_rng(seed)
    law = np.array(
        [(1 - rate_a) * (1 - rate_b), (1 - rate_a) * rate_b, rate_a * (1 - rate_b), rate_a * rate_b]
    )
    counts = np.zeros((trials, 4))
    stopped = {name: np.full(trials, pairs + 1) for name in TESTS}
    for moment in range(every, pairs + 1, every):
        counts += rng.multinomial(every, law, size=trials)
        for name, now in alarms(counts, rate_a).items():
            first = now & (stopped[name] > pairs)
            stopped[name][first] = moment
    return stopped


def false_alarms(trials: int, pairs: int, seed: int) -> None:
    """The first table."""
    print(
        f"No difference, {pairs:,} pairs, a look after every pair, {trials:,} trials: ever an alarm (95 % interval)\n"
    )
    print("| rate | " + " | ".join(TESTS) + " |")
    print("| --- | " + " | ".join("---:" for _ in TESTS) + " |")
    for rate in (0.02, 0.1, 0.5):
        stopped = trials_stopped(rate, rate, pairs, trials, 1, seed)
        shares = [share_of(int((stopped[name] <= pairs).sum()), trials) for name in TESTS]
        cells = " | ".join(f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})" for one in shares)
        print(f"| {rate:.0%} | {cells} |", flush=True)


def power(trials: int, seed: int) -> None:
    """The second table. The plain test is left out: it may not be looked at more than once."""
    print(
        f"\nA true difference, {trials:,} trials: pairs until half and four fifths had found it\n"
    )
    print("| A | B | ours | mSPRT | one look planned ahead, 80 % |")
    print("| --- | --- | ---: | ---: | ---: |")
    for rate_a, rate_b, most in (
        (0.1, 0.15, 12_000),
        (0.1, 0.12, 60_000),
        (0.3, 0.4, 8_000),
        (0.02, 0.03, 60_000),
    ):
        stopped = trials_stopped(rate_a, rate_b, most, trials, max(most // 400, 1), seed)
        cells = []
        for name in TESTS[:2]:
            half, most_of = np.quantile(stopped[name], (0.5, 0.8), method="higher")
            cells.append(
                ", ".join(f"{one:,}" if one <= most else f"> {most:,}" for one in (half, most_of))
            )
        spread = rate_a * (1 - rate_a) + rate_b * (1 - rate_b)
        planned = math.ceil((1.96 + 0.8416) ** 2 * spread / (rate_b - rate_a) ** 2)
        print(
            f"| {rate_a:.0%} | {rate_b:.0%} | {cells[0]} | {cells[1]} | {planned:,} |", flush=True
        )


def conformal(splits: int, records: int) -> None:
    """The third table."""
    print(
        f"\nClouds of {records:,} points, three labels, {splits} random splits: promised and kept\n"
    )
    print("| | mean | 95 % interval | n |")
    print("| --- | ---: | --- | ---: |")
    covered, sizes, broken, decided, errors = [], [], 0, 0, []
    rng = np.random.default_rng(0)
    for seed in range(splits):
        codes = rng.integers(3, size=records)
        x = np.eye(3, 12)[codes] * 2 + 1.2 * rng.normal(size=(records, 12))
        seen = fit_linear_probe(
            x, np.array(["a", "b", "c"])[codes], coverage=0.9, risk=0.1, seed=seed
        ).measured
        covered.append(seen.coverage.value)
        sizes.append(seen.set_size.value)
        errors.append(seen.calibration_error)
        if seen.risk.n:
            decided += 1
            broken += seen.risk.low > 0.1
    for name, values in (
        ("coverage, promised 90 %", covered),
        ("labels in a set", sizes),
        ("calibration error", errors),
    ):
        one = mean_of(values)
        print(f"| {name} | {one.value:.4f} | {one.low:.4f} to {one.high:.4f} | {one.n} |")
    one = share_of(broken, max(decided, 1))
    print(
        f"| risk surely above the accepted 10 % | {one.value:.4f} | {one.low:.4f} to {one.high:.4f} | {one.n} |",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    false_alarms(options.trials, options.pairs, options.seed)
    power(max(options.trials // 4, 100), options.seed)
    conformal(options.splits, options.records)


if __name__ == "__main__":
    main()
