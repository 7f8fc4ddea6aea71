"""The catalogue as tools of an assistant: the Model Context Protocol over standard input and output.

JSON-RPC 2.0, one message a line (specification of 2025-06-18, stdio transport, tools only).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from synesthete import __version__
from synesthete._core.json_reader import InvalidJson, parse_json
from synesthete.catalog.catalog import Catalog
from synesthete.catalog.schema import Signal
from synesthete.errors import SynestheteError
from synesthete.probes.request_images import request_limits

PROTOCOLS = ("2025-06-18", "2025-03-26", "2024-11-05")
LONGEST_LINE = 96 * 1024 * 1024
PARSE, INVALID, NO_METHOD, PARAMETERS = -32700, -32600, -32601, -32602

Arguments = Mapping[str, Any]
Tool = Callable[[Catalog, Arguments], dict[str, Any]]
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_PROPERTIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("text", "brief"), _TEXT),
    **dict.fromkeys(("without", "like", "dislike", "phrases", "mute", "copies"), _TEXTS),
    "image": {"type": "string", "description": "An image file's bytes in base64."},
    "where": {**_TEXTS, "description": "Filters: colour=red, price<5."},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
}
TOOLS: list[dict[str, Any]] = []
_CALLS: dict[str, Tool] = {}


def tool(*names: str, required: Sequence[str] = ()) -> Callable[[Tool], Tool]:
    """A tool of these arguments; its docstring is what the assistant reads."""

    def add(call: Tool) -> Tool:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: _PROPERTIES[name] for name in names},
            "additionalProperties": False,
        }
        if required:
            schema["required"] = list(required)
        description = " ".join((call.__doc__ or "").split())
        TOOLS.append({"name": call.__name__, "description": description, "inputSchema": schema})
        _CALLS[call.__name__] = call
        return call

    return add


@tool("image", "brief", "limit")
def suggest(catalog: Catalog, given: Arguments) -> dict[str, Any]:
    """Answer an image with a brief description: ranked items, categories, attributes and the next question.

    When abstained is true, do not decide: ask the question, or hand over to a person.
    """
    suggestion = catalog.suggest(_image(given), given.get("brief"), limit=given.get("limit", 5))
    return suggestion.as_dict()


@tool("text", "image", "without", "where", "limit")
def search(catalog: Catalog, given: Arguments) -> dict[str, Any]:
    """Find items by words, an image or both.

    relevance is the share of unrelated queries whose best item scores lower: below 0.9 the catalogue probably has no
    such thing.
    """
    hits = catalog.search(
        given.get("text"),
        _image(given),
        without=given.get("without", []),
        where=given.get("where", []),
        limit=given.get("limit", 10),
    )
    return {"items": [hit.as_dict() for hit in hits]}


@tool("like", "dislike", "phrases", "mute", "where", "limit")
def recommend(catalog: Catalog, given: Arguments) -> dict[str, Any]:
    """Recommend items for liked and disliked items (ids) and phrases; mute leaves concepts out."""
    signals = [
        *(Signal("like", item=item) for item in given.get("like", [])),
        *(Signal("dislike", item=item) for item in given.get("dislike", [])),
        *(Signal("like", text=text) for text in given.get("phrases", [])),
    ]
    mute, where = given.get("mute", []), given.get("where", [])
    hits = catalog.recommend(signals, mute=mute, where=where, limit=given.get("limit", 10))
    return {"items": [hit.as_dict() for hit in hits]}


@tool("copies", "image", required=("copies", "image"))
def align(catalog: Catalog, given: Arguments) -> dict[str, Any]:
    """Say how well copies match an image, judged by the catalogue's own pairs."""
    image = _image(given)
    assert image is not None
    return {"copies": [pair.as_dict() for pair in catalog.align(given["copies"], [image])]}


def _image(given: Arguments) -> bytes | None:
    if "image" not in given:
        return None
    text = given["image"]
    # Some clients send a data address.
    text = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SynestheteError("the image is not base64") from None


def serve(catalog: Catalog, source: IO[str] | None = None, sink: IO[str] | None = None) -> None:
    """Answer messages until the input ends.

    Parameters
    ----------
    source, sink
        Lines in and out; standard input and output without them.
    """
    if source is None and isinstance(sys.stdin, io.TextIOWrapper):
        # Bytes that are not UTF-8 make one message invalid, and do not end the conversation.
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    lines, out = source or sys.stdin, sink or sys.stdout
    while line := lines.readline(LONGEST_LINE):
        if not line.strip():
            continue
        answer = respond(catalog, line)
        if answer is not None:
            out.write(json.dumps(answer, allow_nan=False) + "\n")
            out.flush()


def respond(catalog: Catalog, line: str) -> dict[str, Any] | None:
    """The answer to one message; None to a notification."""
    try:
        message = parse_json(line, "a message", max_bytes=LONGEST_LINE)
    except InvalidJson:
        return _error(None, PARSE, "not JSON")
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return _error(None, INVALID, "not a request")
    if "id" not in message:
        return None
    number, parameters = message["id"], message.get("params") or {}
    if not isinstance(parameters, dict):
        return _error(number, PARAMETERS, "params is not an object")
    method = message["method"]
    if method == "initialize":
        version = parameters.get("protocolVersion")
        return _result(
            number,
            {
                "protocolVersion": version if version in PROTOCOLS else PROTOCOLS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "synesthete-catalog", "version": __version__},
            },
        )
    if method == "ping":
        return _result(number, {})
    if method == "tools/list":
        return _result(number, {"tools": TOOLS})
    if method == "tools/call":
        return _call(catalog, number, parameters)
    return _error(number, NO_METHOD, f"no method {method[:80]!r}")


def _call(catalog: Catalog, number: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    name, given = parameters.get("name"), parameters.get("arguments") or {}
    described = next((row for row in TOOLS if row["name"] == name), None)
    if described is None or not isinstance(given, dict):
        return _error(number, PARAMETERS, f"no tool {str(name)[:80]!r}")
    try:
        _check(described["inputSchema"], given)
        with request_limits():
            found = _CALLS[described["name"]](catalog, given)
    except SynestheteError as error:
        # An error of a tool is a result: the assistant reads it, and may send other arguments.
        content = [{"type": "text", "text": str(error)}]
        return _result(number, {"content": content, "isError": True})
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    content = [{"type": "text", "text": text}]
    return _result(number, {"content": content, "structuredContent": found, "isError": False})


def _check(schema: Mapping[str, Any], given: Arguments) -> None:
    """Arguments against their schema: as much of JSON Schema as the tools use."""
    known = schema["properties"]
    for name in schema.get("required", ()):
        if name not in given:
            raise SynestheteError(f"the argument {name} is missing")
    for name, value in given.items():
        if name not in known:
            raise SynestheteError(f"no argument {name!r}", hint=f"there are {', '.join(known)}")
        kind = known[name]["type"]
        texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
        valid = {
            "string": isinstance(value, str),
            "array": texts and len(value) <= 100,
            "integer": type(value) is int and 1 <= value <= 100,
        }[kind]
        if not valid:
            raise SynestheteError(f"the argument {name} is not of type {kind} as its schema has it")


def _result(number: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": dict(result)}


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
