"""The application: pages, pictures, what people send, and the guard in front of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

import synesthete.visualization
from synesthete.server import (
    api_page,
    benching,
    entrance,
    picture_routes,
    probing,
    review_routes,
)
from synesthete.server.answers import add_errors, refused
from synesthete.server.guard import Guard
from synesthete.server.image_limits import ImageLimits
from synesthete.server.library import Library
from synesthete.server.page import routes
from synesthete.server.pages import PAGES
from synesthete.server.render import render, render_error
from synesthete.server.security import Gate, credentials

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
    gate = gate or Gate()
    app = FastAPI(
        title="Synesthete",
        description="A microscope for the multimodal neurons of CLIP. Every page has a JSON twin.",
        docs_url=None,
        redoc_url=None,
        dependencies=credentials(gate),
    )
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
    add_errors(app, render_error)
    app.add_middleware(ImageLimits, refuse=refused)
    app.add_middleware(Guard, gate=gate, refuse=refused)
    return app
