"""The catalogue as tools of an assistant: the Model Context Protocol over standard input and output.

JSON-RPC 2.0, one message a line (specification of 2025-06-18, stdio transport, tools only).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import sys
from collections.abc import Callable, Mapping
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

_TEXT = {"type": "string"}
_PICTURE = {"type": "string", "description": "A picture file's bytes in base64."}
_TEXTS = {"type": "array", "items": _TEXT}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 100}
TOOLS: tuple[dict[str, Any], ...] = (
    {
        "name": "suggest",
        "description": (
            "Answer a picture with a brief description: ranked items, categories, attributes and the next question. "
            "When abstained is true, do not decide: ask the question, or hand over to a person."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {"picture": _PICTURE, "brief": _TEXT, "k": _COUNT},
            "additionalProperties": False,
        },
    },
    {
        "name": "search",
        "description": (
            "Find items by words, a picture or both. relevance is the share of unrelated queries whose best item "
            "scores lower: below 0.9 the catalogue probably has no such thing."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "text": _TEXT,
                "picture": _PICTURE,
                "without": _TEXTS,
                "where": {**_TEXTS, "description": "Filters: colour=red, price<5."},
                "k": _COUNT,
            },
            "additionalProperties": False,
        },
    },
    {
        "name": "recommend",
        "description": "Recommend items for liked and disliked items (ids) and phrases; mute leaves concepts out.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "like": _TEXTS,
                "dislike": _TEXTS,
                "phrases": _TEXTS,
                "mute": _TEXTS,
                "where": _TEXTS,
                "k": _COUNT,
            },
            "additionalProperties": False,
        },
    },
    {
        "name": "align",
        "description": "Say how well copies match a picture, judged by the catalogue's own pairs.",
        "inputSchema": {
            "type": "object",
            "properties": {"copies": _TEXTS, "picture": _PICTURE},
            "required": ["copies", "picture"],
            "additionalProperties": False,
        },
    },
)


def serve(catalog: Catalog, source: IO[str] | None = None, sink: IO[str] | None = None) -> None:
    """Answer messages until the input ends.

    Parameters
    ----------
    source, sink
        Lines in and out; standard input and output without them.
    """
    if source is None and isinstance(sys.stdin, io.TextIOWrapper):
        # What is not UTF-8 is a message that is no JSON, and not the end of the conversation.
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
        return _error(number, PARAMETERS, "params is no object")
    method = message["method"]
    if method == "initialize":
        asked = parameters.get("protocolVersion")
        return _result(
            number,
            {
                "protocolVersion": asked if asked in PROTOCOLS else PROTOCOLS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "synesthete-catalog", "version": __version__},
            },
        )
    if method == "ping":
        return _result(number, {})
    if method == "tools/list":
        return _result(number, {"tools": list(TOOLS)})
    if method == "tools/call":
        return _call(catalog, number, parameters)
    return _error(number, NO_METHOD, f"no method {method[:80]!r}")


def _call(catalog: Catalog, number: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    name, given = parameters.get("name"), parameters.get("arguments") or {}
    tool = next((one for one in TOOLS if one["name"] == name), None)
    if tool is None or not isinstance(given, dict):
        return _error(number, PARAMETERS, f"no tool {str(name)[:80]!r}")
    try:
        _check(tool["inputSchema"], given)
        with request_limits():
            found = _TOOLS[tool["name"]](catalog, given)
    except SynestheteError as error:
        # An error of a tool is a result that the assistant reads, and may mend.
        content = [{"type": "text", "text": str(error)}]
        return _result(number, {"content": content, "isError": True})
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    content = [{"type": "text", "text": text}]
    return _result(number, {"content": content, "structuredContent": found, "isError": False})


def _check(schema: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Arguments against their schema: as much of JSON Schema as the tools use."""
    known = schema["properties"]
    for name in schema.get("required", ()):
        if name not in given:
            raise SynestheteError(f"the argument {name} is missing")
    for name, value in given.items():
        if name not in known:
            raise SynestheteError(f"no argument {name!r}", hint=f"there are {', '.join(known)}")
        kind = known[name]["type"]
        texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
        right = {
            "string": isinstance(value, str),
            "array": texts and len(value) <= 100,
            "integer": type(value) is int and 1 <= value <= 100,
        }[kind]
        if not right:
            raise SynestheteError(f"the argument {name} is no {kind} as its schema has it")


def _picture(given: Mapping[str, Any]) -> bytes | None:
    if "picture" not in given:
        return None
    text = given["picture"]
    # Some clients send a data address.
    text = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SynestheteError("the picture is not base64") from None


def _suggest(catalog: Catalog, given: Mapping[str, Any]) -> dict[str, Any]:
    found = catalog.suggest(_picture(given), given.get("brief"), limit=given.get("k", 5))
    return found.as_dict()


def _search(catalog: Catalog, given: Mapping[str, Any]) -> dict[str, Any]:
    found = catalog.search(
        given.get("text"), _picture(given), without=given.get("without", []),
        where=given.get("where", []), limit=given.get("k", 10),
    )  # fmt: skip
    return {"items": [one.as_dict() for one in found]}


def _recommend(catalog: Catalog, given: Mapping[str, Any]) -> dict[str, Any]:
    signals = [
        *(Signal("like", item=one) for one in given.get("like", [])),
        *(Signal("dislike", item=one) for one in given.get("dislike", [])),
        *(Signal("like", text=one) for one in given.get("phrases", [])),
    ]
    found = catalog.recommend(
        signals, mute=given.get("mute", []), where=given.get("where", []), limit=given.get("k", 10)
    )
    return {"items": [one.as_dict() for one in found]}


def _align(catalog: Catalog, given: Mapping[str, Any]) -> dict[str, Any]:
    picture = _picture(given)
    assert picture is not None
    return {"copies": [one.as_dict() for one in catalog.align(given["copies"], [picture])]}


_TOOLS: Mapping[str, Callable[[Catalog, Mapping[str, Any]], dict[str, Any]]] = {
    "suggest": _suggest,
    "search": _search,
    "recommend": _recommend,
    "align": _align,
}


def _result(number: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": dict(result)}


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
