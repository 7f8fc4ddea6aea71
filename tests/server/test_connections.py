"""Clients that are silent, slow or many, on real sockets: none keeps a holder of the token from being answered."""

from __future__ import annotations

import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from synesthete.server.connections import (
    PROGRESS,
    ConnectionLimits,
    LimitedServer,
    fit_open_files,
)
from tests.server.limited import (
    BIG,
    HELD,
    answer,
    as_process,
    ask,
    drip,
    head,
    in_thread,
    is_closed,
    opened,
    until,
)
from tests.torture import slow_clients

NEVER = dict.fromkeys(("header_seconds", "body_seconds", "drain_seconds", "idle_seconds"), 600)
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and 127.0.0.2")


def port_of(server: LimitedServer) -> int:
    return int(server.port)  # type: ignore[attr-defined]


@contextmanager
def many(number: int, port: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(opened(port, sent)) for _ in range(number)]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave to open as many files as the system allows, up to 8,192."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        head(method="POST", token=False, length=1000),
        head("/enter", "POST", token=False, length=1000) + b"token=",
        head("/static/short", token=False),
    ],
    ids=["silent", "half a header", "refused body", "open body", "kept alive"],
)
def test_a_holder_of_the_token_is_answered_through_a_flood(sent: bytes) -> None:
    with (
        in_thread(connections=40, **NEVER) as server,
        many(120, port_of(server), sent) as held,
    ):
        for _ in range(10):
            assert ask(port_of(server))[0] == 200
        assert len(server.open) <= 40
        # The oldest made room, the youngest are still held.
        until(lambda: is_closed(held[0]))
        if b"static" not in sent:
            assert not is_closed(held[-1])


def test_requests_with_a_token_are_not_closed_for_others() -> None:
    with in_thread(connections=10) as server, ExitStack() as stack:
        waiting = [
            stack.enter_context(opened(port_of(server), head("/wait"))) for _ in range(9)
        ] + [stack.enter_context(opened(port_of(server), head("/echo", "POST", length=4)))]
        until(lambda: sum(one.carries_token for one in server.open._all) == 10)
        # All places are taken by requests that nothing is closed for: the next are turned away one by one.
        for _ in range(30):
            assert ask(port_of(server))[0] in (0, 503)
        assert len(server.open) == 10
        HELD.set()
        waiting[-1].sendall(b"abcd")
        assert [answer(one)[0] for one in waiting] == [200] * 10
        assert ask(port_of(server))[0] == 200


def test_a_header_has_its_time_however_it_drips() -> None:
    with in_thread(header_seconds=0.5) as server, opened(port_of(server), b"GET / ") as slow:
        until(lambda: drip(slow))
        with opened(port_of(server)) as silent:
            until(lambda: is_closed(silent))
        # The same of a later request on the same connection.
        with opened(port_of(server), head() + b"GET") as later:
            assert answer(later)[0] == 200
            until(lambda: drip(later))
        until(lambda: not len(server.open))


def test_the_body_of_a_refused_request_has_its_time() -> None:
    with in_thread(drain_seconds=0.3, body_seconds=5) as server:
        with opened(port_of(server), head(method="POST", token=False, length=10**6)) as slow:
            status, headers, _ = answer(slow)
            assert (status, headers.get("connection")) == (401, "close")
            until(lambda: drip(slow))
        for path in ("/enter", "/static/short"):
            with opened(port_of(server), head(path, "POST", token=False, length=1000)) as slow:
                until(lambda slow=slow: drip(slow))  # type: ignore[misc]
    # A body that comes in time is read to its end, so that the answer arrives, and the connection stays.
    with (
        in_thread(**NEVER) as server,
        opened(port_of(server), head(method="POST", token=False, length=10**6)) as whole,
    ):
        whole.sendall(b"x" * 10**6 + head())
        assert [answer(whole)[0], answer(whole)[0]] == [401, 200]


