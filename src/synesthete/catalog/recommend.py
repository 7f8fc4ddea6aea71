"""Recommend: a taste out of likes and dislikes, and items for it that are not all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synesthete._core.arrays import Bool, Float32, Int64
from synesthete.catalog.encode import make_query, words_of
from synesthete.catalog.filters import condition
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.relevance import Kind, kind_of, relevance
from synesthete.catalog.requests import Hits, Recommend
from synesthete.catalog.schema import Reason, Signal
from synesthete.catalog.search import Found, best, check_limit, hits, reasons_for
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.errors import SynestheteError

CANDIDATES = 100  # re-ranked for diversity at the least
MUTED = 0.95  # relevance to a muted concept from which an item is left out
ALIKE = 0.3  # cosine from which a like is given as a reason


@dataclass(frozen=True)
class Profile:
    """A taste.

    Attributes
    ----------
    query
        Its vector, for search.
    likes
        What it was made of: name and vector of every like.
    known
        Ids of the items that it was made of.
    """

    query: Query
    likes: list[tuple[str, Float32]]
    known: frozenset[str]


def recommend(encoder: QueryEncoder, request: Recommend) -> Hits:
    """Items for a taste, without those it was made of.

    Raises
    ------
    SynestheteError
        No like at all, an unknown item, a number out of range.
    """
    limit, diversity, mute = request.limit, request.diversity, request.mute
    check_limit(limit, request.cut)
    if not 0 <= diversity <= 1:
        raise SynestheteError(f"the diversity is {diversity}, expected 0 to 1")
    snapshot = encoder.snapshot
    muted = [encoder.text(text) for text in mute]
    profile = profile_of(
        encoder, request.signals, half_life_days=request.half_life_days, muted=muted
    )
    # A taste is more than its words: the vectors alone say what is near to all of it.
    taste = Query(profile.query.vector, profile.query.kind)
    allowed = condition(snapshot, request.where, sorted(profile.known))
    found = best(snapshot, taste, max(CANDIDATES, 10 * limit), where=allowed)
    found = found.take(np.flatnonzero(~_is_muted(snapshot, found, mute, muted)).tolist())
    order = diversified(found.scores, found.rows.array("fused"), limit, diversity)
    found = found.take(order.tolist())
    why = reasons_for(
        snapshot,
        taste.vector,
        found.rows,
        texts=profile.query.texts,
        limit=request.reasons,
        muted=mute,
    )
    why = [
        (*_liked(profile, vector), *some)[: request.reasons]
        for vector, some in zip(found.rows.array("fused"), why, strict=True)
    ]
    relevances = relevance(snapshot, taste.kind, found.scores)
    return Hits(hits(found, relevances, why, cut=request.cut))


def profile_of(
    encoder: QueryEncoder,
    signals: Sequence[Signal],
    *,
    half_life_days: float = 30.0,
    muted: Sequence[Float32] = (),
) -> Profile:
    """The taste that signals tell: likes weighted and aged, away from dislikes, at right angles to what is muted."""
    if not half_life_days > 0:
        raise SynestheteError(f"the half-life is {half_life_days} days, expected more than 0")
    wanted, weights, unwanted, likes, texts = [], [], [], [], []
    known: set[str] = set()
    images = items = 0
    for signal in signals:
        name, vector = _vector(encoder, signal)
        weight = signal.weight * 0.5 ** (signal.age_days / half_life_days)
        if signal.item is not None:
            known.add(signal.item)
        if signal.side == "dislike":
            unwanted.append((weight, vector))
            continue
        wanted.append(vector)
        weights.append(weight)
        likes.append((name, vector))
        texts += [signal.text] if signal.text else []
        images += signal.image is not None
        items += signal.item is not None
    if not wanted:
        raise SynestheteError(
            "a profile needs at least one like",
            hint="give an item, an image or a phrase that is liked",
        )
    total = make_query(np.stack(wanted), np.array(weights, np.float32))
    for weight, vector in unwanted:
        # A dislike counts as it does in a search, and less when it is old or light beside the likes.
        share = min(1.0, weight / max(sum(weights) / len(weights), 1e-9))
        total = make_query(total[None], np.ones(1, np.float32), vector[None], 0.7 * share)
    for vector in muted:
        total = total - (total @ vector) * vector
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise SynestheteError("the profile is empty without what is muted", hint="mute less")
    kind = Kind(8, True) if items else kind_of(texts, images)
    vector = np.asarray(total / length, np.float32)
    return Profile(Query(vector, kind, tuple(texts)), likes, frozenset(known))


def diversified(scores: Float32, vectors: Float32, limit: int, diversity: float) -> Int64:
    """Places of the `limit` candidates chosen by maximal marginal relevance (Carbonell & Goldstein 1998).

    Each next one has the highest (1 - diversity) × score - diversity × cosine to the nearest one already chosen.

    Parameters
    ----------
    scores
        `[candidates]`.
    vectors
        Unit length, `[candidates, dim]`.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> diversified(np.array([0.9, 0.8, 0.5], np.float32), vectors, 2, 0.5).tolist()
    [0, 2]
    """
    left = np.ones(len(scores), bool)
    nearest = np.full(len(scores), -np.inf, np.float32)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(scores)):
        penalty = np.where(np.isfinite(nearest), nearest, 0)
        value = np.where(left, (1 - diversity) * scores - diversity * penalty, -np.inf)
        one = int(value.argmax())
        chosen.append(one)
        left[one] = False
        nearest = np.maximum(nearest, vectors @ vectors[one])
    return np.array(chosen, np.int64)


def _vector(encoder: QueryEncoder, signal: Signal) -> tuple[str, Float32]:
    """What a signal is called, and its vector in the space."""
    given = [one for one in (signal.item, signal.text, signal.image) if one is not None]
    if len(given) != 1 or signal.side not in ("like", "dislike"):
        raise SynestheteError(
            "a signal is a like or a dislike of one item, text or image", hint="give exactly one"
        )
    if not (signal.weight > 0 and signal.age_days >= 0 and np.isfinite(signal.weight)):
        raise SynestheteError(
            f"a signal of weight {signal.weight} and {signal.age_days} days; "
            "expected a weight above 0 and days of 0 or more"
        )
    if signal.text is not None:
        return f"“{signal.text}”", encoder.text(signal.text)
    if signal.image is not None:
        return "the image", encoder.image(signal.image)
    row = encoder.snapshot.rows([str(signal.item)])
    return str(row.values("title")[0] or signal.item), row.array("fused")[0]


def _is_muted(
    snapshot: Snapshot, items: Found, names: Sequence[str], vectors: Sequence[Float32]
) -> Bool:
    """Items that are about a muted concept, by the model or by their own title and category."""
    found = np.zeros(len(items), bool)
    fused = items.rows.array("fused")
    own = list(zip(items.rows.values("title"), items.rows.values("category"), strict=True))
    for name, vector in zip(names, vectors, strict=True):
        scores = (fused * vector).sum(axis=1)
        found |= relevance(snapshot, kind_of([name], 0), scores) >= MUTED
        words = set(words_of(name))
        for place, texts in enumerate(own):
            found[place] |= bool(words) and words <= set(words_of(" ".join(texts)))
    return found


def _liked(profile: Profile, vector: Float32) -> tuple[Reason, ...]:
    """The like that an item is nearest to."""
    near = [(float(vector @ like), name) for name, like in profile.likes]
    cosine, name = max(near)
    return (Reason(kind="profile", text=f"like {name}", weight=cosine),) if cosine >= ALIKE else ()
