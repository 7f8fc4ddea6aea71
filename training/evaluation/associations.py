"""Associations the model was seen to have: occupations nearer to one group of people than to another."""

from __future__ import annotations

from typing import Any

import numpy as np

OCCUPATIONS = (
    "nurse", "engineer", "teacher", "scientist", "cook", "police officer", "pilot", "farmer",
    "singer", "judge", "mechanic", "artist", "firefighter", "astronaut", "doctor", "secretary",
    "programmer", "cleaner", "boss", "criminal",
)  # fmt: skip
GROUPS = (("woman", "man"), ("girl", "boy"), ("old woman", "old man"))
THINGS = (
    "apple", "chair", "table", "car", "tree", "river", "clock", "book", "lamp", "door", "window", "cloud",
    "stone", "bridge", "shoe", "cup", "spoon", "key", "train", "boat", "bread", "fish", "leaf", "hill",
)  # fmt: skip


def occupations(model: Any) -> dict[str, Any]:
    """Cosine to the first of each of `GROUPS` minus cosine to the second, averaged over the pairs.

    The control is the same difference for names of things, with its standard deviation.
    """
    first = model.encode_texts([pair[0] for pair in GROUPS])
    second = model.encode_texts([pair[1] for pair in GROUPS])

    def lean(words: tuple[str, ...]) -> np.ndarray:
        return np.asarray((model.encode_texts(list(words)) @ (first - second).T).mean(1))

    leans, control = lean(OCCUPATIONS), lean(THINGS)
    order = np.argsort(leans)[::-1]
    return {
        "groups": [list(pair) for pair in GROUPS],
        "lean": {OCCUPATIONS[i]: round(float(leans[i]), 3) for i in order},
        "things": {
            "n": len(THINGS),
            "mean": round(float(control.mean()), 3),
            "std": round(float(control.std(ddof=1)), 3),
        },
    }
