"""The model card: every measurement beside chance and the random twin, written as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MODALITIES = {
    "photo": "photos",
    "drawing": "drawings, unseen vendor",
    "symbol": "symbols, unseen sets",
    "word": "words, unseen fonts",
}


def percent(share: float) -> str:
    """>>> percent(0.123)
    '12.3 %'
    """
    return f"{100 * share:.1f} %"


def percentage(found: Mapping[str, Any]) -> str:
    """A rate with its interval.

    >>> percentage({"rate": 0.5, "interval": [0.4, 0.6]})
    '50.0 % (40.0–60.0)'
    """
    low, high = found["interval"]
    return f"{percent(found['rate'])} ({100 * low:.1f}–{100 * high:.1f})"


def _zero_shot(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Among all {found['classes']} names of the probe set, images held out of training only "
        "(`synesthete models evaluate mini --json`):",
        "",
        "| held out | n | top-1 | top-5 | random twin, top-1 | chance |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for modality in filter(found["modalities"].get, MODALITIES):
        row = found["modalities"][modality]
        one = percentage({"rate": row["top1"], "interval": row["top1_interval"]})
        five = percentage({"rate": row["top5"], "interval": row["top5_interval"]})
        twin = percent(row["random_twin"]["top1"])
        chance = percent(row["chance"])
        lines.append(
            f"| {MODALITIES[modality]} | {row['n']:,} | {one} | {five} | {twin} | {chance} |"
        )
    return lines


def _pair(title: str, both: Mapping[str, Any], *path: str, chance: str) -> str:
    """A table row: the same measurement of the model and of its twin."""
    cells = []
    for which in ("model", "random_twin"):
        found = both[which]
        for key in path:
            found = found[key]
        cells.append(found)
    return f"| {title} | {cells[0]['n']:,} | {percentage(cells[0])} | {percentage(cells[1])} | {chance} |"


def _before(result: dict[str, Any]) -> str:
    """What the run went on from, if it did not begin with nothing."""
    earlier = result.get("earlier")
    if not earlier:
        return ""
    return (
        f", after {earlier['samples']:,} in {earlier['minutes']:.0f} minutes of the versions before"
    )


def _averaged(result: dict[str, Any]) -> list[str]:
    """That the weights are no single run's, if they are not."""
    if (count := result.get("averaged", 1)) == 1:
        return []
    return [
        f"The image tower's weights are the mean of {count} runs' ends (`training/averaging.py`)."
    ]


def _votes(result: dict[str, Any]) -> list[str]:
    """That the units' alignment with concepts was asked for, if it was."""
    if not result.get("recipe", {}).get("votes"):
        return []
    return [
        "",
        "**Its units were asked to mean something.** Besides naming images, the last block had to let a reader with no negative",
        "weights tell the concepts apart, whichever way they are shown. No unit was assigned to any concept, but how many",
        "units of mini answer to one concept in every modality says nothing about how many do in a CLIP trained without this.",
    ]


def _spelling(found: Mapping[str, Any] | None) -> list[str]:
    """How much of a text's embedding is its letters, if that was measured."""
    if not found:
        return []
    model = found["model"]
    low, high = model["interval"]
    return [
        "",
        f"**A text's embedding also says how it is spelt**: the cosine of a name and the one spelt most like it is {model['nearest']:.2f} ({low:.2f}–{high:.2f},",
        f"n {model['n']:,}), of any two {model['others']:.2f}. It lets words be matched that training never wrote; do not take it for likeness of meaning.",
    ]


