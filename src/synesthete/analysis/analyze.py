"""Analyse every layer of an atlas, with its controls, and write neurons, selectivity and counts into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Float64, Floating, Int64
from synesthete._core.progress import Progress, Steps
from synesthete.analysis import unseen_artists
from synesthete.analysis.concept_tests import ConceptTests, run_concept_tests
from synesthete.analysis.controls import (
    CURVE,
    KEYS,
    control_counts,
    counts,
    measured,
)
from synesthete.analysis.design import (
    AT_LEAST,
    REQUIRED,
    REQUIRED_MODALITY,
    Design,
    labelled_rows,
    of_tower,
    readable_rows,
    shuffled,
    tower_of,
)
from synesthete.analysis.dictionary import dictionary_controls
from synesthete.analysis.image_statistics import image_statistics
from synesthete.analysis.multimodality import DEFAULT, Criteria, Scores, is_constant, score_units
from synesthete.analysis.provenance import RANDOM_TWIN, twin_activations
from synesthete.analysis.stability import stability
from synesthete.analysis.text_controls import BAG_OF_WORDS, Texts, reading
from synesthete.analysis.towers import pair_counts
from synesthete.atlas import (
    Atlas,
    Statistics,
    clear_analysis,
    open_atlas,
    write_analysis,
    write_neurons,
    write_selectivity,
)
from synesthete.atlas.manifest import TWINS, WORD_ORDER
from synesthete.atlas.summary import CONTROLS, STABILITY

SUFFIXES = ("", *(f"_{kind}" for kind in CONTROLS))
NEVER_TRAINED = "never_trained"
STEPS = 3  # of progress, per layer: the model, its control, tables written
KEPT_AUC = 0.8  # a row of selectivity.parquet has at least this AUC in two modalities ...
KEPT_BEST = 5  # ... or is one of the unit's best concepts


def analyze(
    atlas_path: str | Path,
    *,
    threshold: float = DEFAULT.auc,
    q: float = DEFAULT.q,
    ap: float = DEFAULT.ap,
    cell: float = DEFAULT.cell,
    seed: int = 0,
    test: str | Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Find the multimodal neurons of a recorded atlas and write them into it.

    Where multimodality cannot be tested on the probe images (no written words, too few modalities, artists or
    concepts), units get what the images allow: concept and AUC in the available modalities, or
    statistics alone. The counts are null then, and `not_tested` in the notes gives the reason and what to add.

    Writes `neurons.parquet` and `selectivity.parquet` of every layer and the section `analysis` of the
    manifest (docs/selectivity.md), replacing an earlier analysis. Deterministic: the same atlas and arguments give the same bytes.

    Parameters
    ----------
    atlas_path
        An atlas recorded with the dense matrix, or with a sample: then the sample is analysed, and the section `sample` says so.
    threshold, q
        AUC and false discovery rate at which a modality passes: a unit that passes in three, `word` among them, is selective.
        A layer that reads texts needs `description` or `anecdote` instead, and one that reads both those and an image.
    ap, cell
        Average precision from which such a unit is multimodal, and a concept cell, in the same three modalities.
    seed
        Of the shuffled labels, the rotations, and the splits and resamples of `stability`.
    test
        An atlas of the same model, recorded on images of other artists (`concepts-test`): units of layers that read images are counted
        on those too, with concepts chosen on all images of this one (`multimodal_test`). Nothing else depends on it.
    progress
        Called with (steps done, total steps).

    Raises
    ------
    SynestheteError
        When a threshold is out of range, an atlas lacks the dense matrix and a sample, or `test` is of another model or of the same artists.
    """
    criteria = Criteria(threshold, q, ap, cell)
    whole = open_atlas(atlas_path)
    atlas = whole.sampled
    test_atlas = None if test is None else open_atlas(test).sampled
    if test_atlas is not None:
        unseen_artists.require_same_model(atlas, test_atlas)
    data = {layer: LayerData.of(atlas, layer, whole.statistics(layer)) for layer in atlas.layers}
    of_towers = {tower: Labelled.of(atlas, tower, seed) for tower in _towers(atlas)}
    main = of_towers[tower_of(atlas, atlas.main_layers[0])]
    clear_analysis(atlas_path)
    steps = Steps(progress, STEPS * len(data))
    by_layer: dict[str, dict[str, Any]] = {}
    for layer, one in data.items():
        labelled = of_towers[tower_of(atlas, layer)]
        found = analyze_layer(
            atlas, one, labelled, criteria=criteria, seed=seed, step=steps.advance
        )
        by_layer[layer] = found.counts
        if test_atlas is not None and labelled.design.tower == "image":
            by_layer[layer] |= unseen_artists.counts_on_test(
                labelled.probes,
                np.asarray(one.activations[labelled.rows]),
                test_atlas,
                layer,
                criteria,
            )
        if labelled is not main:
            by_layer[layer]["design"] = labelled.notes()
        write_neurons(atlas_path, layer, found.neurons)
        write_selectivity(atlas_path, layer, found.selectivity)
        steps.advance()
    pairs = pair_counts(atlas, seed=seed)
    write_analysis(
        atlas_path,
        {
            "threshold": threshold,
            "q": q,
            "ap": ap,
            "cell": cell,
            "curve": list(CURVE),
            "seed": seed,
            "layers": by_layer,
            **({} if pairs is None else {"pairs": pairs}),
            **({} if atlas is whole else {"sample": _sample(atlas, whole)}),
            **main.notes(),
        },
    )


