"""The pages of a catalogue, for its owner: forms that do what the API does, the review queue, metrics, experiments."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.responses import FileResponse, RedirectResponse, Response

from synesthete.catalog.classify import make_record
from synesthete.catalog.experiments import lift_chart, rates_chart
from synesthete.catalog.metrics import METRICS, compare, summarize
from synesthete.catalog.schema import Side, Signal
from synesthete.catalog.server.api import find_case, log_with
from synesthete.catalog.server.auth import OWNER, caller_of
from synesthete.catalog.server.folder import CLASSIFIERS, CatalogFolder
from synesthete.catalog.server.routing import folder_of
from synesthete.catalog.server.schema import IMAGE_LIMIT
from synesthete.errors import SynestheteError
from synesthete.server.auth import check_form
from synesthete.server.errors import ErrorFacts, Missing, Refused, form_page
from synesthete.server.render import environment

PAGE_SIZE = 48
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
Text = Annotated[str, Form(max_length=20_000)]
Short = Annotated[str, Form(max_length=200)]
Image = Annotated[UploadFile | None, File()]
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


def _uploaded(image: UploadFile | None) -> bytes | None:
    """The bytes of an image that a form sent; None where it sent none."""
    data = image.file.read(IMAGE_LIMIT + 1) if image is not None else b""
    if len(data) > IMAGE_LIMIT:
        raise Refused(413, f"an image has at most {IMAGE_LIMIT // 2**20} MB")
    return data or None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


@router.get("/")
def home(
    request: Request, folder: Folder, after: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """All items, a page at a time."""
    snapshot = folder.catalog.snapshot()
    items = snapshot.page(after, PAGE_SIZE + 1)
    return page(
        request,
        folder,
        "home",
        items=items[:PAGE_SIZE],
        total=len(snapshot),
        following=items[PAGE_SIZE - 1].id if len(items) > PAGE_SIZE else "",
        waiting=len(folder.queue.cases(waiting=True)),
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
def search_form(request: Request, folder: Folder) -> Response:
    """The form."""
    given = {"text": "", "without": "", "where": ""}
    return page(request, folder, "search", hits=None, given=given)


@router.post("/search")
def search(
    request: Request,
    folder: Folder,
    csrf: Short = "",
    text: Text = "",
    without: Text = "",
    where: Text = "",
    image: Image = None,
) -> Response:
    """The hits."""
    check_form(request, csrf)
    hits = folder.catalog.search(
        text.strip() or None,
        _uploaded(image),
        without=_split(without),
        where=_split(where),
        limit=24,
    )
    given = {"text": text, "without": without, "where": where}
    return page(request, folder, "search", hits=hits, given=given)


@router.get("/recommend")
def recommend_form(request: Request, folder: Folder) -> Response:
    """The form."""
    given = {"likes": "", "dislikes": "", "mute": ""}
    return page(request, folder, "recommend", hits=None, given=given)


@router.post("/recommend")
def recommend(
    request: Request,
    folder: Folder,
    csrf: Short = "",
    likes: Text = "",
    dislikes: Text = "",
    mute: Text = "",
    image: Image = None,
) -> Response:
    """Recommendations; a line that is an item's id means the item."""
    check_form(request, csrf)
    sides: tuple[tuple[Side, str], ...] = (("like", likes), ("dislike", dislikes))
    signals = [
        Signal(side, item=line) if line in folder.catalog else Signal(side, text=line)
        for side, lines in sides
        for line in _lines(lines)
    ]
    if data := _uploaded(image):
        signals.append(Signal(image=data))
    hits = folder.catalog.recommend(signals, mute=_split(mute), limit=24)
    given = {"likes": likes, "dislikes": dislikes, "mute": mute}
    return page(request, folder, "recommend", hits=hits, given=given)


@router.get("/align")
def align_form(request: Request, folder: Folder) -> Response:
    """The form."""
    return page(request, folder, "align", pairs=None, given={"copies": ""})


@router.post("/align")
def align(
    request: Request, folder: Folder, csrf: Short = "", copies: Text = "", image: Image = None
) -> Response:
    """Each copy with the image."""
    check_form(request, csrf)
    data = _uploaded(image)
    if data is None:
        raise SynestheteError("no image to compare the copies with", hint="choose one")
    pairs = folder.catalog.align(_lines(copies)[:20], [data])
    return page(request, folder, "align", pairs=pairs, given={"copies": copies})


@router.get("/suggest")
def suggest_form(request: Request, folder: Folder) -> Response:
    """The form."""
    given, threshold = {"brief": ""}, folder.threshold
    return page(request, folder, "suggest", suggestion=None, given=given, threshold=threshold)


@router.post("/suggest")
def suggest(
    request: Request, folder: Folder, csrf: Short = "", brief: Text = "", image: Image = None
) -> Response:
    """Suggestions, or the case in the queue."""
    check_form(request, csrf)
    data, threshold = _uploaded(image), folder.threshold
    suggestion = folder.catalog.suggest(
        data, brief.strip() or None, threshold=threshold, queue=folder.queue
    )
    facts = {"suggestion": suggestion.as_dict(), "given": {"brief": brief}}
    return page(request, folder, "suggest", threshold=threshold, **facts)


@router.get("/classify")
def classify_form(request: Request, folder: Folder) -> Response:
    """The form."""
    return _classify_page(request, folder, None, "")


@router.post("/classify")
def classify(
    request: Request,
    folder: Folder,
    csrf: Short = "",
    classifier: Short = "",
    text: Text = "",
    image: Image = None,
) -> Response:
    """The label of a record. Nothing of the record is on the page."""
    check_form(request, csrf)
    records = [make_record(_uploaded(image), text)]
    (result,) = folder.classifier(classifier).judge(
        records, queue=folder.queue, policy=folder.policy
    )
    return _classify_page(request, folder, result, classifier)


def _classify_page(
    request: Request, folder: CatalogFolder, result: Any, classifier: str
) -> Response:
    return page(
        request,
        folder,
        "classify",
        result=result,
        names=folder.classifiers,
        given={"classifier": classifier},
        place=f"{folder.path.name}/{CLASSIFIERS}",
    )


@router.get("/queue")
def queue_page(request: Request, folder: Folder) -> Response:
    """All cases."""
    cases = folder.queue.cases()
    waiting = [case for case in cases if case.open]
    settled = [case for case in cases if not case.open]
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
