"""Does it read? Words that were never written in training, in fonts that were never used, among each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from synesthete.probes.words import CASES, has_letters, load_fonts, render_word
from training.evaluation.embedding import embed, rate


def unseen_words(model: Any, words: list[str], *, seed: int = 0) -> dict[str, Any]:
    """How often the text nearest to a drawn word, among all of `words`, is that word.

    Each word is drawn once per held-out font, in a random case.
    """
    rng = np.random.default_rng(seed)
    fonts = [font for font in load_fonts() if font.held_out]
    texts = model.encode_texts(words)
    right1, right5 = [], []
    for font in fonts:
        known = [i for i, word in enumerate(words) if has_letters(word, font)]
        images = (render_word(words[i], font, case=str(rng.choice(CASES))) for i in known)
        scores = embed(model, images) @ texts.T
        own = scores[np.arange(len(known)), known]
        rank = (scores >= own[:, None]).sum(1) - 1
        right1 += (rank < 1).tolist()
        right5 += (rank < 5).tolist()
    return {
        "words": len(words),
        "fonts": [font.family for font in fonts],
        "top1": rate(right1),
        "top5": rate(right5),
        "chance": round(1 / len(words), 5),
    }
