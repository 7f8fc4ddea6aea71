"""Pages to try each part of a catalogue by hand; they are the owner's, and do what the API does."""

from __future__ import annotations

import bisect
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from synesthete.catalog.classify import make_record
from synesthete.catalog.metrics import METRICS, compare, summarize
from synesthete.catalog.people import policy_of
from synesthete.catalog.pilot import lift_chart, rates_chart
from synesthete.catalog.types import Side, Signal
from synesthete.errors import SynestheteError
from synesthete.server.errors import ErrorFacts, Missing, Refused
from synesthete.server.render import environment
from synesthete.server.sending import check_form
from synesthete.server.shop.bodies import PICTURE_LIMIT
from synesthete.server.shop.door import OWNER, caller_of
from synesthete.server.shop.shop import CLASSIFIERS, Shop

NAVIGATION = (
    ("Items", "/"), ("Search", "/search"), ("Recommend", "/recommend"), ("Align", "/align"), ("Suggest", "/suggest"),
    ("Classify", "/classify"), ("Queue", "/queue"), ("Metrics", "/metrics"),
)  # fmt: skip
SIZE = 48
BLANK = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8H0z" fill="#efede8"/></svg>'


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
router = APIRouter(include_in_schema=False)


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


def error_page(facts: ErrorFacts) -> bytes:
    """What went wrong, and where to go from there."""
    made = _templates().get_template("shop/error.html").render(
        shop_name="", navigation=() if facts.status == 401 else NAVIGATION, here="", csrf="", facts=facts
    )  # fmt: skip
    return made.encode("utf-8", "replace")


def sent(picture: UploadFile | None) -> bytes | None:
    """The bytes of a picture that a form sent; None where it sent none."""
    data = picture.file.read(PICTURE_LIMIT + 1) if picture is not None else b""
    if len(data) > PICTURE_LIMIT:
        raise Refused(413, f"a picture has at most {PICTURE_LIMIT // 2**20} MB")
    return data or None