@dataclass(frozen=True, kw_only=True)
class LayerData:
    """What was recorded of a layer.

    Attributes
    ----------
    activations, twins
        `[images, units]` of all images and texts of the atlas, and of the networks that know nothing, by name.
    statistics
        Of the units.
    more
        Activations of further controls by name: of shuffled texts, and those of a sparse dictionary.
    """

    activations: Floating
    twins: Mapping[str, Floating]
    statistics: Statistics
    more: Mapping[str, Floating]

    @classmethod
    def of(cls, atlas: Atlas, layer: str, statistics: Statistics) -> LayerData:
        """From an atlas; statistics may be of more images than it has."""
        recorded = twin_activations(atlas, layer)
        return cls(
            activations=atlas.activations(layer),
            twins={name: values for name, values in recorded.items() if name in TWINS},
            statistics=statistics,
            more={name: values for name, values in recorded.items() if name not in TWINS}
            | dictionary_controls(atlas, layer),
        )


@dataclass(frozen=True)
class LayerAnalysis:
    """What an analysis found of a layer: its counts for the manifest, and the tables `neurons` and `selectivity`."""

    counts: dict[str, Any]
    neurons: pa.Table
    selectivity: pa.Table


def analyze_layer(
    atlas: Atlas,
    data: LayerData,
    labelled: Labelled,
    *,
    criteria: Criteria,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> LayerAnalysis:
    """Analyse one layer, with its controls; writes nothing.

    Parameters
    ----------
    labelled
        The images and texts that layers of its tower are tested on.
    step
        Called when the model is done, and when its controls are.
    """
    rows, design = labelled.rows, labelled.design
    activations = np.asarray(data.activations[rows])
    (scores,) = score_units(activations, design, criteria=criteria)
    tests = run_concept_tests(
        activations,
        design,
        labelings=labelled.labelings,
        threshold=criteria.auc,
        level=criteria.q,
    )
    sparseness, dead = lifetime_sparseness(activations), is_constant(activations)
    step()
    found: dict[str, Any] = {
        "units": int(dead.size),
        "live_units": int((~dead).sum()),
        "median_sparseness": _median(sparseness),
        "hypotheses": scores.hypotheses,
        "hypotheses_all_images": tests[0].hypotheses,
    }
    if design.problem() is None:
        twins, more = (
            {name: np.asarray(values[rows]) for name, values in some.items()}
            for some in (data.twins, data.more)
        )
        of_images, texts = labelled.statistics, labelled.texts
        found |= measured(
            activations, design, criteria, scores=scores, statistics=of_images, texts=texts
        )
        if texts is not None:
            found["reading"] = _reading(activations, twins | more, design, texts)
            if design.tower == "text":
                more[BAG_OF_WORDS] = texts.bag_of_words(design)
        found |= control_counts(
            activations,
            twins,
            design,
            criteria=criteria,
            seed=seed,
            statistics=of_images,
            texts=texts,
            more=more,
        )
        found |= _never_trained(atlas, labelled.probes, activations, design, criteria)
        twin = twins.get(RANDOM_TWIN)
        found |= _concepts_answered(twin, design, tests, criteria)
        found |= _stability(activations, twin, design, criteria=criteria, seed=seed)
        found |= dict.fromkeys(unseen_artists.KEYS)
    else:
        found |= _no_counts()
    step()
    columns: dict[str, Floating] = {
        "sparseness": sparseness,
        "mean": data.statistics.mean,
        "std": data.statistics.std,
        "maximum": data.statistics.maximum.astype(np.float64),
    }
    neurons = neurons_table(scores, tests[0], design, labelled.families, columns, dead=dead)
    return LayerAnalysis(found, neurons, selectivity_table(tests[0], design))


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The images, texts or both that layers of one tower are tested on.

    Attributes
    ----------
    rows, probes
        Their numbers, and their rows of the atlas's table.
    design
        Of those.
    labelings
        Their concepts, and where multimodality can be tested shuffled ones.
    families
        Concept to family.
    statistics
        Of the images (`image_statistics`), where multimodality can be tested on images alone.
    texts
        Of the texts, where multimodality can be tested with texts.
    images
        How many there are with those that have no label or could not be read.
    """

    rows: Int64
    probes: pa.Table
    design: Design
    labelings: list[Int64]
    families: dict[str, str]
    statistics: Float64 | None
    texts: Texts | None
    images: int

    @classmethod
    def of(cls, atlas: Atlas, tower: str, seed: int) -> Labelled:
        """Those of an atlas; `seed` is of the shuffled labels."""
        rows = labelled_rows(atlas, tower)
        if not rows.size:
            rows = readable_rows(atlas, tower)
        probes = atlas.probes.take(pa.array(rows))
        names = {
            key: probes[key].to_pylist() for key in ("concept", "modality", "artist", "family")
        }
        design = Design.of(
            names["concept"], names["modality"], names["artist"], at_least=1, tower=tower
        )
        labelings = [design.concept]
        tested = design.problem() is None
        if tested:
            labelings.append(shuffled(design, seed))
        return cls(
            rows=rows,
            probes=probes,
            design=design,
            labelings=labelings,
            families=family_of_concepts(names["concept"], names["family"]),
            statistics=image_statistics(atlas, rows) if tested and tower == "image" else None,
            texts=Texts.of(probes["text"].to_pylist(), design)
            if tested and tower != "image"
            else None,
            images=int(of_tower(atlas, tower).sum()),
        )

    def notes(self) -> dict[str, Any]:
        """How they were divided, and why multimodality could not be tested."""
        problem = self.design.problem()
        why = {"not_tested": {"reason": problem.message, "hint": problem.hint}} if problem else {}
        return {**_notes(self.design, self.images), **why}


def _sample(sample: Atlas, whole: Atlas) -> dict[str, int]:
    """Of how many images and texts, among how many, an analysis is."""
    return {"images": sample.probes.num_rows, "of": whole.probes.num_rows}


def _towers(atlas: Atlas) -> list[str]:
    return list(dict.fromkeys(tower_of(atlas, layer) for layer in atlas.layers))


def _reading(
    activations: Floating, controls: Mapping[str, Floating], design: Design, texts: Texts
) -> dict[str, Any]:
    """How a layer reads held-out descriptions and anecdotes, beside its random twin, shuffled words and a bag of words."""
    readers: dict[str, Any] = {"model": activations}
    readers |= {name: controls[name] for name in (RANDOM_TWIN, WORD_ORDER) if name in controls}
    return reading(readers | {BAG_OF_WORDS: texts.words}, design, texts)


def _concepts_answered(
    twin: Floating | None, design: Design, tests: list[ConceptTests], criteria: Criteria
) -> dict[str, Any]:
    """Units that pass for at least one concept, and for more than one, over all images; beside shuffled labels and the random twin."""
    found: dict[str, Any] = {}
    runs: dict[str, ConceptTests | None] = {
        "": tests[0],
        "_shuffled": tests[1],
        f"_{RANDOM_TWIN}": None,
    }
    if twin is not None:
        found[f"median_sparseness_{RANDOM_TWIN}"] = _median(lifetime_sparseness(twin))
        (runs[f"_{RANDOM_TWIN}"],) = run_concept_tests(
            twin, design, threshold=criteria.auc, level=criteria.q
        )
    for name, run in runs.items():
        found[f"answering{name}"] = None if run is None else int((run.n_concepts > 0).sum())
        found[f"polysemantic{name}"] = None if run is None else int((run.n_concepts > 1).sum())
    return found


def _stability(
    activations: Floating,
    twin: Floating | None,
    design: Design,
    *,
    criteria: Criteria,
    seed: int,
) -> dict[str, Any]:
    """How far the model's counts move with other artists, and the random twin's on the same random splits."""
    found: dict[str, Any] = {
        STABILITY: stability(activations, design, criteria=criteria, seed=seed),
        f"{STABILITY}_{RANDOM_TWIN}": None,
    }
    if twin is not None:
        moved = stability(twin, design, criteria=criteria, resamples=0, seed=seed)
        found[f"{STABILITY}_{RANDOM_TWIN}"] = {"splits": moved["splits"]}
    return found


def _never_trained(
    atlas: Atlas, probes: pa.Table, activations: Floating, design: Design, criteria: Criteria
) -> dict[str, Any]:
    """Verdicts with concepts chosen on images that the model was trained on, and scored on those it was not.

    None each where the model's folder does not list what was held out of its training (`held_out.json`, which is about the built-in
    set `concepts`), or where no concept has enough such images.
    """
    # Imported here, since they bring torch with them.
    from synesthete.analysis.zero_shot import held_out_rows
    from synesthete.models.sources import read_held_out

    manifest = atlas.manifest
    keys = ("selective", "multimodal", "concept_cells", "concepts_eligible")
    found: dict[str, Any] = dict.fromkeys(f"{key}_{NEVER_TRAINED}" for key in keys)
    model = str(manifest["model"]["name"])
    built_in = manifest["probes"]["name"] == "concepts"
    if built_in and design.tower == "image" and read_held_out(model):
        other = design.scored_on(held_out_rows(model, probes))
        if other.problem() is None:
            (scores,) = score_units(activations, other, criteria=criteria)
            counted = counts(scores, other, ap=criteria.ap)
            found |= {f"{key}_{NEVER_TRAINED}": counted[key] for key in keys[:3]}
            found[f"concepts_eligible_{NEVER_TRAINED}"] = int(other.split.eligible.sum())
    return found


def _no_counts() -> dict[str, Any]:
    """The same keys where nothing can be counted as multimodal: null, which is another thing than none."""
    answered = (
        f"{kind}{of}"
        for kind in ("answering", "polysemantic")
        for of in ("", f"_{RANDOM_TWIN}", "_shuffled")
    )
    moved = (STABILITY, f"{STABILITY}_{RANDOM_TWIN}")
    keys = (f"{key}{of}" for key in KEYS for of in SUFFIXES)
    return dict.fromkeys([*answered, *moved, *keys])


def _notes(design: Design, images: int) -> Mapping[str, Any]:
    """How the images were divided: what a reader needs to assess or repeat the analysis."""
    split = design.split
    per_modality = {}
    for m, name in enumerate(design.modalities):
        per_modality[name] = {
            "images_selection": int(design.images(m, scoring=False).size),
            "images_scoring": int(design.images(m, scoring=True).size),
            "concepts": int(np.unique(design.concept[design.images(m)]).size),
            "concepts_testable": int(split.testable[m].sum()),
        }
    return {
        "images": int(design.concept.size),
        "images_without_label": images - int(design.concept.size),
        "concepts": len(design.concepts),
        "concepts_eligible": int(split.eligible.sum()),
        "modalities": per_modality,
        "rule": _rule(design.tower),
        "halves": {
            "selection": list(split.selection_artists),
            "scoring": list(split.scoring_artists),
            "images_of_unknown_artist": split.unknown_artist,
        },
    }


def _rule(tower: str) -> dict[str, Any]:
    required: Any = REQUIRED_MODALITY
    if tower != "image":
        required = [list(group) for group in REQUIRED[tower]]
    return {"required": required, "at_least": AT_LEAST, "choice": "stouffer"}


def _median(values: Float64) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def neurons_table(
    scores: Scores,
    tests: ConceptTests,
    design: Design,
    families: Mapping[str, str],
    unit_statistics: Mapping[str, Floating],
    *,
    dead: Bool,
) -> pa.Table:
    """A row per unit: its concept, scores on the scoring half, and how it answers in general.

    Parameters
    ----------
    families
        Concept to family.
    unit_statistics
        Further float columns, `[units]` each: sparseness, mean, std, maximum.
    dead
        `[units]`: constant over the images.

    Returns
    -------
    pyarrow.Table
        Columns of `synesthete.atlas.neurons.COLUMNS`, then `auc_`, `p_` and `q_` per modality, null where
        the concept is not testable. A unit without a concept, as every dead one is, has multimodality null.
    """
    concepts = ["" if code < 0 else design.concepts[code] for code in scores.concept]
    columns: dict[str, pa.Array] = {
        "unit": pa.array(np.arange(dead.size), pa.int32()),
        "concept": pa.array(concepts, pa.string()),
        "family": pa.array([families.get(name, "") for name in concepts], pa.string()),
        "multimodality": _numbers(np.where(scores.concept < 0, np.nan, scores.multimodality)),
        "q": _numbers(scores.unit_q),
        "verdict": pa.array(_verdicts(scores, design), pa.string()),
        "selective": pa.array(scores.selective),
        "multimodal": pa.array(scores.multimodal),
        "concept_cell": pa.array(scores.concept_cell),
        "passed": pa.array(scores.passed, pa.int32()),
        "lower": _numbers(np.where(scores.concept < 0, np.nan, scores.lower)),
        "n_concepts": pa.array(tests.n_concepts, pa.int32()),
        "dead": pa.array(dead),
    }
    columns |= {name: _numbers(values) for name, values in unit_statistics.items()}
    measured = {
        "auc": scores.auc,
        "p": scores.p,
        "q": scores.q,
        "ap": scores.ap,
        "ap_low": scores.ap_low,
        "correlation": scores.correlation,
    }
    for name, values in measured.items():
        for m, modality in enumerate(design.modalities):
            columns[f"{name}_{modality}"] = _numbers(values[:, m])
    for name, counted in (("n", scores.n), ("artists", scores.artists)):
        for m, modality in enumerate(design.modalities):
            columns[f"{name}_{modality}"] = pa.array(counted[:, m], pa.int32())
    return pa.table(columns)


def _verdicts(scores: Scores, design: Design) -> list[str]:
    """The highest verdict of each unit; "untested" where its concept is not testable in enough modalities."""
    tested = ~np.isnan(scores.auc)
    enough = tested.sum(axis=1) >= AT_LEAST
    if design.needed is None or design.problem() is not None:
        enough[:] = False
    else:
        for group in design.needed:
            enough &= tested[:, list(group)].any(axis=1)
    found = np.select(
        [~enough, scores.concept_cell, scores.multimodal, scores.selective],
        ["untested", "concept cell", "multimodal", "selective"],
        default="none",
    )
    return [str(verdict) for verdict in found]


def selectivity_table(tests: ConceptTests, design: Design) -> pa.Table:
    """The (unit, concept) rows worth keeping, measured on all images.

    Kept are rows with AUC at least 0.8 in two modalities and the five concepts of largest mean AUC per
    live unit (over concepts shown in two modalities or more).

    Returns
    -------
    pyarrow.Table
        unit, concept, passes, and per modality `auc_`, `p_`, `q_` (null without images) and `n_`, the number of
        images of the concept. Sorted by unit, then concept.
    """
    kept = _worth_keeping(tests)
    units, concepts = np.nonzero(kept)
    names = pa.array([design.concepts[c] for c in concepts], pa.string())
    columns: dict[str, pa.Array] = {
        "unit": pa.array(units, pa.int32()),
        "concept": names,
        "passes": pa.array(tests.passes[units, concepts]),
    }
    for m, modality in enumerate(design.modalities):
        columns[f"auc_{modality}"] = _numbers(tests.auc[m, units, concepts])
        columns[f"p_{modality}"] = _numbers(tests.p[m, units, concepts])
        columns[f"q_{modality}"] = _numbers(tests.q[m, units, concepts])
        columns[f"n_{modality}"] = pa.array(tests.n_pos[m, concepts], pa.int32())
    return pa.table(columns)


def family_of_concepts(concepts: Iterable[str], families: Iterable[str]) -> dict[str, str]:
    """The family most of a concept's images name; the first by name among equals.

    Examples
    --------
    >>> family_of_concepts(["apple", "apple", "dog"], ["food", "", "animal"])
    {'apple': 'food', 'dog': 'animal'}
    """
    votes: dict[str, Counter[str]] = {}
    for concept, family in zip(concepts, families, strict=True):
        if family:
            votes.setdefault(concept, Counter())[family] += 1
    return {
        concept: min(count, key=lambda name: (-count[name], name))
        for concept, count in sorted(votes.items())
    }


def _worth_keeping(tests: ConceptTests) -> Bool:
    """`[units, concepts]`."""
    live = np.asarray(~np.isnan(tests.p).all(axis=(0, 2)))
    shown = (tests.n_pos > 0).sum(axis=0) >= min(2, tests.n_pos.shape[0])
    with np.errstate(invalid="ignore"):
        selective = np.asarray((tests.auc >= KEPT_AUC).sum(axis=0) >= 2)
    total = np.nansum(tests.auc, axis=0)
    mean = np.where(shown, total / np.maximum((~np.isnan(tests.auc)).sum(axis=0), 1), -1.0)
    best = np.argsort(-mean, axis=1, kind="stable")[:, :KEPT_BEST]
    np.put_along_axis(selective, best, True, axis=1)
    return np.asarray(selective & live[:, None], np.bool_)


def _numbers(values: Floating) -> pa.Array:
    """A float64 column in which NaN is null."""
    return pa.array(values.astype(np.float64), pa.float64(), from_pandas=True)


def lifetime_sparseness(activations: Floating) -> Float64:
    """Lifetime sparseness of each unit: 0 when it answers alike to every image, 1 when to one only.

    S = (1 - mean(r)^2 / mean(r^2)) / (1 - 1/n), with r the activation where positive, else 0, since the
    measure is for rates (Vinje & Gallant 2000, Science 287:1273; a signed reading is rectified).

    Parameters
    ----------
    activations
        `[images, units]`; missing values (NaN) are left out.

    Returns
    -------
    array `[units]`
        NaN for a unit that is never above zero, or has fewer than two images.

    Examples
    --------
    >>> import numpy as np
    >>> lifetime_sparseness(np.array([[1.0, 0.0], [1.0, 4.0]])).tolist()
    [0.0, 1.0]
    """
    result = np.full(activations.shape[1], np.nan)
    for unit in range(activations.shape[1]):
        values = activations[:, unit].astype(np.float64)
        rates = np.maximum(values[~np.isnan(values)], 0.0)
        squares = float((rates**2).mean()) if rates.size > 1 else 0.0
        if squares > 0:
            even = float(rates.mean()) ** 2 / squares
            result[unit] = max(0.0, (1 - even) / (1 - 1 / rates.size))
    return result
