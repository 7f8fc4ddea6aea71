"""A classifier of records: fitted, kept in a folder, opened again, and asked; what it is not sure of goes to people."""

from __future__ import annotations

import math
import re
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float32
from synesthete.catalog.classify.linear_probe import (
    NOT_A_DEVICE,
    read_facts,
    read_linear_probe,
)
from synesthete.catalog.classify.records import Record, embed, fuse, image_direction
from synesthete.catalog.schema import Reason
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.request_images import see
from synesthete.reviews.cases import Policy, Queue

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.models.image_text_model import ImageTextModel

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
    return sorted(term for term, by in holders.items() if len(by) >= least)


def _without(text: str, word: str) -> str:
    return " ".join(
        _WORD.sub(lambda one: "" if one[0].casefold() == word else one[0], text).split()
    )


@dataclass(frozen=True, kw_only=True)
class Classification:
    """What a classifier makes of one record.

    Attributes
    ----------
    row, reference
        Which record; its texts and ids are not repeated.
    label, confidence
        The likeliest label and its calibrated probability.
    labels
        The conformal set: label → probability, the likeliest first. Empty for a record like none before.
    decided
        Whether it decides by itself. Otherwise `why` says why not, and a person should.
    ticket
        Of the case in the review queue, where there is one.
    reasons
        Units and words that speak for the label against the next one, or (negative) for that.
    notice
        "Research use, not a medical device." under the health template.
    """

    row: int
    reference: str
    label: str
    confidence: float
    labels: dict[str, float]
    decided: bool
    why: str
    reasons: tuple[Reason, ...] = ()
    ticket: str | None = None
    notice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it."""
        return asdict(self)


class Classifier:
    """A fitted classifier in a folder.

    Parameters
    ----------
    path
        The folder.

    Attributes
    ----------
    facts
        What `classifier.json` says.
    linear_probe
        The linear layer and its promises.

    Raises
    ------
    SynestheteError
        No classifier there, or a damaged one.
    """

    def __init__(self, path: str | Path, model: ImageTextModel | None = None) -> None:
        self.path = Path(path)
        self.facts: dict[str, Any] = read_facts(self.path)
        self.linear_probe = read_linear_probe(self.path, self.facts)
        self._known = frozenset(self.facts["vocabulary"])
        self._model = model
        self._loading = threading.Lock()

    @property
    def notice(self) -> str:
        """What must be said with every answer."""
        return NOT_A_DEVICE if self.facts["template"] == "health" else ""

    @property
    def model(self) -> ImageTextModel:
        """The model whose embeddings it judges; refused when its weights are others."""
        with self._loading:  # or everybody who asks at first would load one
            if self._model is None:
                from synesthete.models import load_model

                model = load_model(self.facts["model"]["name"])
                if model.weights_sha256 != self.facts["model"]["weights_sha256"]:
                    raise SynestheteError(
                        f"{self.facts['model']['name']} has other weights than when {self.path} was fitted",
                        hint="fit it again",
                    )
                self._model = model
            return self._model

    def judge(
        self,
        records: Sequence[Record],
        *,
        queue: Queue | None = None,
        policy: Policy | None = None,
        reasons: bool = True,
        atlas: Atlas | None = None,
    ) -> list[Classification]:
        """Judge records; those whose image cannot be decoded and that have no text are not decided.

        Parameters
        ----------
        queue
            Where the cases go that it does not decide, and those that people audit.
        policy
            Asks people more often than the classifier's own promise does: below its threshold, and for its audits.
        reasons
            Whether to say why.
        atlas
            Of the same model: its names of units are used in the reasons.
        """
        embedded = embed(self.model, records)
        chances = self.linear_probe.probabilities(fuse(embedded.images, embedded.texts))
        sets = self.linear_probe.sets(chances)
        usable = embedded.usable
        results = []
        for place, record in enumerate(records):
            row = chances[place]
            first, second = (int(i) for i in np.argsort(-row, kind="stable")[:2])
            why = (
                self._why_not(float(row[first]), sets[place])
                if usable[place]
                else "nothing could be read"
            )
            what = (policy or Policy(0.0)).what(float(row[first]), record.reference)
            if not why and what == "ask":
                why = "below the threshold that people set"
            explanation: tuple[Reason, ...] = ()
            if reasons and usable[place]:
                explanation = (
                    *self._unit_reasons(record, embedded.texts[place], first, second, atlas),
                    *self._word_reasons(record, embedded.images[place], first, second),
                )
            inside = {
                self.linear_probe.labels[i]: float(row[i])
                for i in np.argsort(-row, kind="stable")
                if sets[place, i]
            }
            judged = Classification(
                row=record.row,
                reference=record.reference,
                label=self.linear_probe.labels[first],
                confidence=float(row[first]),
                labels=inside if usable[place] else {},
                decided=not why,
                why=why,
                reasons=explanation,
                ticket=None,
                notice=self.notice,
            )
            if queue is not None and (why or what == "audit"):
                judged = replace(
                    judged, ticket=self._ask(queue, judged, why or "audit of an answer")
                )
            results.append(judged)
        return results

    def _unit_reasons(
        self, record: Record, text: Float32, first: int, second: int, atlas: Atlas | None
    ) -> tuple[Reason, ...]:
        """What each unit adds to the difference of two labels' logits, beside this text `[dim]`: the most telling first.

        None without an image, or where the way from the layer to the embedding is not linear.
        """
        from synesthete.analysis.decomposition.explain import contributions, has_linear_path

        probe, layer = self.linear_probe, self.facts["model"]["layer"]
        if record.image is None or not has_linear_path(self.model, layer):
            return ()
        try:
            pixels = see(record.image, self.model.preprocess)[None]
        except UnreadableImage:
            return ()
        weights = (probe.weights[first] - probe.weights[second]) * probe.sharpness
        wanted = image_direction(weights.astype(np.float32), text)
        units = contributions(self.model, layer, pixels, wanted).units[0]
        found = []
        for unit in np.argsort(-np.abs(units), kind="stable")[:UNITS]:
            address = f"{layer}:{unit}"
            neuron = atlas.neuron(address) if atlas is not None and atlas.analysed else None
            found.append(
                Reason(
                    kind="unit",
                    # What is not tested tells nobody anything.
                    text=(neuron and neuron.name) or address,
                    weight=float(units[unit]),
                    address=address,
                    tested=bool(neuron and neuron.name),
                )
            )
        return tuple(found)

    def _word_reasons(
        self, record: Record, image: Float32, first: int, second: int
    ) -> tuple[Reason, ...]:
        """What each word adds to the difference of two labels' logits: how far it falls when the word is left out."""
        words = [term for term in dict.fromkeys(words_of(record.text)) if term in self._known]
        words = words[:MOST_WORDS]
        if not words:
            return ()
        texts = [record.text, *(_without(record.text, word) for word in words)]
        vectors = self.model.encode_texts(texts)
        vectors[[place for place, text in enumerate(texts) if not text]] = 0
        features = fuse(np.repeat(image[None], len(vectors), axis=0), vectors)
        logits = self.linear_probe.logits(features)
        apart = (logits[:, first] - logits[:, second]) * self.linear_probe.sharpness
        weights = apart[0] - apart[1:]
        order = np.argsort(-np.abs(weights), kind="stable")[:WORDS]
        return tuple(
            Reason(kind="words", text=words[place], weight=float(weights[place])) for place in order
        )

    def _why_not(self, confidence: float, inside: np.ndarray[Any, Any]) -> str:
        if not inside.any():
            return "unlike any record that it knows"
        if confidence >= self.linear_probe.threshold:
            return ""
        if math.isinf(self.linear_probe.threshold):
            return "no confidence is high enough to keep the promised risk"
        return f"confidence below {self.linear_probe.threshold:.3f}"

    def _ask(self, queue: Queue, judged: Classification, why: str) -> str:
        payload = {
            "reference": judged.reference,
            "proposal": judged.label,
            "choices": {label: round(chance, 6) for label, chance in judged.labels.items()},
            "reasons": [
                {"kind": one.kind, "text": one.text, "weight": round(one.weight, 6)}
                for one in judged.reasons
            ],
            "classifier": self.path.name,
            "notice": self.notice,
        }
        return queue.add("classify", payload, reason=why, confidence=judged.confidence)
