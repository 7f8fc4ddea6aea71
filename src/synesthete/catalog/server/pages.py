"""The pages of a catalogue, for its owner: forms that do what the API does, the review queue, metrics, experiments."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image
from starlette.responses import FileResponse, RedirectResponse, Response

from synesthete.catalog.classify import Classify, NewRecord
from synesthete.catalog.experiments import lift_chart, rates_chart
from synesthete.catalog.facets import items_page
from synesthete.catalog.metrics import METRICS, compare, summarize
from synesthete.catalog.requests import RELEVANCE, Align, Recommend, Search, Suggest
from synesthete.catalog.schema import Side, Signal
from synesthete.catalog.server.api import find_case, log_with
from synesthete.catalog.server.auth import OWNER, caller_of
from synesthete.catalog.server.folder import CLASSIFIERS, CatalogFolder
from synesthete.catalog.server.forms import Sent, read_form, split, uploaded
from synesthete.catalog.server.routing import folder_of
from synesthete.probes.request_images import see
from synesthete.server.auth import check_form
from synesthete.server.errors import ErrorFacts, Missing, Refused, form_page
from synesthete.server.render import environment

PAGE_SIZE = 48
FACETS = 12  # values of each
KEPT_SIDE = 512  # pixels of an image that is searched with
SORTS = (
    (RELEVANCE, "relevance"),
    ("price", "price, low to high"),
    ("-price", "price, high to low"),
    ("title", "title"),
)
BLANK = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8H0z" fill="#efede8"/></svg>'
NAVIGATION = (
    ("Items", "/"),
    *(
        (name, f"/{name.lower()}")
        for name in ("Search", "Recommend", "Align", "Suggest", "Classify", "Queue", "Metrics")
    ),
)
router = APIRouter(include_in_schema=False)


def owned(request: Request) -> CatalogFolder:
    """The catalogue, for its owner.

    Raises
    ------
    Refused
        403 for a program with a key: it has the API.
    """
    if caller_of(request).id != OWNER:
        raise Refused(403, "pages are the owner's", hint="a key opens /api/v1")
    return folder_of(request)


Folder = Annotated[CatalogFolder, Depends(owned)]
Short = Annotated[str, Form(max_length=200)]
ItemId = Annotated[str, Query(alias="id", max_length=500)]


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return environment().overlay(loader=PackageLoader("synesthete.catalog.server"))


def page(request: Request, folder: CatalogFolder, template: str, **facts: Any) -> Response:
    """A page as HTML."""
    html = _templates().get_template(f"{template}.html")
    text = html.render(
        catalog_name=folder.name,
        navigation=NAVIGATION,
        here="/" + request.url.path.strip("/").partition("/")[0],
        csrf=request.app.state.gate.csrf,
        **facts,
    )
    return Response(text.encode("utf-8", "replace"), media_type="text/html; charset=utf-8")


def error_page(request: Request, facts: ErrorFacts) -> str:
    """What went wrong, and where to go from there."""
    return _error_page(facts, form_page(request))


@lru_cache(maxsize=32)
def _error_page(facts: ErrorFacts, back: str) -> str:
    navigation = () if facts.status == 401 else NAVIGATION
    common = {"catalog_name": "", "navigation": navigation, "here": "", "csrf": ""}
    return _templates().get_template("error.html").render(common, facts=facts, back=back)


@router.get("/")
def home(
    request: Request,
    folder: Folder,
    after: Annotated[str, Query(max_length=500)] = "",
    sort: Annotated[str, Query(max_length=500)] = "id",
) -> Response:
    """All items, a page at a time."""
    snapshot = folder.catalog.snapshot()
    items = items_page(snapshot, sort, after, PAGE_SIZE + 1)
    return page(
        request,
        folder,
        "home",
        items=items[:PAGE_SIZE],
        sort=sort,
        sorts={"id": "id", **dict(SORTS[1:])},
        total=len(snapshot),
        following=items[PAGE_SIZE - 1].id if len(items) > PAGE_SIZE else "",
        waiting=folder.queue.waiting(),
        model=folder.catalog.manifest["model"]["name"],
        quarantined=len(folder.catalog.quarantine()),
    )


@router.get("/static/catalog.css")
def style() -> FileResponse:
    """The styles that the catalogue's pages have besides those of the microscope."""
    return FileResponse(Path(__file__).parent / "static" / "catalog.css")


