"""The endpoints of the REST API: items, search and its kin, events, metrics, and the review queue."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from synesthete import __version__
from synesthete._core.docstrings import read_docstring
from synesthete.catalog.events import EventLog, Taken
from synesthete.catalog.facets import items_page
from synesthete.catalog.metrics import Experiment, Summary, assign, compare, summarize
from synesthete.catalog.requests import Request as CatalogRequest
from synesthete.catalog.requests import answer_type
from synesthete.catalog.schema import Written
from synesthete.catalog.server import schema
from synesthete.catalog.server.auth import Caller, requires
from synesthete.catalog.server.folder import REQUESTS, CatalogFolder
from synesthete.catalog.server.routing import (
    PREFIX,
    ApiRoute,
    IdempotencyKey,
    endpoint,
    folder_of,
    respond,
    respond_once,
)
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Case, policy_of, set_policy, trail_row
from synesthete.server.errors import ERRORS, Missing

ItemId = Annotated[str, Query(alias="id", min_length=1, max_length=500)]
Name = Annotated[str, Query(min_length=1, max_length=200)]
Ticket = Annotated[str, Path(max_length=100, description="Of the case.")]
Kind = Annotated[str, Path(pattern=r"^(suggest|classify)$")]
Sort = Annotated[str, Query(max_length=500)]
After = Annotated[int, Query(ge=0, le=2**62, description="`next` of the page before.")]
Share = Annotated[float, Query(gt=0, lt=1)]
Cap = Annotated[
    float | None,
    Query(gt=0, le=1e12, description="For `value`: the most of a visitor that counts."),
]
Reader = Annotated[Caller, requires("read")]
Writer = Annotated[Caller, requires("write")]
Sender = Annotated[Caller, requires("events")]
Analyst = Annotated[Caller, requires("metrics")]
Reviewer = Annotated[Caller, requires("review")]
router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


get = partial(endpoint, router)
post = partial(endpoint, router, method="POST")


@get("/health", schema.Health, tag="items")
def health(request: Request, caller: Reader) -> Response:
    """Say that it works, how many items there are, and by which model."""
    folder = folder_of(request)
    facts = schema.Health(
        ok=True,
        name=folder.name,
        items=len(folder.catalog),
        model=str(folder.catalog.manifest["model"]["name"]),
        version=__version__,
    )
    return respond(request, facts)


@get("/items", schema.ItemPage, tag="items")
def list_items(
    request: Request,
    caller: Reader,
    after: Annotated[str, Query(max_length=500, description="Items after this id.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Sort = "id",
) -> Response:
    """List items, a page at a time, by id or in another order.

    `sort` is `id`, `price`, `title`, `category` or an attribute; with a minus before it from high to low.
    """
    snapshot = folder_of(request).catalog.snapshot()
    items = items_page(snapshot, sort, after, limit + 1)
    following = items[limit - 1].id if len(items) > limit else None
    facts = list(map(schema.ItemFacts.of, items[:limit]))
    page = schema.ItemPage(facts, following, len(snapshot))
    return respond(request, page)


@get("/item", schema.ItemFacts, tag="items")
def get_item(request: Request, caller: Reader, item: ItemId) -> Response:
    """Get one item."""
    catalog = folder_of(request).catalog
    if item not in catalog:
        raise Missing(f"there is no item {item[:80]!r}")
    return respond(request, schema.ItemFacts.of(next(iter(catalog.items([item])))))


@router.get(
    "/item/image",
    tags=["items"],
    operation_id="get_image",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}, **ERRORS},
    summary="Get an item's first image",
)
def get_image(request: Request, caller: Reader, item: ItemId) -> Response:
    """Get an item's first image, small (WebP)."""
    catalog = folder_of(request).catalog
    data = catalog.thumbnail(item) if item in catalog else None
    if data is None:
        raise Missing(f"there is no image of an item {item[:80]!r}")
    headers = {"Cache-Control": "private, max-age=300"}
    return Response(data, media_type="image/webp", headers=headers)


@post("/items", Written, tag="items")
def upsert_items(
    request: Request, caller: Writer, body: schema.Upsert, key: IdempotencyKey = None
) -> Response:
    """Add items, or replace those with their ids."""
    folder = folder_of(request)
    return respond_once(request, caller, key, body, lambda: folder.upsert(body.items))


@post("/items/delete", Written, tag="items")
def delete_items(
    request: Request, caller: Writer, body: schema.Delete, key: IdempotencyKey = None
) -> Response:
    """Delete items; unknown ids are ignored."""
    folder = folder_of(request)
    return respond_once(request, caller, key, body, lambda: folder.delete(body.ids))


@get("/quarantine", schema.Quarantine, tag="items")
def list_quarantine(request: Request, caller: Writer) -> Response:
    """List what could not be used, with the reasons."""
    rows = [vars(entry) for entry in folder_of(request).catalog.quarantine()[:1000]]
    return respond(request, schema.Quarantine(rows))


def _add(kind: type[CatalogRequest[Any]]) -> None:
    """The endpoint of a request."""

    def find(request: Request, caller: Reader, body: CatalogRequest[Any]) -> Response:
        return respond(request, folder_of(request).answer(body))

    name = kind.__name__.lower()
    find.__name__, find.__doc__ = name, read_docstring(kind.__doc__).text
    find.__annotations__["body"] = kind
    post(f"/{name}", answer_type(kind), tag="find")(find)


for _kind in REQUESTS:
    _add(_kind)


