"""Several processes are one server: what callers have left, the link, sessions, numbers, deaths and the end are of all of them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from synesthete.catalog.keys import Keys
from synesthete.catalog.server.app import create_app
from synesthete.catalog.server.state import SharedState
from synesthete.server.auth import Gate
from tests.catalog.server.conftest import BASE, TOKEN
from tests.server.limited import PATIENCE, answer, opened, until

ROOT = Path(__file__).parents[3]
SCRIPT = "tools/serve.sh"
OWNER = {"Authorization": f"Bearer {TOKEN}"}
TAKE = """
import sys
from pathlib import Path
from synesthete.catalog.server.state import SharedState
state = SharedState(Path(sys.argv[1]), clock=lambda: 0.0)
print("ready", flush=True)
sys.stdin.readline()
print(sum(state.take("a", 500).allowed for _ in range(400)))
"""


@pytest.fixture
def two(path: Path, tmp_path: Path) -> list[TestClient]:
    """Two workers of one server."""
    return [
        TestClient(
            create_app(path, Gate(TOKEN), SharedState(tmp_path / "state.sqlite")),
            base_url=BASE,
            follow_redirects=False,
        )
        for _ in range(2)
    ]


def test_a_rate_is_of_all_workers(two: list[TestClient], path: Path) -> None:
    secret = Keys(path).make("a program", ["read"], per_minute=4)[1]
    bearer = {"Authorization": f"Bearer {secret}"}
    answers = [two[n % 2].get("/api/v1/health", headers=bearer) for n in range(6)]
    assert [one.status_code for one in answers] == [200, 200, 200, 200, 429, 429]
    assert [one.headers["ratelimit-remaining"] for one in answers] == ["3", "2", "1", "0", "0", "0"]


def test_no_token_is_taken_twice_by_processes_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "state.sqlite")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in processes) == 500


def test_link_session_and_forms_work_in_every_worker(two: list[TestClient]) -> None:
    first, second = two
    link = first.app.state.gate.link  # type: ignore[attr-defined]
    entered = second.get(link)
    assert entered.status_code == 303
    assert [one.get(link).status_code for one in two] == [401, 401], "it works once"
    page = first.get("/search", headers={"Cookie": entered.headers["set-cookie"].split(";")[0]})
    assert page.status_code == 200
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    for worker in two:
        worker.cookies.clear()
        form = {"text": "mug", "csrf": found[1]}
        sent = {"Cookie": entered.headers["set-cookie"].split(";")[0], "Origin": BASE}
        assert worker.post("/search", data=form, headers=sent).status_code == 200
        assert worker.post("/search", data={"text": "mug"}, headers=sent).status_code == 403


class Served:
    """A server with two workers, as the script of the image starts it."""

    def __init__(self, path: Path, folder: Path) -> None:
        token = folder / "token"
        token.touch(0o600)
        token.write_text(TOKEN)
        given = {
            "CATALOG": str(path),
            "TOKEN_FILE": str(token),
            "HOST": "127.0.0.1",
            "PORT": "0",
            "WORKERS": "2",
            "TMPDIR": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.folder = folder
        self._log = folder / "serve.log"
        with self._log.open("w") as file:
            self.process = subprocess.Popen(
                ["sh", str(ROOT / SCRIPT), "--allow-host", "shop.example"],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, **given},
            )
        assert self.process.stdout
        found = re.search(r"(http://127\.0\.0\.1:\d+)", self.process.stdout.readline())
        assert found, self.log
        self.base = found[1]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def workers(self) -> list[int]:
        """The processes that this one started."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]


