"""The application that serves a catalogue: the API, the pages, and the guard in front of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from synesthete.catalog.keys import Keys
from synesthete.server.app import build_app
from synesthete.server.auth import Gate
from synesthete.server.shop import api, pages, paper, people_api, people_pages
from synesthete.server.shop.door import ShopGate
from synesthete.server.shop.limits import Limiter
from synesthete.server.shop.shop import Shop

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
    app = build_app(
        gate=door,
        routers=[api.router, people_api.router, pages.router, people_pages.router],
        error_page=paper.error_page,
        title="Synesthete catalogue",
        description="A catalogue that is searched, recommended from and compared, with reasons. "
        "Every request needs `Authorization: Bearer KEY`; `synesthete catalog keys` makes keys.",
        version="1",
        openapi_tags=TAGS,
    )
    app.state.shop, app.state.limiter = shop, Limiter()
    described = app.openapi
    app.openapi = lambda: with_nulls(described())  # type: ignore[method-assign]
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
