"""Make a classifier: embed the records, fit and measure the probe, and write it with its model card."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synesthete.catalog.classify.classifier import Classifier
from synesthete.catalog.classify.features import embed, fuse
from synesthete.catalog.classify.files import FACTS, FORMAT, VERSION, write_classifier
from synesthete.catalog.classify.fitting import LEAST_OF_LABEL, fit_probe
from synesthete.catalog.classify.probe import Calibration
from synesthete.catalog.classify.reasons import vocabulary
from synesthete.catalog.classify.records import Records, Template, personal
from synesthete.catalog.people import Label
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel


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
    write_classifier(out, facts, fitted.probe)
    return Classifier(out, loaded)
