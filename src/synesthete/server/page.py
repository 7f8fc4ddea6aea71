"""Pages: a function gathers facts, and they are served as HTML through a template, as JSON, and after the POST of a form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from pydantic import TypeAdapter
from starlette.responses import RedirectResponse, Response

from synesthete.report.images import File, WebP
from synesthete.report.source import Links
from synesthete.server.auth import check_form
from synesthete.server.errors import ERRORS, wants_json
from synesthete.server.library import Site
from synesthete.server.render import Navigation, render

HTML, JSON, PNG = "text/html; charset=utf-8", "application/json", "image/png"
Csrf = Annotated[str, Form(max_length=200)]


@dataclass(frozen=True, kw_only=True)
class Post:
    """What a page takes by POST, from its form or, at its path with `.json`, from a program.

    Attributes
    ----------
    submit
        `submit(site, **fields)` carries it out and gives a dataclass; it may load a model and write.
    name
        Of the operation in OpenAPI.
    template
        Of the page that shows the result.
    status
        Of the JSON response.
    redirect
        `redirect(site, result)` gives the path of a page to show instead of a template.
    path
        Where, if not at the page's own path.
    """

    submit: Callable[..., Any]
    name: str
    template: str = ""
    status: int = 200
    redirect: Callable[[Site, Any], str] | None = None
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One kind of page.

    Attributes
    ----------
    path
        Its path, as FastAPI writes them; its JSON representation is at the same path with `.json`.
    template
        Its template.
    view
        Gathers the facts of the page: `view(site, **parameters)` gives a dataclass and writes nothing; one that loads a
        model is not exported.
    label
        In the navigation; empty for pages that are not in it.
    post
        What it takes by POST.
    exported
        Whether a static site has it. Pages that need a model or take reviews are not in one.
    """

    path: str
    template: str
    view: Callable[..., Any]
    label: str = ""
    post: Post | None = None
    exported: bool = True

    @property
    def name(self) -> str:
        """Its name: that of the template."""
        return self.template.removesuffix(".html").replace("_", " ")


def result_type(view: Callable[..., Any]) -> Any:
    """The type of what a view gives."""
    return inspect.signature(view, eval_str=True).return_annotation


def to_json(view: Callable[..., Any], facts: Any) -> bytes:
    """What a view gave, as JSON (a number that does not exist is null)."""
    return _adapter(view).dump_json(facts)


@lru_cache(maxsize=64)
def _adapter(view: Callable[..., Any]) -> TypeAdapter[Any]:
    """Cached, since deriving how a type is written takes longer than writing it."""
    return TypeAdapter(result_type(view))


def answer(request: Request, body: bytes, media_type: str) -> Response:
    """A page as an answer, with an ETag of its content."""
    return _answer(request, File.of(body), media_type, {})


def _answer(request: Request, file: File, media_type: str, more: Mapping[str, str]) -> Response:
    """A file as an answer with these headers; by default a browser asks each time whether it has changed."""
    headers = {"ETag": file.etag, "Cache-Control": "private, no-cache", **more}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=media_type, headers=headers)


def first_site(request: Request) -> Site:
    """The first atlas, at the root."""
    library = request.app.state.library
    return _site(request, library.first, "")


def named_site(
    request: Request, atlas: Annotated[str, Path(description="Name of the atlas.", max_length=200)]
) -> Site:
    """The atlas whose name stands in the address."""
    return _site(request, atlas, f"/a/{atlas}")


SiteOf = Callable[..., Site]
# Where every route is offered: for the first atlas, and for each by its name.
SITES: tuple[tuple[str, SiteOf], ...] = (("", first_site), ("/a/{atlas}", named_site))


def _site(request: Request, name: str, prefix: str) -> Site:
    library = request.app.state.library
    opened = library.get(name)
    path = request.url.path.removeprefix(prefix) or "/"
    others = tuple((one, f"/a/{one}/") for one in library.names if one != name)
    return Site(
        opened, Links(prefix), path=path, query=request.url.query, others=others, library=library
    )


def navigation(pages: Sequence[Page]) -> Navigation:
    """Labels and paths of the pages that the navigation shows."""
    return tuple((page.label, page.path) for page in pages if page.label)


def routes(pages: Sequence[Page]) -> APIRouter:
    """Routes of all pages, of the first atlas and of each by its name: HTML, JSON, and POST of their forms."""
    router = APIRouter()
    for prefix, site in SITES:
        for page in pages:
            _add_page(router, page, prefix, site)
            if page.post is not None:
                _add_post(router, page, page.post, prefix, site)
    return router


