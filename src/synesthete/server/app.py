"""The application: pages, pictures, what people send, and the guard in front of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

import synesthete.visualization
from synesthete.errors import SynestheteError
from synesthete.server import (
    api_page,
    benching,
    entrance,
    picture_routes,
    probing,
    review_routes,
)
from synesthete.server.answers import refusal
from synesthete.server.errors import (
    ErrorFacts,
    Missing,
    Near,
    headers_of,
    status_of,
)
from synesthete.server.guard import Guard
from synesthete.server.image_limits import ImageLimits
from synesthete.server.library import Library
from synesthete.server.page import routes
from synesthete.server.pages import PAGES
from synesthete.server.render import render
from synesthete.server.security import Gate

STATIC = Path(__file__).parent / "static"
FONTS = Path(synesthete.visualization.__file__).parent / "fonts"


def create_app(atlases: Sequence[str | Path], gate: Gate | None = None) -> FastAPI:
    """The microscope as an ASGI application.

    Parameters
    ----------
    atlases
        Folders; the first is at the root, each at `/a/NAME`.
    gate
        Who may ask; by default whoever knows a new token, on this machine.

    Raises
    ------
    SynestheteError
        No atlas, or one that cannot be opened.
    """
    app = FastAPI(
        title="Synesthete",
        description="A microscope for the multimodal neurons of CLIP. Every page has a JSON twin.",
        docs_url=None,
        redoc_url=None,
    )
    gate = gate or Gate()
    app.state.library, app.state.gate = Library(atlases), gate
    app.include_router(entrance.router)
    app.include_router(api_page.router)
    app.include_router(picture_routes.router)
    app.include_router(probing.router)
    app.include_router(benching.router)
    app.include_router(review_routes.router)
    app.include_router(routes(PAGES, render))
    app.mount("/static/fonts", StaticFiles(directory=FONTS), name="fonts")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _add_errors(app)
    app.add_middleware(ImageLimits, refuse=_refused)
    app.add_middleware(Guard, gate=gate, refuse=_refused)
    return app


def _refused(request: Request, error: SynestheteError) -> Response:
    return refusal(request, ErrorFacts(status_of(error), error.message, error.hint))


def _add_errors(app: FastAPI) -> None:
    """One form for every error."""

    @app.exception_handler(SynestheteError)
    async def ours(request: Request, error: SynestheteError) -> Response:
        near: tuple[Near, ...] = tuple(error.near) if isinstance(error, Missing) else ()
        facts = ErrorFacts(status_of(error), error.message, error.hint, near)
        answer = refusal(request, facts)
        answer.headers.update(headers_of(error))
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:]) or 'request'}: {one['msg']}"
            for one in error.errors()
        )
        return refusal(request, ErrorFacts(422, told))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        told = "there is no such page" if error.status_code == 404 else str(error.detail)
        return refusal(request, ErrorFacts(error.status_code, told))
