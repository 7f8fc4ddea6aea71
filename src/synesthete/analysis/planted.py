"""Planted truth: probe labels and units whose answer is known, and the best that any test could do on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtr, ndtri

from synesthete._core.arrays import Bool, Float16, Float64, Int64
from synesthete.analysis.design import AT_LEAST, Design
from synesthete.analysis.multimodality import LEVEL
from synesthete.analysis.significance import benjamini_hochberg

# Artists per modality and the share of all concepts that each shows: the shape of the built-in probe set.
COVERAGE = {"photo": (6, 0.12), "drawing": (8, 0.8), "symbol": (8, 0.5), "word": (10, 1.0)}

# Kind of unit -> (share of units, modalities in which it answers to its concept). "two concepts" answers to
# two concepts alike; "three ways" to one concept in all but photos.
KINDS: dict[str, tuple[float, tuple[str, ...]]] = {
    "concept": (0.15, ("photo", "drawing", "symbol", "word")),
    "three ways": (0.10, ("drawing", "symbol", "word")),
    "two concepts": (0.05, ("photo", "drawing", "symbol", "word")),
    "images": (0.10, ("photo", "drawing", "symbol")),
    "drawings and words": (0.10, ("drawing", "word")),
    "symbols and words": (0.10, ("symbol", "word")),
    "word reader": (0.10, ("word",)),
    "drawings": (0.10, ("drawing",)),
    "noise": (0.12, ()),
    "constant": (0.04, ()),
    "dead": (0.04, ()),
}
# Units of the hierarchy: they answer to every concept of one branch, so that no single concept is what they mean.
FAMILIES: dict[str, tuple[float, int]] = {"family of 4": (0.06, 4), "family of 16": (0.04, 16)}
MULTIMODAL_KINDS = ("concept", "three ways", "two concepts")
SILENT_KINDS = ("constant", "dead")


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Units of known answer.

    Attributes
    ----------
    activations
        `[images, units]` float16, what a recording would hold.
    kind
        `[units]` keys of `KINDS`.
    concept, second
        `[units]` codes of the concept answered to (for units that answer to none: the concept that
        the optimum is computed for), and of the other one, or -1.
    latent
        `[images, units]`: response before style and rectification; only the optimum sees it.
    noise
        Standard deviation of the noise; the response to the concept is 1 on average.
    magnitude
        The response to the concept that each image gives, `[images, units]` or one that broadcasts to it.
    """

    activations: Float16
    kind: npt.NDArray[np.str_]
    concept: Int64
    second: Int64
    latent: Float64
    noise: float
    magnitude: Float64 = field(default_factory=lambda: np.ones((1, 1)))

    @property
    def multimodal(self) -> Bool:
        """`[units]`: planted to answer to a concept in three modalities, `word` among them."""
        return np.isin(self.kind, MULTIMODAL_KINDS)


def planted_design(n_concepts: int = 200, *, seed: int = 0) -> Design:
    """Labels of probe images shaped like the built-in set: who drew what, in which modality.

    Parameters
    ----------
    n_concepts
        Concepts; about 17 images each.

    Examples
    --------
    >>> design = planted_design(20)
    >>> design.modalities
    ('photo', 'drawing', 'symbol', 'word')
    """
    generator = np.random.default_rng(seed)
    rows = []
    for modality, (artists, coverage) in COVERAGE.items():
        for artist in range(artists):
            shown = np.flatnonzero(generator.random(n_concepts) < coverage)
            rows += [(f"concept {c:04d}", modality, f"{modality} artist {artist}") for c in shown]
    concepts, modalities, artists_of = zip(*rows, strict=True)
    return Design.of(concepts, modalities, artists_of)