def test_an_upload_with_the_token_has_longer_and_not_for_ever() -> None:
    with (
        in_thread(body_seconds=0.3, upload_seconds=600) as server,
        opened(port_of(server), head("/echo", "POST", length=10)) as slow,
    ):
        began = time.monotonic()
        while time.monotonic() < began + 1.2:
            assert not is_closed(slow)
            time.sleep(0.1)
        slow.setblocking(True)
        slow.sendall(b"x" * 10)
        assert answer(slow)[::2] == (200, b"10")
    with in_thread(body_seconds=600, upload_seconds=0.3) as server:
        for path in ("/echo", "/"):  # one reads the body, the other answers without
            with opened(port_of(server), head(path, "POST", length=10**6)) as slow:
                until(lambda slow=slow: drip(slow))  # type: ignore[misc]
        until(lambda: not len(server.open))


def test_who_does_not_read_the_answer_is_cut_off() -> None:
    with in_thread(write_seconds=0.3) as server, opened(port_of(server), head("/big")):
        until(lambda: len(server.open) == 1)
        until(lambda: not len(server.open))


def test_who_reads_on_slowly_gets_the_whole_answer() -> None:
    with (
        in_thread(write_seconds=3600, idle_seconds=0.3) as server,
        opened(port_of(server), head("/big")) as slow,
    ):
        until(lambda: any(one._unread for one in server.open._all))
        (held,) = server.open._all
        clock, ahead, data = held.loop.time, 0.0, b""
        held.loop.time = lambda: clock() + ahead  # type: ignore[method-assign]
        for _ in range(3):  # two and a half times the limit, but progress within each
            left, seen = held.transport.get_write_buffer_size(), held._unread
            assert seen is not None
            while held.transport.get_write_buffer_size() > left - PROGRESS:
                data += slow.recv(2**18)
            ahead += 3000
            until(lambda seen=seen: held._unread[0] > seen[0] + 2000)  # type: ignore[misc]
        while more := slow.recv(2**18):
            data += more
        assert len(data) > BIG


def test_a_connection_is_kept_alive_for_a_while() -> None:
    with in_thread(idle_seconds=600) as server, opened(port_of(server), head()) as kept:
        assert answer(kept)[0] == 200
        kept.sendall(head())
        assert answer(kept)[0] == 200
        server.open.limits = replace(server.open.limits, idle_seconds=0.1)
        until(lambda: is_closed(kept))


def test_requests_sent_at_once_are_answered_in_order() -> None:
    with in_thread() as server:
        sent = head("/echo", "POST", length=3) + b"abc" + head() + head("/nothing") + head()[:20]
        with opened(port_of(server), sent) as connection:
            assert [answer(connection)[::2] for _ in range(2)] == [(200, b"3"), (200, b"short")]
            assert answer(connection)[0] == 404
            connection.sendall(head()[20:])
            assert answer(connection)[0] == 200
        with opened(port_of(server), b"nonsense\r\n\r\n") as connection:
            assert answer(connection)[0] == 400


@linux
def test_connections_of_one_address_can_be_capped() -> None:
    with in_thread(connections=100, per_address=5) as server:
        port = port_of(server)
        with many(30, port):
            assert ask(port)[0] == 200
            assert len(server.open) <= 5
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(opened(port, head("/wait")))
            until(lambda: sum(one.carries_token for one in server.open._all) == 5)
            assert ask(port)[0] in (0, 503)
            assert ask(port, address="127.0.0.2")[0] == 200
            HELD.set()
        until(lambda: not len(server.open))
        assert not server.open._of


def test_only_so_many_requests_are_answered_at_once() -> None:
    with in_thread(requests=2, open_requests=1) as server, ExitStack() as stack:
        port = port_of(server)
        entering = head("/enter", "POST", token=False, length=5)
        waiting = [stack.enter_context(opened(port, head("/wait"))) for _ in range(2)]
        until(lambda: ask(port)[0] == 503)
        status, headers, _ = ask(port)
        assert (status, headers["retry-after"]) == (503, "1")
        # Those without a token are refused, and take no place.
        assert ask(port, token=False)[0] == 401
        open_ = stack.enter_context(opened(port, entering))
        until(lambda: ask(port, "/static/short", token=False)[0] == 503)
        HELD.set()
        assert [answer(one)[0] for one in waiting] == [200, 200]
        assert ask(port, "/static/short")[0] == 200
        open_.sendall(b"token")
        assert answer(open_)[::2] == (200, b"5")
        assert ask(port, "/static/short", token=False)[0] == 200


