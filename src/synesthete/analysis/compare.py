"""Two models, or two layers of one: which units match, and which concepts both have a multimodal unit for.

Units are matched in two ways: by their profiles of mean responses to concepts, for which the two need not have seen the same images, and
by their activations on the images that both were shown. Partners are chosen on one half of the artists and scored on the other. Of an atlas
that keeps a sample of its activations, that sample is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synesthete._core.arrays import Bool, Floating, Int64
from synesthete.analysis.controls import rotated
from synesthete.analysis.design import (
    Design,
    labelled_design,
    labelled_rows,
    readable_rows,
    shuffled,
    tower_of,
)
from synesthete.analysis.matching import (
    LEAST_R,
    LEVEL,
    LabelledLayer,
    Matches,
    Profiles,
    match,
    standardised,
)
from synesthete.analysis.provenance import control_activations
from synesthete.analysis.stability import other_splits
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

LEAST_CONCEPTS, LEAST_IMAGES = 10, 20
IMAGES = 4_000  # of the shared images at most so many are compared, at equal distances
SPLITS = 5


@dataclass(frozen=True, kw_only=True)
class MatchCount:
    """Units of one layer that have a partner in the other.

    Attributes
    ----------
    units, live
        Of the layer, and those of them that vary.
    matched
        Whose partner passes on the scoring half.
    low, high
        The smallest and largest such count over six splits of the artists, that one and `SPLITS` at random.
    random_twin, rotation, shuffled
        As many, where the other layer is that of the other model's random twin (None where it was not recorded), random mixtures of its
        units, or its concepts (its images) are shuffled within each modality and half.
    """

    units: int
    live: int
    matched: int
    low: int
    high: int
    random_twin: int | None
    rotation: int
    shuffled: int


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The units of two layers matched in one way, in both directions.

    Attributes
    ----------
    of_first, of_second
        The matches of the units of either layer; `shared` indexes `points`.
    points
        What profiles were chosen on: names of concepts, or numbers of images in the first atlas.
    scored
        How many concepts, or images, they were scored on.
    first, second
        The counts.
    mutual
        Pairs that pass and are each other's partner.
    """

    of_first: Matches
    of_second: Matches
    points: tuple[str, ...] | tuple[int, ...]
    scored: int
    first: MatchCount
    second: MatchCount
    mutual: int

    def pairs(self, limit: int | None = None) -> list[tuple[int, int, float, str | int]]:
        """Units of the first layer with a partner that passes, the most alike first: unit, partner, r, and the concept (image) shared most."""
        found = self.of_first
        order = np.argsort(-np.nan_to_num(found.r, nan=-2.0), kind="stable")
        return [
            (int(u), int(found.partner[u]), float(found.r[u]), self.points[int(found.shared[u])])
            for u in order[found.passes[order]][:limit]
        ]


