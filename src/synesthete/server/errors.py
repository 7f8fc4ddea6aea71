"""Mistakes as answers: one form of JSON, one page, the right status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synesthete.errors import SynestheteError
from synesthete.probes.decoding import TooLarge
from synesthete.probes.request_images import Busy, RequestTooLarge
from synesthete.report.source import Missing as Missing
from synesthete.report.source import Near as Near


class Refused(SynestheteError):
    """A request that is understood and not carried out.

    Parameters
    ----------
    status
        HTTP status of the answer.
    """

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


def status_of(error: SynestheteError) -> int:
    """The HTTP status that answers an error."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, Missing):
        return 404
    if isinstance(error, Busy):
        return 503
    return 413 if isinstance(error, TooLarge | RequestTooLarge) else 409


def headers_of(error: SynestheteError) -> dict[str, str]:
    """The headers that the answer to an error has."""
    return {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else {}


@dataclass(frozen=True)
class ErrorFacts:
    """What went wrong: HTTP status, what was given and expected, what to do, what was perhaps meant."""

    status: int
    message: str
    hint: str = ""
    near: tuple[Near, ...] = ()


@dataclass(frozen=True)
class ErrorBody:
    """The one form of every error as JSON."""

    error: ErrorFacts


def _error(told: str, header: str = "") -> dict[str, Any]:
    headers = {"headers": {header: {"schema": {"type": "string"}}}} if header else {}
    return {"model": ErrorBody, "description": told, **headers}


# What any operation of both applications may answer instead of what was asked for, as OpenAPI describes it.
ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("The body cannot be parsed."),
    401: _error("No valid token, key or cookie.", "WWW-Authenticate"),
    403: _error("A foreign host or origin, or a key without the scope."),
    404: _error("There is no such thing; `near` lists what there is."),
    405: _error("The path has other methods; `Allow` lists them.", "Allow"),
    409: _error("The request is well formed, but cannot be carried out; the message says why."),
    413: _error("Too much at once: the body, or the pixels of an image."),
    422: _error("The request differs from this description."),
    429: _error("Too many requests; `Retry-After` says when to try again.", "Retry-After"),
    503: _error("The server is busy, or its data cannot be read now.", "Retry-After"),
}
