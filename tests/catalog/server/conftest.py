"""A small catalogue behind the API, and clients with keys."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from synesthete.catalog import Catalog, Item
from synesthete.catalog.keys import Keys
from synesthete.catalog.server.app import create_app
from synesthete.models.image_text_model import ImageTextModel
from synesthete.server.auth import LOOPBACK, Gate

TOKEN = "owner-of-the-tests"
BASE = "http://127.0.0.1:8000"
COLOURS = ("red", "green", "blue", "yellow", "black")


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def items(n: int = 30) -> list[Item]:
    return [
        Item(
            f"item-{i:02d}",
            title=f"{COLOURS[i % 5]} mug {i}",
            description="a mug to drink from",
            category=("mug", "cup")[i % 2],
            reviews=("nice",),
            price=float(i),
            attributes={"colour": (COLOURS[i % 5],)},
            images=(png(COLOURS[i % 5]),) if i % 3 else (),
        )
        for i in range(n)
    ]


def fill(path: Path, model: ImageTextModel) -> Path:
    catalog = Catalog.open(path, model=model)
    catalog.upsert(items())
    catalog.close()
    return path


@pytest.fixture(scope="session")
def filled(
    tmp_path_factory: pytest.TempPathFactory, model: ImageTextModel, empty_path: Path
) -> Path:
    return fill(
        Path(shutil.copytree(empty_path, tmp_path_factory.mktemp("served") / "shop.catalog")), model
    )


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "shop.catalog"))


@pytest.fixture
def app(path: Path) -> FastAPI:
    return create_app(path, Gate(TOKEN, hosts=[*LOOPBACK, "testserver"]))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """The owner."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url=BASE, headers=headers, follow_redirects=False) as one:
        yield one


@pytest.fixture
def keyed(app: FastAPI, path: Path) -> Callable[..., TestClient]:
    """A program with a key of these scopes."""

    def make(*scopes: str, **more: Any) -> TestClient:
        secret = Keys(path).make("a program", scopes, **more)[1]
        return TestClient(app, base_url=BASE, headers={"Authorization": f"Bearer {secret}"})

    return make
