"""An assistant's view: a real client session over the protocol, in this process and over standard input and output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.server.mcp_server import create_mcp
from tests.small_atlas import LAYER


def ask(server: Any, tool: str, **given: Any) -> tuple[bool, Any]:
    """Whether it went wrong, and the answer."""

    async def session() -> tuple[bool, Any]:
        async with Client(server) as client:
            found = await client.call_tool(tool, given)
            text = "".join(getattr(part, "text", "") for part in found.content)
            return bool(found.is_error), text if found.is_error else json.loads(text)

    return anyio.run(session)


def test_the_tools_only_read(original: Path) -> None:
    async def tools() -> list[Any]:
        async with Client(create_mcp(original)) as client:
            return list((await client.list_tools()).tools)

    found = anyio.run(tools)
    assert {tool.name for tool in found} == {"search", "neuron", "concept", "explain", "atlas"}
    for tool in found:
        assert tool.annotations.read_only_hint
        assert not tool.annotations.destructive_hint
        assert len(tool.description) > 30


def test_what_the_tools_say(original: Path, tmp_path: Path) -> None:
    server = create_mcp(original)
    failed, found = ask(server, "search", query="apple")
    assert not failed
    assert found["neurons"][0]["address"] == f"{LAYER}:0"
    assert found["concepts"] == ["apple"]
    assert "random twin" in found["control"]
    failed, found = ask(server, "neuron", address=f"{LAYER}:0")
    assert not failed
    assert found["name"] == "red apple"
    assert set(found["modalities"]) == {"photo", "drawing", "symbol", "word"}
    assert "random twin" in found["control"]
    assert ask(server, "neuron", address="red apple") == (failed, found)
    failed, found = ask(server, "concept", name="Apple")
    counts = {one["modality"]: one["count"] for one in found["modalities"]}
    assert counts == {"photo": 4, "drawing": 4, "symbol": 4, "word": 4}
    failed, found = ask(server, "atlas")
    assert found["multimodal"] == 2
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    failed, found = ask(server, "explain", image=str(tmp_path / "red.png"))
    assert not failed, found
    Image.new("1", (4001, 4000)).save(tmp_path / "bomb.png")
    failed, bomb = ask(server, "explain", image=str(tmp_path / "bomb.png"))
    assert failed
    assert "limit of 16,000,000" in bomb
    added = sum(term["weight"] for term in found["units"])
    assert isinstance(added, float)
    assert found["label"] != found["other"]


@pytest.mark.parametrize(
    ("tool", "given", "message"),
    [
        ("neuron", {"address": f"{LAYER}:99999"}, LAYER),
        ("concept", {"name": "appel"}, "apple"),
        ("neuron", {"address": "x" * 300}, "200"),
        ("explain", {"image": "/no/such.png"}, "cannot read the image"),
        ("explain", {"image": "/etc/passwd"}, "not an image"),
        ("search", {"query": "a", "limit": 0}, "limit"),
    ],
)
def test_errors_are_messages(
    original: Path, tool: str, given: dict[str, Any], message: str
) -> None:
    failed, text = ask(create_mcp(original), tool, **given)
    assert failed
    assert message in text


def test_over_standard_input_and_output(original: Path) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "synesthete", "mcp", str(original)],
        env=dict(os.environ),
    )
    failed, found = ask(command, "search", query="apple", limit=1)
    assert not failed
    assert [one["address"] for one in found["neurons"]] == [f"{LAYER}:0"]


def test_no_atlas_no_server(tmp_path: Path) -> None:
    with pytest.raises(SynestheteError):
        create_mcp(tmp_path)
