"""The tools of an assistant: a conversation in the protocol, and wrong messages at every door."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from synesthete.catalog import Catalog
from synesthete.catalog.mcp import TOOLS, respond, serve
from tests.catalog.conftest import image

PHOTO = base64.b64encode(image("red", 8)).decode()


def call(catalog: Catalog, tool: str, **arguments: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    answer = respond(
        catalog, json.dumps({**message, "params": {"name": tool, "arguments": arguments}})
    )
    assert answer is not None
    result: dict[str, Any] = answer["result"]
    return result


def test_a_conversation(catalog: Catalog) -> None:
    lines = [
        {
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {"protocolVersion": "2025-03-26"},
        },
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "a", "method": "tools/list"},
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {"name": "search", "arguments": {"text": "lamp", "limit": 2}},
        },
    ]
    source, sink = io.StringIO("\n".join(map(json.dumps, lines)) + "\n\n"), io.StringIO()
    serve(catalog, source, sink)
    hello, tools, found = map(json.loads, sink.getvalue().splitlines())
    assert hello["result"]["protocolVersion"] == "2025-03-26"
    assert [tool["name"] for tool in tools["result"]["tools"]] == [tool["name"] for tool in TOOLS]
    assert tools["id"] == "a"
    content = found["result"]["structuredContent"]
    assert json.loads(found["result"]["content"][0]["text"]) == content
    assert [one["id"] for one in content["items"]] == [
        h.id for h in catalog.search("lamp", limit=2)
    ]


def test_every_tool(catalog: Catalog) -> None:
    suggested = call(catalog, "suggest", image=PHOTO, brief="a lamp")["structuredContent"]
    assert {"items", "questions", "confidence", "abstained"} <= set(suggested)
    found = call(catalog, "recommend", like=["lamp-red"], phrases=["tea"], mute=["chair"], limit=3)
    assert len(found["structuredContent"]["items"]) == 3
    found = call(catalog, "align", copies=["a", "b c"], image=f"data:image/png;base64,{PHOTO}")
    assert len(found["structuredContent"]["copies"]) == 2


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search", {}, "nothing to search for"),
        ("search", {"text": "x", "where": ["nothing=1"]}, "no item has"),
        ("search", {"txt": "x"}, "no argument 'txt'"),
        ("search", {"text": 1}, "argument text"),
        ("search", {"text": "x", "limit": 0}, "argument limit"),
        ("search", {"text": "x", "limit": True}, "argument limit"),
        ("search", {"text": "x", "without": "y"}, "argument without"),
        ("suggest", {"image": "%%%"}, "not base64"),
        ("suggest", {"image": ""}, "empty file"),
        ("recommend", {"like": ["none"]}, "no item"),
        ("align", {"copies": ["x"]}, "image is missing"),
    ],
)
def test_wrong_arguments_are_reported_to_the_assistant(
    catalog: Catalog, tool: str, arguments: dict[str, Any], message: str
) -> None:
    result = call(catalog, tool, **arguments)
    assert result["isError"]
    assert message in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", -32700),
        ("[]", -32600),
        ('{"id": 1}', -32600),
        ('{"id": 1, "method": "x"}', -32601),
        ('{"id": 1, "method": "tools/call", "params": {"name": "x"}}', -32602),
        ('{"id": 1, "method": "tools/call", "params": []}', -32602),
        (
            '{"id": 1, "method": "tools/call", "params": {"name": "search", "arguments": [1]}}',
            -32602,
        ),
    ],
)
def test_wrong_messages(catalog: Catalog, line: str, code: int) -> None:
    answer = respond(catalog, line)
    assert answer is not None
    assert answer["error"]["code"] == code


def test_notifications_are_not_answered(catalog: Catalog) -> None:
    assert respond(catalog, '{"method": "notifications/cancelled"}') is None
    assert respond(catalog, '{"id": 5, "method": "ping"}') == {
        "jsonrpc": "2.0",
        "id": 5,
        "result": {},
    }


def test_an_image_above_the_limit_is_refused_with_the_limit(catalog: Catalog) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("1", (4001, 4000)).save(stream, "PNG")
    bomb = base64.b64encode(stream.getvalue()).decode()
    for tool, more in (("search", {}), ("suggest", {}), ("align", {"copies": ["a lamp"]})):
        result = call(catalog, tool, image=bomb, **more)
        assert result["isError"]
        assert "limit of 16,000,000" in result["content"][0]["text"]
