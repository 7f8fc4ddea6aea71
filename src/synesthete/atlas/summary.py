"""What an atlas holds, in the few numbers that people ask for first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from synesthete.atlas.store import Atlas


CONTROLS = ("random_twin", "permuted", "rotation", "shuffled")
VERDICTS = ("selective", "multimodal", "concept_cells")
# The same test with something simple ruled out, of the model and of other networks.
BESIDE = (
    "selective_equal_length",
    "multimodal_equal_length",
    *(f"{verdict}_without_statistics" for verdict in VERDICTS),
    "selective_kept_without_statistics",
    "multimodal_kept_without_statistics",
)
STABILITY = "stability"
# What only layers that read texts are compared with, where it was recorded and counted.
TEXT_CONTROLS = ("word_order", "bag_of_words")
MATCHED_TEXTS = ("selective_matched_texts", "multimodal_matched_texts")


def summarise(atlas: Atlas) -> dict[str, Any]:
    """The summary of an atlas, as JSON can write it.

    Returns
    -------
    Counts over the main layers (`Atlas.main_layers`: all, in an atlas of images alone). `layers` are their names, and where some read
    texts, layer → the same counts of each. `images` counts the readable images, `texts` (where there are any) the
    readable texts, `quarantined` the others. A layer that reads texts has beside its counts those with shuffled words (`..._word_order`) and of
    a bag of words (`..._bag_of_words`), how many units keep their verdict among texts matched in length, word frequency and spelling
    (`..._matched_texts`), `passing` (`model` and each control → modality → units that pass there), and `reading` (docs/selectivity.md); one that reads both also `concepts_in_five`,
    the concepts with a unit that passes in five modalities, `anecdote` and one of images among them. The counts of `selective`, `multimodal`
    (concept cells included) and `concept_cells` neurons, each also for the controls (`_random_twin`, `_permuted`, `_rotation`, `_shuffled`: the largest over their
    initialisations or seeds, with the mean as `mean_...`), and the thresholds are None before an analysis, and the random twin's also when the atlas was recorded without one. `multimodal_never_trained` counts with concepts chosen on images that
    the model was trained on and scored on those it was not; None where that is not known. `multimodal_test` counts on the artists of a test atlas, of `units_test`
    units whose concept those show; None for an analysis without one. `curve` has
    the counts over a range of thresholds of average precision (`ap`), for `model` and each control. `multimodal_concepts` and its like
    are how many concepts those neurons have between them, `multimodal_distinct` and its like how many distinct findings (units whose
    activations correlate above 0.8 are one), `participation_ratio` and its like in how many directions the units vary (mean over
    layers); `..._without_statistics` counts again with statistics of the images regressed out of the activations, `..._kept_without_statistics`
    those that passed before for the same concept, and `..._equal_length` those that pass among written words of equal length too. All are None for an atlas
    that was analysed before they were counted. `multimodal_range` is the smallest and the
    largest count over random splits of the artists, as is `multimodal_range_random_twin`; that of the other controls is over their runs.
    `stability` has `mean`, `low` and `high` of what moves when the halves are exchanged (`exchanged`), on random splits of the artists (`splits`) and
    on resampled ones (`resamples`); None for an atlas that was analysed before it was measured.
    `sample` (`images`, `of`), only where not every activation is kept, says on how many of the images and texts all counts are.
    `not_tested` says why the images do not allow to count them, and what to add; None where they do, and before an analysis.
    """
    probes, analysis = atlas.manifest["probes"], atlas.manifest["analysis"]
    main = atlas.main_layers
    of_texts = any(atlas.layer(name).get("tower", "image") != "image" for name in atlas.layers)
    texts = _readable_texts(atlas)
    return {
        "model": atlas.manifest["model"]["name"],
        "layers": {name: _own(atlas, name) for name in atlas.layers} if of_texts else atlas.layers,
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
        **({"sample": analysis["sample"]} if analysis and "sample" in analysis else {}),
        "threshold": analysis["threshold"] if analysis else None,
        "q": analysis["q"] if analysis else None,
        "ap": analysis["ap"] if analysis else None,
        "cell": analysis["cell"] if analysis else None,
        "curve": curves(analysis, main) if analysis else None,
        **other_counts(_analysed(atlas, main)),
        "stability": stability_of(_analysed(atlas, main)),
        "multimodal_never_trained": _total(_analysed(atlas, main), "multimodal_never_trained"),
        "multimodal_test": _total(_analysed(atlas, main), "multimodal_test"),
        "units_test": _total(_analysed(atlas, main), "units_test"),
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
    """The counts of one layer, and of one that reads texts its controls of text."""
    analysis = atlas.manifest["analysis"]
    of_texts = analysis and atlas.layer(layer).get("tower", "image") != "image"
    return {
        "tower": atlas.layer(layer).get("tower", "image"),
        **_dictionary(atlas, layer),
        **_counts(atlas, [layer]),
        "not_tested": not_tested(analysis and analysis["layers"][layer].get("design", analysis)),
        "curve": curves(analysis, [layer]) if analysis else None,
        **(_of_texts(analysis["layers"][layer]) if of_texts else {}),
    }


def _of_texts(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Controls of text: the verdicts with shuffled words and of a bag of words, those kept among matched texts, and how texts are read."""
    found: dict[str, Any] = {
        f"{verdict}_{kind}": counts.get(f"{verdict}_{kind}")
        for kind in TEXT_CONTROLS
        for verdict in VERDICTS
    }
    for key in MATCHED_TEXTS:
        found |= {f"{key}{of}": counts.get(f"{key}{of}") for of in ("", "_random_twin")}
    kinds = (*CONTROLS, *TEXT_CONTROLS)
    if counts.get("concepts_in_five") is not None:
        found["concepts_in_five"] = counts["concepts_in_five"]
        found |= {
            f"concepts_in_five_{kind}": counts.get(f"concepts_in_five_{kind}") for kind in kinds
        }
    found["passing"] = {"model": counts.get("passing")} | {
        kind: counts.get(f"passing_{kind}") for kind in kinds
    }
    return found | {"reading": counts.get("reading")}


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