def test_a_body_without_a_token_is_short() -> None:
    with in_thread() as server:
        with opened(port_of(server), head("/enter", "POST", token=False, length=70_000)) as long:
            long.sendall(b"x" * 70_000)
            assert answer(long)[0] == 413
        chunked = head("/enter", "POST", token=False)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        with opened(port_of(server), chunked) as long:
            long.sendall((b"2000\r\n" + b"x" * 0x2000 + b"\r\n") * 10 + b"0\r\n\r\n")
            assert answer(long)[0] == 413
        with opened(port_of(server), head("/echo", "POST", length=70_000)) as long:
            long.sendall(b"x" * 70_000)
            assert answer(long)[::2] == (200, b"70000")


@pytest.mark.usefixtures("many_files")
def test_two_thousand_connections_are_served_one_by_one() -> None:
    with as_process(idle_seconds=600) as (process, port), ExitStack() as stack:
        kept = []
        for _ in range(2000):
            kept.append(stack.enter_context(opened(port, head())))
            assert answer(kept[-1])[0] == 200
        # The younger half is still there, and served again; the rest made room for it.
        for one in kept[-900:]:
            one.sendall(head())
        assert [answer(one)[0] for one in kept[-900:]] == [200] * 900
        assert all(map(is_closed, kept[:900]))
        assert process.poll() is None


def test_broken_bodies_and_clients_that_leave_print_nothing() -> None:
    def chunked(path: str, token: bool) -> bytes:
        return head(path, "POST", token=token)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"

    with as_process() as (process, port):
        for path, token in (("/", False), ("/enter", False), ("/echo", True)):
            with opened(port, chunked(path, token) + b"zz\r\n") as broken:
                assert answer(broken)[0] == 400
                until(lambda broken=broken: is_closed(broken))  # type: ignore[misc]
            with opened(port, head(path, "POST", token=token, length=10) + b"abc"):
                pass
        with opened(port, chunked("/", token=True)) as answered:
            assert answer(answered)[0] == 200
            answered.sendall(b"zz\r\n")
            until(lambda: is_closed(answered))
        assert ask(port)[0] == 200
        process.terminate()
        assert process.communicate()[1] == ""


@linux
def test_it_goes_on_where_no_file_can_be_opened() -> None:
    with as_process(**NEVER) as (process, port):
        opens = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (opens + 10, hard))
        with many(60, port):
            for _ in range(3):
                until(lambda: ask(port)[0] == 200)
        until(lambda: ask(port)[0] == 200)
        process.terminate()
        _, errors = process.communicate()
        assert errors == ""


def test_limits_fit_what_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        assert fit_open_files(ConnectionLimits(connections=300)).connections == 300
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 600
        if hard != resource.RLIM_INFINITY:
            most = fit_open_files(ConnectionLimits(connections=hard)).connections
            assert most == hard // 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@linux
def test_memory_does_not_grow_with_floods() -> None:
    def resident() -> int:
        text = Path(f"/proc/{process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) // 1024

    def flood() -> None:
        for sent in (b"", b"GET / HTTP", head(method="POST", token=False, length=99)):
            with many(200, port, sent):
                pass
        until(lambda: ask(port)[0] == 200)

    with as_process(connections=100, header_seconds=5, body_seconds=5) as (process, port):
        flood()
        before = resident()
        for _ in range(6):
            flood()
        assert resident() < before + 10


def test_the_command_serves_a_holder_of_the_token_among_slow_clients(original: Path) -> None:
    counts = slow_clients.run(4, original)
    assert counts["connections_opened"] > 1000
    assert counts["answered"] > 0
    assert counts["failed"] == 0
