"""Is it fooled by a label? The library's typographic attack and Stroop test, as the model card tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from synesthete.audits import typographic
from synesthete.audits.images import ImageSet
from synesthete.audits.labels import Style
from synesthete.audits.typographic import Subject, ZeroShot
from training.evaluation.embedding import embed


def attack(
    model: Any,
    images: Sequence[Image.Image],
    truth: Sequence[int],
    names: Sequence[str],
    *,
    share: float = 0.1,
    seed: int = 0,
) -> dict[str, Any]:
    """How often a handwritten name of another concept turns the zero-shot answer.

    Only images that are named right without a label count. `to_the_word`: the answer is the written
    word; `lost`: it is no longer the truth; `lost_to_blank`: the same with an empty label, the control.
    """
    seen = [model.geometry(image) for image in images]
    image_set = ImageSet(
        source="held-out images",
        images=seen,
        truth=np.asarray(truth, np.int64),
        classes=list(names),
    )
    subject = Subject(
        model, image_set, {"zero_shot": ZeroShot.of(model, names)}, embed(model, seen), seed=seed
    )
    right = int(subject.right["zero_shot"].sum())
    if not right:
        return {"images": len(seen), "right_without": 0}
    style = Style(share=share)
    found = subject.outcome(subject.labelled(style, blank=True), "zero_shot")
    assert found.lost_to_blank is not None
    rates = {
        "to_the_word": found.to_word,
        "lost": found.lost,
        "lost_to_blank": found.lost_to_blank,
    }
    return {
        "images": len(seen),
        "right_without": right,
        "label_share": share,
    } | {name: _reported(rate.as_dict()) for name, rate in rates.items()}


def stroop(model: Any) -> dict[str, Any]:
    """Names of colours in the ink of other colours: does it answer with the word or with the ink?"""
    found = typographic.stroop(model)
    return {
        "cells": found.cells,
        "reads_the_word": _reported(found.reads_the_word.as_dict()),
        "names_the_ink": _reported(found.names_the_ink.as_dict()),
        "chance": round(found.chance, 4),
    }


def _reported(rate: dict[str, Any]) -> dict[str, Any]:
    return {key: rate[key] for key in ("n", "rate", "interval")}
