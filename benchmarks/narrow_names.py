"""Names that are too narrow: how many pass, before and after the tests against it.

    python benchmarks/narrow_names.py [ATLAS]

Two measurements, each by AUC alone, with average precision beside it, and with the test against siblings too:

- *Half of the labels missing* (NeuronEval, Oikarinen et al. 2025, arXiv 2506.05774): a random half of each concept's held-out images
  loses the label, as if the name were half of what the unit means. How many names still hold, and for how many the score falls.
- *Planted families*: units that answer to eight concepts alike, to one of them, and to one twice as strongly as to the other
  seven. How often the name is one member, the family, or none.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from naming import rate
from scipy import sparse

from synesthete.analysis.design import Design
from synesthete.analysis.naming.candidates import Candidates, Images, labelled, test
from synesthete.analysis.naming.hypernyms import Hypernym
from synesthete.analysis.naming.name import (
    PRECISION,
    NamingTask,
    control_threshold,
    naming_task,
)
from synesthete.analysis.planted import planted_design
from synesthete.analysis.provenance import control_activations
from synesthete.atlas import open_atlas

FAMILY = 8  # concepts of a planted family
KINDS = ("whole family", "one member", "one member most")


def without_half(images: Images, seed: int = 0) -> Images:
    """The images with a random half of each concept's labels taken away."""
    rng, kept = np.random.default_rng(seed), images.sets.copy()
    for row in range(kept.shape[0]):
        there = np.arange(kept.indptr[row], kept.indptr[row + 1])
        kept.data[rng.choice(there, len(there) // 2, replace=False)] = 0
    kept.eliminate_zeros()
    return replace(images, sets=sparse.csr_array(kept))


def on_atlas(path: Path) -> None:
    """Names of the atlas's first layer, all labels and half of them."""
    atlas = open_atlas(path)
    task, layer = naming_task(atlas, "concepts"), atlas.layers[0]
    matrix, twin = atlas.activations(layer), control_activations(atlas, layer)
    control = task.named(task.shuffled(matrix, 0) if twin is None else twin)[1]
    found, tested = task.named(matrix)
    again = test(np.asarray(matrix[task.tested_on.rows]), without_half(task.tested_on), found)
    print(f"{layer}: {matrix.shape[1]} units, {len(task.words)} words")
    for title, precision in (("AUC alone", 0.0), ("and AP", PRECISION)):
        at, _ = control_threshold(None, control, precision)
        held = tested.held(at, precision)
        still = held & again.held(at, precision)
        print(
            f"  {title:<12} AUC needed {at:.3f}: {int(held.any(axis=1).sum())} units named (random twin "
            f"{int(control.held(at, precision).any(axis=1).sum())}); of {int(held.sum())} names with half of their labels "
            f"{rate(int(still.sum()), int(held.sum()))} hold"
        )
        for score in ("auc", "precision"):
            falls = getattr(again, score)[held] < getattr(tested, score)[held] - 1e-9
            print(f"  {'':<12} {score} falls for {rate(int(falls.sum()), int(held.sum()))}")
    kept, _, held, kinds = task.narrowed(matrix, found, tested, at)
    hypernyms = held & (kept.word >= len(task.words))
    print(
        f"  and siblings: {int(held.any(axis=1).sum())} units named, {int(held.sum())} names, {int(hypernyms.sum())} of them hypernyms "
        f"({', '.join(kinds[w - len(task.words)].name for w in np.unique(kept.word[hypernyms])) or 'none'})"
    )


def families(design: Design, kind: str, units: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Activations `[images, units]`, and each unit's favourite concept."""
    rng = np.random.default_rng(KINDS.index(kind))
    member = rng.permutation(np.flatnonzero(design.split.eligible))[:units]
    own = design.concept[:, None] == member
    family = design.concept[:, None] // FAMILY == member // FAMILY
    others = {"whole family": 1.0, "one member": 0.0, "one member most": 0.5}[kind]
    latent = np.where(own, 1.0, others * family) + rng.normal(0.0, noise, own.shape)
    return latent.astype(np.float32), member


def on_planted(units: int) -> None:
    """What planted units of families are called."""
    design = planted_design(200)
    halves = [np.flatnonzero(design.split.scoring == half) for half in (False, True)]
    shown = [
        labelled(h, design.concept[h], design.modality[h], len(design.concepts)) for h in halves
    ]
    chains = [
        (
            Hypernym(
                f"family {i // FAMILY}",
                tuple(range(i // FAMILY * FAMILY, (i // FAMILY + 1) * FAMILY)),
            ),
        )
        for i in range(len(design.concepts))
    ]
    task = NamingTask(
        words=list(design.concepts),
        chosen_on=shown[0],
        tested_on=shown[1],
        embeddings=None,
        chains=chains,
    )
    for noise in (0.15, 0.3):
        print(f"\nplanted, d' {1 / noise:.1f}: first name is")
        for kind in KINDS:
            activations, member = families(design, kind, units, noise)
            found, tested = task.named(activations)
            control = task.named(task.shuffled(activations, 0))[1]
            for title, precision, siblings in (
                ("AUC alone", 0.0, False),
                ("and AP", PRECISION, False),
                ("and siblings", PRECISION, True),
            ):
                at, _ = control_threshold(None, control, precision)
                held = tested.held(at, precision)
                kept = found
                if siblings:
                    kept, _, held, kinds = task.narrowed(activations, found, tested, at)
                word = first_names(kept, held)
                family = (
                    np.array(
                        [
                            w >= len(design.concepts)
                            and member[u] in kinds[w - len(design.concepts)].members
                            for u, w in enumerate(word)
                        ]
                    )
                    if siblings
                    else np.zeros(len(word), bool)
                )
                one = (word >= 0) & (word < len(design.concepts))
                n = len(word)
                print(
                    f"  {kind:<16} {title:<13} a concept {rate(int(one.sum()), n)}, the favourite {rate(int((word == member).sum()), n)}, "
                    f"the family {rate(int(family.sum()), n)}; n {n}"
                )


def first_names(found: Candidates, held: np.ndarray) -> np.ndarray:
    """Each unit's first name, -1 for none."""
    word = np.take_along_axis(found.word, held.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(held.any(axis=1), word, -1)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", nargs="?", type=Path)
    parser.add_argument("--units", type=int, default=150, help="planted units of each kind")
    arguments = parser.parse_args()
    if arguments.atlas:
        on_atlas(arguments.atlas)
    on_planted(arguments.units)


if __name__ == "__main__":
    main()
