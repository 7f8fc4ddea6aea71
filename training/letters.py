"""A third reader of the image tower, in training only: which letters and pairs of letters stand in the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.spelling import ngrams

LEAST = 20
"""Texts that must have an n-gram, for it to be asked for."""


class Letters:
    """Asks a stage of the tower for the n-grams of what is written (`spelling.ngrams`), each a yes or no.

    The name of a word is one of tens of thousands, which says little about each of its letters; asked for them one by one, the
    tower need not find out for itself that there are letters. It reads each unit's strongest response anywhere, so that a unit
    can stand for a pair of letters wherever it is written. Asked of the third stage alone the letters are read and then lost: the
    last block, where an image shall excite few units, keeps what it is asked for too.
    """

    def __init__(self, texts: Sequence[str], units: int, least: int = LEAST) -> None:
        """Begin with how common each n-gram of `texts` is; `units` is how many responses an image has."""
        import torch

        found = [ngrams(text) for text in texts]
        spread = Counter(gram for grams in found for gram in grams)
        self.grams = sorted(gram for gram, count in spread.items() if count >= least)
        column = {gram: i for i, gram in enumerate(self.grams)}
        has = np.zeros((len(texts), len(self.grams)), bool)
        for row, grams in enumerate(found):
            has[row, [column[gram] for gram in grams if gram in column]] = True
        self.has = torch.from_numpy(has)
        share = torch.from_numpy((has.sum(0) + 1.0) / (len(texts) + 2.0)).float()
        self.weight = torch.nn.Parameter(torch.zeros(len(self.grams), units))
        self.bias = torch.nn.Parameter((share / (1 - share)).log())

    @property
    def parameters(self) -> list[Any]:
        return [self.weight, self.bias]

    def __call__(self, responses: Any, written: Any) -> Any:
        """Cross-entropy in nats, summed over n-grams, mean over images.

        `responses` `[images, units]`, `written` `[images]` the row of each image's text.
        """
        from torch.nn.functional import binary_cross_entropy_with_logits, linear

        logits = linear(responses, self.weight, self.bias)
        wanted = self.has[written].to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1).mean()
