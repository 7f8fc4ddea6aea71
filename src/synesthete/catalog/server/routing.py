"""Routes of the REST API: how one is declared, its JSON in and out, and repeated requests by idempotency key."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete.catalog.server.auth import Caller
from synesthete.catalog.server.folder import CatalogFolder
from synesthete.server.errors import ERRORS

PREFIX = "/api/v1"
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        pattern=r"^[!-~]+$",
        description="The same request with the same key is carried out once.",
    ),
]
Endpoint = Callable[..., Response]


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


def endpoint(
    router: APIRouter, path: str, model: Any, *, tag: str, method: str = "GET"
) -> Callable[[Endpoint], Endpoint]:
    """Add a function to the API: its docstring is the documentation, `model` a dataclass of the response."""

    def add(function: Endpoint) -> Endpoint:
        router.add_api_route(
            path,
            function,
            methods=[method],
            tags=[tag],
            operation_id=function.__name__,
            responses={200: {"model": model}, **ERRORS},
            response_class=Response,
            summary=(function.__doc__ or "").split("\n")[0].rstrip("."),
        )
        return function

    return add


def folder_of(request: Request) -> CatalogFolder:
    """The catalogue that is served."""
    folder: CatalogFolder = request.app.state.folder
    return folder


def respond(request: Request, value: Any, *, replayed: bool = False) -> Response:
    """A value as JSON (a number that does not exist is null), with the caller's limits in the headers."""
    body = value if isinstance(value, bytes) else TypeAdapter(type(value)).dump_json(value)
    headers = dict(getattr(request.state, "limits", {}))
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(body, media_type="application/json", headers=headers)


def respond_once(
    request: Request, caller: Caller, key: str | None, body: BaseModel, work: Callable[[], Any]
) -> Response:
    """Carry a request out once for its idempotency key, and respond."""

    def carry_out() -> bytes:
        result = work()
        return TypeAdapter(type(result)).dump_json(result)

    operation = f"{request.method} {request.url.path}"
    sent = json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()
    requests = folder_of(request).requests
    response, replayed = requests.respond(caller.id, key, operation, sent, carry_out)
    return respond(request, response, replayed=replayed)
