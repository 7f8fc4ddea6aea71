"""What people send about neurons: verdicts, flags, notes, labels. Only ever added, never overwritten."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from synesthete.report.source import find_unit
from synesthete.reviews import say
from synesthete.reviews.acts import Act
from synesthete.server.answers import wants_json
from synesthete.server.errors import ERRORS, Missing
from synesthete.server.page import PREFIXES, Here, operation_id
from synesthete.server.sending import check_form

router = APIRouter()
Kind = Literal["accept", "rename", "reject", "flag", "unflag", "note", "label"]


async def send(
    request: Request,
    site: Here,
    kind: Annotated[Kind, Form(description="What is said.")],
    address: Annotated[str, Form(min_length=1, max_length=400, description="Of the neuron.")],
    rater: Annotated[str, Form(min_length=1, max_length=100, description="Who says it.")],
    value: Annotated[str, Form(max_length=2000, description="Name, reason, note or label.")] = "",
    image: Annotated[str, Form(max_length=64, description="Opaque id, for labels.")] = "",
    question: Annotated[str, Form(max_length=200, description="What was asked, for labels.")] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Say something about a neuron or, for labels, about an image of it."""
    check_form(request, csrf)
    columns, unit = find_unit(site, address)
    number = None
    if image:
        number = site.opened.ids.number(image)
        if number is None:
            raise Missing("there is no such image")

    def work() -> Act:
        return say(
            site.atlas.path, kind, columns.address(unit), rater=rater, value=value, image=number,
            question=question,
        )  # fmt: skip

    act = await run_in_threadpool(work)
    if wants_json(request):
        body = TypeAdapter(Act).dump_json(act)
        return Response(body, 201, media_type="application/json")
    return RedirectResponse(f"{site.links.neuron(columns.address(unit))}#review", 303)


for prefix, dependencies in PREFIXES:
    router.add_api_route(
        f"{prefix}/reviews.json", send, methods=["POST"], status_code=201,
        name="say", operation_id=operation_id("say", prefix), dependencies=dependencies,
        responses={201: {"model": Act}, **ERRORS},
    )  # fmt: skip
    router.add_api_route(f"{prefix}/reviews", send, methods=["POST"], include_in_schema=False)
