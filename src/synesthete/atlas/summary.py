"""What an atlas holds, in the few numbers that people ask for first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from synesthete.atlas.store import Atlas


CONTROLS = ("random_twin", "rotation", "shuffled")


def summarise(atlas: Atlas) -> dict[str, Any]:
    """The summary of an atlas, as JSON can write it.

    Returns
    -------
    Counts over all layers. `images` counts the readable images, `quarantined` the others. The counts of `selective`, `multimodal`
    (concept cells included) and `concept_cells` neurons, each also for the controls (`_random_twin`, `_rotation`, `_shuffled`: the largest over their
    runs), and the thresholds are None before an analysis, and the random twin's also when the atlas was recorded without one. `multimodal_never_trained` counts with concepts chosen on images that
    the model was trained on and scored on those it was not; None where that is not known. `multimodal_test` counts on the artists of a test atlas, of `units_test`
    units whose concept those show; None for an analysis without one. `curve` has
    the counts over a range of thresholds of average precision (`ap`), for `model` and each control. `multimodal_concepts` and its like
    are how many concepts those neurons have between them; None too for an atlas that was analysed before they were counted.
    `not_tested` says why the images do not allow to count them, and what to add; None where they do, and before an analysis.
    """
    probes, analysis = atlas.manifest["probes"], atlas.manifest["analysis"]
    counts = list(analysis["layers"].values()) if analysis else []

    live = _total(counts, "live_units")
    return {
        "model": atlas.manifest["model"]["name"],
        "layers": atlas.layers,
        "units": sum(atlas.layer(name)["units"] for name in atlas.layers),
        "live_units": _live(atlas) if live is None else live,
        **multimodal_counts(counts),
        "images": probes["images"] - probes["quarantined"],
        "quarantined": probes["quarantined"],
        "concepts": len(atlas.concepts),
        "modalities": {
            group["modality"]: group["images"] for group in probes["groups"] if group["modality"]
        },
        "analysed": atlas.analysed,
        "not_tested": not_tested(analysis),
        "threshold": analysis["threshold"] if analysis else None,
        "q": analysis["q"] if analysis else None,
        "ap": analysis["ap"] if analysis else None,
        "cell": analysis["cell"] if analysis else None,
        "curve": curves(analysis) if analysis else None,
        "multimodal_never_trained": _total(counts, "multimodal_never_trained"),
        "multimodal_test": _total(counts, "multimodal_test"),
        "units_test": _total(counts, "units_test"),
        "fingerprint": atlas.fingerprint,
    }


def curves(analysis: Mapping[str, Any]) -> dict[str, list[Any] | None]:
    """Counts over thresholds of average precision, summed over layers: `ap`, `model` and each control; None where not counted."""
    found: dict[str, list[Any] | None] = {"ap": list(analysis["curve"])}
    for name, key in (("model", "curve"), *((kind, f"curve_{kind}") for kind in CONTROLS)):
        rows = [layer.get(key) for layer in analysis["layers"].values()]
        found[name] = None if not rows or None in rows else np.sum(rows, axis=0).tolist()
    return found


def not_tested(analysis: Mapping[str, Any] | None) -> str | None:
    """Why an analysis (of the manifest) counted no multimodal units, and what to add, in one line; None where it did."""
    note = (analysis or {}).get("not_tested")
    return f"{note['reason']} ({note['hint']})" if note else None


def multimodal_counts(layers: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """How many units of these layers (entries of the manifest's analysis) are multimodal, and of how many concepts, with the controls.

    None where not counted: without a twin, or before the atlas's version of the analysis counted concepts.
    """
    counts: dict[str, int | None] = {}
    for control in ("", *(f"_{kind}" for kind in CONTROLS)):
        for verdict in ("selective", "multimodal", "concept_cells"):
            counts[f"{verdict}{control}"] = _total(layers, f"{verdict}{control}")
        found: list[Any] = [layer.get(f"concepts{control}") for layer in layers]
        counts[f"multimodal_concepts{control}"] = (
            None if not found or None in found else len({c for concepts in found for c in concepts})
        )
    return counts


def _total(layers: Sequence[Mapping[str, Any]], key: str) -> int | None:
    values = [layer.get(key) for layer in layers]
    known = [int(value) for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _live(atlas: Atlas) -> int:
    layers = (atlas.statistics(name) for name in atlas.layers)
    return sum(int(np.count_nonzero(layer.minimum < layer.maximum)) for layer in layers)
