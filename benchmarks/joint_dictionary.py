"""What dictionaries of the joint space find: `python benchmarks/joint_dictionary.py demo.atlas`.

Dictionaries of several sizes are trained on the selection half of an atlas's embeddings and their latents tested on the scoring half. Beside them
the embedding's own dimensions, and what single directions could reach at all: for every concept the mean of its centred embeddings in the
selection half (each modality weighs the same), which is fitted to the labels, and the same of the random twin and with shuffled labels.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from synesthete.analysis import dictionary
from synesthete.analysis.controls import counts
from synesthete.analysis.design import Design, labelled_design, shuffled
from synesthete.analysis.multimodality import score_units
from synesthete.analysis.provenance import control_activations
from synesthete.atlas import open_atlas

SETTINGS = ((512, 8), (512, 16), (1024, 8), (1024, 16), (1024, 32), (2048, 16))
SHOWN = ("drawing", "word", "translation", "description", "anecdote")


def concept_means(
    embeddings: np.ndarray, of_text: np.ndarray, design: Design, codes: np.ndarray
) -> np.ndarray:
    """`[rows, concepts]`: each row along the mean direction of each concept's rows in the selection half."""
    chosen = ~design.split.scoring
    means = dictionary.modality_means(embeddings[chosen], of_text[chosen])
    centred = embeddings - means[of_text.astype(int)]
    total = np.zeros((len(design.concepts), embeddings.shape[1]))
    for modality in range(len(design.modalities)):
        rows = design.images(modality, scoring=False)
        sums = np.zeros_like(total)
        np.add.at(sums, codes[rows], centred[rows])
        total += sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    return np.asarray(centred @ total.T, np.float16)


def main() -> None:
    """Print a row for each dictionary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas")
    parser.add_argument("--latents", type=int, help="only dictionaries of so many latents")
    chosen = parser.parse_args()
    atlas = open_atlas(chosen.atlas)
    rows, design = labelled_design(atlas, purpose="joint units", tower="joint")
    embeddings, of_text, _ = dictionary.joint_rows(atlas)
    values, texts = embeddings[rows].astype(np.float32), of_text[rows]
    known = ~design.split.scoring
    print(f"{design.split.eligible.sum()} concepts eligible; selection half {known.sum()} rows\n")
    print(f"| units | selective | multimodal | concepts in five | pass as {' | '.join(SHOWN)} | held-out variance | seconds |")  # fmt: skip
    print("| --- |" + " ---: |" * (5 + len(SHOWN)))

    def row(name: str, units: Any, variance: str = "", seconds: str = "", **labels: Any) -> None:
        found = counts(score_units(np.asarray(units, np.float16), design, **labels)[0], design)
        passing = " | ".join(str(found["passing"].get(one, "-")) for one in SHOWN)
        print(f"| {name} | {found['selective']} | {found['multimodal']} | {found['concepts_in_five']} | {passing} | {variance} | {seconds} |", flush=True)  # fmt: skip

    row("dimensions of the embedding", values)
    row("concept means", concept_means(values, texts, design, design.concept))
    codes = shuffled(design, 0)
    means = concept_means(values, texts, design, codes)
    row("the same, shuffled labels", means, labelings=[codes])
    if (twin := control_activations(atlas, dictionary.JOINT)) is not None:
        own = np.asarray(twin[rows], np.float32)
        row("the same, random twin", concept_means(own, texts, design, design.concept))
    for latents, k in SETTINGS:
        if chosen.latents not in (None, latents):
            continue
        started = time.process_time()
        found = dictionary.train(values[known], texts[known], latents=latents, k=k, seed=0)
        seconds = f"{time.process_time() - started:.0f}"
        held = dictionary.quality(found, values[~known], texts[~known])["explained_variance"]
        row(f"{latents} latents, k {k}", found.encode(values, texts), f"{held:.1%}", seconds)


if __name__ == "__main__":
    main()