@post("/events", Taken, tag="events")
def send_events(
    request: Request, caller: Sender, body: schema.Events, key: IdempotencyKey = None
) -> Response:
    """Add events. An event sent again, with its key, is counted once; invalid ones are set aside and reported."""
    log = folder_of(request).events
    return respond_once(request, caller, key, body, lambda: log.take(body.rows()))


@get("/events", schema.EventPage, tag="events")
def list_events(
    request: Request,
    caller: Analyst,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List events, a page at a time, in the order in which they came."""
    events = list(folder_of(request).events.read(after=after, limit=limit + 1))
    page = list(map(schema.EventFacts.of, events[:limit]))
    following = page[-1].place if len(events) > limit else None
    return respond(request, schema.EventPage(page, following))


@get("/metrics", Summary, tag="metrics")
def get_metrics(request: Request, caller: Analyst) -> Response:
    """Get click, add-to-cart, conversion and dismissal rates, in all and by day, with intervals."""
    return respond(request, summarize(folder_of(request).events))


@get("/experiments", schema.Experiments, tag="metrics")
def list_experiments(request: Request, caller: Analyst) -> Response:
    """List the experiments that events name."""
    return respond(request, schema.Experiments(folder_of(request).events.experiments()))


@get("/experiment", Experiment, tag="metrics")
def get_experiment(
    request: Request,
    caller: Analyst,
    name: Name,
    metric: schema.MetricName = "conversion",
    alpha: Share = 0.05,
    share_of_b: Share = 0.5,
    window_hours: Annotated[float, Query(ge=0, le=10_000)] = 24.0,
    cap: Cap = None,
) -> Response:
    """Compare two variants by anytime-valid confidence sequences."""
    log = log_with(folder_of(request), name)
    window = timedelta(hours=window_hours)
    experiment = compare(
        log, name, metric, alpha=alpha, share_of_b=share_of_b, window=window, cap=cap
    )
    return respond(request, experiment)


@get("/assignment", schema.Assignment, tag="metrics")
def get_assignment(
    request: Request,
    caller: Reader,
    experiment: Name,
    subject: Name,
    share_of_b: Annotated[float, Query(ge=0, le=1)] = 0.5,
) -> Response:
    """Get the variant that a visitor sees: always the same one."""
    variant = assign(subject, experiment, share_of_b)
    return respond(request, schema.Assignment(experiment, variant))


@get("/queue", schema.CasePage, tag="people")
def list_cases(
    request: Request,
    caller: Reviewer,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    kind: Annotated[str, Query(max_length=40)] = "",
    waiting: bool | None = None,
) -> Response:
    """List abstentions awaiting human review and settled cases, those that wait first."""
    queue = folder_of(request).queue
    chosen = queue.cases(kind=kind or None, waiting=waiting)
    still_open = len(queue.cases(kind=kind or None, waiting=True))
    page = list(map(schema.CaseFacts.of, chosen[after : after + limit]))
    following = after + limit if len(chosen) > after + limit else None
    return respond(request, schema.CasePage(page, following, still_open))


@get("/queue/{ticket}", schema.CaseFacts, tag="people")
def get_case(request: Request, caller: Reviewer, ticket: Ticket) -> Response:
    """Get one case."""
    return respond(request, schema.CaseFacts.of(find_case(folder_of(request), ticket)))


@post("/queue/{ticket}/decision", schema.CaseFacts, tag="people")
def decide_case(
    request: Request, caller: Reviewer, ticket: Ticket, body: schema.Decision
) -> Response:
    """Decide a case: accept, override with a label, or dismiss. Nothing is overwritten; the last verdict of each person counts."""
    folder = folder_of(request)
    find_case(folder, ticket)
    actor = f"{body.actor} ({caller.name})" if body.actor.strip() else caller.name
    case = folder.queue.decide(
        ticket, body.verdict, actor=actor[:100], label=body.label, note=body.note
    )
    return respond(request, schema.CaseFacts.of(case))


@get("/trail", schema.TrailPage, tag="people")
def list_trail(
    request: Request,
    caller: Reviewer,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List everything that machine and people did about cases, in order."""
    entries = folder_of(request).queue.trail.entries(after=after)
    page = [trail_row(*entry) for entry in entries[:limit]]
    following = page[-1]["place"] if len(entries) > limit else None
    return respond(request, schema.TrailPage(page, following))


@get("/policy/{kind}", schema.PolicyFacts, tag="people")
def get_policy(request: Request, caller: Reviewer, kind: Kind) -> Response:
    """Get the confidence from which the machine answers by itself."""
    policy = policy_of(folder_of(request).queue.trail, kind)
    return respond(request, schema.PolicyFacts.of(kind, policy))


@post("/policy/{kind}", schema.PolicyFacts, tag="people")
def change_policy(
    request: Request, caller: Reviewer, kind: Kind, body: schema.NewPolicy
) -> Response:
    """Set the confidence from which the machine answers by itself, and the share of its answers that people see as well."""
    trail = folder_of(request).queue.trail
    policy = set_policy(trail, kind, threshold=body.threshold, audit=body.audit, actor=caller.name)
    return respond(request, schema.PolicyFacts.of(kind, policy))


def log_with(folder: CatalogFolder, name: str) -> EventLog:
    """The log of events, which has some of an experiment.

    Raises
    ------
    Missing
        No event names it.
    """
    if name not in folder.events.experiments():
        raise Missing(f"there is no experiment {name[:80]!r}")
    return folder.events


def find_case(folder: CatalogFolder, ticket: str) -> Case:
    """A case of the queue.

    Raises
    ------
    Missing
        No such ticket.
    """
    try:
        return folder.queue.case(ticket)
    except SynestheteError as error:
        raise Missing(error.message) from None
