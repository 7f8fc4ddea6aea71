"""What the shop's pages are made with: who may see them, the frame of a page, and what a form sends."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from fastapi import Depends, File, Form, Request, UploadFile
from jinja2 import Environment
from starlette.responses import Response

from synesthete.server.errors import ErrorFacts, Refused, form_page
from synesthete.server.render import environment
from synesthete.server.shop.bodies import PICTURE_LIMIT
from synesthete.server.shop.door import OWNER, caller_of
from synesthete.server.shop.shop import Shop

NAVIGATION = (
    ("Items", "/"), ("Search", "/search"), ("Recommend", "/recommend"), ("Align", "/align"), ("Suggest", "/suggest"),
    ("Classify", "/classify"), ("Queue", "/queue"), ("Metrics", "/metrics"),
)  # fmt: skip


def owner(request: Request) -> Shop:
    """The catalogue, for its owner.

    Raises
    ------
    Refused
        403 for a program with a key: it has the API.
    """
    if caller_of(request).id != OWNER:
        raise Refused(403, "pages are the owner's", hint="a key opens /api/v1")
    shop: Shop = request.app.state.shop
    return shop


Owned = Annotated[Shop, Depends(owner)]
Text = Annotated[str, Form(max_length=20_000)]
Short = Annotated[str, Form(max_length=200)]
Picture = Annotated[UploadFile | None, File()]


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return environment()


def page(request: Request, shop: Shop, template: str, **facts: Any) -> Response:
    """A page as HTML."""
    here = "/" + request.url.path.strip("/").partition("/")[0]
    made = _templates().get_template(f"shop/{template}.html").render(
        shop_name=shop.name, navigation=NAVIGATION, here=here, csrf=request.app.state.gate.csrf, **facts
    )  # fmt: skip
    return Response(made.encode("utf-8", "replace"), media_type="text/html; charset=utf-8")


def error_page(request: Request, facts: ErrorFacts) -> str:
    """What went wrong, and where to go from there."""
    return _error_page(facts, form_page(request))


@lru_cache(maxsize=32)
def _error_page(facts: ErrorFacts, back: str) -> str:
    return _templates().get_template("shop/error.html").render(
        shop_name="", navigation=() if facts.status == 401 else NAVIGATION, here="", csrf="", facts=facts,
        back=back,
    )  # fmt: skip


def sent(picture: UploadFile | None) -> bytes | None:
    """The bytes of a picture that a form sent; None where it sent none."""
    data = picture.file.read(PICTURE_LIMIT + 1) if picture is not None else b""
    if len(data) > PICTURE_LIMIT:
        raise Refused(413, f"a picture has at most {PICTURE_LIMIT // 2**20} MB")
    return data or None
