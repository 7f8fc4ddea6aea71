"""Pages of people and numbers: the review queue, metrics, experiments, and the API's own description."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from synesthete.catalog.experiments import lift_chart, rates_chart
from synesthete.catalog.metrics import METRICS, compare, summarize
from synesthete.errors import SynestheteError
from synesthete.server.auth import check_form
from synesthete.server.errors import Missing
from synesthete.server.shop.paper import Owned, Short, page

router = APIRouter(include_in_schema=False)


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
