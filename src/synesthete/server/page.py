"""A page: one function that gathers facts, answered as HTML through a template and as JSON as it is."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from synesthete.report.links import Links
from synesthete.report.source import Moved
from synesthete.server.errors import ERRORS
from synesthete.server.library import Site

HTML, JSON = "text/html; charset=utf-8", "application/json"


@dataclass(frozen=True)
class Page:
    """One kind of page.

    Attributes
    ----------
    path
        Its address, as FastAPI writes them; the JSON twin is at the same with `.json`.
    template
        Its template.
    view
        Gathers what the page says: `view(site, **parameters)` gives a dataclass, and neither loads a model nor
        writes anything.
    label
        What the navigation calls it; empty for pages that are not in it.
    exported
        Whether a static site has it. Pages that need a model or take what people say are not in one.
    """

    path: str
    template: str
    view: Callable[..., Any]
    label: str = ""
    exported: bool = True

    @property
    def name(self) -> str:
        """Its name: that of the template."""
        return self.template.removesuffix(".html")

    @property
    def made(self) -> Any:
        """The type of what `view` gives."""
        return inspect.signature(self.view, eval_str=True).return_annotation


def as_json(page: Page, facts: Any) -> bytes:
    """What a page says, as JSON (a number that does not exist is null)."""
    return _adapter(page).dump_json(facts)


@lru_cache(maxsize=64)
def _adapter(page: Page) -> TypeAdapter[Any]:
    """Kept, since working out how a page is written takes longer than writing it."""
    return TypeAdapter(page.made)


def answer(request: Request, body: bytes, media_type: str) -> Response:
    """A page as an answer, with an ETag of its content."""
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def first_site(request: Request) -> Site:
    """The first atlas, at the root."""
    library = request.app.state.library
    return _site(request, library.first, "")


def named_site(
    request: Request, atlas: Annotated[str, Path(description="Name of the atlas.", max_length=200)]
) -> Site:
    """The atlas whose name stands in the address."""
    return _site(request, atlas, f"/a/{atlas}")


def site_of(request: Request) -> Site:
    """The atlas that the address names, or the first."""
    name = request.path_params.get("atlas")
    return first_site(request) if name is None else named_site(request, name)


Here = Annotated[Site, Depends(site_of)]
# Where every route is offered, and what it depends on there: of the first atlas, and of each by its name.
PREFIXES: tuple[tuple[str, list[Any]], ...] = (("", []), ("/a/{atlas}", [Depends(named_site)]))


def operation_id(name: str, prefix: str) -> str:
    """What an operation is called in OpenAPI.

    Examples
    --------
    >>> operation_id("model card", ""), operation_id("model card", "/a/{atlas}")
    ('model_card', 'model_card_of_a_named_atlas')
    """
    return f"{name} of a named atlas".replace(" ", "_") if prefix else name.replace(" ", "_")


def _site(request: Request, name: str, prefix: str) -> Site:
    library = request.app.state.library
    opened = library.get(name)
    path = request.url.path.removeprefix(prefix) or "/"
    others = tuple((one, f"/a/{one}/") for one in library.names if one != name)
    return Site(
        opened, Links(prefix), path=path, query=request.url.query, others=others, library=library
    )


def routes(pages: Sequence[Page], render: Callable[..., str]) -> APIRouter:
    """Routes of all pages: HTML and JSON, of the first atlas and of each by its name."""
    router = APIRouter()
    for prefix, site in (("", first_site), ("/a/{atlas}", named_site)):
        for page in pages:
            _add(router, page, prefix, site, render)
    return router


def _add(
    router: APIRouter,
    page: Page,
    prefix: str,
    site: Callable[..., Site],
    render: Callable[..., str],
) -> None:
    def json_twin(request: Request, site: Site, **given: Any) -> Response:
        try:
            facts = page.view(site, **given)
        except Moved as error:
            return RedirectResponse(f"{error.path}.json")
        return answer(request, as_json(page, facts), JSON)

    def html(request: Request, site: Site, **given: Any) -> Response:
        try:
            facts = page.view(site, **given)
        except Moved as error:
            return RedirectResponse(error.path)
        body = render(page, site, facts, csrf=request.app.state.gate.csrf)
        return answer(request, body.encode("utf-8", "replace"), HTML)

    for endpoint in (json_twin, html):
        endpoint.__signature__ = _signature(page.view, site)  # type: ignore[attr-defined]
    base = f"{prefix}{page.path}"
    twin = f"{base}index.json" if base.endswith("/") else f"{base}.json"
    name = f"{page.name} of a named atlas" if prefix else page.name
    router.add_api_route(
        twin,
        json_twin,
        methods=["GET"],
        name=name,
        summary=name,
        description=inspect.getdoc(page.view),
        operation_id=operation_id(page.name, prefix),
        responses={200: {"model": page.made}, **ERRORS},
    )
    router.add_api_route(base, html, methods=["GET"], include_in_schema=False)


def _signature(view: Callable[..., Any], site: Callable[..., Site]) -> inspect.Signature:
    """The parameters of a view as FastAPI reads them, with the request, and the site as a dependency."""
    there = inspect.signature(view, eval_str=True).parameters.values()
    request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    given = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[Site, Depends(site)]
            if parameter.annotation is Site
            else parameter.annotation,
        )
        for parameter in there
    ]
    return inspect.Signature([request, *given])
