"""What an atlas holds, in the few numbers that people ask for first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from synesthete.atlas.store import Atlas


def summarise(atlas: Atlas) -> dict[str, Any]:
    """The summary of an atlas, as JSON can write it.

    Returns
    -------
    Counts over all layers. `images` counts the readable images, `quarantined` the others. The counts
    of multimodal neurons, `threshold` and `q` are None before an analysis, and
    `multimodal_random_twin` also when the atlas was recorded without a twin.
    """
    probes, analysis = atlas.manifest["probes"], atlas.manifest["analysis"]
    counts = list(analysis["layers"].values()) if analysis else []

    def total(key: str) -> int | None:
        values = [entry[key] for entry in counts]
        return None if not values or None in values else int(sum(values))

    live = total("live_units")
    return {
        "model": atlas.manifest["model"]["name"],
        "layers": atlas.layers,
        "units": sum(atlas.layer(name)["units"] for name in atlas.layers),
        "live_units": _live(atlas) if live is None else live,
        "multimodal": total("multimodal"),
        "multimodal_random_twin": total("multimodal_random_twin"),
        "multimodal_shuffled": total("multimodal_shuffled"),
        "images": probes["images"] - probes["quarantined"],
        "quarantined": probes["quarantined"],
        "concepts": len(atlas.concepts),
        "modalities": {
            group["modality"]: group["images"] for group in probes["groups"] if group["modality"]
        },
        "analysed": atlas.analysed,
        "threshold": analysis["threshold"] if analysis else None,
        "q": analysis["q"] if analysis else None,
        "fingerprint": atlas.fingerprint,
    }


def _live(atlas: Atlas) -> int:
    layers = (atlas.statistics(name) for name in atlas.layers)
    return sum(int(np.count_nonzero(layer.minimum < layer.maximum)) for layer in layers)
