"""Planted truth: probe labels and units whose answer is known, and the best that any test could do on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

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
        Standard deviation of the noise; the response to the concept is 1.
    """

    activations: Float16
    kind: npt.NDArray[np.str_]
    concept: Int64
    second: Int64
    latent: Float64
    noise: float

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
    preference = generator.normal(0.0, 1.0, (len(design.modalities), n_units))
    rectified = np.arange(n_units) % 2 == (0 if rectify else 2)
    # A ReLU must not close on a modality.
    preference[:, rectified] = np.maximum(preference[:, rectified], 0.0)
    group = design.modality * 2 + design.split.scoring
    style = generator.normal(0.0, 0.3 * noise, (2 * len(design.modalities), n_units))
    activations = latent + preference[design.modality] + style[group]
    activations[:, rectified] = np.maximum(activations[:, rectified] - noise, 0.0)
    activations[:, kind == "constant"] = 0.7
    activations[:, kind == "dead"] = 0.0
    return Planted(
        activations=activations.astype(np.float16),
        kind=kind,
        concept=concept,
        second=second,
        latent=latent,
        noise=noise,
    )


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
    evidence = np.zeros((planted.concept.size, len(design.modalities)))
    for target in (planted.concept, planted.second):
        shown = design.concept[:, None] == target
        ratio = np.where(shown, (planted.latent - 0.5) / planted.noise**2, 0.0)
        for m in range(len(design.modalities)):
            evidence[:, m] += ratio[design.modality == m].sum(axis=0)
    names = [name for name in KINDS if name not in SILENT_KINDS]
    answers = np.array([[m in KINDS[name][1] for m in design.modalities] for name in names])
    prior = np.log([KINDS[name][0] for name in names])
    log_joint = prior + evidence @ answers.T
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
