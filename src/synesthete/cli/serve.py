"""Commands that show an atlas to people and programs: serve, export, map, mcp."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from synesthete._core.environment import EVENTS_URL, IDEMPOTENCY_HOURS, RETENTION_DAYS, TOKEN
from synesthete._core.user_files import open_named
from synesthete.cli.command import AtlasArgument, Output, Positive, command, here
from synesthete.cli.console import Note, count, out, say
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

PANEL = "Show it in the browser"
CATALOG = "catalog.json"
PORT = 8765
TRIES = 50
TOKEN_FILE_LIMIT = 4096

app = typer.Typer()


@command(app, panel=PANEL)
def serve(
    atlases: Annotated[list[Path], typer.Argument(parser=here, metavar="ATLAS...")],
    host: str = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
    token: str | None = None,
    token_file: Path | None = None,
    allow_host: list[str] | None = None,
    max_connections: Annotated[int | None, typer.Option(min=1)] = None,
    connections_per_address: Annotated[int | None, typer.Option(min=1)] = None,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 1,
    events_url: Annotated[str | None, typer.Option(envvar=EVENTS_URL)] = None,
    retention_days: Annotated[float | None, typer.Option(envvar=RETENTION_DAYS, min=0.01)] = None,
    idempotency_hours: Annotated[
        float | None, typer.Option(envvar=IDEMPOTENCY_HOURS, min=0.01)
    ] = None,
    preload: bool = True,
    browser: bool = True,
) -> None:
    """Open the microscope: the pages of one or more atlases, for your browser; or a catalogue with its REST API.

    Only this machine can reach it, and only with the link that is printed, which works once, or the token. Without --token and
    --token-file the token is that of the environment variable SYNESTHETE_TOKEN (`demo` reads it too), and without that a new
    secret each time; only a new one is printed. Ctrl-C closes it.

    Parameters
    ----------
    atlases : ATLAS...
        Folders of atlases, or one catalogue.
    host : H
        Address to listen on; others than this machine's need a token of your choice.
    port : P
        Port; without it 8765, or the next that is free. 0 takes any.
    token : T
        The token. Everybody on the machine can read it in the list of processes (`ps`); prefer --token-file or
        SYNESTHETE_TOKEN.
    token_file : FILE
        The token, in a file that only you can read or write (`chmod 600`). White space around it does not count.
    allow_host : NAME
        A further host name that leads here, such as that of a proxy (repeat for more).
    max_connections : N
        Open connections, in all; without it 1,000, fewer where the system lets the process open fewer than 2,000 files.
    connections_per_address : N
        Open connections of one address (of one /64 network with IPv6); not for use behind a proxy, where all come from one.
    workers : N
        Of a catalogue: processes that answer, each with a model of its own; one that dies is replaced.
    events_url : URL
        Of a catalogue: the PostgreSQL database that events are kept in, postgresql://user:password@host/database; without it
        SQLite in its folder. A password belongs into SYNESTHETE_EVENTS_URL, which other users of the machine cannot read.
    retention_days : DAYS
        Of a catalogue: remove events that are older, every hour; without it (or SYNESTHETE_RETENTION_DAYS) never.
    idempotency_hours : HOURS
        Of a catalogue: how long the response to a request with an idempotency key is kept; without it (or
        SYNESTHETE_IDEMPOTENCY_HOURS) 24.
    preload
        Of the microscope: load the first atlas's model while the first page is read, so that the first answer of the bench or of a search by meaning is not
        late. It stays in memory. Without, it is loaded when a page needs it.
    browser
        Open it in a browser.

    See Also
    --------
    microscope.md

    Examples
    --------
    synesthete serve demo.atlas
    """
    from synesthete.server import create_app
    from synesthete.server.auth import gate_for
    from synesthete.server.connections import ConnectionLimits, LimitedServer, fit_open_files
    from synesthete.server.preload import Preload

    # A catalogue reads its settings from the environment, in every process that serves it.
    for name, value in (
        (EVENTS_URL, events_url),
        (RETENTION_DAYS, retention_days),
        (IDEMPOTENCY_HOURS, idempotency_hours),
    ):
        if value is not None:
            os.environ[name] = str(value)
    chosen = chosen_token(token, token_file)
    gate = gate_for(host, chosen, allow_host or [])
    wanted = ConnectionLimits(per_address=connections_per_address)
    if max_connections is not None:
        wanted = dataclasses.replace(wanted, connections=max_connections)
    each = -(-wanted.connections // workers)
    limits = fit_open_files(dataclasses.replace(wanted, connections=each))
    run: Callable[[socket.socket], None]
    opened, after = "microscope", contextlib.ExitStack()
    if any((path / CATALOG).exists() for path in atlases):
        from synesthete.catalog.server.service import Service

        if len(atlases) > 1:
            raise SynestheteError(
                "a catalogue is served by itself", hint="give one catalogue, or atlases only"
            )
        service = Service(atlases[0], gate, limits, workers=workers)
        gate, opened, run = service.gate, "catalogue", service.run
    elif workers > 1:
        raise SynestheteError(
            "--workers is for a catalogue", hint="the microscope needs one process"
        )
    else:
        microscope = create_app(atlases, gate)
        ahead = Preload(microscope, microscope.state.library)
        after.callback(ahead.stop)
        run = LimitedServer(ahead if preload else microscope, limits).run_on
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else shown
    base = f"http://{shown}:{listener.getsockname()[1]}"
    out().print(f"The {opened} is open: [bold]{base}{gate.link}[/bold]", soft_wrap=True)
    # A token that somebody chose is a secret they know; it is not repeated into a log.
    named = f"the token {gate.token}" if chosen is None else "your token"
    say(f"That link works once. Later, or elsewhere: {base}/enter with {named}")
    say("Ctrl-C closes it.")
    if limits.connections < each:
        fewer = f"{limits.connections:,} connections at most, not {each:,}"
        say(f"{fewer}: this system lets the process open too few files (ulimit -n)")
    if browser:
        webbrowser.open(f"{base}{gate.link}")
    try:
        with after:
            run(listener)
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
        if token is None and (token := os.environ.get(TOKEN)) == "":
            raise SynestheteError(f"{TOKEN} is empty", hint="unset it, or put a token in")
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


@command(app, panel=PANEL)
def export(
    atlas: Annotated[Path, typer.Argument(parser=here)],
    site: Path,
    neurons: Positive = 100,
    every: Annotated[bool, typer.Option("--all", help="Write a page for every neuron.")] = False,
) -> Output:
    """Write the microscope's pages as files that open from a disk and can be published as they are.

    Links are checked. The site is prepared in SITE/.draft, and index.html comes last: where it is, the site is complete.
    Interrupted work is started again: run the same command again.

    Parameters
    ----------
    atlas : ATLAS
        The atlas, such as demo.atlas.
    site : SITE
        A new folder, or one that this command wrote before.
    neurons
        So many of each layer have a page, the most multimodal. The others are in the grids and on the map, without a link; --all writes
        theirs, too.

    Returns
    -------
    how many `files` were written, with how many `pages` and `images`, how many `neurons` have a page, and how many were `left_out`.

    See Also
    --------
    microscope.md

    Examples
    --------
    synesthete export demo.atlas site
    synesthete export demo.atlas site --all
    """
    from synesthete.server.export import export_site

    with Reporter("exporting", unit="steps") as reporter:
        counts = export_site(atlas, site, neurons=None if every else neurons, progress=reporter)
    lines: list[str] = [
        f"{count(counts['pages'])} pages with {count(counts['images'])} images in {count(counts['files'])} files: {site / 'index.html'}"
    ]
    if left_out := counts["left_out"]:
        total = count(counts["neurons"] + left_out)
        lines.append(
            Note(
                f"pages of {count(counts['neurons'])} of {total} neurons, the most multimodal of each layer; --all writes every one"
            )
        )
    return Output(counts, lines)


@command(app, "map", panel=PANEL)
def lay_out(atlas: AtlasArgument, layer: str | None = None, seed: int = 0) -> Output:
    """Compute where each neuron lies on the map: near those that respond to the same images.

    From the standardised activations, by their 50 principal components and t-SNE; the places are written into the atlas.

    Parameters
    ----------
    layer : L
        One layer; without it all.
    seed
        Seed of the layout; the same seed gives the same map.

    Returns
    -------
    what was laid out, by layer under `layers`.

    Examples
    --------
    synesthete map demo.atlas
    """
    from synesthete.analysis.layout import lay_out as compute

    notes = compute(atlas.path, layer=layer, seed=seed)
    layers = notes["layers"].items()
    return Output(
        notes, [f"{name}: {count(one['units'])} neurons laid out" for name, one in layers]
    )


@command(app, panel=PANEL)
def mcp(atlas: Annotated[Path, typer.Argument(parser=here)]) -> None:
    """Serve an atlas to an assistant: search, neuron, concept and explain, as tools that only read.

    Speaks the Model Context Protocol on standard input and output; an assistant starts it, not a person.

    Parameters
    ----------
    atlas : ATLAS
        The atlas, such as demo.atlas.

    See Also
    --------
    microscope.md#for-an-assistant

    Examples
    --------
    synesthete mcp demo.atlas
    """
    from synesthete.server.mcp_server import create_mcp

    create_mcp(atlas).run("stdio")