class Moved(Exception):
    """The page lies at another path."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def _add_page(router: APIRouter, page: Page, prefix: str, site: SiteOf) -> None:
    def as_json(request: Request, site: Site, **given: Any) -> Response:
        try:
            facts = page.view(site, **given)
        except Moved as moved:
            return RedirectResponse(f"{moved.path}.json")
        return answer(request, to_json(page.view, facts), JSON)

    def as_html(request: Request, site: Site, **given: Any) -> Response:
        try:
            facts = page.view(site, **given)
        except Moved as moved:
            return RedirectResponse(moved.path)
        path = f"{site.path.rstrip('/') or '/index'}.json" + (
            f"?{site.query}" if site.query else ""
        )
        return answer(
            request, _html(request, page.template, site, facts, site.links.prefix + path), HTML
        )

    for endpoint in (as_json, as_html):
        endpoint.__signature__ = _signature(page.view, site)  # type: ignore[attr-defined]
    base = f"{prefix}{page.path}"
    router.add_api_route(
        f"{base}index.json" if base.endswith("/") else f"{base}.json",
        as_json,
        methods=["GET"],
        **_description(page.view, page.name, prefix),
        responses={200: {"model": result_type(page.view)}, **ERRORS},
    )
    router.add_api_route(base, as_html, methods=["GET"], include_in_schema=False)


def _add_post(router: APIRouter, page: Page, post: Post, prefix: str, site: SiteOf) -> None:
    def submit(request: Request, site: Site, csrf: str, **given: Any) -> Response:
        check_form(request, csrf)
        facts = post.submit(site, **given)
        if wants_json(request):
            return Response(to_json(post.submit, facts), post.status, media_type=JSON)
        if post.redirect is not None:
            return RedirectResponse(post.redirect(site, facts), 303)
        return Response(_html(request, post.template, site, facts), media_type=HTML)

    submit.__signature__ = _signature(post.submit, site, csrf=True)  # type: ignore[attr-defined]
    path = f"{prefix}{post.path or page.path}"
    router.add_api_route(
        f"{path}.json",
        submit,
        methods=["POST"],
        status_code=post.status,
        **_description(post.submit, post.name, prefix),
        responses={post.status: {"model": result_type(post.submit)}, **ERRORS},
    )
    router.add_api_route(path, submit, methods=["POST"], include_in_schema=False)


def image_routes(*images: tuple[str, Callable[..., WebP], str]) -> APIRouter:
    """Routes of images, WebP unless their path ends in .png, as `file_routes`."""
    return file_routes(
        *images, media_type="image/webp", headers={"Cache-Control": "private, max-age=86400"}
    )


def file_routes(
    *files: tuple[str, Callable[..., File], str],
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> APIRouter:
    """Routes of files, of the first atlas and of each by its name.

    Parameters
    ----------
    files
        Path, a function that gives the file as `view` of a page gives facts, and the name of the operation.
    headers
        Of every answer, beside its ETag; by default a browser asks each time whether the file has changed.
    """
    router = APIRouter()
    for prefix, site in SITES:
        for path, view, name in files:
            media = PNG if path.endswith(".png") else media_type
            endpoint = _file(view, site, media, headers or {})
            router.add_api_route(
                f"{prefix}{path}",
                endpoint,
                methods=["GET"],
                response_class=Response,
                **_description(view, name, prefix),
                responses={200: {"content": {media: {}}}, **ERRORS},
            )
    return router


def _file(
    view: Callable[..., File], site: SiteOf, media_type: str, more: Mapping[str, str]
) -> Callable[..., Response]:
    def file(request: Request, site: Site, **given: Any) -> Response:
        return _answer(request, view(site, **given), media_type, more)

    file.__signature__ = _signature(view, site)  # type: ignore[attr-defined]
    return file


def _html(request: Request, template: str, site: Site, facts: Any, json_path: str = "") -> bytes:
    state = request.app.state
    html = render(
        template,
        site,
        facts=facts,
        json_path=json_path,
        navigation=state.navigation,
        csrf=state.gate.csrf,
        base=str(request.base_url).rstrip("/"),
    )
    return html.encode("utf-8", "replace")


def _description(view: Callable[..., Any], name: str, prefix: str) -> dict[str, Any]:
    """How OpenAPI names and describes an operation."""
    shown = f"{name} of a named atlas" if prefix else name
    return {
        "name": shown,
        "summary": shown,
        "description": inspect.getdoc(view),
        "operation_id": shown.replace(" ", "_"),
    }


def _signature(view: Callable[..., Any], site: SiteOf, *, csrf: bool = False) -> inspect.Signature:
    """The parameters of a view as FastAPI reads them, with the request, and the site as a dependency."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("request", keyword, annotation=Request)]
    if csrf:
        parameters.append(inspect.Parameter("csrf", keyword, annotation=Csrf, default=""))
    for parameter in inspect.signature(view, eval_str=True).parameters.values():
        annotation = parameter.annotation
        if annotation is Site:
            annotation = Annotated[Site, Depends(site)]
        parameters.append(parameter.replace(kind=keyword, annotation=annotation))
    return inspect.Signature(parameters)


PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="Which page of the list.")]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Which part of a list is shown; `first` counts from 1."""

    page: int
    pages: int
    total: int
    first: int
    last: int


def paging(page: int, total: int, size: int) -> Paging:
    """Where a page lies; a page beyond the last is the last.

    Examples
    --------
    >>> paging(9, 130, 60)
    Paging(page=3, pages=3, total=130, first=121, last=130)
    """
    pages = max(1, -(-total // size))
    page = min(max(page, 1), pages)
    first = (page - 1) * size
    return Paging(
        page=page,
        pages=pages,
        total=total,
        first=min(first + 1, total),
        last=min(first + size, total),
    )
