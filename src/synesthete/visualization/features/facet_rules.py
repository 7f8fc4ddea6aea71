"""Which images of a probe set stand for which facet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PICTURES = ("photo", "drawing")
FACES = (
    "alien", "angel", "angry", "baby", "blowing a kiss", "clown", "cowboy", "crying", "devil", "embarrassed", "eye roll",
    "face mask", "grin", "in love", "man", "mind blown", "nerd", "neutral", "old man", "old woman", "party", "sad", "santa claus",
    "scream", "smile", "sobbing", "tears of joy", "thinking", "tongue out", "wink", "woman", "zipped mouth",
)  # fmt: skip
POSES = (
    "badminton", "basketball", "cycling", "dancer", "golf", "juggling", "rock climbing", "running", "skier", "snowboarding",
    "surfing", "swimming", "walking", "weightlifting", "yoga",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """Images of any of these families or concepts, and of any of these modalities; empty means all."""

    families: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def rows(self, labels: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows of a probe set's labels it means."""
        kept = np.ones(labels.num_rows, bool)
        if self.families or self.concepts:
            kept = _among(labels["family"], self.families) | _among(
                labels["concept"], self.concepts
            )
        if self.modalities:
            kept &= _among(labels["modality"], self.modalities)
        return kept


# The facets of Goh et al. (2021) and of the modalities. The built-in probe set has neither flags, brands nor rooms:
# `flag` and `indoor` wait for probe sets with such families, and `logo` is learned from emblems and signs.
RULES: dict[str, Rule] = {
    "photo": Rule(modalities=("photo",)),
    "face": Rule(families=("face",), concepts=FACES, modalities=PICTURES),
    "word": Rule(modalities=("word",)),
    "symbol": Rule(modalities=("symbol",)),
    "logo": Rule(
        families=("logo", "brand", "sign", "religion", "zodiac", "symbol"),
        modalities=("drawing",),
    ),
    "nature": Rule(families=("nature", "animal", "plant", "weather"), modalities=PICTURES),
    "food": Rule(families=("food", "drink"), modalities=PICTURES),
    "object": Rule(
        families=("household", "tool", "office", "technology", "music", "clothing"),
        modalities=PICTURES,
    ),
    "place": Rule(families=("place", "architecture"), modalities=PICTURES),
    "flag": Rule(families=("flag",)),
    "indoor": Rule(families=("indoor",), modalities=PICTURES),
    "pose": Rule(families=("pose",), concepts=POSES, modalities=PICTURES),
}


def _among(column: pa.ChunkedArray, wanted: Iterable[str]) -> npt.NDArray[np.bool_]:
    return np.isin(column.to_numpy().astype(str), np.array([*wanted], dtype=str))
