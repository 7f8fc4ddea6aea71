"""A report made by hand, for pages: nobody ran an audit for it."""

from __future__ import annotations

from typing import Any

from PIL import Image

from synesthete._core.intervals import Rate
from synesthete.audits import verdicts
from synesthete.audits.images import data_uri


def small_report(model: str = "made", weights: str = "ab" * 32) -> dict[str, Any]:
    """Typographic and adversarial parts with known numbers."""
    word, blank = Rate(30, 40).as_dict(), Rate(1, 40).as_dict()
    outcome = {"to_word": word, "lost": word, "to_word_blank": blank, "lost_to_blank": blank}
    report: dict[str, Any] = {
        "schema": "synesthete.audit",
        "version": 2,
        "kind": "all",
        "model": {"name": model, "architecture": "made", "parameters": 1000, "weights_sha256": weights},
        "versions": {"synesthete": "0", "torch": "0", "open_clip": "0"},
        "settings": {"seed": 0},
        "cost": {"typographic": {"seconds": 61.5}, "adversarial": {"seconds": 30.0}, "peak_memory_mib": 1234},
        "typographic": {
            "clean_accuracy": 0.8, "success_rate": 0.75, "n": 40, "interval": word["interval"],
            "images": {"source": "made", "n": 50, "classes": 3, "held_out": False, "unreadable": {}},
            "clean": {"zero_shot": Rate(40, 50).as_dict() | {"chance": 0.3333}},
            "excluded": {"zero_shot": 10},
            "classifiers": {"zero_shot": outcome},
            "by": {"area": [{"value": "5%", "skipped": [], "zero_shot": outcome}]},
            "examples": [{"truth": "ox", "word": "panda", "answer": "panda",
                          "image": data_uri(Image.new("RGB", (40, 40), "red"))}],
        },
        "adversarial": {
            "clean_accuracy": 0.8, "robust_accuracy": 0.1, "n": 40, "interval": Rate(4, 40).as_dict()["interval"],
            "clean": Rate(32, 40).as_dict() | {"chance": 0.3333}, "epsilons": [0.5, 1.0], "steps": 20,
            "curves": {"noise": [Rate(31, 40).as_dict()] * 2, "worst": [Rate(9, 40).as_dict(), Rate(4, 40).as_dict()]},
            "published": {"model": "x", "clean": 0.7, "at_2": 0.0},
            "images": {"source": "made", "n": 40, "classes": 3, "held_out": False, "unreadable": {}},
        },
    }  # fmt: skip
    return report | {"verdicts": verdicts(report)}
