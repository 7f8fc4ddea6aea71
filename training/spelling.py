"""How a text is spelt, as numbers: what lets a tower match a word that it has never seen written.

A target that says only what a word means cannot be read off the letters of a word outside training. So a part of
every text's target says which letters and pairs of letters it has (a bag of n-grams, as in Bojanowski et al. 2017,
*Enriching Word Vectors with Subword Information*). Pairs do not depend on where a word stands, as a convolution's features do not.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from training.teacher import main_axes, normalise

WORD = re.compile(r"[^\W_]+")


def ngrams(text: str) -> Counter[str]:
    """Letters and pairs of letters of every word of `text`, its ends marked.

    Examples
    --------
    >>> sorted(ngrams("Tot").items())
    [('<t', 1), ('o', 1), ('ot', 1), ('t', 2), ('t>', 1), ('to', 1)]
    """
    found: Counter[str] = Counter()
    for word in WORD.findall(text.lower()):
        marked = f"<{word}>"
        found.update(word)
        found.update(marked[i : i + 2] for i in range(len(marked) - 1))
    return found


def spell(texts: Sequence[str], dim: int) -> np.ndarray:
    """Unit rows `[texts, dim]` that are near each other where texts share rare letters and pairs; zero where there are none.

    Counts are weighed by the inverse square root of how many texts have the n-gram, and each n-gram has a direction of its
    own, drawn at random but always the same. The rows' mean is taken away, so that what all texts share says nothing.
    """
    counts = [ngrams(text) for text in texts]
    spread = Counter(gram for found in counts for gram in found)
    direction = {
        gram: np.random.default_rng(zlib.crc32(gram.encode())).standard_normal(dim)
        for gram in spread
    }
    rows = np.zeros((len(texts), dim), np.float32)
    for row, found in zip(rows, counts, strict=True):
        for gram, count in found.items():
            row += np.sqrt(count / spread[gram]) * direction[gram]
    spelt = np.array([bool(found) for found in counts])
    rows = normalise(rows)
    if spelt.any():
        rows[spelt] -= rows[spelt].mean(0)
    return normalise(rows)


def with_spelling(texts: Sequence[str], targets: np.ndarray, share: float, rank: int) -> np.ndarray:
    """`targets` `[texts, dim]`, of which a `share` of the squared length tells how the text is spelt.

    The spelling lies along the `rank` axes that the targets themselves use most: a text tower of that width has no others.
    """
    spelt = spell(texts, rank) @ main_axes(targets, rank)
    return normalise(np.sqrt(1 - share) * targets + np.sqrt(share) * spelt).astype(np.float32)
