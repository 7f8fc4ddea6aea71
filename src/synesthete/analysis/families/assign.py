"""Assign families to the units of an atlas, by their names and by whole families of images."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from synesthete._core.arrays import Bool
from synesthete._core.progress import Progress, Steps
from synesthete.analysis.design import tower_of
from synesthete.analysis.families.definitions import Families, load_families, published_families
from synesthete.analysis.naming.candidates import Images
from synesthete.analysis.naming.name import (
    NamingTask,
    control_threshold,
    naming_task,
    probe_families,
)
from synesthete.analysis.provenance import RANDOM_TWIN, control_activations
from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.errors import SynestheteError

Row = tuple[str, float, str]  # family, confidence, evidence

POLYSEMANTIC = "polysemantic"
LEAST_CONCEPTS = 5  # of a family, so that its images are more than those of one thing
LEAST_SHARE = 0.5  # of a word's meanings that must lie in a family


def assign_families(
    atlas_path: str | Path,
    *,
    families: str | Path | None = None,
    threshold: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Give the units of an atlas families and write them into it (docs/families.md).

    By **name**: the families of the unit's tested names; names of different families make a unit
    *polysemantic* first of all. By **images**, for units without a name: a family whose images, of all its
    concepts together, the unit separates from others, chosen on one half of the artists and tested on the other
    as names are.

    Parameters
    ----------
    families
        A JSON file instead of the paper's families.
    threshold
        AUC that a family of images needs; by default what at most 5 % of the units of the randomly initialised control reach.
    seed
        Of the shuffled control.

    Returns
    -------
    dict
        The notes that the manifest keeps: under `layers`, for each, `families` (name → `by_name`,
        `by_images`, `random_twin`, `shuffled`), the last two being units that got it by images.

    Raises
    ------
    SynestheteError
        A bad file of families; no names yet; all of `name_neurons`.
    """
    listed = published_families() if families is None else load_families(families)
    atlas = open_atlas(atlas_path)
    if not atlas.concepts:
        raise SynestheteError(
            f"the images of {atlas.path} name no concept, so its neurons can have no names and families",
            hint="record a labelled probe set",
        )
    if "names" not in atlas.manifest:
        raise SynestheteError(
            f"the neurons of {atlas.path} have no names yet",
            hint=f"run: synesthete name {atlas.path}",
        )
    sample = atlas.sampled
    towers = dict.fromkeys(tower_of(atlas, layer) for layer in atlas.layers)
    tasks = {tower: _task(sample, listed, tower) for tower in towers}
    tables, layers = {}, {}
    steps = Steps(progress, 3 * len(atlas.layers))
    for layer in atlas.layers:
        matrix, task = sample.activations(layer), tasks[tower_of(atlas, layer)]
        found, tested = task.named(matrix)
        steps.advance()
        activations = control_activations(sample, layer)
        twin = None if activations is None else task.named(activations)
        steps.advance()
        shuffled = task.named(task.shuffled(matrix, seed))
        steps.advance()
        at, source = control_threshold(threshold, None if twin is None else twin[1])
        rows = _by_name(atlas, layer, listed)
        held = tested.held(at)
        for unit in np.flatnonzero(held[:, 0]).tolist():
            if unit not in rows:
                rows[unit] = [
                    (task.words[word], float(auc), f"images: AUC {auc:.2f}")
                    for word, auc, good in zip(
                        found.word[unit], tested.auc[unit], held[unit], strict=True
                    )
                    if good
                ]
        tables[layer] = _table(rows)
        ways = {
            unit: "by_images" if some[0][2].startswith("images") else "by_name"
            for unit, some in rows.items()
        }
        counts: dict[str, Counter[str]] = {
            name: Counter() for name in (*listed.names, POLYSEMANTIC)
        }
        for unit, some in rows.items():
            counts[some[0][0]][ways[unit]] += 1
        for key, pair in ((RANDOM_TWIN, twin), ("shuffled", shuffled)):
            if pair is not None:
                good = pair[1].held(at)[:, 0]
                for word in pair[0].word[good, 0]:
                    counts[task.words[word]][key] += 1
        keys = ("by_name", "by_images", RANDOM_TWIN, "shuffled")
        layers[layer] = {
            "threshold": at,
            "threshold_from": source,
            "units": int(matrix.shape[1]),
            "with_family": len(rows),
            "families": {
                name: {
                    key: None if key == RANDOM_TWIN and twin is None else some[key] for key in keys
                }
                for name, some in counts.items()
            },
        }
    text = repr(
        [(f.name, f.roots, sorted(f.words), sorted(f.probe_families)) for f in listed.families]
    )
    notes = {
        "source": "paper" if families is None else Path(families).name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": seed,
        "layers": layers,
    }
    write_unit_tables(atlas_path, "families", tables, notes)
    return notes


