"""`serve`, `export` and `map` from the command line: as the README says, and wrong in every way."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from synesthete._core.environment import TOKEN
from synesthete.atlas import open_atlas
from synesthete.cli import main
from synesthete.cli.serve import chosen_token
from synesthete.server.connections import ConnectionLimits, LimitedServer
from tests.small_atlas import LAYER


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["synesthete", *map(str, words)])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(str(end.code or 0))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@contextmanager
def serving(*words: object) -> Iterator[tuple[str, str, int]]:
    """The base address, the link and the process of a server that runs."""
    command = [
        sys.executable,
        "-m",
        "synesthete",
        "serve",
        *map(str, words),
        "--port",
        "0",
        "--token",
        "T",
        "--no-browser",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\S+", line)
        assert found, line
        yield found[1], found[0], process.pid  # it listens before it says so
    finally:
        process.terminate()
        process.wait(300)


def status(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=60
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_serve_answers_as_others_rely_on(original: Path) -> None:
    bearer = {"Authorization": "Bearer T"}
    with serving(original) as (base, link, _):
        assert link.startswith(f"{base}/enter/")
        assert status(f"{base}/")[0] == 401
        for path in ("/", f"/neuron/{LAYER}:0", "/concept/apple", "/search?q=apple"):
            code, text = status(base + path, **bearer)
            assert (code, text[:15]) == (200, "<!doctype html>"), path
        for path in (
            "/index.json",
            f"/neuron/{LAYER}:0.json",
            "/concept/apple.json",
            "/search.json?q=apple",
            "/openapi.json",
        ):
            code, text = status(base + path, **bearer)
            assert code == 200, path
            assert json.loads(text)
        assert status(f"{base}/", **bearer, Host="evil.example")[0] == 403


def test_what_serve_refuses(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    original: Path,
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, message in (
            ([original, "--host", "0.0.0.0"], "token of your choice"),
            ([tmp_path], "atlas"),
            ([original, "--token", ""], "visible ASCII"),
            ([original, "--port", port], "cannot listen"),
            ([original, "--workers", 2], "--workers is for a catalogue"),
            ([original, "--host", "192.0.2.1", "--token", "t"], "cannot listen"),
        ):
            code, _, error = run(monkeypatch, capsys, "serve", *words, "--no-browser")
            assert code == 2, words
            assert message in " ".join(error.split()), error


def test_the_token_comes_from_the_command_line_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("of-the-file\n")
    monkeypatch.delenv(TOKEN, raising=False)
    assert chosen_token(None, None) is None
    assert chosen_token("of-the-line", None) == "of-the-line"
    assert chosen_token(None, file) == "of-the-file"
    monkeypatch.setenv(TOKEN, "of-the-environment")
    assert chosen_token(None, None) == "of-the-environment"
    assert chosen_token("of-the-line", None) == "of-the-line"
    assert chosen_token(None, file) == "of-the-file"


def test_tokens_that_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    original: Path,
    tmp_path: Path,
) -> None:
    def refused(*words: object) -> str:
        code, _, error = run(monkeypatch, capsys, "serve", original, *words, "--no-browser")
        assert code == 2, words
        return " ".join(error.split())

    file = tmp_path / "token"
    file.write_text("secret\n")
    for mode in (0o640, 0o604, 0o620, 0o602):
        file.chmod(mode)
        assert "others may read or change" in refused("--token-file", file)
    file.chmod(0o600)
    assert "both given" in refused("--token-file", file, "--token", "secret")
    for text, message in (
        ("", "is empty"),
        (" \n", "is empty"),
        ("two words", "visible ASCII"),
        ("é", "visible ASCII"),
        ("x" * 5000, "more than the limit"),
    ):
        file.write_text(text)
        assert message in refused("--token-file", file), text
    assert "no such file" in refused("--token-file", tmp_path / "nothing")
    assert "not a regular file" in refused("--token-file", tmp_path)
    monkeypatch.setenv(TOKEN, "")
    assert f"{TOKEN} is empty" in refused()


def test_a_chosen_token_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], original: Path
) -> None:
    given: list[ConnectionLimits] = []
    monkeypatch.setattr(LimitedServer, "run", lambda self, sockets: given.append(self.limits))
    monkeypatch.setenv(TOKEN, "secret-of-mine")
    words = [
        "serve",
        original,
        "--no-browser",
        "--max-connections",
        30,
        "--connections-per-address",
        7,
    ]
    code, out, error = run(monkeypatch, capsys, *words)
    assert code == 0
    assert "secret-of-mine" not in out + error
    assert "your token" in error
    assert (given[0].connections, given[0].per_address) == (30, 7)
    monkeypatch.delenv(TOKEN)
    code, _, error = run(monkeypatch, capsys, "serve", original, "--no-browser")
    assert code == 0
    assert "with the token" in error
    assert (given[1].connections, given[1].per_address) == (1000, None)


def test_map_and_export(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    atlas_path: Path,
    tmp_path: Path,
) -> None:
    code, out, _ = run(
        monkeypatch, capsys, "map", atlas_path, "--layer", LAYER, "--seed", 3, "--json"
    )
    assert code == 0
    assert (
        json.loads(out)["layers"][LAYER]["units"]
        == open_atlas(atlas_path).unit_table(LAYER, "layout").num_rows
    )
    code, _, error = run(monkeypatch, capsys, "map", atlas_path, "--layer", "nothing")
    assert code == 2
    assert LAYER in error
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    code, _, error = run(monkeypatch, capsys, "export", atlas_path, tmp_path / "mine")
    assert code == 2
    assert "something other than an exported site" in " ".join(error.split())


def test_pages_are_sent_at_once() -> None:
    """Nagle's algorithm would hold back the second half of every page for 40 ms."""
    import asyncio

    from synesthete.cli.serve import _listen

    delays: list[int] = []

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("socket")
        delays.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def ask() -> None:
        listener = _listen("127.0.0.1", None)
        async with await asyncio.start_server(answered, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(ask())
    assert delays
    assert all(delays)