@router.get("/")
def home(
    request: Request, shop: Owned, after: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """All items, a page at a time."""
    snapshot = shop.catalog.snapshot()
    first = bisect.bisect_right(snapshot.ids, after)
    ids = snapshot.ids[first : first + SIZE]
    following = ids[-1] if first + SIZE < len(snapshot) else ""
    items = list(snapshot.items([snapshot.row(one) for one in ids]))
    waiting = len(shop.queue.cases(waiting=True))
    model = shop.catalog.manifest["model"]["name"]
    return page(
        request, shop, "home", items=items, total=len(snapshot), following=following, waiting=waiting, model=model,
        aside=len(shop.catalog.quarantine()),
    )  # fmt: skip


@router.get("/picture")
def picture_of_item(
    shop: Owned, item: Annotated[str, Query(alias="id", max_length=500)]
) -> Response:
    """An item's first picture, or a blank one."""
    data = shop.catalog.thumbnail(item) if item in shop.catalog else None
    headers = {"Cache-Control": "private, max-age=300"}
    if data is None:
        return Response(BLANK, media_type="image/svg+xml", headers=headers)
    return Response(data, media_type="image/webp", headers=headers)


@router.get("/item")
def item_page(
    request: Request, shop: Owned, item: Annotated[str, Query(alias="id", max_length=500)]
) -> Response:
    """One item, and what is like it."""
    if item not in shop.catalog:
        raise Missing(f"there is no item {item[:80]!r}")
    found = next(iter(shop.catalog.items([item])))
    like = shop.catalog.recommend([Signal(item=item)], k=6, diversity=0.0)
    return page(request, shop, "item", item=found, like=like)


@router.get("/search")
def search_page(request: Request, shop: Owned) -> Response:
    """The form."""
    given = {"text": "", "without": "", "where": ""}
    return page(request, shop, "search", found=None, given=given)


@router.post("/search")
def search(
    request: Request, shop: Owned, csrf: Short = "", text: Text = "", without: Text = "", where: Text = "",
    picture: Picture = None,
) -> Response:  # fmt: skip
    """What was found."""
    check_form(request, csrf)
    given = {"text": text, "without": without, "where": where}
    found = shop.catalog.search(
        text.strip() or None, sent(picture), without=_parts(without), where=_parts(where), k=24
    )
    return page(request, shop, "search", found=found, given=given)


@router.get("/recommend")
def recommend_page(request: Request, shop: Owned) -> Response:
    """The form."""
    given = {"likes": "", "dislikes": "", "mute": ""}
    return page(request, shop, "recommend", found=None, given=given)


@router.post("/recommend")
def recommend(
    request: Request, shop: Owned, csrf: Short = "", likes: Text = "", dislikes: Text = "", mute: Text = "",
    picture: Picture = None,
) -> Response:  # fmt: skip
    """What was recommended; a line that is an item's id means the item."""
    check_form(request, csrf)
    told: tuple[tuple[Side, str], ...] = (("like", likes), ("dislike", dislikes))
    signals = [
        Signal(side, item=line) if line in shop.catalog else Signal(side, text=line)
        for side, lines in told
        for line in _lines(lines)
    ]
    data = sent(picture)
    if data:
        signals.append(Signal(picture=data))
    given = {"likes": likes, "dislikes": dislikes, "mute": mute}
    found = shop.catalog.recommend(signals, mute=_parts(mute), k=24)
    return page(request, shop, "recommend", found=found, given=given)


@router.get("/align")
def align_page(request: Request, shop: Owned) -> Response:
    """The form."""
    return page(request, shop, "align", found=None, given={"copies": ""})


@router.post("/align")
def align(
    request: Request, shop: Owned, csrf: Short = "", copies: Text = "", picture: Picture = None
) -> Response:
    """Each copy against the picture."""
    check_form(request, csrf)
    data = sent(picture)
    if data is None:
        raise SynestheteError("there is no picture to hold the copies against", hint="choose one")
    found = shop.catalog.align(_lines(copies)[:20], [data])
    return page(request, shop, "align", found=found, given={"copies": copies})


@router.get("/suggest")
def suggest_page(request: Request, shop: Owned) -> Response:
    """The form."""
    threshold = policy_of(shop.queue.trail, "suggest").threshold
    return page(request, shop, "suggest", found=None, given={"brief": ""}, threshold=threshold)


@router.post("/suggest")
def suggest(
    request: Request, shop: Owned, csrf: Short = "", brief: Text = "", picture: Picture = None
) -> Response:
    """What was suggested."""
    check_form(request, csrf)
    threshold = policy_of(shop.queue.trail, "suggest").threshold
    found = shop.catalog.suggest(
        sent(picture), brief.strip() or None, threshold=threshold, queue=shop.queue
    )
    return page(
        request, shop, "suggest", found=found.as_dict(), given={"brief": brief}, threshold=threshold
    )


@router.get("/classify")
def classify_page(request: Request, shop: Owned) -> Response:
    """The form."""
    return _classify(request, shop, None, "")


@router.post("/classify")
def classify(
    request: Request,
    shop: Owned,
    csrf: Short = "",
    classifier: Short = "",
    text: Text = "",
    picture: Picture = None,
) -> Response:
    """A record judged. Nothing of it stands on the page that answers."""
    check_form(request, csrf)
    policy = policy_of(shop.queue.trail, "classify")
    (found,) = shop.classifier(classifier).judge(
        [make_record(sent(picture), text)],
        queue=shop.queue,
        policy=policy if policy.set_by != "machine" else None,
    )
    return _classify(request, shop, found, classifier)


def _classify(request: Request, shop: Shop, found: Any, name: str) -> Response:
    folder = shop.path.name + "/" + CLASSIFIERS
    return page(
        request,
        shop,
        "classify",
        found=found,
        names=shop.classifiers,
        given={"classifier": name},
        folder=folder,
    )


@router.get("/queue")
def queue_page(request: Request, shop: Owned) -> Response:
    """All cases."""
    cases = shop.queue.cases()
    return page(
        request,
        shop,
        "queue",
        waiting=[one for one in cases if one.open],
        settled=[one for one in cases if not one.open],
    )


@router.get("/queue/{ticket}")
def case_page(request: Request, shop: Owned, ticket: str) -> Response:
    """One case."""
    try:
        one = shop.queue.case(ticket)
    except SynestheteError as error:
        raise Missing(error.message) from None
    choices = one.payload.get("choices", ())
    return page(request, shop, "case", one=one, choices=[str(choice) for choice in choices][:50])


@router.post("/queue/{ticket}")
def decide(
    request: Request, shop: Owned, ticket: str,
    verdict: Annotated[Literal["accept", "override", "dismiss"], Form()],
    actor: Short = "", label: Short = "", note: Annotated[str, Form(max_length=2000)] = "", csrf: Short = "",
) -> Response:  # fmt: skip
    """What a person makes of a case."""
    check_form(request, csrf)
    label = label if verdict == "override" else ""
    shop.queue.decide(ticket, verdict, actor=actor, label=label, note=note)
    return RedirectResponse("/queue", 303)


@router.get("/metrics")
def metrics_page(request: Request, shop: Owned) -> Response:
    """The dashboard."""
    found = summarize(shop.events.read())
    total = found.total
    rows = [
        ("clicked", total.click), ("added", total.add), ("bought", total.conversion), ("dismissed", total.dismissal)
    ]  # fmt: skip
    return page(
        request, shop, "metrics", total=total, chart=Markup(rates_chart(rows)), days=list(found.days.items())[::-1][:60],
        experiments=shop.events.experiments(), left_out=found.left_out, skewed=found.skewed,
    )  # fmt: skip


@router.get("/experiment")
def experiment_page(
    request: Request, shop: Owned, name: Annotated[str, Query(max_length=200)],
    metric: Literal["click", "add", "conversion", "dismissal"] = "conversion",
    window_hours: Annotated[float, Query(ge=0, le=10_000)] = 24.0,
) -> Response:  # fmt: skip
    """One experiment."""
    if name not in shop.events.experiments():
        raise Missing(f"there is no experiment {name[:80]!r}")
    one = compare(
        shop.events.read(experiment=name), name, metric, window=timedelta(hours=window_hours)
    )
    rates = Markup(rates_chart([("A", one.lift.a), ("B", one.lift.b)]))
    return page(
        request, shop, "experiment", one=one, rates=rates, chart=Markup(lift_chart(one.lift)), window=window_hours,
        metrics=[kind for kind in METRICS if kind != "value"],
    )  # fmt: skip


@router.get("/docs")
def api_page(request: Request, shop: Owned) -> Response:
    """Every endpoint of the API, from its own description (a page of ours: the policy allows no scripts from elsewhere)."""
    described = request.app.openapi()
    rows = [
        {"method": method.upper(), "path": path, "tag": row["tags"][0], "summary": row["summary"],
         "parameters": [one["name"] for one in row.get("parameters", ())]}
        for path, methods in described["paths"].items() for method, row in methods.items() if "tags" in row
    ]  # fmt: skip
    return page(request, shop, "api", rows=rows, tags=described["tags"])


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
