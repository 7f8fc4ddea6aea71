"""How the REST API is offered: one form of route, answers with limits, and requests carried out once."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete.server.errors import ERRORS
from synesthete.server.shop.door import Caller
from synesthete.server.shop.shop import Shop

PREFIX = "/api/v1"
Work = Callable[[Callable[..., Any]], Callable[..., Any]]
Offer = Callable[..., Work]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", max_length=200, pattern=r"^[!-~]+$",
        description="The same request with the same key is carried out once.",
    ),
]  # fmt: skip


class _JsonRequest(Request):
    """A request whose JSON is read within the limits of `parse_json`."""

    async def json(self) -> Any:
        try:
            return parse_json(await self.body(), "the body")
        except InvalidJson as error:
            raise HTTPException(422, error.message) from None


class ApiRoute(APIRoute):
    """A route that reads JSON of unknown origin: of bounded depth, finite numbers, text that UTF-8 can hold."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given such a request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


def offers(router: APIRouter) -> Offer:
    """What puts functions into a router of the API: a function's docstring is its documentation, a dataclass the answer."""

    def offer(path: str, made: Any, *, methods: str = "GET", tag: str, status: int = 200) -> Work:
        def add(work: Callable[..., Any]) -> Callable[..., Any]:
            router.add_api_route(
                path, work, methods=[methods], tags=[tag], status_code=status, operation_id=work.__name__,
                responses={status: {"model": made}, **ERRORS}, response_class=Response,
                summary=(work.__doc__ or "").split("\n")[0].rstrip("."),
            )  # fmt: skip
            return work

        return add

    return offer


def shop_of(request: Request) -> Shop:
    """The catalogue that is served."""
    shop: Shop = request.app.state.shop
    return shop


def told(request: Request, value: Any, status: int = 200, *, again: bool = False) -> Response:
    """A value as JSON (a number that does not exist is null), with the caller's limits in the headers."""
    body = value if isinstance(value, bytes) else TypeAdapter(type(value)).dump_json(value)
    headers = dict(getattr(request.state, "limits", {}))
    if again:
        headers["Idempotency-Replayed"] = "true"
    return Response(body, status, media_type="application/json", headers=headers)


def once(
    request: Request,
    caller: Caller,
    key: str | None,
    body: Any,
    work: Callable[[], Any],
    status: int = 200,
) -> Response:
    """Carry a request out once for its idempotency key, and answer."""

    def carry_out() -> tuple[int, bytes]:
        made = work()
        return status, TypeAdapter(type(made)).dump_json(made)

    sent = json.dumps(body.model_dump(), sort_keys=True).encode()
    what = f"{request.method} {request.url.path}"
    found, answer, again = shop_of(request).once.answer(caller.id, key, what, sent, carry_out)
    return told(request, answer, found, again=again)
