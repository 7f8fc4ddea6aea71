"""Errors of both applications: the status, one form of JSON for programs, one page for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import Scope

from synesthete.errors import SynestheteError
from synesthete.probes.decoding import TooLarge
from synesthete.probes.request_images import Busy, RequestTooLarge
from synesthete.report.source import Missing as Missing
from synesthete.report.source import Near as Near

METHODS = ("GET", "HEAD", "POST")


class Refused(SynestheteError):
    """A request that is understood and not carried out.

    Parameters
    ----------
    status
        HTTP status of the response.
    retry_after
        Seconds after which the same request may be sent again; 0 where it need not.
    """

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after


def status_of(error: SynestheteError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, Missing):
        return 404
    if isinstance(error, Busy):
        return 503
    return 413 if isinstance(error, TooLarge | RequestTooLarge) else 409


@dataclass(frozen=True)
class ErrorFacts:
    """What went wrong: HTTP status, what was given and expected, what to do, what was perhaps meant."""

    status: int
    message: str
    hint: str = ""
    near: tuple[Near, ...] = ()


# One of pydantic's, which builds its schema once and not for every status of every operation.
@pydantic_dataclass(frozen=True)
class ErrorBody:
    """The one form of every error as JSON."""

    error: ErrorFacts


def _error(description: str, header: str = "") -> dict[str, Any]:
    headers = {"headers": {header: {"schema": {"type": "string"}}}} if header else {}
    return {"model": ErrorBody, "description": description, **headers}


# What any operation of both applications may answer instead of what was asked for, as OpenAPI describes it.
ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("The body cannot be parsed."),
    401: _error("No valid token, key or cookie.", "WWW-Authenticate"),
    403: _error("A foreign host or origin, or a key without the scope."),
    404: _error("There is no such thing; `near` lists what there is."),
    405: _error("The path has other methods; `Allow` lists them.", "Allow"),
    409: _error(
        "The request is well formed, but cannot be carried out; the message says why.",
        "Retry-After",
    ),
    413: _error("Too much at once: the body, or the pixels of an image."),
    422: _error("The request differs from this description."),
    429: _error("Too many requests; `Retry-After` says when to try again.", "Retry-After"),
    503: _error("The server is busy, or its data cannot be read now.", "Retry-After"),
}

ErrorPage = Callable[[Request, ErrorFacts], str]


def wants_json(request: Request) -> bool:
    """Whether the client is a program."""
    path, accept = request.url.path, request.headers.get("accept", "")
    return path.endswith(".json") or ("application/json" in accept and "text/html" not in accept)


def refusal(request: Request, facts: ErrorFacts) -> Response:
    """What went wrong, as JSON or as a page, with the headers that belong to its status."""
    headers = dict(getattr(request.state, "limits", {}))
    if facts.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if facts.status == 405:
        headers["Allow"] = ", ".join(allowed_methods(request.scope))
    browser = "text/html" in request.headers.get("accept", "")
    if not browser or wants_json(request) or request.url.path.startswith("/api/"):
        body = TypeAdapter(ErrorBody).dump_json(ErrorBody(facts))
        return Response(body, facts.status, media_type="application/json", headers=headers)
    page: ErrorPage = request.app.state.error_page
    html = page(request, facts).encode("utf-8", "replace")
    return Response(html, facts.status, media_type="text/html", headers=headers)


def refused(request: Request, error: SynestheteError) -> Response:
    """The response to a request that could not be carried out, or that middleware refuses."""
    near: tuple[Near, ...] = tuple(error.near) if isinstance(error, Missing) else ()
    response = refusal(request, ErrorFacts(status_of(error), error.message, error.hint, near))
    if isinstance(error, Busy | Refused) and error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


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
    async def synesthete_error(request: Request, error: SynestheteError) -> Response:
        return refused(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        return refusal(request, ErrorFacts(422, _rules(error.errors())))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = "there is no such page" if error.status_code == 404 else str(error.detail)
        return refusal(request, ErrorFacts(error.status_code, message))


def _rules(errors: Sequence[Any]) -> str:
    """Which parts break which rules; never their values, which may be records."""
    return "; ".join(map(_rule, errors[:5])).encode("utf-8", "replace").decode()


def _rule(error: Mapping[str, Any]) -> str:
    place, rule = [str(part) for part in error["loc"][1:]], str(error["msg"])[:200]
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        place, rule = place[:-1], "has a part that is not known"
    return f"{'.'.join(place)[:200] or 'request'}: {rule}"


def form_page(request: Request) -> str:
    """Path and query of the page whose form was sent; "" for links, programs and pages of other sites."""
    try:
        sender = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if request.method != "POST" or sender.netloc != request.headers.get("host", ""):
        return ""
    path = "/" + sender.path.lstrip("/\\")  # "//host" would lead to another site
    return path + (f"?{sender.query}" if sender.query else "")
