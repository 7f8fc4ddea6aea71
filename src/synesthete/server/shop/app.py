"""The application that serves a catalogue: the API, the pages, and the guard in front of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

import synesthete.visualization
from synesthete.catalog.keys import Keys
from synesthete.errors import SynestheteError
from synesthete.server import entrance
from synesthete.server.errors import (
    ErrorBody,
    ErrorFacts,
    Missing,
    Near,
    headers_of,
    status_of,
)
from synesthete.server.guard import Guard
from synesthete.server.image_limits import ImageLimits
from synesthete.server.security import Gate
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
    app = FastAPI(
        title="Synesthete catalogue",
        description="A catalogue that is searched, recommended from and compared, with reasons. "
        "Every request needs `Authorization: Bearer KEY`; `synesthete catalog keys` makes keys.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
    )
    shop = Shop(path)
    door = ShopGate(Keys(shop.path), gate)
    app.state.shop, app.state.gate, app.state.limiter = shop, door, Limiter()
    app.include_router(entrance.router)
    app.include_router(api.router)
    app.include_router(people_api.router)
    app.include_router(pages.router)
    app.include_router(people_pages.router)
    app.mount("/static/fonts", StaticFiles(directory=FONTS), name="fonts")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _add_errors(app)
    described = app.openapi
    app.openapi = lambda: with_nulls(described())  # type: ignore[method-assign]
    app.add_middleware(ImageLimits, refuse=_refused)
    app.add_middleware(Guard, gate=door, refuse=_refused)
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


def _refused(request: Request, error: SynestheteError) -> Response:
    return refusal(request, ErrorFacts(status_of(error), error.message, error.hint))


def refusal(request: Request, facts: ErrorFacts) -> Response:
    """What went wrong: JSON for the API and for programs, a page for people."""
    limits = dict(getattr(request.state, "limits", {}))
    page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(
        "/api/"
    )
    if not page:
        body = TypeAdapter(ErrorBody).dump_json(ErrorBody(facts))
        return Response(body, facts.status, media_type="application/json", headers=limits)
    return Response(
        paper.error_page(request, facts), facts.status, media_type="text/html", headers=limits
    )


def _rule(error: dict[str, Any]) -> str:
    place, rule = [str(part) for part in error["loc"][1:]], str(error["msg"])[:200]
    if error["type"] == "extra_forbidden":
        place, rule = place[:-1], "has a part that is not known"
    return f"{'.'.join(place)[:200] or 'request'}: {rule}"


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(SynestheteError)
    async def ours(request: Request, error: SynestheteError) -> Response:
        near: tuple[Near, ...] = tuple(error.near) if isinstance(error, Missing) else ()
        facts = ErrorFacts(status_of(error), error.message, error.hint, near)
        answer = refusal(request, facts)
        answer.headers.update(headers_of(error))
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # The place and the rule, never the value: it may be a record.
        said = "; ".join(map(_rule, error.errors()[:5]))
        return refusal(request, ErrorFacts(422, said.encode("utf-8", "replace").decode()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        said = "there is no such page" if error.status_code == 404 else str(error.detail)
        return refusal(request, ErrorFacts(error.status_code, said))