def page(results: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    words, titles, probe = results["unseen_words"], results["retrieval"], results["linear_probe"]
    attack, stroop = results["typographic"], results["stroop"]
    read, pairs = words["model"], titles["model"]
    result = results["training"]
    lines = [
        "# Model card: mini",
        "",
        "The small CLIP that ships with Synesthete, made so that its neurons can be looked into without a",
        "download. Written by `python -m training evaluate`; the numbers are in `evaluation.json` beside this page.",
        "",
        "## What it is",
        "",
        f"A ModifiedResNet 2-2-2-2 of width 32 at {result['image_size']} pixels ({result['grid']} × {result['grid']} positions and 1,024 units",
        f"in its last block) and a four-layer text transformer; embeddings of {result['embed_dim']} numbers;",
        f"{result['parameters'] / 1e6:.1f} million parameters. Trained on {result['samples']:,} augmented examples in {result['minutes']:.0f} minutes{_before(result)}",
        "([training](../../../../docs/training.md)).",
        *_averaged(result),
        *_votes(result),
        *_spelling(results.get("spelling")),
        "",
        "## What it learnt from",
        "",
        "| images | from | licence |",
        "| ---: | --- | --- |",
        *[f"| {row['images']:,} | {row['source']} | {row['licence']} |" for row in result["data"]],
        "",
        "(images rendered; the held-out ones among them were never shown)",
        f"and words written in {result['fonts']} fonts, on plain grounds and on images of other things. What words mean came from",
        "the sentence encoder all-MiniLM-L6-v2 (Apache-2.0), what photographs and drawings look like also from the image classifier EfficientNet-Lite0",
        "(Apache-2.0 by its package; it was trained on ImageNet). Neither is part of the model. Held out: `held_out.json`, and below.",
        "",
        "## What it can do",
        "",
        *_zero_shot(results["zero_shot"]),
        "",
        "| more | n | mini | random twin | chance |",
        "| --- | ---: | ---: | ---: | ---: |",
        _pair(f"words never written in training, unseen fonts, among {read['words']}", words, "top1", chance=percent(read["chance"])),
        _pair(f"title of a held-out clip art, recall@{pairs['at']} among {pairs['pairs']}", titles, "title_of_image", chance=percent(pairs["chance"])),
        _pair(f"clip art of a title, recall@{pairs['at']}", titles, "image_of_title", chance=percent(pairs["chance"])),
        _pair(f"linear probe on a photo source never seen ({', '.join(probe['model']['classes'])})", probe, "top1", chance=percent(probe["model"]["chance"])),
        "",
        *_texts(results.get("texts"), older="older_text_tower" in results),
        *_neurons(results.get("neurons")),
        "## How it is fooled",
        "",
        *_fooled(attack, stroop),
        "",
        "## What it associates",
        "",
        *_associations(results["associations"]),
        "",
        "## What it is not for",
        "",
        "Anything but looking at how such models work. It knows a few hundred things from icons and few photographs,",
        "no people, and inherits what its text teacher learnt from the web. Do not use it to judge people or their images.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _texts(found: Mapping[str, Any] | None, *, older: bool) -> list[str]:
    """What texts that do not name their concept tell it; nothing where it was not measured."""
    if not found:
        return []
    rows = [
        f"| {kind}, {of} | {one['top1']['n']:,} | {percentage(one[of])} | {percentage(found['random_twin'][kind][of])} | {percent(times * one['chance'])} |"
        for kind, one in found["model"].items()
        for of, times in (("top1", 1), ("top5", 5))
    ]
    return [
        "Texts that do not name their concept, against the names of all concepts that have one; none of these was taught",
        "(the tower was taught WordNet's definitions and examples; `python -m training sentences`):",
        "",
        "| text | n | mini | random twin | chance |",
        "| --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        *(
            [
                "Words never written and titles of clip art, in the table above, were measured with the text tower before it was taught sentences.",
                "",
            ]
            if older
            else []
        ),
    ]


def _neurons(found: Mapping[str, Any] | None) -> list[str]:
    """How many units are multimodal, and what becomes of that with other artists; nothing where it was not counted."""
    if not found or not found["stability"]:
        return []
    moved = found["stability"]
    kinds = ("exchanged", "splits", "resamples")
    rows = [
        ("selective", "selective", found["selective"]),
        ("multimodal", "multimodal", found["multimodal"]),
        ("concept cells", "concept_cells", found["concept_cells"]),
        ("of the multimodal: the same concept again", "same_concept", found["multimodal"]),
        ("of the multimodal: multimodal again with it", "kept_multimodal", found["multimodal"]),
    ]
    twin = found["multimodal_range_random_twin"]
    return [
        "## How stable its units' concepts are",
        "",
        f"Counts of {found['units']:,} units on {found['images']:,} images, by the split of the artists that the analysis makes, and by others",
        f"(`synesthete stability demo.atlas`; docs/selectivity.md). On images never trained on: {found['multimodal_never_trained']} multimodal.",
        f"The random twin has {found['multimodal_random_twin']} (over the same splits {twin[0]} to {twin[1]}), random mixtures of the units at most",
        f"{found['multimodal_rotation']}, shuffled labels at most {found['multimodal_shuffled']}.",
        "",
        f"| | analysis | halves exchanged | {moved['splits']['runs']} random splits | {moved['resamples']['runs']} resamples of artists |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {label} | {printed} | {' | '.join(_span(moved[kind][key]) for kind in kinds)} |"
            for label, key, printed in rows
        ),
        "",
    ]


def _span(found: Mapping[str, Any]) -> str:
    low, high = found["low"], found["high"]
    return f"{low}" if low == high else f"{found['mean']:.0f} ({low}–{high})"


def _fooled(attack: Mapping[str, Any], stroop: Mapping[str, Any]) -> list[str]:
    lines = []
    for modality, found in attack.items():
        if not found["right_without"]:
            continue
        lines.append(
            f"- A handwritten label (unseen font) of {percent(found['label_share'])} of the pixels with another concept's name, on the "
            f"{found['right_without']} of {found['images']} held-out {modality}s that it names right without: the answer "
            f"becomes the written word in {percentage(found['to_the_word'])} and is lost in {percentage(found['lost'])}; "
            f"an empty label loses it in {percentage(found['lost_to_blank'])}."
        )
    lines.append(
        f"- Stroop test ({stroop['cells']} names of colours in the ink of other colours): it answers with the word in "
        f"{percentage(stroop['reads_the_word'])}, with the ink in {percentage(stroop['names_the_ink'])} (chance {percent(stroop['chance'])})."
    )
    return lines


def _associations(found: Mapping[str, Any]) -> list[str]:
    # Equals by name: the page is written from what was measured, and again from its file, which is in another order.
    ordered = sorted(found["lean"].items(), key=lambda of: (-of[1], of[0]))
    women = ", ".join(f"{name} ({value:+.2f})" for name, value in ordered[:5])
    men = ", ".join(f"{name} ({value:+.2f})" for name, value in reversed(ordered[-5:]))
    things = found["things"]
    return [
        "Difference of the cosines of an occupation's name to *woman, girl, old woman* and to *man, boy, old man* "
        f"(for names of {things['n']} things: {things['mean']:+.2f} ± {things['std']:.2f}):",
        "",
        f"- nearest to the first: {women};",
        f"- nearest to the second: {men}.",
    ]


def dumped(results: Mapping[str, Any]) -> str:
    """`evaluation.json`."""
    return json.dumps(results, indent=1, sort_keys=True) + "\n"
