"""Suggest: an image with a brief description answered by items, categories, attributes and the next question.

The strength of a suggestion (relevance times agreement) orders suggestions; it is no probability, since what it is worth
depends on the model, the items and the photos. Isotonic regression (Zadrozny & Elkan 2002) over cases with known answers
says how often a suggestion of that strength was right. Cases are a table of queries, or the catalogue's own items, each
searched with itself left out: those are studio images, not what customers photograph.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synesthete._core.arrays import Bool, Float32, Float64
from synesthete._core.json_reader import read_json
from synesthete.atlas.files import write_file
from synesthete.catalog.evaluate import categories_by_id, labelled_queries
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.relevance import kind_of, null_distribution, relevance
from synesthete.catalog.requests import Search, Suggest
from synesthete.catalog.schema import (
    Choice,
    Hit,
    Item,
    Question,
    ReviewQueue,
    Suggestion,
    image_name,
)
from synesthete.catalog.search import best, ranked
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Policy

CONFIDENCE = "confidence.json"
LEAST = 50  # cases; fewer tell too little
FOLDS, BINS = 5, 5
PRIOR = 5.0  # cases

LOOKED_AT = 20  # items that categories, attributes and questions are taken from
SHOWN, QUESTIONS, OPTIONS = 3, 3, 4
OWN_CASES = 400
COVERED = 0.5  # of the evidence that must have an attribute for a question about it


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Cases of similar confidence: how many, their mean confidence, and how often they were right (95 %, Wilson)."""

    n: int
    stated: float
    right: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """From strength to probability, and how well it held on cases that it was not made of.

    Attributes
    ----------
    strengths, probabilities
        Knots; straight between them, level outside.
    source
        Where the cases came from.
    n, right
        How many cases, and the share of them that was right: the base rate.
    error, raw_error
        Expected calibration error in bins of equal counts, of probabilities from the other folds and of the bare strength.
    error_interval, raw_error_interval
        Their 95 % bootstrap intervals over the cases; None where an earlier version measured.
    order
        Probability that a right case is stronger than a wrong one; one half is chance.
    bins
        Stated and observed, over probabilities from the other folds.
    generation
        Of the catalogue that it was measured on.
    """

    strengths: tuple[float, ...]
    probabilities: tuple[float, ...]
    source: str
    n: int
    right: float
    error: float
    raw_error: float
    order: float
    bins: tuple[Bin, ...]
    generation: int = 0
    error_interval: tuple[float, float] | None = None
    raw_error_interval: tuple[float, float] | None = None

    def probability(self, strength: float) -> float:
        """How often a suggestion of this strength is right."""
        return float(np.interp(strength, self.strengths, self.probabilities))

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


def fit_confidence(
    strength: Float64, right: Bool, source: str, *, seed: int = 0, generation: int = 0
) -> Confidence:
    """Calibrate on cases `[cases]`, and measure by folds.

    Raises
    ------
    SynestheteError
        Fewer than 50 cases, or all of them right, or all wrong.
    """
    from sklearn.metrics import roc_auc_score

    from synesthete._core.intervals import wilson_interval
    from synesthete.catalog.classify.evaluate import calibration_error, calibration_interval

    strength, right = np.asarray(strength, np.float64), np.asarray(right, bool)
    if len(strength) < LEAST:
        raise SynestheteError(
            f"{len(strength)} cases are too few; {LEAST} or more are needed",
            hint="give a table of queries with their answers (--queries)",
        )
    if right.all() or not right.any():
        which = "right" if right.all() else "wrong"
        raise SynestheteError(
            f"all {len(right)} cases are {which}, so nothing can be learnt from them",
            hint="give other cases (--queries)",
        )
    fold = np.random.default_rng(seed).permutation(len(strength)) % FOLDS
    held = np.zeros(len(strength))
    for one in range(FOLDS):
        knots = _isotonic(strength[fold != one], right[fold != one])
        held[fold == one] = np.interp(strength[fold == one], *knots)
    bins = []
    for part in np.array_split(np.argsort(held, kind="stable"), BINS):
        low, high = wilson_interval(int(right[part].sum()), len(part))
        mean, kept = float(held[part].mean()), float(right[part].mean())
        bins.append(Bin(n=len(part), stated=mean, right=kept, low=float(low), high=float(high)))
    at, probabilities = _isotonic(strength, right)
    return Confidence(
        strengths=tuple(at.tolist()),
        probabilities=tuple(probabilities.tolist()),
        source=source,
        n=len(right),
        right=float(right.mean()),
        error=calibration_error(held, right, BINS),
        raw_error=calibration_error(strength, right, BINS),
        order=float(roc_auc_score(right, strength)),
        bins=tuple(bins),
        generation=generation,
        error_interval=calibration_interval(held, right, BINS, seed=seed),
        raw_error_interval=calibration_interval(strength, right, BINS, seed=seed),
    )


