"""`/docs`: every endpoint, rendered from the OpenAPI document by the server itself, since no foreign script runs here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from synesthete.server.page import HTML, answer, first_site
from synesthete.server.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One thing that can be given: where (path, query, form), and what it may be."""

    name: str
    where: str
    required: bool
    kind: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    description: str
    parameters: list[Parameter]
    answers: list[tuple[str, str]]


@router.get("/docs")
def api(request: Request) -> Response:
    """Every endpoint, its parameters and its answers."""
    body = render(
        "api.html",
        first_site(request),
        operations=operations(request.app.openapi()),
        navigation=request.app.state.navigation,
    )
    return answer(request, body.encode(), HTML)


def operations(spec: dict[str, Any]) -> list[Operation]:
    """The operations of an OpenAPI document, without those that only name an atlas besides."""
    found = []
    for path, methods in spec["paths"].items():
        if path.startswith("/a/"):
            continue
        for method, operation in methods.items():
            parameters = [_parameter(one) for one in operation.get("parameters", [])]
            one = Operation(
                method=method.upper(),
                path=path.replace(":path", ""),
                description=operation.get("description") or operation.get("summary") or "",
                parameters=parameters + _fields(spec, operation.get("requestBody")),
                answers=sorted(
                    (code, response["description"])
                    for code, response in operation["responses"].items()
                ),
            )
            found.append(one)
    return found


def _parameter(one: dict[str, Any]) -> Parameter:
    return Parameter(
        name=one["name"],
        where=one["in"],
        required=bool(one.get("required")),
        kind=kind_of(one["schema"]),
        description=one.get("description", "") or one["schema"].get("description", ""),
    )


def _fields(spec: dict[str, Any], body: dict[str, Any] | None) -> list[Parameter]:
    if body is None:
        return []
    (content,) = body["content"].values()
    schema = spec["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    needed = schema.get("required", [])
    return [
        Parameter(
            name=name,
            where="form",
            required=name in needed,
            kind=kind_of(one),
            description=one.get("description", ""),
        )
        for name, one in schema["properties"].items()
        if name != "csrf"
    ]


def kind_of(schema: dict[str, Any]) -> str:
    """What a value may be, in few words.

    Examples
    --------
    >>> kind_of({"enum": ["name", "unit"]}), kind_of({"type": "integer", "minimum": 1}), kind_of({"anyOf": [{"type": "string"}, {"type": "null"}]})
    ('name, unit', 'integer from 1', 'string')
    """
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return kind_of(next(one for one in schema["anyOf"] if one.get("type") != "null"))
    kind = str(schema.get("type", ""))
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        kind = "file"
    if "minimum" in schema:
        kind += f" from {schema['minimum']:g}"
    if "maximum" in schema:
        kind += f" to {schema['maximum']:g}"
    return kind
