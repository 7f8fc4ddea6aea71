"""A small random model, images for it, and one report of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.audits.fakes import write_image_folders
from tests.small_atlas import write_model

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

LISTS = """
version: 1
templates: ["{}"]
groups:
  shape:
    round: {words: [ball, ring], concepts: [apple]}
    square: {words: [box, brick], concepts: [boat]}
attributes:
  soft: [pillow, cloud, foam]
  hard: [stone, steel, glass]
synonyms: {stone: [pebble]}
tests:
  - {attributes: [soft, hard], axis: shape, groups: [round, square], source: made}
retrieval: [a soft thing, a hard thing]
harms:
  neutral: [ball, box]
  categories: {broken: [shard, ruin]}
  variants: {with foam: [foam]}
"""
WORDS = "type,word\nmaterial,wood\nmaterial,iron\nthing,wheel\n"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, `images`, `people` (folders of groups), `lists.yaml` and `words.csv`."""
    folder = tmp_path_factory.mktemp("audited")
    write_model(folder / "model")
    write_image_folders(folder / "images")
    write_image_folders(folder / "people", ("round", "square"), 16)
    (folder / "lists.yaml").write_text(LISTS, encoding="utf-8")
    (folder / "words.csv").write_text(WORDS, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model(place: Path) -> ImageTextModel:
    from synesthete.models import load_model

    return load_model(f"local-dir:{place / 'model'}")


@pytest.fixture(scope="session")
def report(model: ImageTextModel, place: Path) -> dict[str, Any]:
    """A whole report of the small model."""
    from synesthete.audits import run_audit

    return run_audit(
        model,
        "all",
        images=place / "images",
        people=place / "people",
        lists=place / "lists.yaml",
        words=place / "words.csv",
        epsilons=(0.5, 1.0),
        steps=3,
    )
