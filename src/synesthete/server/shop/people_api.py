"""The REST API: events, metrics, and people."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from synesthete.catalog.events import Logged, Taken
from synesthete.catalog.metrics import Experiment, Summary, assign, compare, summarize
from synesthete.catalog.people import Case, policy_of, set_policy
from synesthete.errors import SynestheteError
from synesthete.server.errors import Missing
from synesthete.server.shop import answers, bodies
from synesthete.server.shop.door import Caller, may
from synesthete.server.shop.offering import (
    PREFIX,
    ApiRoute,
    IdempotencyKey,
    offers,
    once,
    shop_of,
    told,
)

Name = Annotated[str, Query(min_length=1, max_length=200)]
Ticket = Annotated[str, Path(max_length=100, description="Of the case.")]
After = Annotated[int, Query(ge=0, le=2**62, description="What `next` said.")]
router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
offer = offers(router)
KINDS = r"^(suggest|classify|align)$"


@offer("/events", Taken, methods="POST", tag="events")
def send_events(
    request: Request,
    caller: Annotated[Caller, may("events")],
    body: bodies.Events,
    key: IdempotencyKey = None,
) -> Response:
    """Take events. An event sent again, with its key, is counted once; unsound ones are set aside and told."""
    shop = shop_of(request)
    return once(request, caller, key, body, lambda: shop.events.take(body.rows()))


@offer("/events", answers.EventPage, tag="events")
def list_events(
    request: Request, caller: Annotated[Caller, may("metrics")], after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:  # fmt: skip
    """List events, a page at a time, in the order in which they came."""
    found = list(shop_of(request).events.read(after=after, limit=limit + 1))
    page = [_event(one) for one in found[:limit]]
    following = page[-1].place if len(found) > limit else None
    return told(request, answers.EventPage(page, following))


@offer("/metrics", Summary, tag="metrics")
def get_metrics(request: Request, caller: Annotated[Caller, may("metrics")]) -> Response:
    """Tell rates of clicks, adds, conversions and dismissals, in all and by day, with intervals."""
    return told(request, summarize(shop_of(request).events.read()))


@offer("/experiments", answers.Experiments, tag="metrics")
def list_experiments(request: Request, caller: Annotated[Caller, may("metrics")]) -> Response:
    """List the experiments that events name."""
    return told(request, answers.Experiments(shop_of(request).events.experiments()))


@offer("/experiment", Experiment, tag="metrics")
def get_experiment(
    request: Request, caller: Annotated[Caller, may("metrics")], name: Name,
    metric: bodies.MetricName = "conversion",
    alpha: Annotated[float, Query(gt=0, lt=1)] = 0.05,
    share_of_b: Annotated[float, Query(gt=0, lt=1)] = 0.5,
    window_hours: Annotated[float, Query(ge=0, le=10_000)] = 24.0,
    cap: Annotated[float | None, Query(gt=0, le=1e12, description="For `value`: the most of a visitor that counts.")] = None,
) -> Response:  # fmt: skip
    """Compare two variants, with bounds that hold however often one looks."""
    log = shop_of(request).events
    if name not in log.experiments():
        raise Missing(f"there is no experiment {name[:80]!r}")
    found = compare(
        log.read(experiment=name), name, metric, alpha=alpha, share_of_b=share_of_b,
        window=timedelta(hours=window_hours), cap=cap,
    )  # fmt: skip
    return told(request, found)


@offer("/assignment", answers.Assigned, tag="metrics")
def get_assignment(
    request: Request, caller: Annotated[Caller, may("read")], experiment: Name,
    subject: Annotated[str, Query(min_length=1, max_length=200)],
    share_of_b: Annotated[float, Query(ge=0, le=1)] = 0.5,
) -> Response:  # fmt: skip
    """Tell which variant a visitor sees: always the same one."""
    return told(request, answers.Assigned(experiment, assign(subject, experiment, share_of_b)))


@offer("/queue", answers.CasePage, tag="people")
def list_cases(
    request: Request, caller: Annotated[Caller, may("review")], after: After = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    kind: Annotated[str, Query(max_length=40)] = "",
    waiting: bool | None = None,
) -> Response:  # fmt: skip
    """List cases that the machine would not decide, those that wait first."""
    cases = shop_of(request).queue.cases(kind=kind or None)
    chosen = [case for case in cases if waiting is None or case.open == waiting]
    page = [_case(case) for case in chosen[after : after + limit]]
    following = after + limit if len(chosen) > after + limit else None
    return told(request, answers.CasePage(page, following, sum(case.open for case in cases)))


@offer("/queue/{ticket}", answers.CaseFacts, tag="people")
def get_case(
    request: Request, caller: Annotated[Caller, may("review")], ticket: Ticket
) -> Response:
    """Tell one case."""
    return told(request, _case(_find(request, ticket)))


@offer("/queue/{ticket}/decision", answers.CaseFacts, methods="POST", tag="people")
def decide_case(
    request: Request,
    caller: Annotated[Caller, may("review")],
    ticket: Ticket,
    body: bodies.Decision,
) -> Response:
    """Decide a case: accept, override with a label, or dismiss. Nothing is overwritten; the last word of each counts."""
    _find(request, ticket)
    actor = f"{body.actor} ({caller.name})" if body.actor.strip() else caller.name
    made = shop_of(request).queue.decide(
        ticket, body.verdict, actor=actor[:100], label=body.label, note=body.note
    )
    return told(request, _case(made))


@offer("/trail", answers.TrailPage, tag="people")
def list_trail(
    request: Request, caller: Annotated[Caller, may("review")], after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:  # fmt: skip
    """List everything that machine and people did about cases, in order."""
    acts = [act for act in shop_of(request).queue.trail.read() if act.place > after]
    page = [act.as_dict() for act in acts[:limit]]
    return told(
        request, answers.TrailPage(page, acts[limit - 1].place if len(acts) > limit else None)
    )


@offer("/policy/{kind}", answers.PolicyFacts, tag="people")
def get_policy(
    request: Request,
    caller: Annotated[Caller, may("review")],
    kind: Annotated[str, Path(pattern=KINDS)],
) -> Response:
    """Tell from which confidence on the machine answers by itself."""
    held = policy_of(shop_of(request).queue.trail, kind)
    return told(request, answers.PolicyFacts(kind, held.threshold, held.audit, held.set_by))


@offer("/policy/{kind}", answers.PolicyFacts, methods="POST", tag="people")
def change_policy(
    request: Request, caller: Annotated[Caller, may("review")], kind: Annotated[str, Path(pattern=KINDS)],
    body: bodies.NewPolicy,
) -> Response:  # fmt: skip
    """Set from which confidence on the machine answers by itself, and which share people see all the same."""
    held = set_policy(
        shop_of(request).queue.trail,
        kind,
        threshold=body.threshold,
        audit=body.audit,
        actor=caller.name,
    )
    return told(request, answers.PolicyFacts(kind, held.threshold, held.audit, held.set_by))


def _find(request: Request, ticket: str) -> Case:
    try:
        return shop_of(request).queue.case(ticket)
    except SynestheteError as error:
        raise Missing(error.message) from None


def _case(case: Case) -> answers.CaseFacts:
    return answers.CaseFacts(**case.as_dict())


def _event(one: Logged) -> answers.EventFacts:
    event = one.event
    return answers.EventFacts(
        one.place, event.key, event.kind, event.item, event.at, one.received.isoformat(), event.subject, event.list,
        event.position, event.experiment, event.variant, event.team, event.value, one.unknown, one.skewed,
    )  # fmt: skip