@router.get("/image")
def item_image(folder: Folder, item: ItemId) -> Response:
    """An item's first image, or a blank one."""
    data = folder.catalog.thumbnail(item) if item in folder.catalog else None
    headers = {"Cache-Control": "private, max-age=300"}
    if data is None:
        return Response(BLANK, media_type="image/svg+xml", headers=headers)
    return Response(data, media_type="image/webp", headers=headers)


@router.get("/item")
def item_page(request: Request, folder: Folder, item: ItemId) -> Response:
    """One item, and what is like it."""
    if item not in folder.catalog:
        raise Missing(f"there is no item {item[:80]!r}")
    facts = next(iter(folder.catalog.items([item])))
    like = folder.catalog.recommend([Signal(item=item)], limit=6, diversity=0.0)
    return page(request, folder, "item", item=facts, like=like)


@router.get("/search")
@router.post("/search")
def search(request: Request, folder: Folder, sent: Sent) -> Response:
    """The form, and the hits with what they can be filtered by; a link's query is searched, too."""
    where = [*sent.getlist("filter"), *split(str(sent.get("where", ""))), *sent.getlist("add")]
    where = [one for one in dict.fromkeys(map(str, where)) if one not in sent.getlist("drop")]
    # The image is kept in the page, small, so that the next page and another filter are of the same search.
    upload = uploaded(sent)
    kept = _small(upload) if upload else str(sent.get("kept", ""))
    given: dict[str, Any] = {"where": where, **({"image": kept} if kept else {})}
    wanted = read_form(Search, sent, limit=24, facets=FACETS, **given)
    start = request.method == "GET" and not (
        wanted.text or wanted.where or wanted.sort != RELEVANCE
    )
    found = None if start else folder.answer(wanted)
    names = [one.name for one in (found.facets if found else ())]
    sorts = dict(SORTS) | {name: name for name in [*names, wanted.sort] if name not in dict(SORTS)}
    facts = {"given": wanted, "kept": kept, "found": found, "sorts": sorts}
    return page(request, folder, "search", **facts)


def _small(image: bytes) -> str:
    """An image in base64, no larger than a model looks at it."""

    def save(image: Image.Image) -> bytes:
        image.thumbnail((KEPT_SIDE, KEPT_SIDE))
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=90)
        return stream.getvalue()

    return base64.b64encode(see(image, save)).decode()


@router.get("/recommend")
@router.post("/recommend")
def recommend(request: Request, folder: Folder, sent: Sent) -> Response:
    """Recommendations; a line that is an item's id means the item."""
    given = {name: str(sent.get(name, "")) for name in ("likes", "dislikes", "mute")}
    found = None
    if request.method == "POST":
        sides: tuple[tuple[Side, str], ...] = (("like", "likes"), ("dislike", "dislikes"))
        signals = [
            Signal(side, item=line) if line in folder.catalog else Signal(side, text=line)
            for side, name in sides
            for line in split(given[name], "\n")
        ]
        if data := uploaded(sent):
            signals.append(Signal(image=data))
        wanted = read_form(Recommend, sent, limit=24)
        found = folder.answer(replace(wanted, signals=signals))
    return page(request, folder, "recommend", found=found, given=given)


@router.get("/align")
@router.post("/align")
def align(request: Request, folder: Folder, sent: Sent) -> Response:
    """Each copy with the image."""
    found = None
    if request.method == "POST":
        found = folder.answer(read_form(Align, sent, "\n"))
    return page(request, folder, "align", found=found, copies=sent.get("copies", ""))