def _task(atlas: Atlas, listed: Families, tower: str) -> NamingTask:
    """The halves of the labelled images, with the images of each family as the sets."""
    by_concept = naming_task(atlas, "concepts", tower=tower)
    probe_family = probe_families(atlas)
    member = np.zeros((len(listed.names), len(by_concept.words)))
    for i, concept in enumerate(by_concept.words):
        for name, share in listed.of_concept(concept, probe_family.get(concept, "")).items():
            if share >= LEAST_SHARE:
                member[listed.names.index(name), i] = 1.0
    member[member.sum(axis=1) < LEAST_CONCEPTS] = 0.0
    above = sparse.csr_array(member)

    def sets(half: Images) -> Images:
        return Images(half.rows, half.modality, sparse.csr_array(above @ half.sets))

    return NamingTask(
        words=listed.names,
        chosen_on=sets(by_concept.chosen_on),
        tested_on=sets(by_concept.tested_on),
        embeddings=None,
    )


def _by_name(atlas: Atlas, layer: str, listed: Families) -> dict[int, list[Row]]:
    """Families of the units that have names."""
    names = atlas.unit_table(layer, "names")
    if names is None:
        return {}
    probe_family = probe_families(atlas)
    found: dict[int, list[Row]] = {}
    for row in names.to_pylist():
        name = row["name"]
        if name in probe_family:
            shares = listed.of_concept(name, probe_family[name])
        else:
            shares = listed.of_word(name)
        for family, share in shares.items():
            if share >= LEAST_SHARE:
                rows = found.setdefault(int(row["unit"]), [])
                if family not in {other for other, *_ in rows}:
                    rows.append((family, float(row["confidence"]), f"name: {name}"))
                break
    for rows in found.values():
        if len(rows) > 1:
            confidence = min(confidence for _, confidence, _ in rows)
            evidence = "; ".join(evidence for *_, evidence in rows)
            rows.insert(0, (POLYSEMANTIC, confidence, evidence))
    return found


def _table(rows: dict[int, list[Row]]) -> pa.Table:
    flat = [(unit, rank, *row) for unit in sorted(rows) for rank, row in enumerate(rows[unit])]
    columns: list[list[Any]] = [list(column) for column in zip(*flat, strict=True)] or [[]] * 5
    types = (pa.int32(), pa.int16(), pa.string(), pa.float64(), pa.string())
    names = ("unit", "rank", "family", "confidence", "evidence")
    return pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})


def geographic_share(atlas: Atlas, layer: str, *, top: int = 5) -> dict[str, Bool]:
    """Which units' five top drawn words are all, and mostly, of the family region.

    Published for the 2,560 units of RN50x4: 2.5 % of units have all five top words geographic, about 4 % are
    regional (Goh et al. 2021). Needs words drawn before (`synesthete words`); which are in the vocabulary
    decides the share.

    Returns
    -------
    dict
        `all` and `most`, each `[units]`.
    """
    families = published_families()
    regional = np.array([next(iter(families.of_word(w)), "") == "region" for w in atlas.words])
    values = np.asarray(atlas.word_activations(layer), np.float32)
    best = np.argsort(-values, axis=0, kind="stable")[:top]
    hits = regional[best].sum(axis=0)
    return {"all": hits == len(best), "most": hits * 2 > len(best)}
