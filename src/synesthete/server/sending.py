"""What forms carry: the proof that a page of ours sent them, and the form of the answer."""

from __future__ import annotations

from starlette.requests import Request

from synesthete.server.errors import Refused
from synesthete.server.security import Gate


def check_form(request: Request, csrf: str) -> None:
    """Refuse a form that no page of ours sent; programs prove themselves by the token in their header.

    Raises
    ------
    Refused
        403.
    """
    gate: Gate = request.app.state.gate
    if not (request.headers.get("authorization") or gate.is_csrf(csrf)):
        raise Refused(403, "that form is too old, or not from here", hint="load the page again")
