"""Names that are too narrow: what a concept is a kind of, and whether a unit means the concept or the kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from synesthete._core.arrays import Bool, Floating, Int64
from synesthete.analysis.multimodality import LEVEL
from synesthete.analysis.naming.candidates import (
    Candidates,
    Images,
    Tested,
    balanced_auc,
    interval,
    mean_known,
    precision_of,
)

LEAST_MEMBERS = 3  # concepts of a hypernym: the named one and two siblings
HYPERNYM = "hypernym"  # as a method: how such a name was proposed
LARGEST_SHARE = 1 / 8  # of all concepts; what has more of them says nothing


@dataclass(frozen=True)
class Hypernym:
    """What some concepts are kinds of: its name, and the numbers of those concepts."""

    name: str
    members: tuple[int, ...]


Chains = Sequence[Sequence[Hypernym]]


def hypernyms(concepts: Sequence[str], families: Mapping[str, str]) -> list[list[Hypernym]]:
    """Each concept's hypernyms in WordNet 3.0 that at least three of the concepts lie under, the nearest first.

    Each has more members than the one before, the last at most an eighth of all concepts. A concept of several senses is taken in
    the one that most of its probe family shares a hypernym with. One that WordNet lacks has its family for a hypernym.

    Parameters
    ----------
    families
        Concept → family in the probe set.

    Examples
    --------
    >>> instruments = ["piano", "violin", "trumpet"]
    >>> families = dict.fromkeys(instruments, "music") | {f"xy{i}": "" for i in range(21)}
    >>> [one.name for one in hypernyms([*families], families)[0]]
    ['musical instrument']
    """
    from synesthete.analysis.families.definitions import wordnet

    net = wordnet()
    titles = {number: name for name, number in net.number.items()}
    senses = [[[s for s, _ in net.above(one)] for one, _ in net.of(c)] for c in concepts]
    family_of = [families.get(concept, "") for concept in concepts]
    chosen = _senses(senses, family_of)
    members: dict[int, list[int]] = {}
    for i, above in enumerate(chosen):
        for synset in above:
            members.setdefault(synset, []).append(i)
    most = LARGEST_SHARE * len(concepts)
    chains = []
    for above, family in zip(chosen, family_of, strict=True):
        chain: list[Hypernym] = []
        for synset in above[1:]:
            enough = max(LEAST_MEMBERS, len(chain[-1].members) + 1 if chain else 0)
            if synset in titles and enough <= len(members[synset]) <= most:
                name = titles[synset].rsplit(".", 2)[0].replace("_", " ")
                chain.append(Hypernym(name, tuple(members[synset])))
        same = tuple(i for i, other in enumerate(family_of) if family and other == family)
        if not above and LEAST_MEMBERS <= len(same) <= most:
            chain.append(Hypernym(family, same))
        chains.append(chain)
    return chains


def _senses(senses: Sequence[Sequence[list[int]]], family_of: Sequence[str]) -> list[list[int]]:
    """Of each concept's senses, as synsets from its own upwards, the one that its family shares most; [] where it has none."""
    everywhere: Counter[int] = Counter()
    within: dict[str, Counter[int]] = {}
    for some, family in zip(senses, family_of, strict=True):
        synsets = {synset for above in some for synset in above}
        everywhere.update(synsets)
        within.setdefault(family, Counter()).update(synsets)
    sizes = Counter(family for some, family in zip(senses, family_of, strict=True) if some)
    known = sum(sizes.values())

    def shared(above: list[int], family: str) -> tuple[float, int]:
        """The largest share of the family under a synset beyond the share of the others, and how near that synset is."""
        own, others = max(sizes[family], 1), max(known - sizes[family], 1)
        beyond = [
            round((within[family][s] - 1) / own - (everywhere[s] - within[family][s]) / others, 2)
            for s in above
        ]
        return max(beyond), -beyond.index(max(beyond))

    return [
        max(some, key=lambda above: shared(above, family)) if some else []
        for some, family in zip(senses, family_of, strict=True)
    ]


