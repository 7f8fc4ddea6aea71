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
    Counts over the main layers (`Atlas.main_layers`: all, in an atlas of images alone). `layers` are their names, and where there are others,
    of texts, layer → the same counts of each. `images` counts the readable images, `texts` (where there are any) the
    readable texts, `quarantined` the others. The counts of `selective`, `multimodal`
    (concept cells included) and `concept_cells` neurons, each also for the controls (`_random_twin`, `_rotation`, `_shuffled`: the largest over their
    runs), and the thresholds are None before an analysis, and the random twin's also when the atlas was recorded without one. `multimodal_never_trained` counts with concepts chosen on images that
    the model was trained on and scored on those it was not; None where that is not known. `curve` has
    the counts over a range of thresholds of average precision (`ap`), for `model` and each control. `multimodal_concepts` and its like
    are how many concepts those neurons have between them; None too for an atlas that was analysed before they were counted.
    `not_tested` says why the images do not allow to count them, and what to add; None where they do, and before an analysis.
    """
    probes, analysis = atlas.manifest["probes"], atlas.manifest["analysis"]
    main = atlas.main_layers
    others = [name for name in atlas.layers if name not in main]
    texts = _readable_texts(atlas)
    return {
        "model": atlas.manifest["model"]["name"],
        "layers": {name: _own(atlas, name) for name in atlas.layers} if others else atlas.layers,
        **_counts(atlas, main),
        "images": probes["images"] - probes["quarantined"] - texts,
        **({"texts": texts} if "texts" in probes else {}),
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
        "curve": curves(analysis, main) if analysis else None,
        "multimodal_never_trained": _total(_analysed(atlas, main), "multimodal_never_trained"),
        "fingerprint": atlas.fingerprint,
    }


def _readable_texts(atlas: Atlas) -> int:
    if "texts" not in atlas.manifest["probes"]:
        return 0
    rows = zip(*(atlas.probes[name].to_pylist() for name in ("text", "status")), strict=True)
    return sum(bool(text) and status == "ok" for text, status in rows)


def _analysed(atlas: Atlas, layers: Sequence[str]) -> list[Mapping[str, Any]]:
    analysis = atlas.manifest["analysis"]
    return [analysis["layers"][name] for name in layers] if analysis else []


def _counts(atlas: Atlas, layers: Sequence[str]) -> dict[str, Any]:
    counts = _analysed(atlas, layers)
    live = _total(counts, "live_units")
    return {
        "units": sum(atlas.layer(name)["units"] for name in layers),
        "live_units": _live(atlas, layers) if live is None else live,
        **multimodal_counts(counts),
    }


def _own(atlas: Atlas, layer: str) -> dict[str, Any]:
    """The counts of one layer."""
    analysis = atlas.manifest["analysis"]
    return {
        "tower": atlas.layer(layer).get("tower", "image"),
        **_dictionary(atlas, layer),
        **_counts(atlas, [layer]),
        "not_tested": not_tested(analysis and analysis["layers"][layer].get("design", analysis)),
        "curve": curves(analysis, [layer]) if analysis else None,
    }


def _dictionary(atlas: Atlas, layer: str) -> dict[str, Any]:
    """How a layer that is a sparse dictionary was learnt; nothing for others."""
    name = atlas.layer(layer).get("dictionary")
    return {} if name is None else {"dictionary": atlas.manifest["dictionaries"][name]}


def curves(
    analysis: Mapping[str, Any], layers: Sequence[str] | None = None
) -> dict[str, list[Any] | None]:
    """Counts over thresholds of average precision, summed over layers: `ap`, `model` and each control; None where not counted."""
    found: dict[str, list[Any] | None] = {"ap": list(analysis["curve"])}
    chosen = [analysis["layers"][name] for name in layers or analysis["layers"]]
    for name, key in (("model", "curve"), *((kind, f"curve_{kind}") for kind in CONTROLS)):
        rows = [layer.get(key) for layer in chosen]
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


def _live(atlas: Atlas, names: Sequence[str]) -> int:
    layers = (atlas.statistics(name) for name in names)
    return sum(int(np.count_nonzero(layer.minimum < layer.maximum)) for layer in layers)
