"""A small catalogue, indexed by a small random model; every test gets its own copy."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import synesthete as syn
from synesthete.catalog import Catalog, Item
from synesthete.catalog.events import EventLog
from synesthete.models.image_text_model import ImageTextModel
from tests import postgres
from tests.small_atlas import write_model

COLOURS = {"red": "#c22", "blue": "#22c", "green": "#2a2", "white": "#eee"}
KINDS = ("mug", "plate", "lamp", "chair", "bowl", "spoon")


def image(colour: str, place: int, *, side: int = 64) -> bytes:
    """A PNG of a coloured bar on a ground of seeded noise."""
    noise = np.random.default_rng(place).integers(120, 200, (side, side, 3), np.uint8)
    image = Image.fromarray(noise)
    image.paste(COLOURS.get(colour, colour), (4 + place % 8, 10, 40, 20 + place % 30))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def sample_items() -> list[Item]:
    """24 items of six kinds in four colours; one without an image, one without words."""
    items = [
        Item(
            f"{kind}-{colour}",
            title=f"{colour} {kind}",
            description=f"A {colour} {kind} for every day. It holds {place} things.",
            category=kind,
            reviews=(f"I like this {kind}.",) if place % 2 else (),
            price=float(place),
            attributes={"colour": (colour,), "rooms": ("kitchen", "garden")[: 1 + place % 2]},
            images=(image(colour, place),),
        )
        for place, (kind, colour) in enumerate((k, c) for k in KINDS for c in COLOURS)
    ]
    items[3] = Item("mug-white", title="white mug", category="mug", price=3.0)
    items[7] = Item("plate-white", images=(image("white", 7),))
    return items


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImageTextModel:
    return syn.load_model(write_model(tmp_path_factory.mktemp("models") / "small"))


@pytest.fixture(scope="session")
def empty_path(tmp_path_factory: pytest.TempPathFactory, model: ImageTextModel) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.catalog"
    Catalog.create(path, model).close()
    return path


@pytest.fixture(scope="session")
def shop_path(
    tmp_path_factory: pytest.TempPathFactory, model: ImageTextModel, empty_path: Path
) -> Path:
    path = tmp_path_factory.mktemp("sample") / "my.catalog"
    shutil.copytree(empty_path, path)
    opened = Catalog.open(path, model=model)
    written = opened.upsert(sample_items())
    assert (written.added, written.quarantined) == (24, ())
    opened.close()
    return path


@pytest.fixture
def empty(tmp_path: Path, model: ImageTextModel, empty_path: Path) -> Catalog:
    shutil.copytree(empty_path, tmp_path / "empty.catalog")
    return Catalog.open(tmp_path / "empty.catalog", model=model)


@pytest.fixture
def catalog(tmp_path: Path, model: ImageTextModel, shop_path: Path) -> Catalog:
    shutil.copytree(shop_path, tmp_path / "my.catalog")
    return Catalog.open(tmp_path / "my.catalog", model=model)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def new_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., EventLog]]:
    """Makes logs of events, each with tables of its own."""
    numbers = itertools.count()

    def in_file(**options: Any) -> EventLog:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return EventLog(folder, **options)

    def in_database(**options: Any) -> EventLog:
        return EventLog(tmp_path, url=postgres.new_schema(url), **options)

    if request.param == "sqlite":
        yield in_file
    else:
        url = request.getfixturevalue("postgres_server")
        yield in_database
