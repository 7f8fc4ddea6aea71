"""What a pilot decides, in words: the decision, why, what more data would settle, and what should make one doubt."""

from __future__ import annotations

import math

from synesthete.catalog.metrics import Experiment, Lift, Need, pairs_needed
from synesthete.catalog.pilot.types import Decision, Offline

MOST_PAIRS = 1_000_000


def decide(offline: Offline | None, live: Experiment | None) -> tuple[Decision, tuple[str, ...]]:
    """Visitors decide before queries do; a trial with a crooked split decides nothing."""
    because = []
    decision: Decision = "no data"
    for what, found in (
        ("Live", live.lift if live else None),
        ("Offline", offline.ndcg if offline else None),
    ):
        if found is None:
            continue
        crooked = what == "Live" and live is not None and live.split_is_off
        told: Decision = {"B is better": "take B", "A is better": "keep A"}.get(
            found.verdict, "more data"
        )  # type: ignore[assignment]
        if found.difference.pairs == 0:
            told = "no data"
        because.append(_sentence(what, found))
        if crooked:
            told = "more data"
            because.append("The live trial does not count: visitors were not split as meant.")
        if decision in ("no data", "more data") and not (
            decision == "more data" and what == "Offline"
        ):
            decision = told
    return decision, tuple(because)


def _sentence(what: str, found: Lift) -> str:
    if found.difference.pairs == 0:
        return f"{what}: nothing to compare yet."
    bounds = f"{found.difference.low:+.3f} and {found.difference.high:+.3f}"
    told = {
        "B is better": f"B is better, since {found.decided_after:,} pairs"
        if found.decided_after
        else "",
        "A is better": f"A is better, since {found.decided_after:,} pairs"
        if found.decided_after
        else "",
        "undecided": "the two cannot be told apart yet",
    }[found.verdict]
    return (
        f"{what}: A {found.a.value:.3f} (n = {found.a.n:,}), B {found.b.value:.3f} (n = {found.b.n:,}); B - A is "
        f"{found.difference.value:+.3f}, between {bounds} with {1 - found.alpha:.0%} certainty at every look: {told}."
    )


def needs_of(
    offline: Offline | None, live: Experiment | None, least_worth: float, alpha: float, seed: int
) -> tuple[Need, ...]:
    """How many pairs would settle the smallest change that matters, twice it, and what was seen."""
    found = live.lift if live and live.lift.a.n else offline.ndcg if offline else None
    if found is None or not found.a.n:
        return ()
    base = found.a.value if found.a.value > 0 else max(found.b.value, 0.01)
    effects = {least_worth * base, 2 * least_worth * base}
    if abs(found.difference.value) > 1e-9:
        effects.add(found.difference.value)
    made = []
    for effect in sorted(effects):
        rate = min(max(base + effect, 0.0), 1.0)
        if not math.isclose(rate, base):
            made.append(
                pairs_needed(base, rate, alpha=alpha, most=MOST_PAIRS, trials=200, seed=seed)
            )
    return tuple(made)


def cautions_of(offline: Offline | None, live: Experiment | None, refused: int) -> tuple[str, ...]:
    """What should make one doubt, sentence by sentence."""
    told = []
    if live is not None and live.split_is_off:
        told.append(
            f"The split is not what was meant (evidence {live.split:,.0f} to 1): something decides who is counted."
        )
    if live is not None:
        told += [f"{count:,} {what} do not count." for what, count in live.left_out.items()]
    if refused:
        told.append(f"{refused:,} events could not be read and do not count.")
    if offline is not None and offline.skipped:
        told.append(f"{offline.skipped:,} queries lack what one of the variants needs.")
    if offline is not None and live is None:
        told.append(
            "Offline, a variant is judged by answers known beforehand: it says what is found, not what sells."
        )
    return tuple(told)
