"""The ground that names stand on: words, and the images of both halves that they are chosen and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.analysis.design import Design
from synesthete.analysis.multimodality import is_constant
from synesthete.analysis.naming.choice import Candidates, Tested, contrast, propose, test
from synesthete.analysis.naming.scorers import SCORERS, cos_cubed
from synesthete.analysis.naming.sets import Images, alike, labelled, mean_auc
from synesthete.analysis.own_model import own_model
from synesthete.analysis.vocabulary import CONCEPTS, load_vocabulary
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

OURS = "ours"
METHODS = (OURS, *SCORERS)  # who may propose names
SAME_DECIMALS = 5  # embeddings that agree to so many are of words that the model cannot tell apart


@dataclass(frozen=True)
class Ground:
    """What names are chosen and tested on.

    Attributes
    ----------
    words
        The vocabulary.
    chosen_on, tested_on
        Images of the two halves, with those that are about each word.
    embeddings
        Of the selection images and of the words; None where neither the vocabulary nor the method needs
        them.
    method
        Who proposes: one of `METHODS`.
    left_out
        How many words of the vocabulary the model cannot tell from others.
    """

    words: list[str]
    chosen_on: Images
    tested_on: Images
    embeddings: tuple[Float32, Float32] | None
    method: str = OURS
    left_out: int = 0

    def scores(self, activations: npt.NDArray[np.floating]) -> dict[str, Float32]:
        """Every scorer's `[units, words]`."""
        values = np.nan_to_num(activations)
        if self.method != OURS:
            assert self.embeddings is not None
            return {self.method: SCORERS[self.method](values, *self.embeddings)}
        scores = {
            "auc": mean_auc(activations, self.chosen_on),
            "contrast": contrast(activations, self.chosen_on),
        }
        if self.embeddings is not None:
            scores["cos-cubed"] = cos_cubed(values, *self.embeddings)
        return scores

    def named(self, matrix: npt.NDArray[np.floating]) -> tuple[Candidates, Tested]:
        """Candidates and their test for `[all images, units]`; constant units have none."""
        first = np.asarray(matrix[self.chosen_on.rows])
        found = propose(self.scores(first))
        found.word[is_constant(first)] = -1
        return found, test(np.asarray(matrix[self.tested_on.rows]), self.tested_on, found)

    def shuffled(self, matrix: npt.NDArray[np.floating], seed: int) -> npt.NDArray[np.floating]:
        """The activations dealt out anew among the images of each half and modality."""
        out = np.array(matrix)
        rng = np.random.default_rng(seed)
        for half in (self.chosen_on, self.tested_on):
            for here, _ in half.by_modality():
                rows = half.rows[here]
                out[rows] = matrix[rng.permutation(rows)]
        return out


def ground_of(atlas: Atlas, vocabulary: str, method: str = OURS) -> Ground:
    """The words of a vocabulary and the labelled images of an atlas, in the two halves of their artists.

    Raises
    ------
    SynestheteError
        No labelled images, one artist only, no such vocabulary; and where embeddings are needed, another
        model than the atlas's, or one that cannot tell the words apart.
    """
    table = atlas.probes
    columns = {key: table[key].to_pylist() for key in ("status", "concept", "modality", "artist")}
    labels = zip(columns["status"], columns["concept"], columns["modality"], strict=True)
    fine = np.array([s == "ok" and bool(c) and bool(m) for s, c, m in labels], np.bool_)
    rows = np.flatnonzero(fine)
    if not len(rows):
        raise SynestheteError(
            f"the images of {atlas.path} have no concept and modality",
            hint="naming splits them by modality and artist; record a labelled probe set",
        )
    design = Design.of(
        *([columns[key][i] for i in rows] for key in ("concept", "modality", "artist"))
    )
    words = load_vocabulary(vocabulary, design.concepts)
    scoring = design.halves.scoring
    halves = [np.flatnonzero(scoring == half) for half in (False, True)]
    if any(not len(half) for half in halves):
        raise SynestheteError(
            "all probe images are by one artist",
            hint="names are chosen on some artists and tested on others",
        )
    texts = None
    if vocabulary != CONCEPTS or method != OURS:
        texts = text_embeddings(atlas, words)
    if vocabulary == CONCEPTS:
        made = [
            labelled(rows[half], design.concept[half], design.modality[half], len(words))
            for half in halves
        ]
        shown = None if texts is None else (_images(atlas, rows[halves[0]]), texts)
        return Ground(words, made[0], made[1], shown, method)
    assert texts is not None
    kept = np.flatnonzero(apart(words, texts))
    if len(kept) < 2:
        raise SynestheteError(
            f"the model cannot tell the {len(words)} words of {vocabulary} apart",
            hint="give words in a script that its tokenizer knows",
        )
    left_out = len(words) - len(kept)
    words, texts = [words[i] for i in kept], texts[kept]
    shown = _images(atlas, rows[halves[0]]), texts
    made = [
        alike(rows[half], design.modality[half], _images(atlas, rows[half]), texts)
        for half in halves
    ]
    return Ground(words, made[0], made[1], shown, method, left_out)


def apart(words: Sequence[str], texts: Float32) -> Bool:
    """Which words, of embeddings `[words, dim]`, the model tells from all others.

    Words that differ in more than letter case and have one embedding are none that the model knows: all are
    left out. Of those that differ in case the first stays.

    Examples
    --------
    >>> import numpy as np
    >>> texts = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8], [0.6, 0.8]], np.float32)
    >>> apart(["us", "cat", "US", "qwfp", "arst"], texts).tolist()
    [True, True, False, False, False]
    """
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(texts.round(SAME_DECIMALS) + 0.0):  # -0 becomes 0
        groups.setdefault(row.tobytes(), []).append(i)
    out: Bool = np.asarray(np.isfinite(texts).all(axis=1))
    for alike_ones in groups.values():
        known = len({words[i].casefold() for i in alike_ones}) == 1
        out[alike_ones[1:] if known else alike_ones] = False
    return out


def text_embeddings(atlas: Atlas, words: list[str]) -> Float32:
    """Embeddings `[words, dim]` by the model that the atlas was recorded with; others are refused."""
    from synesthete.recording.zero_shot import class_embeddings

    return class_embeddings(own_model(atlas), words)


def _images(atlas: Atlas, rows: npt.NDArray[np.int64]) -> Float32:
    return np.asarray(atlas.embeddings()[rows], np.float32)
