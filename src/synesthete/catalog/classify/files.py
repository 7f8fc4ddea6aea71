"""A classifier's folder: facts, weights and model card, written so that a kill leaves the old one or the new one."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from synesthete.atlas.files import write_file
from synesthete.catalog.classify import card as cards
from synesthete.catalog.classify.probe import Knots, Probe
from synesthete.errors import SynestheteError

FORMAT, VERSION = "synesthete-classifier", 1
FACTS, WEIGHTS = "classifier.json", "weights-"


def write_classifier(out: Path, facts: Mapping[str, Any], probe: Probe) -> None:
    """Put a classifier into its folder: weights, model card, and last the facts."""
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


def read_facts(path: Path) -> dict[str, Any]:
    """What a classifier's folder says of it; raises `SynestheteError` where it says nothing, or too much for this program."""
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


def read_probe(path: Path, facts: Mapping[str, Any]) -> Probe:
    """The weights that the facts name; raises `SynestheteError` for damaged ones."""
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
