"""A classifier's folder: facts, weights and model card, written so that a kill leaves the old one or the new one."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synesthete._core.json_reader import read_json
from synesthete._core.user_files import read_inside
from synesthete.atlas.arrays import NUMBERS, Shape, npz_names, read_npz
from synesthete.atlas.files import write_file
from synesthete.catalog.classify import card as cards
from synesthete.catalog.classify.probe import Knots, Probe
from synesthete.errors import SynestheteError

FORMAT, VERSION = "synesthete-classifier", 1
FACTS, WEIGHTS = "classifier.json", "weights-"


@dataclass(frozen=True)
class _Model:
    name: str
    weights_sha256: str
    layer: str


@dataclass(frozen=True)
class _Promises:
    quantile: float
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Of `classifier.json`, what judging needs; the rest is for people."""

    labels: list[str]
    vocabulary: list[str]
    template: Literal["general", "health"]
    weights: str
    model: _Model
    promises: _Promises


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
    from pydantic import TypeAdapter, ValidationError

    if not (path / FACTS).exists():
        raise SynestheteError(
            f"{path} holds no classifier", hint="make one with: synesthete catalog classify --fit"
        )
    try:
        facts = read_json(path / FACTS, root=path)
    except SynestheteError as error:
        raise SynestheteError(f"{path / FACTS} is damaged: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise SynestheteError(f"{path / FACTS} is not of a classifier")
    version = facts.get("version", 0)
    if isinstance(version, int) and version > VERSION:
        raise SynestheteError(
            f"{path} is of a newer format than this program's", hint="update synesthete"
        )
    try:
        TypeAdapter(_Facts).validate_python(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SynestheteError(f"{path / FACTS} is damaged: {where}: {first['msg']}") from None
    return facts


def read_probe(path: Path, facts: Mapping[str, Any]) -> Probe:
    """The weights that the facts name; raises `SynestheteError` for damaged ones."""
    try:
        labels, promises, name = (
            tuple(facts["labels"]),
            facts["promises"],
            Path(facts["weights"]).name,
        )
        data = read_inside(path, path / name)
        names = npz_names(data, source=name)
        curves = [i for i in range(len(labels)) if f"logits_{i}" in names]
        expected: dict[str, tuple[Any, Shape]] = {
            "weights": (NUMBERS, (len(labels), None)), "intercept": (NUMBERS, (len(labels),)), "sharpness": (NUMBERS, ()),
            **{f"{part}_{i}": (NUMBERS, (None,)) for i in curves for part in ("logits", "shares")},
        }  # fmt: skip
        arrays = read_npz(data, expected, source=name)
        knots = tuple(Knots(arrays[f"logits_{i}"], arrays[f"shares_{i}"]) for i in curves)
        if any(len(one.logits) != len(one.shares) or not len(one.logits) for one in knots):
            raise ValueError("a curve has other corners in logits than in shares")
        probe = Probe(
            labels, arrays["weights"], arrays["intercept"], float(arrays["sharpness"]), knots,
            float(promises["quantile"]), math.inf if promises["threshold"] is None else float(promises["threshold"]),
        )  # fmt: skip
    except (SynestheteError, ValueError, KeyError, TypeError) as error:
        raise SynestheteError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    return probe