@dataclass(frozen=True, kw_only=True)
class ConceptSets:
    """Concepts that could be tested in both, by who has a multimodal unit for them.

    Attributes
    ----------
    both, only_first, only_second, neither
        Names, sorted.
    by_chance, low, high
        How many both would have if each had as many, drawn at random, and the 95 % range of that (hypergeometric).
    p
        Probability of at least as many as there are.
    """

    both: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    neither: tuple[str, ...]
    by_chance: float
    low: int
    high: int
    p: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two layers compared.

    Attributes
    ----------
    layers
        Of the first and of the second atlas.
    models
        Names of their models.
    by_profile, by_activation, concepts
        What was found; None where it could not be computed.
    missing
        Why not, by the same names.
    """

    layers: tuple[str, str]
    models: tuple[str, str]
    by_profile: Matching | None
    by_activation: Matching | None
    concepts: ConceptSets | None
    missing: Mapping[str, str]

    def as_dict(self, limit: int | None = None) -> dict[str, Any]:
        """For JSON, with at most `limit` pairs of either kind."""

        def matching(found: Matching | None) -> dict[str, Any] | None:
            if found is None:
                return None
            kind = "concept" if isinstance(found.points[0], str) else "image"
            return {
                "chosen_on": len(found.points),
                "scored_on": found.scored,
                "first": asdict(found.first),
                "second": asdict(found.second),
                "mutual": found.mutual,
                "pairs": [
                    {"first": f"{self.layers[0]}:{one}", "second": f"{self.layers[1]}:{other}", "r": r, kind: shared}
                    for one, other, r, shared in found.pairs(limit)
                ],
            }  # fmt: skip

        return {
            "layers": list(self.layers),
            "models": list(self.models),
            "least_r": LEAST_R,
            "q": LEVEL,
            "by_profile": matching(self.by_profile),
            "by_activation": matching(self.by_activation),
            "concepts": None if self.concepts is None else asdict(self.concepts),
            "missing": dict(self.missing),
        }


def compare_models(
    first: Atlas,
    second: Atlas | None = None,
    *,
    layer: str | None = None,
    other_layer: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Match the units of two layers, and compare the concepts that they have multimodal units for.

    Parameters
    ----------
    first, second
        The atlases; without the second, two layers of the first.
    layer, other_layer
        Layer of the first and of the second; by default the last main one of each.
    seed
        Of the shuffles, the mixtures and the other splits.

    Raises
    ------
    SynestheteError
        No such layer, layers of different towers, a layer and itself, or nothing that could be compared.
    """
    other = first if second is None else second
    layers = (layer or first.main_layers[-1], other_layer or other.main_layers[-1])
    sides = ((first, layers[0]), (other, layers[1]))
    towers = [tower_of(atlas, name) for atlas, name in sides]
    if towers[0] != towers[1]:
        raise SynestheteError(
            f"{layers[0]} answers to {towers[0]}s and {layers[1]} to {towers[1]}s",
            hint="units of different towers are paired by the analysis: read_by of a neuron",
        )
    if other is first and layers[0] == layers[1]:
        raise SynestheteError(
            f"{layers[0]} of {first.path} would be compared with itself",
            hint="name another atlas, or --other-layer",
        )
    missing: dict[str, str] = {}

    def attempt(name: str, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except SynestheteError as error:
            missing[name] = str(error)
            return None

    pair = _Pair(sides, towers[0], seed)
    found = Comparison(
        layers=layers,
        models=(first.manifest["model"]["name"], other.manifest["model"]["name"]),
        by_profile=attempt("by_profile", pair.by_profile),
        by_activation=attempt("by_activation", pair.by_activation),
        concepts=attempt("concepts", pair.concepts),
        missing=missing,
    )
    if len(missing) == 3:
        raise SynestheteError(
            f"{first.path} and {other.path} cannot be compared: {missing['by_profile']}",
            hint=missing["by_activation"],
        )
    return found


def concept_sets(known: Sequence[set[str]], testable: Sequence[set[str]]) -> ConceptSets:
    """Compare the concepts that two models have units for, among those that could be tested in both.

    Examples
    --------
    >>> found = concept_sets([{"apple", "dog"}, {"apple", "car"}], [set("abcd") | {"apple", "dog", "car"}] * 2)
    >>> found.both, found.only_first, len(found.neither), round(found.by_chance, 2)
    (('apple',), ('dog',), 4, 0.57)
    """
    from scipy.stats import hypergeom  # takes long to import

    shared = testable[0] & testable[1]
    one, other = (names & shared for names in known)
    law = hypergeom(len(shared), len(one), len(other))
    low, high = law.interval(0.95) if shared else (0, 0)
    return ConceptSets(
        both=tuple(sorted(one & other)),
        only_first=tuple(sorted(one - other)),
        only_second=tuple(sorted(other - one)),
        neither=tuple(sorted(shared - one - other)),
        by_chance=len(one) * len(other) / max(len(shared), 1),
        low=int(low),
        high=int(high),
        p=float(law.sf(len(one & other) - 1)) if shared else 1.0,
    )


class _Pair:
    """Two layers of one tower."""

    def __init__(
        self, whole: tuple[tuple[Atlas, str], tuple[Atlas, str]], tower: str, seed: int
    ) -> None:
        self.whole, self.tower, self.seed = whole, tower, seed
        (one, layer), (other, other_layer) = whole
        self.sides = ((one.sampled, layer), (other.sampled, other_layer))

    def by_profile(self) -> Matching:
        self._dense()
        labelled = [
            (atlas, layer, *labelled_design(atlas, purpose="matches", tower=self.tower))
            for atlas, layer in self.sides
        ]
        values = [np.asarray(atlas.activations(layer)[rows]) for atlas, layer, rows, _ in labelled]
        designs = self._designs(labelled[0][3], labelled[1][3])
        both = [LabelledLayer(*one[:3], design) for one, design in zip(labelled, designs[0], strict=True)]  # fmt: skip
        concepts = sorted(set.intersection(*(one.shown() for one in both)))
        if len(concepts) < LEAST_CONCEPTS:
            raise SynestheteError(
                f"{len(concepts)} concepts are shown to both by artists of both halves; profiles need {LEAST_CONCEPTS}"
            )

        def profiles(number: int, values: Floating, design: Design | None = None) -> Profiles:
            one = both[number]
            some = one if design is None else LabelledLayer(one.atlas, one.layer, one.rows, design)
            return some.profiles(values, concepts)

        codes = shuffled(both[1].design, self.seed)
        return self._matching(
            [[profiles(n, values[n], split[n]) for n in (0, 1)] for split in designs],
            shuffled_second=both[1].profiles(values[1], concepts, codes),
            mixed=[profiles(n, self._mixed(values[n], n)) for n in (0, 1)],
            twins=[None if (twin := both[n].twin()) is None else profiles(n, twin) for n in (0, 1)],
            points=tuple(concepts),
            scored=len(concepts),
        )

    def by_activation(self) -> Matching:
        self._dense()
        here, there = shared_rows(*(hashes(atlas, self.tower) for atlas, _ in self.sides))
        step = max(1, -(-len(here) // IMAGES))
        rows = (here[::step], there[::step])
        splits = self._halves(rows[0])
        fewest = min(min(int(one.sum()), int((~one).sum())) for one in splits)
        if fewest < LEAST_IMAGES:
            raise SynestheteError(
                f"both were shown {len(here)} images, of one half of the artists {fewest}; {LEAST_IMAGES} of each half are needed"
            )

        def profiles(values: Floating, scoring: Bool = splits[0]) -> Profiles:
            return [
                standardised(values[half].astype(np.float32).T, axis=1)
                for half in (~scoring, scoring)
            ]

        values, twins = [], []
        for (atlas, layer), at in zip(self.sides, rows, strict=True):
            values.append(np.asarray(atlas.activations(layer)[at]))
            twin = control_activations(atlas, layer)
            twins.append(None if twin is None else profiles(np.asarray(twin[at])))
        return self._matching(
            [[profiles(one, scoring) for one in values] for scoring in splits],
            shuffled_second=profiles(values[1][self._shuffled(rows[0], splits[0])]),
            mixed=[profiles(self._mixed(values[n], n)) for n in (0, 1)],
            twins=twins,
            points=self._in_whole(rows[0][~splits[0]]),
            scored=int(splits[0].sum()),
        )

    def concepts(self) -> ConceptSets:
        known, eligible = [], []
        for atlas, layer in self.whole:
            if not atlas.analysed:
                raise SynestheteError(
                    f"{atlas.path} is not analysed", hint=f"synesthete analyze {atlas.path}"
                )
            known.append(multimodal_concepts(atlas, [layer]))
            eligible.append(eligible_concepts(atlas, self.tower))
        return concept_sets(known, eligible)

    def _dense(self) -> None:
        for atlas, _ in self.sides:
            if not atlas.manifest["dense"]:
                raise SynestheteError(
                    f"{atlas.path} keeps no activations of single images, nor a sample of them",
                    hint="record it again, with a sample",
                )

    def _in_whole(self, rows: Int64) -> tuple[int, ...]:
        """Numbers in the first atlas of images of its sample."""
        whole, some = self.whole[0][0], self.sides[0][0]
        if some is whole:
            return tuple(rows.tolist())
        place = {text: row for row, text in enumerate(hashes(whole, self.tower)) if text}
        own = hashes(some, self.tower)
        return tuple(place[own[row]] for row in rows.tolist())

    def _mixed(self, values: Floating, number: int) -> Floating:
        return rotated(values, seed=self.seed + number, standardised=True)

    def _designs(self, first: Design, second: Design) -> list[tuple[Design, Design]]:
        """The halves of the first, and others; an artist (or an image of an unknown one) is in the same half of both."""
        (one, _), (other, _) = self.sides
        if other is one:
            return [(d, d) for d in (first, *other_splits(first, SPLITS, seed=self.seed))]
        mine, theirs = (_keys(a, labelled_rows(a, self.tower)) for a in (one, other))
        found = []
        for number, design in enumerate((first, *other_splits(first, SPLITS, seed=self.seed))):
            side = dict(zip(mine, design.split.scoring.tolist(), strict=True))
            own = second if number == 0 else other_splits(second, number, seed=self.seed)[-1]
            scoring = [side.get(key, at) for key, at in zip(theirs, own.split.scoring.tolist(), strict=True)]  # fmt: skip
            found.append((design, second.scored_on(np.array(scoring, np.bool_))))
        return found

    def _halves(self, here: Int64) -> list[Bool]:
        """Which images of the first atlas score, in its own halves and in others; images without a known artist go by their hash."""
        atlas = self.sides[0][0]
        keys = _keys(atlas, here)
        digests = [atlas.probes["sha256"][int(row)].as_py() for row in here]
        designs: list[Design | None] = [None] * (SPLITS + 1)
        with suppress(SynestheteError):  # no labels, or a single artist
            design = labelled_design(atlas, purpose="matches", tower=self.tower)[1]
            designs = [design, *other_splits(design, SPLITS, seed=self.seed)]
        labelled = _keys(atlas, labelled_rows(atlas, self.tower))
        found = []
        for number, one in enumerate(designs):
            side = {} if one is None else dict(zip(labelled, one.split.scoring.tolist(), strict=True))  # fmt: skip
            scoring = [
                side.get(key, int(digest[-1 - number], 16) % 2 == 1)
                for key, digest in zip(keys, digests, strict=True)
            ]
            found.append(np.array(scoring, np.bool_))
        return found

    def _shuffled(self, here: Int64, scoring: Bool) -> Int64:
        """Images exchanged within each modality and half: what matches by modality alone still does."""
        names = self.sides[0][0].probes["modality"].to_pylist()
        kind = np.unique([f"{names[row]} {at}" for row, at in zip(here, scoring, strict=True)], return_inverse=True)[1]  # fmt: skip
        order = np.arange(len(here))
        generator = np.random.default_rng([self.seed, 1])
        for one in range(int(kind.max()) + 1):
            rows = np.flatnonzero(kind == one)
            order[rows] = generator.permutation(rows)
        return order

    def _matching(
        self,
        splits: Sequence[Sequence[Profiles]],
        *,
        shuffled_second: Profiles,
        mixed: Sequence[Profiles],
        twins: Sequence[Profiles | None],
        points: tuple[str, ...] | tuple[int, ...],
        scored: int,
    ) -> Matching:
        first, second = own = splits[0]
        found = (match(first, second), match(second, first))
        at_random = (match(first, shuffled_second), match(shuffled_second, first))
        counts = []
        for number, matches in enumerate(found):
            twin = twins[1 - number]
            others = [int(match(one[number], one[1 - number]).passes.sum()) for one in splits[1:]]
            counts.append(
                MatchCount(
                    units=len(matches.partner),
                    live=int((matches.partner >= 0).sum()),
                    matched=(matched := int(matches.passes.sum())),
                    low=min(matched, *others),
                    high=max(matched, *others),
                    random_twin=None if twin is None else int(match(own[number], twin).passes.sum()),
                    rotation=int(match(own[number], mixed[1 - number]).passes.sum()),
                    shuffled=int(at_random[number].passes.sum()),
                )
            )  # fmt: skip
        of_first, of_second = found
        back = of_second.partner[of_first.partner] == np.arange(len(of_first.partner))
        return Matching(
            of_first=of_first,
            of_second=of_second,
            points=points,
            scored=scored,
            first=counts[0],
            second=counts[1],
            mutual=int((back & of_first.passes).sum()),
        )


def multimodal_concepts(atlas: Atlas, layers: Sequence[str]) -> set[str]:
    """Concepts that a multimodal unit of one of these layers stands for."""
    found: set[str] = set()
    for layer in layers:
        table = atlas.neuron_table(layer)
        columns = (table[key].to_pylist() for key in ("concept", "multimodal"))
        found |= {concept for concept, passes in zip(*columns, strict=True) if passes}
    return found


def eligible_concepts(atlas: Atlas, tower: str = "image") -> set[str]:
    """Concepts that a unit could be multimodal for, on the probe images of an atlas that were analysed."""
    _, design = labelled_design(atlas.sampled, purpose="concepts", tower=tower)
    design.require_testable()
    return {design.concepts[code] for code in np.flatnonzero(design.split.eligible)}


def hashes(atlas: Atlas, tower: str = "image") -> list[str]:
    """SHA-256 of each readable image (or text); empty for the others."""
    readable = set(readable_rows(atlas, tower).tolist())
    column = atlas.probes["sha256"].to_pylist()
    return [str(one or "") if row in readable else "" for row, one in enumerate(column)]


def shared_rows(first: list[str], second: list[str]) -> tuple[Int64, Int64]:
    """Rows of two lists that hold the same text, in the order of the first.

    Examples
    --------
    >>> [rows.tolist() for rows in shared_rows(["a", "", "b", "c"], ["c", "", "a"])]
    [[0, 3], [2, 0]]
    """
    place = {text: row for row, text in enumerate(second) if text}
    pairs = [(row, place[text]) for row, text in enumerate(first) if text in place]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _keys(atlas: Atlas, rows: Int64) -> list[str]:
    """Artists of images; where one is unknown, the image's hash."""
    artists, digests = (atlas.probes[key].to_pylist() for key in ("artist", "sha256"))
    return [f"artist {artists[row]}" if artists[row] else str(digests[row]) for row in rows]
