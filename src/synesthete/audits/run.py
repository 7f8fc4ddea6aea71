"""One audit or all of them: load the model, measure, judge, and put it into one report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.json_reader import plain
from synesthete.audits.registry import AUDITS
from synesthete.audits.report.report import SCHEMA, VERSION, verdicts
from synesthete.errors import SynestheteError, near

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

Progress = Callable[[str], None]


def run_audit(
    model: str | ImageTextModel,
    kind: str = "all",
    *,
    images: str | Path | None = None,
    people: str | Path | None = None,
    lists: str | Path | None = None,
    words: str | Path | None = None,
    limits: Mapping[str, float] | None = None,
    limit: int | None = None,
    layer: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A report.

    Parameters
    ----------
    model
        A name as for `load_model`, or a loaded model.
    kind
        `typographic`, `adversarial`, `bias` or `all`.
    images
        The user's images to be attacked, for `typographic` and `adversarial`.
    people
        The user's labelled photos of people, for `bias`.
    lists
        Groups, attributes and labels, for `bias`.
    words
        Words by type (CSV), for `bias`.
    limits
        Metric → limit of the verdicts.
    limit
        At most so many images in each audit.
    settings
        `epsilons` and `steps` of `audit_adversarial`, `style` of `audit_typographic`.

    Returns
    -------
    dict
        The report, as docs/audits.md describes it and `write_report` writes it.

    Raises
    ------
    SynestheteError
        No such kind, model, images or lists.
    """
    kinds = (*AUDITS, "all")
    if kind not in kinds:
        raise SynestheteError(
            f"unknown audit {kind!r}", hint=near(kind, AUDITS) or ", ".join(kinds)
        )
    from synesthete.models import load_model
    from synesthete.models.dictionary_formats import with_named_dictionaries

    loaded = load_model(model) if isinstance(model, str) else model
    if layer is not None:
        loaded, (layer,) = with_named_dictionaries(loaded, [layer])
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "version": VERSION,
        "kind": kind,
        "model": _described(loaded),
        "versions": {
            "synesthete": version("synesthete"),
            "torch": version("torch"),
            "open_clip": version("open_clip_torch"),
        },
        "settings": {
            "seed": seed,
            "limit": limit,
            "images": None if images is None else str(images),
            "people": None if people is None else str(people),
            "lists": None if lists is None else str(lists),
            "words": None if words is None else str(words),
        },
        "cost": {},
    }
    settings |= {"images": images, "people": people, "lists": lists, "words": words}
    settings |= {"limit": limit, "layer": layer}
    for name, audit in AUDITS.items() if kind == "all" else [(kind, AUDITS[kind])]:
        given = {k: settings[k] for k in audit.settings if settings.get(k) is not None}
        started = time.monotonic()
        part = audit.run(loaded, seed=seed, progress=_prefixed(name, progress), **given)
        report[name] = plain(part)
        report["cost"][name] = {"seconds": round(time.monotonic() - started, 1)}
    report["cost"]["peak_memory_mib"] = _peak_mib()
    report["verdicts"] = plain(verdicts(report, limits))
    return report


def _described(model: ImageTextModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "architecture": str(model.description.get("architecture", "")),
        "parameters": model.description.get("parameters"),
        "weights_sha256": model.weights_sha256,
        "preprocessing": model.preprocessing.as_dict(),
    }


def _prefixed(kind: str, progress: Progress | None) -> Progress:
    def say(message: str) -> None:
        if progress is not None:
            progress(f"{kind}: {message}")

    return say


def _peak_mib() -> int | None:
    """Largest memory of this process so far, in MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
