"""A classifier of records: fitted, kept in a folder, opened again, and asked; what it is not sure of goes to people."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete.catalog.answers import Reason
from synesthete.catalog.classify import card as cards
from synesthete.catalog.classify.features import embed, fuse
from synesthete.catalog.classify.files import read_facts, read_probe
from synesthete.catalog.classify.reasons import unit_reasons, word_reasons
from synesthete.catalog.classify.records import Record
from synesthete.catalog.people import Policy, Queue
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.models.image_text_model import ImageTextModel


@dataclass(frozen=True)
class Judged:
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
    probe
        The linear layer and its promises.

    Raises
    ------
    SynestheteError
        No classifier there, or a damaged one.
    """

    def __init__(self, path: str | Path, model: ImageTextModel | None = None) -> None:
        self.path = Path(path)
        self.facts: dict[str, Any] = read_facts(self.path)
        self.probe = read_probe(self.path, self.facts)
        self._known = frozenset(self.facts["vocabulary"])
        self._model = model
        self._loading = threading.Lock()

    @property
    def notice(self) -> str:
        """What must be said with every answer."""
        return cards.NOT_A_DEVICE if self.facts["template"] == "health" else ""

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
    ) -> list[Judged]:
        """Judge records; those whose picture cannot be decoded and that have no text are not decided.

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
        chances = self.probe.probabilities(fuse(embedded.images, embedded.texts))
        sets = self.probe.sets(chances)
        usable = embedded.usable
        made = []
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
            told: tuple[Reason, ...] = ()
            if reasons and usable[place]:
                told = (
                    *unit_reasons(
                        self.model, self.facts["model"]["layer"], record, embedded.texts[place],
                        (self.probe.weights[first] - self.probe.weights[second]) * self.probe.sharpness, atlas,
                    ),
                    *word_reasons(
                        self.model, record, embedded.images[place], self.probe, first, second, self._known
                    ),
                )  # fmt: skip
            inside = {
                self.probe.labels[i]: float(row[i])
                for i in np.argsort(-row, kind="stable")
                if sets[place, i]
            }
            judged = Judged(
                record.row, record.reference, self.probe.labels[first], float(row[first]),
                inside if usable[place] else {}, not why, why, told, None, self.notice,
            )  # fmt: skip
            if queue is not None and (why or what == "audit"):
                judged = replace(
                    judged, ticket=self._ask(queue, judged, why or "audit of an answer")
                )
            made.append(judged)
        return made

    def _why_not(self, confidence: float, inside: np.ndarray[Any, Any]) -> str:
        if not inside.any():
            return "unlike any record that it knows"
        if confidence >= self.probe.threshold:
            return ""
        if math.isinf(self.probe.threshold):
            return "no confidence is high enough to keep the promised risk"
        return f"confidence below {self.probe.threshold:.3f}"

    def _ask(self, queue: Queue, judged: Judged, why: str) -> str:
        payload = {
            "reference": judged.reference,
            "proposal": judged.label,
            "choices": {label: round(chance, 6) for label, chance in judged.labels.items()},
            "reasons": [
                {"kind": one.kind, "text": one.text, "weight": round(one.weight, 6)} for one in judged.reasons
            ],
            "classifier": self.path.name,
            "notice": self.notice,
        }  # fmt: skip
        return queue.add("classify", payload, reason=why, confidence=judged.confidence)