def stability_of(layers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]] | None:
    """What the `stability` of these layers comes to, summed over layers: for each kind of run the number of `runs`, and of every count
    `mean`, `low` and `high` over them (of `eligible` concepts those of the first layer); None where it was not measured.
    """
    measured = [one for layer in layers if (one := layer.get(STABILITY)) is not None]
    if not measured or len(measured) < len(layers):
        return None
    found: dict[str, dict[str, Any]] = {}
    for kind, first in measured[0].items():
        found[kind] = {"runs": len(first["multimodal"])}
        for key, runs in first.items():
            over = [one[kind][key] for one in measured]
            values = runs if key == "eligible" else np.sum(over, axis=0)
            found[kind][key] = (
                {
                    "mean": round(float(np.mean(values)), 2),
                    "low": int(np.min(values)),
                    "high": int(np.max(values)),
                }
                if len(values)
                else None
            )
    return found


def _range(layers: Sequence[Mapping[str, Any]], control: str) -> list[int] | None:
    """The smallest and the largest count of multimodal units over random splits of the artists, of some controls over their runs."""
    if control in ("", f"_{CONTROLS[0]}"):
        moved = [layer.get(f"{STABILITY}{control}") for layer in layers]
        runs = [one["splits"]["multimodal"] for one in moved if one is not None]
    else:
        runs = [one for layer in layers if (one := layer.get(f"each{control}")) is not None]
    if not runs or len(runs) < len(layers):
        return None
    total = np.sum(runs, axis=0)
    return [int(total.min()), int(total.max())] if total.size else None


def multimodal_counts(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many units of these layers (entries of the manifest's analysis) are multimodal, in what range, and of how many concepts, with the controls.

    None where not counted: without a twin, or before the atlas's version of the analysis counted it.
    """
    counts: dict[str, Any] = {}
    for control in ("", *(f"_{kind}" for kind in CONTROLS)):
        for verdict in VERDICTS:
            counts[f"{verdict}{control}"] = _total(layers, f"{verdict}{control}")
        found: list[Any] = [layer.get(f"concepts{control}") for layer in layers]
        counts[f"multimodal_concepts{control}"] = (
            None if not found or None in found else len({c for concepts in found for c in concepts})
        )
        counts[f"multimodal_range{control}"] = _range(layers, control)
    return counts


def other_counts(layers: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What stands beside the counts of these layers: means over a control's runs, distinct findings, other versions of the test."""
    found: dict[str, float | None] = {}
    for control in ("", *(f"_{kind}" for kind in CONTROLS)):
        found[f"multimodal_distinct{control}"] = _total(layers, f"distinct{control}")
        found[f"selective_distinct{control}"] = _total(layers, f"distinct_selective{control}")
        found[f"participation_ratio{control}"] = _mean(layers, f"participation_ratio{control}")
        for verdict in VERDICTS if control else ():
            of_layers = _mean(layers, f"mean_{verdict}{control}")
            found[f"mean_{verdict}{control}"] = (
                None if of_layers is None else of_layers * len(layers)
            )
    for key in BESIDE:
        for control in ("", "_random_twin", "_permuted"):
            found[f"{key}{control}"] = _total(layers, f"{key}{control}")
    blocks = [layer.get("rotation_blocks") for layer in layers]
    found["rotation_blocks"] = max((n for n in blocks if n is not None), default=None)
    return found


def _mean(layers: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [value for layer in layers if (value := layer.get(key)) is not None]
    return float(np.mean(known)) if known and len(known) == len(layers) else None


def _total(layers: Sequence[Mapping[str, Any]], key: str) -> int | None:
    values = [layer.get(key) for layer in layers]
    known = [int(value) for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _live(atlas: Atlas, names: Sequence[str]) -> int:
    layers = (atlas.statistics(name) for name in names)
    return sum(int(np.count_nonzero(layer.minimum < layer.maximum)) for layer in layers)
