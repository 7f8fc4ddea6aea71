"""What a form sends along: the proof that a page of ours sent it, and which page that was."""

from __future__ import annotations

from urllib.parse import urlsplit

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


def asked_from(request: Request) -> str:
    """Path and query of the page whose form was sent; "" for links, programs and pages of other sites."""
    try:
        sender = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if request.method != "POST" or sender.netloc != request.headers.get("host", ""):
        return ""
    path = "/" + sender.path.lstrip("/\\")  # "//host" would lead to another site
    return path + (f"?{sender.query}" if sender.query else "")
