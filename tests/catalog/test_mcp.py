"""The tools of an assistant: real client sessions over the protocol, and wrong messages at every door."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from PIL import Image

from synesthete._core.environment import EVENTS_URL, RETENTION_DAYS
from synesthete.catalog import Catalog
from synesthete.catalog.classify import fit, read_records
from synesthete.catalog.mcp import TOOLS, create_mcp
from synesthete.catalog.server.folder import Answering
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.reviews.cases import Queue, set_policy
from synesthete.server import mcp_server
from tests.catalog.classify.conftest import write_records
from tests.catalog.conftest import image

PHOTO = base64.b64encode(image("red", 8)).decode()


@pytest.fixture
def folder(catalog: Catalog) -> Answering:
    opened = Answering(catalog.path)
    opened.catalog = catalog  # its model is there already
    return opened


def call(server: Any, tool: str, **arguments: Any) -> tuple[bool, Any]:
    """Whether it went wrong, and the answer."""

    async def session() -> tuple[bool, Any]:
        async with Client(server) as client:
            found = await client.call_tool(tool, arguments)
            text = "".join(getattr(part, "text", "") for part in found.content)
            if found.is_error:
                return True, text
            assert json.loads(text) == found.structured_content
            return False, found.structured_content

    return anyio.run(session)


def test_the_tools_are_the_requests(folder: Answering) -> None:
    async def tools() -> list[Any]:
        async with Client(create_mcp(folder)) as client:
            return list((await client.list_tools()).tools)

    found = {tool.name: tool for tool in anyio.run(tools)}
    assert list(found) == list(TOOLS) == ["search", "recommend", "align", "suggest", "classify"]
    for tool in found.values():
        assert tool.annotations.read_only_hint == (tool.name not in ("suggest", "classify"))
        assert len(tool.description) > 30
        assert tool.input_schema["additionalProperties"] is False
        assert all(one["description"] for one in tool.input_schema["properties"].values())
    limit = found["search"].input_schema["properties"]["limit"]
    assert (limit["minimum"], limit["maximum"]) == (1, 200)


def test_every_tool(folder: Answering) -> None:
    server = create_mcp(folder)
    _, found = call(server, "search", text="lamp", limit=2, facets=3)
    assert [one["id"] for one in found["hits"]] == [
        h.id for h in folder.catalog.search("lamp", limit=2)
    ]
    assert found["next"] == 2
    assert {"colour", "category"} <= {one["name"] for one in found["facets"]}
    _, found = call(server, "search", where=["colour=red"], sort="-price", limit=1)
    assert found["hits"][0]["id"] == "spoon-red"
    _, suggested = call(server, "suggest", image=PHOTO, brief="a lamp")
    assert {"items", "questions", "confidence", "abstained"} <= set(suggested)
    signals = [{"item": "lamp-red"}, {"text": "tea"}, {"side": "dislike", "image": PHOTO}]
    _, found = call(server, "recommend", signals=signals, mute=["chair"], limit=3)
    assert len(found["hits"]) == 3
    _, found = call(server, "align", copies=["a", "b c"], images=[f"data:image/png;base64,{PHOTO}"])
    assert len(found["pairs"]) == 2


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
        ("search", {"text": "x" * 20_001}, "argument text"),
        ("suggest", {"image": "%%%"}, "not base64"),
        ("suggest", {"image": "/etc/passwd"}, "not base64"),
        ("suggest", {"image": ""}, "empty file"),
        ("recommend", {"signals": [{"item": "none"}]}, "no item"),
        ("recommend", {"signals": [{"itm": "none"}]}, "no argument 'signals.0.itm'"),
        ("align", {"copies": ["x"]}, "argument images"),
        ("classify", {"classifier": "spots", "records": [{"text": "x"}]}, "no classifier 'spots'"),
        ("classify", {"classifier": "../x", "records": [{"text": "x"}]}, "argument classifier"),
        ("classify", {"classifier": "spots", "records": []}, "argument records"),
    ],
)
def test_wrong_arguments_are_reported_to_the_assistant(
    folder: Answering, tool: str, arguments: dict[str, Any], message: str
) -> None:
    failed, text = call(create_mcp(folder), tool, **arguments)
    assert failed
    assert message in text
    assert "\n" not in text


def test_records_are_classified_as_by_rest(
    folder: Answering, tmp_path: Path, model: ImageTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synesthete.models.load_model", lambda name: model)
    records = read_records(write_records(tmp_path / "records"), template="health")
    fit(records, folder.path / "classifiers" / "spots.classifier", model, template="health")
    sent = [{"text": "a round spot", "image": PHOTO}, {"image": base64.b64encode(b"x").decode()}]
    _, found = call(create_mcp(folder), "classify", classifier="spots", records=sent)
    usable, broken = found["records"]
    assert usable["label"] in ("round", "square")
    assert usable["notice"] == "Research use, not a medical device."
    assert broken["why"] == "nothing could be read"
    assert broken["ticket"] in {case.ticket for case in Queue(folder.path).cases()}
    # What is wrong with a record is not repeated.
    wrong = [{"text": "Zebulon", "Quagmire": "MRN-778899"}]
    failed, text = call(create_mcp(folder), "classify", classifier="spots", records=wrong)
    assert failed
    assert text == "the argument records.0: a field that is not known"


def test_what_is_abstained_from_goes_to_people(folder: Answering) -> None:
    for threshold, abstained in ((1.0, True), (0.0, False)):
        set_policy(folder.queue.trail, "suggest", threshold=threshold, audit=0.0, actor="ann")
        _, found = call(create_mcp(folder), "suggest", image=PHOTO, reference=f"at {threshold}")
        assert found["abstained"] == abstained
        assert (found["ticket"] is not None) == abstained
    (case,) = Queue(folder.path).cases()
    assert case.payload["reference"] == "at 1.0"


def test_an_unknown_tool_is_an_error_of_the_protocol(folder: Answering) -> None:
    async def session() -> None:
        async with Client(create_mcp(folder)) as client:
            with pytest.raises(MCPError, match="no tool 'x'"):
                await client.call_tool("x", {})

    anyio.run(session)


def test_an_image_above_the_limit_is_refused_with_the_limit(folder: Answering) -> None:
    stream = io.BytesIO()
    Image.new("1", (4001, 4000)).save(stream, "PNG")
    bomb = base64.b64encode(stream.getvalue()).decode()
    server = create_mcp(folder)
    large = base64.b64encode(bytes(9 * 2**20)).decode()
    for tool, key, more in (
        ("search", "image", {}),
        ("suggest", "image", {}),
        ("align", "images", {"copies": ["a lamp"]}),
    ):
        for sent, message in ((bomb, "limit of 16,000,000"), (large, "more than 8 MB")):
            given = [sent] if key == "images" else sent
            failed, text = call(server, tool, **more, **{key: given})
            assert failed
            assert message in text


def test_hostile_lines_do_not_end_the_conversation(shop_path: Path) -> None:
    """Not JSON, not UTF-8, deep, lone surrogates, no request: the next line is answered."""
    start = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": start}).encode(),
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 2, "method": "nothing"}',
        b'{"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": []}',
        b'{"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "search", "arguments": [1]}}',
        b'{"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "search", "arguments": {"text": "\\ud800"}}}',
        b'{"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": "search", "arguments": {"sort": "title"}}}',
    ]
    command = [sys.executable, "-m", "synesthete", "catalog", "mcp", str(shop_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n".join(lines) + b"\n")
    process.stdin.flush()
    answers = {}
    while 6 not in answers:
        line = process.stdout.readline()
        assert line, "the server ended"
        message = json.loads(line)
        answers[message.get("id")] = message
    process.stdin.close()
    assert process.wait() == 0
    assert len(answers[6]["result"]["structuredContent"]["hits"]) == 10
    assert {number for number, one in answers.items() if "error" in one} >= {2, 4}


def test_over_standard_input_and_output(shop_path: Path) -> None:
    """No tool reads events: where they are, and whether that is right, does not matter."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "synesthete", "catalog", "mcp", str(shop_path)],
        env={**os.environ, EVENTS_URL: "postgresql://nobody@127.0.0.1:1/x", RETENTION_DAYS: "x"},
    )
    failed, found = call(command, "search", where=["category=lamp"], limit=1)
    assert not failed
    assert [one["id"] for one in found["hits"]] == ["lamp-blue"]


def test_a_missing_package_is_one_line(folder: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_server, "find_spec", lambda name: None)
    with pytest.raises(SynestheteError, match=r"pip install 'synesthete\[mcp\]'"):
        create_mcp(folder)
