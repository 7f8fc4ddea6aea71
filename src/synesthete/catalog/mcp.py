"""The catalogue as tools of an assistant (Model Context Protocol): the requests that REST answers, with their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from pydantic import TypeAdapter, ValidationError

from synesthete import __version__
from synesthete._core.docstrings import read_docstring
from synesthete._core.json_reader import parse_json
from synesthete.catalog.classify import Classify
from synesthete.catalog.requests import Suggest
from synesthete.catalog.server.folder import REQUESTS, Answering
from synesthete.errors import SynestheteError
from synesthete.probes.request_images import request_limits
from synesthete.server.mcp_server import require_mcp

if TYPE_CHECKING:
    from mcp import types
    from mcp.server.lowlevel import Server

TOOLS = {kind.__name__.lower(): kind for kind in REQUESTS}
ABSTAINING = (Suggest, Classify)  # they put cases into the review queue


def create_mcp(folder: Answering) -> Server[Any]:
    """The server of a catalogue.

    Parameters
    ----------
    folder
        The catalogue's: what the tools abstain from goes into its review queue, by the thresholds that people set.

    Raises
    ------
    SynestheteError
        The package `mcp` is not installed.
    """
    require_mcp()
    from mcp import types
    from mcp.server.lowlevel import Server
    from mcp.shared.exceptions import MCPError

    def hints(kind: type[Any]) -> types.ToolAnnotations:
        return types.ToolAnnotations(
            read_only_hint=kind not in ABSTAINING,
            destructive_hint=False,
            # What is abstained from is counted in the queue each time.
            idempotent_hint=kind not in ABSTAINING,
            open_world_hint=False,
        )

    async def list_tools(context: Any, page: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=name,
                    description=read_docstring(kind.__doc__).text,
                    input_schema=TypeAdapter(kind).json_schema(),
                    annotations=hints(kind),
                )
                for name, kind in TOOLS.items()
            ]
        )

    async def call_tool(context: Any, call: types.CallToolRequestParams) -> types.CallToolResult:
        if call.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"no tool {call.name[:80]!r}")
        try:
            work = partial(answer, folder, call.name, call.arguments or {})
            found = await anyio.to_thread.run_sync(work)
        except SynestheteError as error:
            # An error of a tool is a result: the assistant reads it, and may send other arguments.
            content = types.TextContent(text=str(error))
            return types.CallToolResult(content=[content], is_error=True)
        text = types.TextContent(text=json.dumps(found, ensure_ascii=False))
        return types.CallToolResult(content=[text], structured_content=found)

    return Server(
        "synesthete-catalog",
        version=__version__,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def answer(folder: Answering, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a tool answers, as JSON holds it.

    Raises
    ------
    SynestheteError
        Wrong arguments, and what the catalogue says is wrong with them.
    """
    kind = TOOLS[tool]
    try:
        request = TypeAdapter(kind).validate_python(dict(arguments))
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)[:5]
        raise SynestheteError("; ".join(map(_wrong, errors))) from None
    with request_limits():
        result = folder.answer(request)
    # Through text, for a number that does not exist is null there.
    found: dict[str, Any] = parse_json(TypeAdapter(type(result)).dump_json(result), "the answer")
    return found


def _wrong(error: Mapping[str, Any]) -> str:
    place = error["loc"]
    name = ".".join(map(str, place))[:200]
    if error["type"] == "unexpected_keyword_argument":
        if place[0] == "records":
            # What is wrong with a record is not repeated: it may be about a person.
            return f"the argument {'.'.join(map(str, place[:-1]))}: a field that is not known"
        return f"there is no argument {name!r}"
    return f"the argument {name}: {str(error['msg'])[:200]}"


def serve(folder: Answering) -> None:
    """Answer an assistant on standard input and output until the input ends.

    Raises
    ------
    SynestheteError
        The package `mcp` is not installed.
    """
    server = create_mcp(folder)

    async def run() -> None:
        from mcp.server.stdio import stdio_server

        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(run)
