"""The application that serves a catalogue: the API, the pages, and the guard in front of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from synesthete.catalog.keys import Keys
from synesthete.catalog.retention import Retention
from synesthete.catalog.server import api, operations, pages
from synesthete.catalog.server.auth import KeyGate
from synesthete.catalog.server.folder import CatalogFolder
from synesthete.catalog.server.state import SharedState
from synesthete.server.app import build_app
from synesthete.server.auth import Gate

MEASURED = ("Estimate", "Bounds", "Look")
TAGS = {
    "items": "What is on offer.",
    "find": "Search, recommend, align, suggest, classify; each with reasons.",
    "events": "What visitors did.",
    "metrics": "Rates and experiments, with anytime-valid confidence sequences.",
    "people": "Abstentions awaiting human review, and the verdicts on them.",
}


def create_app(
    path: str | Path, gate: Gate | None = None, shared: SharedState | None = None
) -> FastAPI:
    """A catalogue as an ASGI application.

    Parameters
    ----------
    path
        The catalogue's folder.
    gate
        The owner's token and the hosts; by default a new token, on this machine.
    shared
        What it shares with the other workers of the same server, where there are some.

    Returns
    -------
    FastAPI
        It is ready after `app.state.warm_up` has run, and until then slower, not wrong.

    Raises
    ------
    SynestheteError
        No catalogue there, or one that cannot be opened.
    """
    folder, shared = CatalogFolder(path), shared or SharedState()
    measurements = operations.Measurements(folder)
    warm_up = operations.WarmUp(folder, shared, measurements)
    if folder.settings.retention_days is not None:
        Retention(folder.path, folder.events, folder.settings.retention_days).start()
    app = build_app(
        gate=KeyGate(Keys(folder.path), gate, shared),
        routers=[api.router, operations.router, pages.router],
        error_page=pages.error_page,
        title="Synesthete catalogue",
        description="A catalogue that is searched, recommended from and compared, with reasons. "
        "Every request needs `Authorization: Bearer KEY`; `synesthete catalog keys` makes keys.",
        version="1",
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    app.state.folder, app.state.shared = folder, shared
    app.state.measurements, app.state.warm_up = measurements, warm_up
    app.user_middleware.append(Middleware(operations.NamedRoute))  # the innermost
    app.add_middleware(operations.Measured, measurements=measurements)
    app.add_middleware(operations.Probes, warm_up=warm_up)
    described = app.openapi
    app.openapi = lambda: with_nulls(described())  # type: ignore[method-assign]
    return app


def with_nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """Say in the description that a measured number is null where nothing was measured yet."""
    schemas = schema.get("components", {}).get("schemas", {})
    for name in MEASURED:
        fields = schemas.get(name, {}).get("properties", {})
        for key, field in fields.items():
            if field.get("type") == "number":
                title = field.get("title", key)
                fields[key] = {"title": title, "anyOf": [{"type": "number"}, {"type": "null"}]}
    return schema