def write_confidence(path: Path, one: Confidence) -> None:
    """Keep it in a catalogue's folder."""
    write_file(path / CONFIDENCE, json.dumps(one.as_dict(), indent=1).encode())


def read_confidence(path: Path) -> Confidence | None:
    """What a catalogue's folder keeps; None where nothing was calibrated.

    Raises
    ------
    SynestheteError
        A damaged file.
    """
    from pydantic import TypeAdapter, ValidationError

    if not (path / CONFIDENCE).exists():
        return None
    try:
        facts = read_json(path / CONFIDENCE, root=path)
        bins = facts.get("bins") if isinstance(facts, dict) else None
        for one in bins if isinstance(bins, list) else ():
            if isinstance(one, dict) and "told" in one:  # what `stated` was called at first
                one["stated"] = one.pop("told")
        confidence = TypeAdapter(Confidence).validate_python(facts)
        if not len(confidence.strengths) == len(confidence.probabilities) > 0:
            raise SynestheteError("as many probabilities as strengths are needed, and one at least")
    except (SynestheteError, ValidationError) as error:
        reason = str(error).split("\n")[0]
        raise SynestheteError(
            f"{path / CONFIDENCE} is damaged: {reason}",
            hint="run `synesthete catalog calibrate` again",
        ) from None
    return confidence