def plant(
    design: Design, n_units: int, *, noise: float, seed: int = 0, rectify: bool = True
) -> Planted:
    """Make units that answer with 1 to their concept in the modalities of their kind, plus noise.

    Every unit prefers some modalities (sd 1), which selectivity must not mistake for a concept, and the artists of
    one half (sd 0.3 of the noise); half of the units are rectified, so that most of
    their images in most modalities tie at zero.

    Parameters
    ----------
    noise
        Standard deviation of the noise; d' = 1 / noise.
    rectify
        Whether half of the units pass a ReLU that closes at one noise above the background.
    """
    generator = np.random.default_rng(seed)
    names = list(KINDS)
    shares = np.array([KINDS[name][0] for name in names])
    kind = np.repeat(names, np.round(shares / shares.sum() * n_units).astype(int) + 1)
    kind = generator.permutation(kind)[:n_units]
    eligible = np.flatnonzero(design.split.eligible)
    pairs = np.stack([generator.choice(eligible, 2, replace=False) for _ in range(n_units)])
    concept = pairs[:, 0]
    second = np.where(kind == "two concepts", pairs[:, 1], -1)
    answers = np.array([[m in KINDS[name][1] for m in design.modalities] for name in names])
    where = answers[[names.index(k) for k in kind]]  # [units, modalities]
    shown = (design.concept[:, None] == concept) | (design.concept[:, None] == second)
    latent = (shown & where[:, design.modality].T) + generator.normal(
        0.0, noise, (design.concept.size, n_units)
    )
    activations = _recorded(latent, kind, design, noise=noise, rectify=rectify, generator=generator)
    return Planted(
        activations=activations,
        kind=kind,
        concept=concept,
        second=second,
        latent=latent,
        noise=noise,
    )


def _recorded(
    signal: Float64,
    kind: npt.NDArray[np.str_],
    design: Design,
    *,
    noise: float,
    rectify: bool,
    generator: np.random.Generator,
) -> Float16:
    """What is recorded of a signal: with preferences for modalities, the style of the halves, half of the units after a ReLU."""
    n_units = signal.shape[1]
    preference = generator.normal(0.0, 1.0, (len(design.modalities), n_units))
    rectified = np.arange(n_units) % 2 == (0 if rectify else 2)
    # A ReLU must not close on a modality.
    preference[:, rectified] = np.maximum(preference[:, rectified], 0.0)
    group = design.modality * 2 + design.split.scoring
    style = generator.normal(0.0, 0.3 * noise, (2 * len(design.modalities), n_units))
    activations = signal + preference[design.modality] + style[group]
    activations[:, rectified] = np.maximum(activations[:, rectified] - noise, 0.0)
    activations[:, kind == "constant"] = 0.7
    activations[:, kind == "dead"] = 0.0
    return activations.astype(np.float16)


@dataclass(frozen=True, kw_only=True)
class World:
    """Features that fire together in one layer: the settings of SynthSAEBench-16k (Chanin and Garriga-Alonso 2026, arXiv 2602.14687).

    Attributes
    ----------
    features, dimensions
        More features than dimensions: their directions overlap (superposition).
    largest, smallest, exponent
        Firing rates by rank: Zipf's law between two bounds.
    roots, branching, depth
        Trees: a feature fires only where its parent does, and of siblings only one.
    rank, scale
        Correlations of the firing: a Gaussian copula with so many factors, whose loadings have this standard deviation.
    often, seldom, spread
        Mean magnitude of the most and the least frequent feature, and of each feature's standard deviation (folded normal, as wide as its mean).
    """

    features: int = 16_384
    dimensions: int = 768
    largest: float = 0.4
    smallest: float = 5e-4
    exponent: float = 0.5
    roots: int = 128
    branching: int = 4
    depth: int = 3
    rank: int = 25
    scale: float = 0.1
    often: float = 5.0
    seldom: float = 4.0
    spread: float = 0.5

    @property
    def nodes(self) -> int:
        """Features of one tree."""
        return sum(self.branching**level for level in range(self.depth + 1))


