"""Commands that show an atlas to people and programs: serve, export, map, mcp."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synesthete._core.user_files import open_named
from synesthete.cli.console import JsonFlag, out, print_json, say
from synesthete.cli.naming_commands import AtlasPath
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from fastapi import FastAPI

PANEL = "Show it in the browser"
CATALOG = "catalog.json"
PORT = 8765
TRIES = 50
TOKEN_VARIABLE = "SYNESTHETE_TOKEN"
TOKEN_FILE_LIMIT = 4096


def serve(
    atlases: Annotated[
        list[Path],
        typer.Argument(
            metavar="ATLAS...", help="Folders of atlases, or one catalogue.", show_default=False
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="H", help="Address to listen on; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="P",
            help=f"Port; without it {PORT}, or the next that is free.", show_default=False,
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="T", help="What opens it; without it $SYNESTHETE_TOKEN, or a new secret.",
            show_default=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The token, in a file that only you can read.", show_default=False
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A further host name that leads here (repeat for more).",
            show_default=False,
        ),
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Open connections, in all; without it 1,000.", show_default=False
        ),
    ] = None,
    connections_per_address: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Open connections of one address; not for use behind a proxy.",
            show_default=False,
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
) -> None:  # fmt: skip
    """Open the microscope: the pages of one or more atlases, for your browser; or a catalogue with its REST API.

    Only this machine can reach it, and only with the link that is printed or the token. Ctrl-C closes it.
    """
    open_microscope(
        atlases, host=host, port=port, token=token, token_file=token_file, names=allow_host or [],
        max_connections=max_connections, connections_per_address=connections_per_address, browser=browser,
    )  # fmt: skip


def open_microscope(
    atlases: list[Path],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    token_file: Path | None = None,
    names: list[str] | None = None,
    max_connections: int | None = None,
    connections_per_address: int | None = None,
    browser: bool = True,
) -> None:
    """Serve until interrupted."""
    from synesthete.server import create_app
    from synesthete.server.auth import gate_for
    from synesthete.server.connections import ConnectionLimits, LimitedServer

    chosen = chosen_token(token, token_file)
    gate = gate_for(host, chosen, names or [])
    wanted = ConnectionLimits(per_address=connections_per_address)
    if max_connections is not None:
        wanted = dataclasses.replace(wanted, connections=max_connections)
    app: FastAPI
    opened = "microscope"
    if any((path / CATALOG).exists() for path in atlases):
        from synesthete.catalog.server.app import create_app as create_catalog

        if len(atlases) > 1:
            raise SynestheteError(
                "a catalogue is served by itself", hint="give one catalogue, or atlases only"
            )
        app = create_catalog(atlases[0], gate)
        gate, opened = app.state.gate, "catalogue"
    else:
        app = create_app(atlases, gate)
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else shown
    base = f"http://{shown}:{listener.getsockname()[1]}"
    out().print(f"The {opened} is open: [bold]{base}{gate.link}[/bold]", soft_wrap=True)
    # A token that somebody chose is a secret they know; it is not repeated into a log.
    named = f"the token {gate.token}" if chosen is None else "your token"
    say(f"That link works once. Later, or elsewhere: {base}/enter with {named}")
    say("Ctrl-C closes it.")
    server = LimitedServer(app, wanted)
    if server.limits.connections < wanted.connections:
        fewer = f"{server.limits.connections:,} connections at most, not {wanted.connections:,}"
        say(f"{fewer}: this system lets the process open too few files (ulimit -n)")
    if browser:
        webbrowser.open(f"{base}{gate.link}")
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()


def chosen_token(token: str | None, token_file: Path | None) -> str | None:
    """The token that somebody chose: on the command line, else in a file, else in the environment.

    Parameters
    ----------
    token
        Of the command line, where everybody on the machine can read it in the list of processes.
    token_file
        A file that only its owner may read; white space around the token does not count.

    Raises
    ------
    SynestheteError
        Both are given; the file cannot be read, others may read or change it, or it is empty; the variable
        is set and empty.
    """
    if token_file is None:
        if token is None and (token := os.environ.get(TOKEN_VARIABLE)) == "":
            raise SynestheteError(f"{TOKEN_VARIABLE} is empty", hint="unset it, or put a token in")
        return token
    if token is not None:
        raise SynestheteError(
            "--token and --token-file are both given", hint="leave one of them out"
        )
    with open_named(token_file, max_bytes=TOKEN_FILE_LIMIT) as file:
        mode = os.fstat(file.fileno()).st_mode
        if os.name == "posix" and mode & 0o066:
            raise SynestheteError(
                f"others may read or change {token_file} (mode {mode & 0o777:03o})",
                hint=f"chmod 600 {token_file}",
            )
        text = file.read(TOKEN_FILE_LIMIT).decode("utf-8", "replace").strip()
    if not text:
        raise SynestheteError(f"{token_file} is empty", hint="put a token in")
    return text


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on the port, or on the first free one from `PORT` on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port] if port is not None else [*range(PORT, PORT + TRIES), 0]
    for one in wanted:
        # Named as TCP, since asyncio sends at once (TCP_NODELAY) only where the socket says so: else every page
        # waits 40 ms for the reader's system to confirm its head.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, one))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            hint = "another --port, or none" if error.errno == errno.EADDRINUSE else ""
            reason = error.strerror or str(error)
            raise SynestheteError(f"cannot listen on {host}:{one}: {reason}", hint=hint) from error
        return listener
    raise SynestheteError(f"no free port on {host}")


def export(
    atlas: AtlasPath,
    site: Annotated[Path, typer.Argument(metavar="SITE", help="A new folder.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Write the microscope's pages as files that open from a disk and can be published as they are."""
    from synesthete.server.export import export_site

    last = time.monotonic()

    def told(done: int, known: int) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{done:,} of {known:,} files")

    counts = export_site(atlas, site, progress=told)
    if as_json:
        print_json(counts)
        return
    out().print(
        f"{counts['pages']:,} pages and {counts['images']:,} images: {site / 'index.html'}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def lay_out(
    atlas: AtlasPath,
    layer: Annotated[
        str | None,
        typer.Option(metavar="L", help="One layer; without it all.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the layout.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Compute where each neuron lies on the map: near those that answer to the same images."""
    from synesthete.analysis.layout import lay_out as compute

    notes = compute(atlas, layer=layer, seed=seed)
    if as_json:
        print_json(notes)
        return
    for name, told in notes["layers"].items():
        out().print(f"{name}: {told['units']:,} neurons laid out", highlight=False)


def mcp(atlas: AtlasPath) -> None:
    """Lend an atlas to an assistant: search, neuron, concept and explain, as tools that only read.

    Speaks the Model Context Protocol on standard input and output; an assistant starts it, not a person.
    """
    from synesthete.server.mcp_server import create_mcp

    create_mcp(atlas).run("stdio")


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    app.command(rich_help_panel=PANEL)(serve)
    app.command(rich_help_panel=PANEL)(export)
    app.command("map", rich_help_panel=PANEL)(lay_out)
    app.command(rich_help_panel=PANEL)(mcp)
