"""The door: a link that works once, or a form that takes the token; both give a cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from synesthete.server.errors import Refused
from synesthete.server.render import render_entrance
from synesthete.server.security import Gate

router = APIRouter(include_in_schema=False)
MONTH = 30 * 24 * 3600


@router.get("/enter")
def ask() -> Response:
    """A form for the token."""
    return Response(render_entrance(), media_type="text/html")


@router.post("/enter")
def take(request: Request, token: Annotated[str, Form(max_length=500)] = "") -> Response:
    """The token, typed in."""
    gate: Gate = request.app.state.gate
    if not gate.is_token(token.strip()):
        raise Refused(401, "that is not the token", hint="it stands where the server was started")
    return _welcome(gate, request)


@router.get("/enter/{key}")
def once(request: Request, key: str) -> Response:
    """The link that the server printed when it started; it works once."""
    gate: Gate = request.app.state.gate
    if not gate.enter(key):
        hint = "links open the microscope once; type the token at /enter"
        raise Refused(401, "that link was used already", hint=hint)
    return _welcome(gate, request)


def _welcome(gate: Gate, request: Request) -> Response:
    answer = RedirectResponse("/", status_code=303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        gate.cookie, gate.session, max_age=MONTH, httponly=True, samesite="strict", secure=secure
    )
    return answer
