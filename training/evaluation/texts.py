"""How well a text that does not name its concept is understood: which of the concepts' names lies nearest."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.evaluation.embedding import rate

KINDS = ("description", "anecdote")
TAUGHT = frozenset({"wordnet"})
"""Artists whose texts are taught (`training.sentences`)."""


def understood(model: Any) -> dict[str, dict[str, Any]]:
    """Of the built-in probe set's descriptions and anecdotes that were not taught: how often the concept's name is first, and among five.

    The candidates are the names of all concepts that have such a text.
    """
    from synesthete.probes import load_probes

    rows = [
        row
        for row in load_probes("concepts").labels.to_pylist()
        if row["modality"] in KINDS and row["artist"] not in TAUGHT
    ]
    names = sorted({row["concept"] for row in rows})
    of_names = model.encode_texts(names)
    found = {}
    for kind in KINDS:
        some = [row for row in rows if row["modality"] == kind]
        likeness = model.encode_texts([row["text"] for row in some]) @ of_names.T
        own = likeness[np.arange(len(some)), [names.index(row["concept"]) for row in some]]
        rank = (likeness > own[:, None]).sum(axis=1)
        found[kind] = {
            "top1": rate(rank < 1),
            "top5": rate(rank < 5),
            "chance": round(1 / len(names), 4),
        }
    return found