def _isotonic(strength: Float64, right: Bool) -> tuple[Float64, Float64]:
    """Knots of the isotonic fit, each level drawn towards the share of all as by `PRIOR` more cases.

    The ends of an isotonic fit are a handful of cases that happen to agree; without this they would be stated as certain.
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(strength, right.astype(float))
    levels, of, cases = np.unique(fitted.predict(strength), return_inverse=True, return_counts=True)
    drawn = (levels * cases + PRIOR * right.mean()) / (cases + PRIOR)
    drawn = np.maximum.accumulate(drawn)
    order = np.argsort(strength, kind="stable")
    at, first = np.unique(strength[order], return_index=True)
    return np.asarray(at, np.float64), np.asarray(drawn[of.reshape(-1)[order][first]], np.float64)


def suggest(
    encoder: QueryEncoder,
    request: Suggest,
    *,
    policy: Policy,
    queue: ReviewQueue | None = None,
    calibrated: Confidence | None = None,
) -> Suggestion:
    """Suggestions for an image with a brief description; see `Catalog.suggest`."""
    for name, value in (("threshold", policy.threshold), ("audit", policy.audit)):
        if not 0 <= value <= 1:
            raise SynestheteError(f"the {name} is {value}, expected 0 to 1")
    snapshot = encoder.snapshot
    query = encoder.query(request.brief, request.image)
    items = ranked(snapshot, query, Search(limit=request.limit)).hits
    near = best(snapshot, query, LOOKED_AT)
    looked_at = list(snapshot.items(near.rows.ids))
    evidence = weights(near.scores, null_distribution(snapshot, query.kind))
    categories = _choices("category", looked_at, evidence)
    names = sorted({name for item in looked_at for name in item.attributes})
    attributes = [choice for name in names for choice in _choices(name, looked_at, evidence)[:1]]
    attributes.sort(key=lambda one: (-one.confidence, one.name))
    questions = _questions(names, looked_at, evidence)
    agreement = _agreement(categories, evidence)
    strength = float(items[0].relevance * agreement) if items else 0.0
    confidence = calibrated.probability(strength) if calibrated and items else strength
    reference = request.reference or _reference(request)
    action = policy.what(confidence, reference)
    ticket = None
    if action != "answer" and queue is not None:
        top = items[0].relevance if items else 0.0
        ticket = queue.add(
            "suggest",
            _case(request, reference, items, categories),
            reason="audit of an answer"
            if action == "audit"
            else _why(confidence, policy.threshold, top, agreement, calibrated),
            confidence=confidence,
        )
    return Suggestion(
        items=tuple(items),
        categories=tuple(categories[:SHOWN]),
        attributes=tuple(attributes[:SHOWN]),
        questions=tuple(questions),
        confidence=confidence,
        abstained=action == "ask",
        ticket=ticket,
        strength=strength,
        calibrated=calibrated is not None,
    )


def _reference(request: Suggest) -> str:
    """What a case without a reference of its own is called: a hash, since what customers write is theirs."""
    if request.image is not None:
        return image_name(request.image)
    return "text:" + hashlib.sha256((request.brief or "").encode()).hexdigest()[:16]


def _case(
    request: Suggest, reference: str, items: Sequence[Hit], categories: Sequence[Choice]
) -> dict[str, Any]:
    """What reviewers see: the machine proposes the first category, or without categories the first item."""
    choices = {one.value: one.confidence for one in categories} or {
        one.id: one.relevance for one in items
    }
    return {
        "reference": reference,
        "proposal": next(iter(choices), ""),
        "choices": {name: round(share, 6) for name, share in choices.items()},
        "brief": request.brief or "",
        "image": request.image is not None,
        "items": [{"id": one.id, "score": one.score, "relevance": one.relevance} for one in items],
    }


def calibrate(encoder: QueryEncoder, queries: Path | None, *, seed: int = 0) -> Confidence:
    """How often suggestions of each strength are right; see `Catalog.calibrate`."""
    snapshot = encoder.snapshot
    cases: list[tuple[Query, frozenset[str], str | None]]
    if queries is None:
        source = "the catalogue's own items, each left out"
        cases = _own_cases(snapshot, seed)
    else:
        source = queries.name
        cases = [
            (one.encoded(encoder), one.relevant, None)
            for one in labelled_queries(snapshot, queries)
        ]
    kinds = categories_by_id(snapshot)
    strength, right = [], []
    for query, relevant, without in cases:
        found = best(snapshot, query, LOOKED_AT + 1)
        keep = [at for at, one in enumerate(found.rows.ids) if one != without]
        found = found.take(keep[:LOOKED_AT])
        if not len(found):
            continue
        evidence = weights(found.scores, null_distribution(snapshot, query.kind))
        items = [Item(one, category=kinds[one]) for one in found.rows.ids]
        categories = _choices("category", items, evidence)
        top = float(relevance(snapshot, query.kind, found.scores[:1])[0])
        strength.append(top * _agreement(categories, evidence))
        truth = {kinds[one] for one in relevant} - {""}
        if categories and truth:
            right.append(categories[0].value in truth)
        else:
            right.append(found.rows.ids[0] in relevant)
    return fit_confidence(
        np.array(strength), np.array(right, bool), source, seed=seed, generation=snapshot.generation
    )


def _own_cases(snapshot: Snapshot, seed: int) -> list[tuple[Query, frozenset[str], str | None]]:
    """Items that are not the only one of their category, asked for by their image, or their words without one."""
    kinds = categories_by_id(snapshot)
    several = {kind for kind, count in Counter(kinds.values()).items() if kind and count > 1}
    ids = sorted(one for one, kind in kinds.items() if kind in several)
    ids = sorted(np.random.default_rng(seed).permutation(np.array(ids, object))[:OWN_CASES])
    rows = snapshot.rows(ids, ("title", "images", "texts"))
    space = snapshot.space
    found: list[tuple[Query, frozenset[str], str | None]] = []
    every = zip(ids, rows.values("title"), rows.array("images"), rows.array("texts"), strict=True)
    for one, title, image, text in every:
        seen = bool(image.any())
        vector = space.query_images(image[None]) if seen else space.query_texts(text[None])
        kind = kind_of([], 1) if seen else kind_of([title or "x"], 0)
        found.append((Query(vector[0], kind), frozenset([one]), one))
    return found


def _agreement(categories: Sequence[Choice], evidence: Float32) -> float:
    """The share of the evidence that is for one category, or without categories for one item."""
    return categories[0].confidence if categories else float(evidence.max(initial=0.0))


def weights(scores: Float32, unrelated: Float32) -> Float32:
    """How much each item says, summing to one: exp of its score in spreads of unrelated queries' best scores.

    Examples
    --------
    >>> found = weights(np.array([0.9, 0.9], np.float32), np.array([0.1, 0.2, 0.3], np.float32))
    >>> found.tolist()
    [0.5, 0.5]
    """
    if not len(scores):
        return np.zeros(0, np.float32)
    spread = max(float(np.std(unrelated)) if len(unrelated) > 1 else 0.0, 1e-3)
    found = np.exp((scores - scores.max()) / spread)
    return np.asarray(found / found.sum(), np.float32)


def entropy(shares: Sequence[float]) -> float:
    """Bits of a distribution.

    Examples
    --------
    >>> entropy([0.5, 0.5]), entropy([1.0])
    (1.0, 0.0)
    """
    return 0.0 - sum(share * math.log2(share) for share in shares if share > 0)


def _choices(name: str, items: Sequence[Item], evidence: Float32) -> list[Choice]:
    """Values of an attribute by the share of the evidence that is for them; items without one count against all."""
    found = [Choice(name, value, share) for value, share in _shares(name, items, evidence).items()]
    return sorted(found, key=lambda one: (-one.confidence, one.value))


def _questions(names: Sequence[str], items: Sequence[Item], evidence: Float32) -> list[Question]:
    found = []
    for name in ("category", *names):
        shares = _shares(name, items, evidence)
        total = sum(shares.values())
        # A value per item is a name, not a property: asking for it asks which item is meant.
        if total < COVERED or len(shares) < 2 or len(shares) >= max(len(items), 3):
            continue
        options = sorted(shares, key=lambda value: (-shares[value], value))[:OPTIONS]
        bits = entropy([share / total for share in shares.values()]) * min(total, 1.0)
        if bits > 0.05:
            # Values with commas of their own are kept apart by semicolons.
            mark = "; " if any("," in option for option in options) else ", "
            text = f"Which {name}: {mark.join(options[:-1])} or {options[-1]}?"
            found.append(Question(text, name, tuple(options), bits))
    return sorted(found, key=lambda one: (-one.bits, one.attribute))[:QUESTIONS]


def _shares(name: str, items: Sequence[Item], evidence: Float32) -> dict[str, float]:
    shares: dict[str, float] = defaultdict(float)
    for item, weight in zip(items, evidence.tolist(), strict=True):
        own = (item.category,) * bool(item.category) if name == "category" else ()
        values = own or item.attributes.get(name, ())
        for value in values:
            shares[value] += weight / len(values)
    return dict(shares)


def _why(
    confidence: float,
    threshold: float,
    relevance: float,
    agreement: float,
    calibrated: Confidence | None,
) -> str:
    basis = f", measured on {calibrated.n} cases," if calibrated else ""
    return (
        f"confidence {confidence:.2f}{basis} is below {threshold:.2f}: "
        f"the best item has a relevance of {relevance:.2f}, and {agreement:.2f} of the evidence agrees on a category"
    )
