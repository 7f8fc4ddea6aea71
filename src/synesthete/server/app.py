"""Applications: one factory for the microscope and the catalogue, with the same authentication, errors and middleware."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

import synesthete.visualization
from synesthete.server import api_docs, auth
from synesthete.server.errors import ErrorPage, add_errors, refused
from synesthete.server.library import Library
from synesthete.server.middleware import Guard, ImageLimits
from synesthete.server.page import navigation, routes
from synesthete.server.pages import IMAGES, PAGES
from synesthete.server.render import render_error

STATIC = Path(__file__).parent / "static"
FONTS = Path(synesthete.visualization.__file__).parent / "fonts"


def build_app(
    *, gate: auth.Gate, routers: Sequence[APIRouter], error_page: ErrorPage, **options: Any
) -> FastAPI:
    """An ASGI application with authentication, static files, errors and middleware.

    Parameters
    ----------
    gate
        Authentication.
    routers
        Routes of the application; `/enter`, `/static` and `/openapi.json` are there already.
    error_page
        Gives the HTML of an error.
    options
        Of `FastAPI`: title, description and the like.
    """
    app = FastAPI(docs_url=None, redoc_url=None, dependencies=auth.credentials(gate), **options)
    app.state.gate = gate
    for router in (auth.router, *routers):
        app.include_router(router)
    app.mount("/static/fonts", StaticFiles(directory=FONTS), name="fonts")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    add_errors(app, error_page)
    app.add_middleware(ImageLimits, refuse=refused)
    app.add_middleware(Guard, gate=gate, refuse=refused)
    return app


def create_app(atlases: Sequence[str | Path], gate: auth.Gate | None = None) -> FastAPI:
    """The microscope as an ASGI application.

    Parameters
    ----------
    atlases
        Folders; the first is at the root, each at `/a/NAME`.
    gate
        Authentication; by default a new token, on this machine only.

    Raises
    ------
    SynestheteError
        No atlas, or one that cannot be opened.
    """
    library = Library(atlases)
    app = build_app(
        gate=gate or auth.Gate(),
        routers=[api_docs.router, *IMAGES, _pages()],
        error_page=render_error,
        title="Synesthete",
        description="A microscope for the multimodal neurons of CLIP. Every page has a JSON representation.",
    )
    app.state.library, app.state.navigation = library, navigation(PAGES)
    return app


@cache
def _pages() -> APIRouter:
    """The routes of all pages, which are the same for every application of a process."""
    return routes(PAGES)
