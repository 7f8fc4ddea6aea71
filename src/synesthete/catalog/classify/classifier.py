"""A classifier of records: fitted, kept in a folder, opened again, and asked; what it is not sure of goes to people."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from synesthete.atlas.files import write_file
from synesthete.catalog.classify import card as cards
from synesthete.catalog.classify.features import embed, fuse
from synesthete.catalog.classify.fitting import LEAST_OF_LABEL, fit_probe
from synesthete.catalog.classify.probe import Calibration, Knots, Probe
from synesthete.catalog.classify.reasons import unit_reasons, vocabulary, word_reasons
from synesthete.catalog.classify.records import Record, Records, Template, personal
from synesthete.catalog.people import Label, Policy, Queue
from synesthete.catalog.types import Reason
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.models.image_text_model import ImageTextModel

FORMAT, VERSION = "synesthete-classifier", 1
FACTS, WEIGHTS = "classifier.json", "weights-"


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

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.facts: dict[str, Any] = _read_facts(self.path)
        self.probe = _read_probe(self.path, self.facts)
        self._known = frozenset(self.facts["vocabulary"])
        self._model: ImageTextModel | None = None

    @property
    def notice(self) -> str:
        """What must be said with every answer."""
        return cards.NOT_A_DEVICE if self.facts["template"] == "health" else ""

    @property
    def model(self) -> ImageTextModel:
        """The model whose embeddings it judges; refused when its weights are others."""
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


def fit(
    records: Records,
    out: str | Path,
    model: str | ImageTextModel = "mini",
    *,
    template: Template = "general",
    calibration: Calibration = "temperature",
    coverage: float = 0.9,
    risk: float = 0.05,
    corrections: Sequence[Label] = (),
    seed: int = 0,
) -> Classifier:
    """Fit a classifier on records with labels, measure it, and write it with its model card into a new folder.

    Parameters
    ----------
    records
        Those without label take no part, unless people gave them one.
    out
        The folder; one with a classifier in it is replaced.
    model
        Whose embeddings are used: a name as for `load_model`, or the model.
    template
        `health` says on everything that it is no medical device.
    calibration, coverage, risk, seed
        As of `fit_probe`.
    corrections
        What people made of cases: their label stands for the record's own.

    Raises
    ------
    SynestheteError
        Too few records, or a folder that holds something else.
    """
    from synesthete import __version__
    from synesthete.models import load_model

    out = Path(out)
    if out.exists() and not (out.is_dir() and ((out / FACTS).exists() or not any(out.iterdir()))):
        raise SynestheteError(f"{out} is there and is no classifier", hint="choose another folder")
    loaded = load_model(model) if isinstance(model, str) else model
    corrected = {one.reference: one.label for one in corrections}
    labelled = [
        replace(one, label=corrected.get(one.reference, one.label))
        for one in records.records
        if corrected.get(one.reference, one.label)
    ]
    counts = Counter(one.label for one in labelled)
    rare = {label for label, count in counts.items() if count < LEAST_OF_LABEL}
    labelled = [one for one in labelled if one.label not in rare]
    embedded = embed(loaded, labelled)
    usable = np.flatnonzero(embedded.usable)
    labelled = [labelled[i] for i in usable]
    images, texts = embedded.images[usable], embedded.texts[usable]
    features, dim = fuse(images, texts), loaded.embedding_dim
    groups = [one.group or one.reference for one in labelled]
    grouped = any(one.group for one in labelled)
    fitted = fit_probe(
        features, np.array([one.label for one in labelled], dtype=np.str_),
        np.array(groups, dtype=np.str_) if grouped else None,
        calibration=calibration, coverage=coverage, risk=risk,
        parts={"picture alone": slice(0, dim), "text alone": slice(dim, 2 * dim)}, seed=seed,
    )  # fmt: skip
    split = fitted.split
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "name": out.name.removesuffix(".classifier"),
        "labels": list(fitted.probe.labels),
        "template": template,
        "model": {
            "name": loaded.name,
            "weights_sha256": loaded.weights_sha256,
            "layer": loaded.default_layers[0],
        },
        "calibration": calibration,
        "promises": {
            "coverage": coverage,
            "risk": risk,
            "quantile": fitted.probe.quantile,
            "threshold": fitted.probe.threshold if math.isfinite(fitted.probe.threshold) else None,
        },
        "measured": asdict(fitted.measured),
        "controls": {name: asdict(one) for name, one in fitted.controls.items()},
        "records": {
            "used": len(labelled),
            "groups": len(set(groups)) if grouped else 0,
            "fit": len(split.fit),
            "hold": len(split.hold),
            "test": len(split.test),
            "aside": len(records.aside) + int((~embedded.usable).sum()),
            "too_rare": len(rare),
            "corrected": sum(one.reference in corrected for one in labelled),
            "labels": dict(sorted(Counter(one.label for one in labelled).items())),
            "ignored": list(personal(records.ignored) if template == "health" else records.ignored),
        },
        "vocabulary": vocabulary([labelled[i] for i in split.fit]),
        "penalty": fitted.penalty,
        "seed": seed,
        "versions": {"synesthete": __version__, "numpy": np.__version__},
    }
    _write(out, facts, fitted.probe)
    made = Classifier(out)
    made._model = loaded
    return made


def _write(out: Path, facts: Mapping[str, Any], probe: Probe) -> None:
    arrays = {
        "weights": probe.weights, "intercept": probe.intercept, "sharpness": np.array(probe.sharpness)
    }  # fmt: skip
    for place, one in enumerate(probe.knots):
        arrays |= {f"logits_{place}": one.logits, f"shares_{place}": one.shares}
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    name = f"{WEIGHTS}{hashlib.sha256(stream.getvalue()).hexdigest()[:16]}.npz"
    told = {**_finite(facts), "weights": name}
    write_file(out / name, stream.getvalue())
    write_file(out / cards.FILE, cards.card(told).encode())
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    # The facts last: they name the weights that are theirs, so a kill in between leaves what was there before.
    write_file(out / FACTS, text.encode())
    for old in out.glob(f"{WEIGHTS}*.npz"):
        if old.name != name:
            old.unlink()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SynestheteError(
            f"{path} holds no classifier", hint="make one with: synesthete catalog classify --fit"
        ) from None
    except (OSError, ValueError) as error:
        raise SynestheteError(f"{path / FACTS} is damaged: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise SynestheteError(f"{path / FACTS} is not of a classifier")
    if facts.get("version", 0) > VERSION:
        raise SynestheteError(
            f"{path} is of a newer format than this program's", hint="update synesthete"
        )
    return facts


def _read_probe(path: Path, facts: Mapping[str, Any]) -> Probe:
    try:
        labels, promises, name = (
            tuple(facts["labels"]),
            facts["promises"],
            Path(facts["weights"]).name,
        )
        with np.load(path / name, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        knots = tuple(
            Knots(arrays[f"logits_{i}"], arrays[f"shares_{i}"])
            for i in range(len(labels))
            if f"logits_{i}" in arrays
        )
        probe = Probe(
            labels, arrays["weights"], arrays["intercept"], float(arrays["sharpness"]), knots,
            float(promises["quantile"]), math.inf if promises["threshold"] is None else float(promises["threshold"]),
        )  # fmt: skip
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise SynestheteError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if probe.weights.shape[:1] != (len(labels),) or probe.intercept.shape != (len(labels),):
        raise SynestheteError(f"{path} is damaged: the weights are of other labels than {FACTS}")
    return probe
