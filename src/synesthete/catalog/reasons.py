"""Why an item answers a query: units of its picture, concepts that both are near, words that both have.

The embedding of a picture is, but for a rest, a weighted sum of the answers of the units of the last block
(`Reference.path`; for a ModifiedResNet its weights are those of the model's own value path, otherwise they are fitted).
So the cosine of a query and an item's picture is a sum over units, too: what each adds is the weight that the query
gives to it times how far its answer lies from its mean over the catalogue.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from synesthete.catalog.answers import Reason
from synesthete.catalog.snapshot import Snapshot
from synesthete.catalog.space import PICTURE_WEIGHT, PRIOR, TEXT_WEIGHT
from synesthete.catalog.texts import text_of, words_of

Float32 = npt.NDArray[np.float32]

NEAR = 2.0  # standard deviations over the concepts, on both sides
SHOWN_WORDS = 5


def unit_shares(snapshot: Snapshot, query: Float32, rows: Sequence[int]) -> Float32:
    """What each unit of an item's picture adds to its score, `[rows, units]`; zeros without a picture.

    Parameters
    ----------
    query
        Centred, of unit length, `[dim]`.
    """
    chosen = np.asarray(rows, np.int64)
    pictures, texts = snapshot.gather("pictures", chosen), snapshot.gather("texts", chosen)
    space = snapshot.space
    both = PICTURE_WEIGHT * space.pictures(pictures) + TEXT_WEIGHT * space.texts(texts)
    length = np.linalg.norm(both, axis=1) * np.linalg.norm(pictures - space.picture_centre, axis=1)
    scale = PICTURE_WEIGHT / np.where(length > 0, length, np.inf)
    shares = shares_of(snapshot, query, snapshot.gather("units", chosen))
    return np.asarray(shares * scale[:, None], np.float32)


def shares_of(snapshot: Snapshot, query: Float32, units: Float32) -> Float32:
    """What each unit adds to the product of a query and an embedding that is not scaled, `[pictures, units]`."""
    return np.asarray(
        np.nan_to_num(units - unit_centre(snapshot)) * (query @ snapshot.reference.path), np.float32
    )


def unit_centre(snapshot: Snapshot) -> Float32:
    """Mean answer of every unit, `[units]`, as the space has its centre."""
    return snapshot.computed("unit centre", lambda: _unit_centre(snapshot))


def reasons_for(
    snapshot: Snapshot,
    query: Float32,
    rows: Sequence[int],
    *,
    texts: Sequence[str] = (),
    limit: int = 3,
    muted: Collection[str] = (),
) -> list[tuple[Reason, ...]]:
    """Reasons for each row: the first of each kind, then the second, and so on.

    Parameters
    ----------
    texts
        Of the query, for the words that both sides share.
    muted
        Names that are not to be given as reasons.
    """
    if limit < 1 or not len(rows):
        return [() for _ in rows]
    quiet = {name.casefold() for name in muted}
    shares = unit_shares(snapshot, query, rows)
    answers = np.nan_to_num(
        snapshot.gather("units", np.asarray(rows)) - unit_centre(snapshot), nan=-1
    )
    shares = np.where(answers > 0, shares, 0)
    near = _near_concepts(snapshot, query, snapshot.fused(np.asarray(rows)))
    asked = words_of(" ".join(texts))
    items = snapshot.items(list(rows)) if asked else ()
    shared = [_shared(asked, text_of(item)) for item in items] or [() for _ in rows]
    found = []
    for place in range(len(rows)):
        kinds = (
            shared[place],
            [r for r in near[place] if r.text.casefold() not in quiet],
            unit_reasons(snapshot, shares[place], limit, quiet=quiet),
        )
        mixed = [one for some in zip_longest(*kinds) for one in some if one is not None]
        found.append(tuple(mixed[:limit]))
    return found


def unit_reasons(
    snapshot: Snapshot,
    shares: Float32,
    limit: int,
    *,
    sign: int = 1,
    quiet: Collection[str] = (),
) -> list[Reason]:
    """The units that add most (`sign` 1) or take away most (-1), strongest first.

    Parameters
    ----------
    shares
        `[units]`.
    quiet
        Names, in lower case, of units that are not to be given.
    """
    reference = snapshot.reference
    found: list[Reason] = []
    for unit in np.argsort(-sign * shares, kind="stable"):
        if len(found) >= limit or sign * shares[unit] <= 0:
            break
        name, tested = reference.names[unit], bool(reference.tested[unit])
        if name.casefold() in quiet:
            continue
        # An untested name is no more than where the unit's weights point, and is told as that.
        text = name if tested else f"drives towards {name}" if name else "of no known name"
        found.append(Reason("unit", text, float(shares[unit]), f"{snapshot.layer}:{unit}", tested))
    return found


def _near_concepts(snapshot: Snapshot, query: Float32, items: Float32) -> list[list[Reason]]:
    concepts = snapshot.computed(
        "concepts", lambda: snapshot.space.asked_texts(snapshot.reference.concept_vectors)
    )
    asked = concepts @ query
    # One product per item: a product of all rounds differently by how many there are, and so would a hit's reasons.
    told = np.stack([concepts @ item for item in items])
    wanted = (asked - asked.mean()) / max(float(asked.std()), 1e-9)
    spread = np.maximum(told.std(1, keepdims=True), 1e-9)
    both = np.minimum(wanted, (told - told.mean(1, keepdims=True)) / spread)
    found = []
    for row, strength in enumerate(both):
        best = [int(c) for c in np.argsort(-strength, kind="stable")[:5] if strength[c] >= NEAR]
        names = snapshot.reference.concepts
        found.append([Reason("concept", names[c], float(asked[c] * told[row, c])) for c in best])
    return found


def _shared(asked: Sequence[str], text: str) -> tuple[Reason, ...]:
    both = [word for word in asked if word in set(words_of(text))]
    if not both:
        return ()
    told = ", ".join(both[:SHOWN_WORDS])
    return (Reason("words", f"shares the word{'s' * (len(both) > 1)} {told}", float(len(both))),)


def _unit_centre(snapshot: Snapshot) -> Float32:
    total, count = snapshot.sums.units
    prior = PRIOR * snapshot.reference.unit_mean.astype(np.float64)
    return np.asarray((total + prior) / (count + PRIOR), np.float32)
