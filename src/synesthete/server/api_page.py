"""`/docs`: what programs can ask, drawn from the OpenAPI by the server itself, since no script of others runs here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from synesthete.server.page import HTML, answer, first_site
from synesthete.server.render import render_template

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Parameter:
    """One thing that can be given: where (path, query, form), and what it may be."""

    name: str
    where: str
    required: bool
    kind: str
    told: str


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    told: str
    parameters: list[Parameter]
    answers: list[tuple[str, str]]


@router.get("/docs")
def api(request: Request) -> Response:
    """Every endpoint, its parameters and its answers."""
    found = operations(request.app.openapi())
    body = render_template("api.html", first_site(request), operations=found)
    return answer(request, body.encode(), HTML)


def operations(spec: dict[str, Any]) -> list[Operation]:
    """The operations of an OpenAPI document, without those that only name an atlas besides."""
    made = []
    for path, methods in spec["paths"].items():
        if path.startswith("/a/"):
            continue
        for method, told in methods.items():
            parameters = [_parameter(one) for one in told.get("parameters", [])]
            parameters += _fields(spec, told.get("requestBody"))
            answers = sorted((code, one["description"]) for code, one in told["responses"].items())
            description = told.get("description") or told.get("summary") or ""
            shown = path.replace(":path", "")
            made.append(Operation(method.upper(), shown, description, parameters, answers))
    return made


def _parameter(one: dict[str, Any]) -> Parameter:
    told = one.get("description", "") or one["schema"].get("description", "")
    return Parameter(
        one["name"], one["in"], bool(one.get("required")), kind_of(one["schema"]), told
    )


def _fields(spec: dict[str, Any], body: dict[str, Any] | None) -> list[Parameter]:
    if body is None:
        return []
    (content,) = body["content"].values()
    schema = spec["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    needed = schema.get("required", [])
    return [
        Parameter(name, "form", name in needed, kind_of(one), one.get("description", ""))
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
