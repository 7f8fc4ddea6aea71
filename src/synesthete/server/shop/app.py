"""The application that serves a catalogue: the API, the pages, and the guard in front of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

import synesthete.visualization
from synesthete.catalog.keys import Keys
from synesthete.server import entrance
from synesthete.server.answers import add_errors, refused
from synesthete.server.guard import Guard
from synesthete.server.image_limits import ImageLimits
from synesthete.server.security import Gate, credentials
from synesthete.server.shop import api, pages, paper, people_api, people_pages
from synesthete.server.shop.door import ShopGate
from synesthete.server.shop.limits import Limiter
from synesthete.server.shop.shop import Shop

STATIC = Path(__file__).parents[1] / "static"
FONTS = Path(synesthete.visualization.__file__).parent / "fonts"
MEASURED = ("Estimate", "Bounds", "Look")
TAGS = [
    {"name": "items", "description": "What is on offer."},
    {
        "name": "find",
        "description": "Search, recommend, align, suggest, classify; each with reasons.",
    },
    {"name": "events", "description": "What visitors did."},
    {"name": "metrics", "description": "What came of it, with intervals that survive peeking."},
    {
        "name": "people",
        "description": "What the machine would not decide, and what people made of it.",
    },
]


def create_shop(path: str | Path, gate: Gate | None = None) -> FastAPI:
    """A catalogue as an ASGI application.

    Parameters
    ----------
    path
        The catalogue's folder.
    gate
        The owner's token and the hosts; by default a new token, on this machine.

    Raises
    ------
    SynestheteError
        No catalogue there, or one that cannot be opened.
    """
    shop = Shop(path)
    door = ShopGate(Keys(shop.path), gate)
    app = FastAPI(
        title="Synesthete catalogue",
        description="A catalogue that is searched, recommended from and compared, with reasons. "
        "Every request needs `Authorization: Bearer KEY`; `synesthete catalog keys` makes keys.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
        dependencies=credentials(door),
    )
    app.state.shop, app.state.gate, app.state.limiter = shop, door, Limiter()
    app.include_router(entrance.router)
    app.include_router(api.router)
    app.include_router(people_api.router)
    app.include_router(pages.router)
    app.include_router(people_pages.router)
    app.mount("/static/fonts", StaticFiles(directory=FONTS), name="fonts")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    add_errors(app, paper.error_page)
    described = app.openapi
    app.openapi = lambda: with_nulls(described())  # type: ignore[method-assign]
    app.add_middleware(ImageLimits, refuse=refused)
    app.add_middleware(Guard, gate=door, refuse=refused)
    return app


def with_nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """Say in the description that a measured number is null where nothing was measured yet."""
    for name in MEASURED:
        parts = schema.get("components", {}).get("schemas", {}).get(name, {}).get("properties", {})
        for key, part in parts.items():
            if part.get("type") == "number":
                told = {
                    "title": part.get("title", key),
                    "anyOf": [{"type": "number"}, {"type": "null"}],
                }
                parts[key] = told
    return schema
