"""Errors as answers, the same in both applications: a page for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import Scope

from synesthete.errors import SynestheteError
from synesthete.server.errors import ErrorBody, ErrorFacts, Missing, Near, headers_of, status_of
from synesthete.server.security import METHODS

ErrorPage = Callable[[Request, ErrorFacts], str]


def wants_json(request: Request) -> bool:
    """Whether the one who asks is a program."""
    path, accept = request.url.path, request.headers.get("accept", "")
    return path.endswith(".json") or ("application/json" in accept and "text/html" not in accept)


def refusal(request: Request, facts: ErrorFacts) -> Response:
    """What went wrong, in the form that was asked for, with the headers that belong to its status."""
    headers = dict(getattr(request.state, "limits", {}))
    if facts.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if facts.status == 405:
        headers["Allow"] = ", ".join(allowed_methods(request.scope))
    page = "text/html" in request.headers.get("accept", "")
    if not page or wants_json(request) or request.url.path.startswith("/api/"):
        body = TypeAdapter(ErrorBody).dump_json(ErrorBody(facts))
        return Response(body, facts.status, media_type="application/json", headers=headers)
    made: ErrorPage = request.app.state.error_page
    html = made(request, facts).encode("utf-8", "replace")
    return Response(html, facts.status, media_type="text/html", headers=headers)


def refused(request: Request, error: SynestheteError) -> Response:
    """The answer to a request that could not be carried out, or that middleware refuses."""
    near: tuple[Near, ...] = tuple(error.near) if isinstance(error, Missing) else ()
    answer = refusal(request, ErrorFacts(status_of(error), error.message, error.hint, near))
    answer.headers.update(headers_of(error))
    return answer


def allowed_methods(scope: Scope) -> list[str]:
    """The methods that the application has for a path, HEAD where there is GET; none for an unknown path."""
    found = set()
    for method in METHODS:
        for route in scope["app"].routes:
            match, _ = route.matches({**scope, "method": method})
            # A mounted folder matches every method, and answers GET.
            if match is Match.FULL and (method == "GET" or not isinstance(route, Mount)):
                found |= {method, "HEAD"} if method == "GET" else {method}
                break
    return sorted(found)


def add_errors(app: FastAPI, page: ErrorPage) -> None:
    """One form for every error.

    Parameters
    ----------
    page
        Writes the HTML of an error.
    """
    app.state.error_page = page

    @app.exception_handler(SynestheteError)
    async def ours(request: Request, error: SynestheteError) -> Response:
        return refused(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refusal(request, ErrorFacts(422, _rules(error.errors())))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        told = "there is no such page" if error.status_code == 404 else str(error.detail)
        return refusal(request, ErrorFacts(error.status_code, told))


def _rules(errors: Sequence[Any]) -> str:
    """Which parts break which rules; never their values, which may be records."""
    return "; ".join(map(_rule, errors[:5])).encode("utf-8", "replace").decode()


def _rule(error: Mapping[str, Any]) -> str:
    place, rule = [str(part) for part in error["loc"][1:]], str(error["msg"])[:200]
    if error["type"] == "extra_forbidden":
        place, rule = place[:-1], "has a part that is not known"
    return f"{'.'.join(place)[:200] or 'request'}: {rule}"