@pytest.fixture(scope="module")
def served(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = Served(filled, tmp_path_factory.mktemp("logs"))
    try:
        until(lambda: "Ready: 2 workers." in one.log)
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def instructions(name: str) -> list[str]:
    """Of the Dockerfile, what each instruction of a name is given."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", text, re.MULTILINE)


def test_the_image_has_what_it_needs_and_runs_the_script() -> None:
    (entry,) = instructions("ENTRYPOINT")
    assert (json.loads(entry), instructions("WORKDIR")) == (["sh", f"/app/{SCRIPT}"], ["/app"])
    copied = {name for one in instructions("COPY") for name in one.split()[:-1]}
    (ignored, *kept) = (ROOT / ".dockerignore").read_text().split()
    assert ignored == "*"
    assert copied == {one[1:] for one in kept if one.startswith("!")}
    facts = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {SCRIPT, "pyproject.toml", "src", facts["project"]["readme"]}
    assert copied >= needed | set(facts["project"]["license-files"])
    assert all((ROOT / name).exists() for name in copied)
    (extras,) = re.findall(r"\[([^]]+)\]", " ".join(instructions("RUN")))
    assert set(extras.split(",")) <= facts["project"]["optional-dependencies"].keys()


def test_the_image_knows_whether_it_is_alive(served: Served) -> None:
    (check,) = instructions("HEALTHCHECK")
    _, *command = json.loads(check.partition("CMD ")[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ports = {urlsplit(served.base).port: True, free.getsockname()[1]: False}
        for port, alive in ports.items():
            given = {**os.environ, "PORT": str(port)}
            done = subprocess.run([sys.executable, *command], env=given, stderr=subprocess.DEVNULL)
            assert (done.returncode == 0) == alive


def is_refused(port: int) -> bool:
    try:
        opened(port).close()
    except ConnectionRefusedError:
        return True
    return False


def is_dead(pid: int) -> bool:
    """Whether a process has ended; its parent need not know yet."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_worker_is_replaced_and_nothing_is_forgotten(served: Served) -> None:
    with httpx.Client(base_url=served.base, headers=OWNER, timeout=PATIENCE) as client:
        assert client.get("/readyz").json() == {"status": "ok"}
        for _ in range(20):
            health = httpx.get(f"{served.base}/api/v1/health", headers=OWNER, timeout=PATIENCE)
            assert (health.status_code, health.json()["items"]) == (200, 30)
        workers = served.workers()
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: is_dead(workers[0]))
        for _ in range(20):  # those that are left go on
            health = httpx.get(f"{served.base}/api/v1/health", headers=OWNER, timeout=PATIENCE)
            assert health.status_code == 200
        until(lambda: "replaces it" in served.log)
        assert f"worker {workers[0]} ended (signal 9)" in served.log
        assert len(set(served.workers()) - set(workers)) == 1
        metrics = client.get("/metrics", headers={"Accept": "text/plain"})
        assert metrics.status_code == 200
        counted = re.search(r'_requests_total\{.*"/api/v1/health".*\} (\d+)', metrics.text)
        assert counted
        assert int(counted[1]) == 40, "also those that the killed worker answered"


def test_the_token_is_in_no_list_of_processes(served: Served) -> None:
    for pid in (served.process.pid, *served.workers()):
        assert TOKEN not in Path(f"/proc/{pid}/cmdline").read_text()


def test_sigterm_ends_all_of_them_once_they_have_answered(served: Served) -> None:
    workers = served.workers()
    assert len(list(served.folder.glob("synesthete-*"))) == 1
    port = int(served.base.rpartition(":")[2])
    body = b'{"text": "mug"}'
    header = (
        f"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with opened(port, header.encode()) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100"), "the request is being carried out"
        served.process.terminate()
        until(lambda: is_refused(port))
        connection.sendall(body)
        assert answer(connection)[0] == 200
    assert served.process.wait(PATIENCE) == 0
    assert all(map(gone, workers))
    assert not list(served.folder.glob("synesthete-*")), "what they shared is gone"


def test_workers_end_when_their_parent_is_killed(filled: Path, tmp_path: Path) -> None:
    one = Served(filled, tmp_path)
    until(lambda: len(one.workers()) == 2)
    workers = one.workers()
    one.process.kill()
    one.process.wait()
    until(lambda: all(map(gone, workers)))
