"""A PostgreSQL server of the tests' own, in a temporary folder: started by the first test that needs it, stopped at the end."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PASSWORD = "not-to-be-shown"
UNPRIVILEGED = "nobody"  # the server refuses to run as root


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    where = shutil.which("initdb")
    return found[-1].parent if found else Path(where).parent if where else None


def free_port() -> int:
    """A port that is free, below those that the system gives to others: none takes it before the server does."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server, with its password in it; skips the test where there is none."""
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    programs = _programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL server (initdb) on this machine")
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
        prefix = ["setpriv", f"--reuid={UNPRIVILEGED}", "--regid=nogroup", "--clear-groups"]
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        data, secret = Path(folder) / "data", Path(folder) / "password"
        data.mkdir()
        secret.write_text(PASSWORD)
        if prefix:
            for path in (Path(folder), data, secret):
                shutil.chown(path, UNPRIVILEGED)

        def call(program: str, *arguments: str) -> None:
            command = [*prefix, str(programs / program), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr

        call("initdb", "-D", str(data), "-U", "tests", "--auth=scram-sha-256", f"--pwfile={secret}",
             "--no-sync", "--locale=C", "--encoding=UTF8")  # fmt: skip
        port = free_port()
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        )
        log = Path(folder) / "log"
        call("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(log), "start")
        try:
            yield f"postgresql://tests:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


def new_schema(url: str) -> str:
    """The URL of a new schema of a server, empty."""
    import sqlalchemy

    name = f"tests_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{url}?options=-csearch_path%3D{name}"
