"""Why a record got its label and not the next one: units of the picture, exactly, and words of the text, by leaving each out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete.catalog.answers import Reason
from synesthete.catalog.classify.features import fuse, image_direction
from synesthete.catalog.classify.probe import Probe
from synesthete.catalog.classify.records import Record

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.models.image_text_model import ImageTextModel

Float32 = npt.NDArray[np.float32]
UNITS, WORDS = 5, 5
MOST_WORDS = 48
LEAST_RECORDS = 5
_WORD = re.compile(r"[^\W\d_]{2,}(?:[-'’][^\W\d_]+)*")


def words_of(text: str) -> list[str]:
    """Words of a text in small letters; nothing with a digit in it.

    Examples
    --------
    >>> words_of("Brown mole, 4 mm; MRN 00123A, well-defined")
    ['brown', 'mole', 'mm', 'mrn', 'well-defined']
    """
    return [word.casefold() for word in _WORD.findall(text)]


def vocabulary(records: Sequence[Record], least: int = LEAST_RECORDS) -> list[str]:
    """Words that so many records (or groups of records) share: only these are ever repeated to anyone.

    A name, a place or a number that belongs to one person does not get in.
    """
    holders: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for word in set(words_of(record.text)):
            holders[word].add(record.group or record.reference)
    return sorted(word for word, by in holders.items() if len(by) >= least)


def unit_reasons(
    model: ImageTextModel, layer: str, record: Record, text: Float32, weights: npt.NDArray[np.float64],
    atlas: Atlas | None, limit: int = UNITS,
) -> tuple[Reason, ...]:  # fmt: skip
    """What each unit adds to the difference of two labels' logits, the most telling first; none without a picture or
    where the way from the layer to the embedding is not linear.

    Parameters
    ----------
    text
        `[dim]`: the text's embedding, beside which the picture is judged.
    weights
        `[3 dim + 2]`: of the first label, less those of the second.
    """
    from synesthete.analysis.decomposition.explain import contributions, has_linear_path
    from synesthete.probes.decoding import UnreadableImage
    from synesthete.probes.request_images import see

    if record.image is None or not has_linear_path(model, layer):
        return ()
    try:
        pixels = see(record.image, model.preprocess)[None]
    except UnreadableImage:
        return ()
    wanted = image_direction(weights.astype(np.float32), text)
    units = contributions(model, layer, pixels, wanted).units[0]
    order = np.argsort(-np.abs(units), kind="stable")[:limit]
    return tuple(_unit(atlas, layer, int(unit), float(units[unit])) for unit in order)


def word_reasons(
    model: ImageTextModel, record: Record, image: Float32, probe: Probe, first: int, second: int,
    known: Collection[str], limit: int = WORDS,
) -> tuple[Reason, ...]:  # fmt: skip
    """What each word adds to the difference of two labels' logits: how far it falls when the word is left out."""
    found = [word for word in dict.fromkeys(words_of(record.text)) if word in known][:MOST_WORDS]
    if not found:
        return ()
    without = [_without(record.text, word) for word in found]
    vectors = model.encode_texts([record.text, *without])
    vectors[[place for place, text in enumerate([record.text, *without]) if not text]] = 0
    logits = probe.logits(fuse(np.repeat(image[None], len(vectors), axis=0), vectors))
    apart = (logits[:, first] - logits[:, second]) * probe.sharpness
    weights = apart[0] - apart[1:]
    order = np.argsort(-np.abs(weights), kind="stable")[:limit]
    return tuple(Reason("words", found[place], float(weights[place])) for place in order)


def _without(text: str, word: str) -> str:
    return " ".join(
        _WORD.sub(lambda one: "" if one[0].casefold() == word else one[0], text).split()
    )


def _unit(atlas: Atlas | None, layer: str, unit: int, weight: float) -> Reason:
    address = f"{layer}:{unit}"
    neuron = atlas.neuron(address) if atlas is not None and atlas.analysed else None
    called = (neuron.name or neuron.concept) if neuron else ""
    return Reason("unit", called or address, weight, address, bool(neuron and neuron.name))
