"""Errors as answers: a page for people, JSON for programs."""

from __future__ import annotations

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from synesthete.server.errors import ErrorBody, ErrorFacts
from synesthete.server.render import render_error


def wants_json(request: Request) -> bool:
    """Whether the one who asks is a program."""
    path, accept = request.url.path, request.headers.get("accept", "")
    return path.endswith(".json") or ("application/json" in accept and "text/html" not in accept)


def refusal(request: Request, facts: ErrorFacts) -> Response:
    """What went wrong, in the form that was asked for."""
    if wants_json(request) or "text/html" not in request.headers.get("accept", "text/html"):
        body = TypeAdapter(ErrorBody).dump_json(ErrorBody(facts))
        return Response(body, facts.status, media_type="application/json")
    page = render_error(request, facts)
    return Response(page, facts.status, media_type="text/html")
