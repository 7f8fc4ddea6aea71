"""A count that nothing was chosen by: concepts chosen on an atlas's images, scored on the artists of a test atlas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Floating
from synesthete.analysis.design import AT_LEAST, Design, labelled_rows, tower_of
from synesthete.analysis.multimodality import Criteria, choose_concepts, score_units
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

KEYS = ("selective_test", "multimodal_test", "concept_cells_test", "units_test", "concepts_test")
"""What `counts_on_test` counts, per layer of the manifest's analysis."""
COLUMNS = ("concept", "modality", "artist")


def require_same_model(atlas: Atlas, test: Atlas) -> None:
    """Check that both atlases were recorded from one model, in the same layers of images, with the dense matrix.

    Raises
    ------
    SynestheteError
        When they were not, or when an artist of the test images made some of the others too.
    """
    weights = {one.manifest["model"]["weights_sha256"] for one in (atlas, test)}
    tested = {layer for layer in atlas.layers if tower_of(atlas, layer) == "image"}
    missing = sorted(tested - set(test.layers))
    if len(weights) > 1 or missing or atlas.manifest["reduction"] != test.manifest["reduction"]:
        what = f"layer {missing[0]!r} is missing" if missing else "another model, or reduction"
        raise SynestheteError(
            f"{test.path} cannot test {atlas.path}: {what}",
            hint=f"record it the same way: synesthete record {atlas.manifest['model']['name']} --probes concepts-test",
        )
    shared = set(atlas.probes["artist"].to_pylist()) & set(test.probes["artist"].to_pylist())
    if shared := shared - {""}:
        raise SynestheteError(
            f"{test.path} tests nothing new: {len(shared)} of its artists are in {atlas.path} too, such as {min(shared)!r}",
            hint="record images of other artists, such as concepts-test",
        )


def counts_on_test(
    probes: pa.Table, activations: Floating, test: Atlas, layer: str, criteria: Criteria
) -> dict[str, int]:
    """Count the units of a layer by verdict on the test images.

    Every labelled image of the atlas chooses, and every labelled image of the test atlas with one of its concepts scores. A unit whose
    concept the test images do not show in enough modalities is not counted.

    Parameters
    ----------
    probes, activations
        The atlas's labelled images and their activations `[images, units]`.

    Returns
    -------
    dict
        `KEYS`; `units_test` is how many units have a concept that could be scored, `concepts_test` how many concepts can be.
    """
    names = {key: probes[key].to_pylist() for key in COLUMNS}
    known, kinds = set(names["concept"]), set(names["modality"])
    shown = test.probes.select(list(COLUMNS)).to_pylist()
    rows = np.array(
        [
            row
            for row in labelled_rows(test)
            if shown[row]["concept"] in known and shown[row]["modality"] in kinds
        ],
        np.int64,
    )
    joined = {key: [*names[key], *(shown[row][key] for row in rows)] for key in COLUMNS}
    design = Design.of(joined["concept"], joined["modality"], joined["artist"], at_least=1)
    scoring = np.arange(len(joined["concept"])) >= len(names["concept"])
    tested = design.scored_on(scoring)
    matrix = np.concatenate([activations, np.asarray(test.activations(layer)[rows])])
    concept = choose_concepts(matrix, _choosing(tested))
    if tested.problem() is not None:
        return dict.fromkeys(KEYS, 0)
    (scores,) = score_units(matrix, tested, criteria=criteria, concepts=concept)
    live = scores.concept >= 0
    return {
        "selective_test": int(scores.selective.sum()),
        "multimodal_test": int(scores.multimodal.sum()),
        "concept_cells_test": int(scores.concept_cell.sum()),
        "units_test": int((live & tested.split.eligible[scores.concept]).sum()),
        "concepts_test": int(tested.split.eligible.sum()),
    }


def _choosing(tested: Design) -> Design:
    """The same images, with every concept to choose from that the selection half alone can tell."""
    half = np.flatnonzero(~tested.split.scoring)
    count = np.zeros((len(tested.modalities), len(tested.concepts)), np.int64)
    np.add.at(count, (tested.modality[half], tested.concept[half]), 1)
    there = np.asarray(count > 0)
    eligible = np.asarray(there.sum(axis=0) >= AT_LEAST)
    eligible &= False if tested.required is None else there[tested.required]
    return replace(tested, split=replace(tested.split, testable=there, eligible=eligible))