@dataclass(frozen=True, kw_only=True)
class Superposed:
    """Planted units before noise: what they answer to, and what the other features of the layer add to it.

    Attributes
    ----------
    response
        `[images, units]`: to the unit's own concept alone, 1 on average where it answers.
    interference
        `[images, units]`: from all other features, whose directions overlap with the unit's.
    active
        Mean number of features that fire on an image.
    overlap
        Mean over features of the largest cosine with another one.
    """

    design: Design
    kind: npt.NDArray[np.str_]
    concept: Int64
    second: Int64
    magnitude: Float64
    response: Float64
    interference: Float64
    active: float
    overlap: float

    def at(self, noise: float, *, seed: int = 0, rectify: bool = True) -> Planted:
        """The units with noise of this standard deviation, recorded as in `plant`."""
        generator = np.random.default_rng([seed, 1])
        latent = self.response + generator.normal(0.0, noise, self.response.shape)
        return Planted(
            activations=_recorded(
                latent + self.interference,
                self.kind,
                self.design,
                noise=noise,
                rectify=rectify,
                generator=generator,
            ),
            kind=self.kind,
            concept=self.concept,
            second=self.second,
            latent=latent,
            noise=noise,
            magnitude=self.magnitude,
        )


def superpose(design: Design, n_units: int, *, world: World = World(), seed: int = 0) -> Superposed:
    """Units of known answer in a layer of correlated, hierarchical and superposed features.

    The concepts of the design are leaves of the first trees, four siblings after another; on an image its concept and the ancestors
    fire, no other concept does, and the features of all other trees fire as the world's rates, trees and correlations say, given that
    the concept fires. A unit reads the direction of its own feature, one of `KINDS` or of a branch (`FAMILIES`), so that the overlap with
    whatever else fires is added to its answer.

    Parameters
    ----------
    design
        Labels and halves.
    n_units
        Units.
    world
        Settings.

    Examples
    --------
    >>> small = World(features=340, dimensions=128, roots=4)
    >>> layer = superpose(planted_design(24), 10, world=small)
    >>> layer.response.shape == layer.interference.shape
    True
    """
    generator = np.random.default_rng([seed, 0])
    shares = {name: share for name, (share, _) in KINDS.items()} | {
        name: share for name, (share, _) in FAMILIES.items()
    }
    kind = generator.permutation(_kinds(shares, n_units))[:n_units]
    eligible = np.flatnonzero(design.split.eligible)
    # Frequent concepts have more units, as frequent features have.
    weight = np.arange(1, eligible.size + 1) ** -world.exponent
    weight = generator.permutation(weight / weight.sum())
    pairs = np.stack([generator.choice(eligible, 2, replace=False, p=weight) for _ in kind])
    concept, second = pairs[:, 0], np.where(kind == "two concepts", pairs[:, 1], -1)
    spread = np.abs(generator.normal(world.spread, world.spread, n_units))
    mean = (world.often + world.seldom) / 2
    size = (design.concept.size, n_units)
    magnitude = np.maximum(1 + generator.normal(size=size) * spread / mean, 0.0)
    response = np.where(_answers(design, kind, concept, second), magnitude, 0.0)
    own, others = (
        _directions(count, world.dimensions, generator) for count in (n_units, world.features)
    )
    interference = response @ (own @ own.T - np.eye(n_units))
    active = 0
    for rows in np.array_split(np.arange(size[0]), max(1, size[0] * world.features // 8_000_000)):
        firing = _firing(design.concept[rows], len(design.concepts), world, seed, generator)
        active += int((firing > 0).sum())
        interference[rows] += (sparse.csr_array(firing / mean) @ others) @ own.T
    some = others[: min(world.features, 2000)]
    nearest = np.abs(some @ others.T)
    np.fill_diagonal(nearest, 0.0)
    return Superposed(
        design=design,
        kind=kind,
        concept=concept,
        second=second,
        magnitude=magnitude,
        response=response,
        interference=interference,
        active=active / size[0],
        overlap=float(nearest.max(axis=1).mean()),
    )


def _kinds(shares: Mapping[str, float], n_units: int) -> npt.NDArray[np.str_]:
    parts = np.array(list(shares.values()))
    return np.repeat(list(shares), np.round(parts / parts.sum() * n_units).astype(int) + 1)


def _answers(design: Design, kind: npt.NDArray[np.str_], concept: Int64, second: Int64) -> Bool:
    """`[images, units]`: where a unit answers."""
    found = np.zeros((design.concept.size, kind.size), np.bool_)
    for unit, name in enumerate(kind):
        if name in FAMILIES:
            members = FAMILIES[name][1]
            found[:, unit] = design.concept // members == concept[unit] // members
        else:
            where = np.isin(np.array(design.modalities), KINDS[name][1])[design.modality]
            shown = (design.concept == concept[unit]) | (design.concept == second[unit])
            found[:, unit] = shown & where
    return found


def _directions(count: int, dimensions: int, generator: np.random.Generator) -> Float64:
    found = generator.normal(size=(count, dimensions)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _firing(
    concepts: Int64, n_concepts: int, world: World, seed: int, generator: np.random.Generator
) -> Float64:
    """Magnitudes `[images, features]` of what fires on images of these concepts; the trees come first, each level by level."""
    fixed = np.random.default_rng(
        [seed, 2]
    )  # rates, loadings and magnitudes are the same for all images
    ranks = 1 + fixed.permutation(world.features)
    zipf = ranks**-world.exponent
    least = world.features**-world.exponent
    rate = world.smallest + (zipf - least) / (1 - least) * (world.largest - world.smallest)
    loading = fixed.normal(0.0, world.scale, (world.features, world.rank))
    own = np.sqrt(np.maximum(1 - (loading**2).sum(axis=1), 1e-3))
    often = world.often + (world.seldom - world.often) * (ranks - 1) / max(world.features - 1, 1)
    spread = np.abs(fixed.normal(world.spread, world.spread, world.features))
    leaf = _leaf(concepts, world)
    # The factors given that the concept fires: its own variable is above its threshold.
    above = ndtri(1 - rate[leaf] * (1 - generator.random(concepts.size)))
    factors = generator.normal(size=(concepts.size, world.rank))
    toward = (
        above
        - (loading[leaf] * factors).sum(axis=1)
        - own[leaf] * generator.normal(size=concepts.size)
    )
    factors = factors + loading[leaf] * toward[:, None]
    chance = ndtr((factors @ loading.T - ndtri(1 - rate)) / own)
    fires = generator.random(chance.shape) < chance
    roots = np.arange(world.roots) * world.nodes
    used = -(-n_concepts // world.branching**world.depth)  # trees that hold the concepts
    fires[:, : used * world.nodes] = False
    node = leaf
    while True:
        fires[np.arange(concepts.size), node] = True
        local = node % world.nodes
        if not local.any():
            break
        node = node - local + np.where(local > 0, (local - 1) // world.branching, 0)
    for parent in range(world.nodes):
        first = parent * world.branching + 1
        if first >= world.nodes:
            break
        for root in roots[used:]:
            children = slice(root + first, root + first + world.branching)
            fires[:, children] &= fires[:, [root + parent]]
            fires[:, children] &= fires[:, children].cumsum(axis=1) == 1
    size = often + generator.normal(size=fires.shape).astype(np.float32) * spread
    return np.where(fires, np.maximum(size, 0.0), 0.0).astype(np.float32)


def _leaf(concepts: Int64, world: World) -> Int64:
    """The feature of each concept: leaves of one tree after another."""
    leaves = world.branching**world.depth
    return np.asarray(concepts // leaves * world.nodes + world.nodes - leaves + concepts % leaves)


def optimum(planted: Planted, design: Design) -> Float64:
    """Posterior probability that each unit is multimodal, for one who knows everything but the kind.

    The reader knows each unit's concept, the size of the response, the noise, and the shares of all
    kinds; sees every image, both halves, before style and rectification; and computes the likelihood
    ratio. By the Neyman-Pearson lemma no test of the recorded activations has more recall at the same
    precision than a cut on this number.

    Returns
    -------
    array `[units]`
    """
    evidence = np.zeros((planted.concept.size, len(design.modalities) + len(FAMILIES)))
    size = planted.magnitude
    ratio = (planted.latent - size / 2) * size / planted.noise**2
    for target in (planted.concept, planted.second):
        own = np.where(design.concept[:, None] == target, ratio, 0.0)
        for m in range(len(design.modalities)):
            evidence[:, m] += own[design.modality == m].sum(axis=0)
    smaller = 1
    for column, (_, members) in enumerate(FAMILIES.values(), len(design.modalities)):
        kin = design.concept[:, None] // members == planted.concept // members
        kin &= design.concept[:, None] // smaller != planted.concept // smaller
        evidence[:, column] = np.where(kin, ratio, 0.0).sum(axis=0)
        smaller = members
    names = [name for name in KINDS if name not in SILENT_KINDS]
    shares = [KINDS[name][0] for name in names]
    answers = [
        [m in KINDS[name][1] for m in design.modalities] + [False] * len(FAMILIES) for name in names
    ]
    if np.isin(planted.kind, list(FAMILIES)).any():
        for place, (name, (share, _)) in enumerate(FAMILIES.items()):
            wider = [other <= place for other in range(len(FAMILIES))]
            names, shares = [*names, name], [*shares, share]
            answers.append([True] * len(design.modalities) + wider)
    log_joint = np.log(shares) + evidence @ np.array(answers).T
    weight = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    share = weight / weight.sum(axis=1, keepdims=True)
    posterior = share[:, [name in MULTIMODAL_KINDS for name in names]].sum(axis=1)
    return np.where(np.isin(planted.kind, SILENT_KINDS), 0.0, posterior)


def optimum_by_rule(planted: Planted, design: Design, *, level: float = LEVEL) -> Bool:
    """Units that the best test of each modality would call, held to the rule of `score_units`.

    The reader knows everything but the kind, as in `optimum`, but must show each modality on its own at
    a false discovery rate of `level`, from the images of the scoring half. Each test is the likelihood
    ratio of response 1 against 0 (Neyman-Pearson), which needs no threshold on AUC.

    Returns
    -------
    array `[units]`
    """
    shown = (design.concept[:, None] == planted.concept) | (
        design.concept[:, None] == planted.second
    )
    shown &= design.split.scoring[:, None]
    p = np.full((planted.concept.size, len(design.modalities)), np.nan)
    for m in range(len(design.modalities)):
        images = design.modality == m
        n = shown[images].sum(axis=0)
        total = np.where(shown[images], planted.latent[images], 0.0).sum(axis=0)
        tested = design.split.testable[m, planted.concept] & ~np.isin(planted.kind, SILENT_KINDS)
        p[tested, m] = ndtr(-total[tested] / (planted.noise * np.sqrt(n[tested])))
    with np.errstate(invalid="ignore"):
        passes = benjamini_hochberg(p) <= level
    assert design.required is not None
    return np.asarray(passes[:, design.required] & (passes.sum(axis=1) >= AT_LEAST), np.bool_)


def best_cut(score: Float64, truth: Bool, *, precision: float = 0.95) -> Bool:
    """The largest set of units, by descending score, whose precision is at least `precision`.

    Examples
    --------
    >>> import numpy as np
    >>> best_cut(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])).tolist()
    [True, True, False]
    """
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    fine = np.flatnonzero(hits / np.arange(1, score.size + 1) >= precision)
    called = np.zeros(score.size, np.bool_)
    called[order[: fine[-1] + 1 if fine.size else 0]] = True
    return called