def narrowed(
    activations: Floating,
    images: Images,
    found: Candidates,
    tested: Tested,
    *,
    chains: Chains,
    at: float,
    precision: float,
) -> tuple[Candidates, Tested, Bool, list[Hypernym]]:
    """Keep a name where the unit prefers it to its siblings; else its hypernym, where that predicts better and holds.

    From the name upwards: the images of a level are compared with those of its siblings, the other members of the next level
    (balanced AUC on held-out images, p at most 1 %). The first level that the unit prefers, or the last, is its name if it holds:
    AUC, p and average precision as for any name, and of a hypernym more average precision than the name's. Where a member holds, its
    hypernyms do not.

    Parameters
    ----------
    activations, images
        `[len(images.rows), units]` and the images of each concept, of the half that no name was chosen on.
    found, tested
        Candidates and their test.
    chains
        Hypernyms of each concept, nearest first.
    at, precision
        AUC and average precision that a name needs.

    Returns
    -------
    tuple
        The candidates and their test, hypernyms in the place of names given up; which of them hold `[units, kept]`; and the hypernyms,
        whose numbers follow those of the concepts.
    """
    concepts = images.sets.shape[0]
    word, held = found.word.copy(), tested.held(at)
    values = {key: getattr(tested, key).copy() for key in ("auc", "low", "high", "ap")}
    kept, method = tested.held(at, precision), found.method.copy()
    numbers: dict[Hypernym, int] = {}
    for concept in np.unique(found.word[held]).tolist():
        chain = chains[concept]
        if not chain:
            continue
        units, slots = np.nonzero(held & (found.word == concept))
        least, passes = tested.precision[units, slots], kept[units, slots]
        kept[units, slots] = False
        for level, members in enumerate([(concept,), *(one.members for one in chain)]):
            mine = np.asarray(activations[:, units])
            if level:
                own = _one_set(images, _union(images, members), np.arange(len(images.rows)))
                ap = precision_of(mine, own, np.zeros((len(units), 1), np.int64))[:, :, 0]
                mean = mean_known(ap)
                passes = (mean >= precision) & (mean > least)
                if passes.any():
                    result = balanced_auc(mine, own)
                    passes &= (result.auc[:, 0] >= at) & (result.p[:, 0] <= LEVEL)
            prefers = np.ones(len(units), np.bool_)
            if level < len(chain):
                siblings = tuple(set(chain[level].members) - set(members))
                prefers = _prefers(mine, images, members, siblings)
            good = prefers & passes
            rows = units[good], slots[good]
            kept[rows] = True
            if level and good.any():
                word[rows] = concepts + numbers.setdefault(chain[level - 1], len(numbers))
                method[rows] = len(found.methods)
                values["auc"][rows] = result.auc[good, 0]
                values["low"][rows], values["high"][rows] = interval(
                    result.auc[good, 0], result.error[good, 0]
                )
                values["ap"][:, units[good], slots[good]] = ap[:, good]
            units, slots, least = units[~prefers], slots[~prefers], least[~prefers]
            if not len(units):
                break
    # A hypernym of which a member holds is no name of the unit; one that several candidates led to counts once.
    for kind, code in numbers.items():
        named = kept & np.isin(word, kind.members)
        kept &= ~((word == concepts + code) & named.any(axis=1, keepdims=True))
    for slot in range(1, word.shape[1]):
        kept[:, slot] &= ~(kept[:, :slot] & (word[:, :slot] == word[:, [slot]])).any(axis=1)
    methods = (*found.methods, HYPERNYM)
    changed = replace(found, word=word, method=method, methods=methods)
    return changed, replace(tested, **values), kept, list(numbers)


def _union(images: Images, members: Sequence[int]) -> Bool:
    """`[images]`: which are of any member."""
    found, sets = np.zeros(len(images.rows), np.bool_), images.sets
    for one in members:
        found[sets.indices[sets.indptr[one] : sets.indptr[one + 1]]] = True
    return found


def _one_set(images: Images, own: Bool, rows: Int64) -> Images:
    sets = sparse.csr_array(own[rows][None].astype(np.float64))
    return Images(images.rows[rows], images.modality[rows], sets)


def _prefers(
    activations: Floating, images: Images, members: Sequence[int], siblings: Sequence[int]
) -> Bool:
    """`[units]`: images of the members excite the unit more than those of the siblings."""
    own = _union(images, members)
    rows = np.flatnonzero(own | _union(images, siblings))
    result = balanced_auc(activations[rows], _one_set(images, own, rows))
    return np.asarray((result.auc[:, 0] > 0.5) & (result.p[:, 0] <= LEVEL))