@router.get("/suggest")
@router.post("/suggest")
def suggest(request: Request, folder: Folder, sent: Sent) -> Response:
    """Suggestions, or the case in the queue."""
    suggestion = None
    if request.method == "POST":
        suggestion = folder.answer(read_form(Suggest, sent)).as_dict()
    facts = {"suggestion": suggestion, **{key: sent.get(key, "") for key in ("brief", "reference")}}
    return page(request, folder, "suggest", threshold=folder.suggest_policy.threshold, **facts)


@router.get("/classify")
@router.post("/classify")
def classify(request: Request, folder: Folder, sent: Sent) -> Response:
    """The label of a record. Nothing of the record is on the page."""
    name, result = str(sent.get("classifier", "")), None
    if request.method == "POST":
        record = read_form(NewRecord, sent)
        (result,) = folder.answer(Classify(name, [record])).records
    return page(
        request,
        folder,
        "classify",
        result=result,
        names=folder.classifiers,
        given={"classifier": name},
        place=f"{folder.path.name}/{CLASSIFIERS}",
    )


@router.get("/queue")
def queue_page(request: Request, folder: Folder) -> Response:
    """All cases."""
    waiting, settled = (folder.queue.cases(waiting=which) for which in (True, False))
    return page(request, folder, "queue", waiting=waiting, settled=settled)


@router.get("/queue/{ticket}")
def case_page(request: Request, folder: Folder, ticket: str) -> Response:
    """One case."""
    case = find_case(folder, ticket)
    choices = [str(choice) for choice in case.payload.get("choices", ())]
    return page(request, folder, "case", case=case, choices=choices[:50])


@router.post("/queue/{ticket}")
def decide(
    request: Request,
    folder: Folder,
    ticket: str,
    verdict: Annotated[Literal["accept", "override", "dismiss"], Form()],
    actor: Short = "",
    label: Short = "",
    note: Annotated[str, Form(max_length=2000)] = "",
    csrf: Short = "",
) -> Response:
    """Record a person's verdict on a case."""
    check_form(request, csrf)
    label = label if verdict == "override" else ""
    folder.queue.decide(ticket, verdict, actor=actor, label=label, note=note)
    return RedirectResponse("/queue", 303)


@router.get("/metrics")
def metrics_page(request: Request, folder: Folder) -> Response:
    """The dashboard."""
    summary = summarize(folder.events)
    total = summary.total
    rates = (
        ("clicked", total.click),
        ("added", total.add),
        ("bought", total.conversion),
        ("dismissed", total.dismissal),
    )
    return page(
        request,
        folder,
        "metrics",
        total=total,
        chart=Markup(rates_chart(list(rates))),
        days=list(summary.days.items())[::-1][:60],
        experiments=folder.events.experiments(),
        left_out=summary.left_out,
        skewed=summary.skewed,
    )


@router.get("/experiment")
def experiment_page(
    request: Request,
    folder: Folder,
    name: Annotated[str, Query(max_length=200)],
    metric: Literal["click", "add", "conversion", "dismissal"] = "conversion",
    window_hours: Annotated[float, Query(ge=0, le=10_000)] = 24.0,
) -> Response:
    """One experiment."""
    log = log_with(folder, name)
    experiment = compare(log, name, metric, window=timedelta(hours=window_hours))
    lift = experiment.lift
    return page(
        request,
        folder,
        "experiment",
        experiment=experiment,
        rates=Markup(rates_chart([("A", lift.a), ("B", lift.b)])),
        chart=Markup(lift_chart(lift)),
        window=window_hours,
        metrics=[kind for kind in METRICS if kind != "value"],
    )


@router.get("/docs")
def api_page(request: Request, folder: Folder) -> Response:
    """Every endpoint of the API, from its OpenAPI description; the content security policy allows no scripts from elsewhere."""
    described = request.app.openapi()
    endpoints = [
        {
            "method": method.upper(),
            "path": path,
            "tag": operation["tags"][0],
            "summary": operation["summary"],
            "parameters": [parameter["name"] for parameter in operation.get("parameters", ())],
        }
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if "tags" in operation
    ]
    return page(request, folder, "api", endpoints=endpoints, tags=described["tags"])
