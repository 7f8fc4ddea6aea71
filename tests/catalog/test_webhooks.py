"""Webhooks: signed, at least once, never to places inside, and no decision waits for one."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from synesthete.catalog import webhooks as module
from synesthete.catalog.addresses import is_public
from synesthete.catalog.webhooks import (
    BACKOFF,
    KEPT_SECONDS,
    LEASE_SECONDS,
    Delivery,
    Sender,
    Webhooks,
    check_url,
    send,
)
from synesthete.cli import main
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Queue

DOCS = Path(__file__).parents[2] / "docs" / "service.md"


class Receiver:
    """A program that takes messages, as the documentation says."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.headers: dict[str, str] = {"Location": "http://127.0.0.1:1/elsewhere"}
        self.messages: list[tuple[dict[str, str], str]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.messages.append((headers, body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/decisions"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


class Clock:
    """Time that goes on when a test says so."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hooks(tmp_path: Path, clock: Clock) -> Webhooks:
    return Webhooks(tmp_path, now=clock)


def case(folder: Path, reference: str = "photo-7") -> str:
    payload = {"reference": reference, "proposal": "mug", "private": "what a customer wrote"}
    return Queue(folder).add("suggest", payload, reason="unsure", confidence=0.3)


def deliver(hooks: Webhooks) -> int:
    return anyio.run(Sender(hooks, print).run_once)


def test_a_decision_arrives_signed_as_documented(
    tmp_path: Path, hooks: Webhooks, receiver: Receiver
) -> None:
    before = case(tmp_path, "before")
    Queue(tmp_path).decide(before, "accept", actor="ann")
    _, secret = hooks.add(receiver.url, private=True)
    ticket = case(tmp_path)
    Queue(tmp_path).decide(ticket, "override", actor="bob", label="cup", note="a private remark")
    assert deliver(hooks) == 1
    ((headers, body),) = receiver.messages
    message = json.loads(body)
    assert message["type"] == "decision"
    data = message["data"]
    assert (data["ticket"], data["kind"], data["reference"], data["actor"]) == (
        ticket, "suggest", "photo-7", "bob",
    )  # fmt: skip
    assert (data["decision"], data["verdict"], data["label"], data["open"]) == (
        "override", "override", "cup", False,
    )  # fmt: skip
    assert "private" not in body
    found = re.search(r"```python\n(import base64.*?)```", DOCS.read_text(), re.DOTALL)
    assert found
    assert len([line for line in found[1].splitlines() if line]) == 10, "short enough to copy"
    names: dict[str, Any] = {}
    exec(found[1], names)
    verify = names["verify"]
    now = int(headers["webhook-timestamp"])
    assert verify(secret, headers, body, now)
    assert not verify(secret, headers, body + " ", now)
    assert not verify(secret, {**headers, "webhook-timestamp": str(now + 1)}, body, now)
    assert not verify(secret, {**headers, "webhook-id": "msg_other"}, body, now)
    assert not verify(secret, headers, body, now + 301), "an old message is not taken again"
    assert deliver(hooks) == 0
    assert (hooks.every()[0].delivered, hooks.every()[0].waiting) == (1, 0)


def test_what_did_not_arrive_is_sent_again_and_given_up_at_last(
    tmp_path: Path, hooks: Webhooks, receiver: Receiver, clock: Clock
) -> None:
    hooks.add(receiver.url, private=True)
    Queue(tmp_path).decide(case(tmp_path), "dismiss", actor="ann")
    receiver.status = 500
    assert deliver(hooks) == 1
    for wait in BACKOFF:
        clock.now += wait - 1
        assert deliver(hooks) == 0
        clock.now += 2
        assert deliver(hooks) == 1
    clock.now += 10**6
    assert deliver(hooks) == 0
    (one,) = hooks.every()
    assert (one.waiting, one.failed, one.error) == (0, 1, "answered with status 500")
    assert len({headers["webhook-id"] for headers, _ in receiver.messages}) == 1
    assert len(receiver.messages) == len(BACKOFF) + 1


def test_it_arrives_after_a_restart_and_after_a_kill_while_it_was_sent(
    tmp_path: Path, hooks: Webhooks, receiver: Receiver, clock: Clock
) -> None:
    hooks.add(receiver.url, private=True)
    Queue(tmp_path).decide(case(tmp_path), "accept", actor="ann")
    hooks.collect()
    (killed,) = hooks.claim()  # and never settled
    other = Webhooks(tmp_path, now=clock)
    assert deliver(other) == 0, "another process has it"
    clock.now += LEASE_SECONDS + 1
    assert deliver(other) == 1
    assert receiver.messages[0][0]["webhook-id"] == killed.id


def test_a_decision_after_a_restore_has_an_id_of_its_own(
    tmp_path: Path, clock: Clock, receiver: Receiver
) -> None:
    """It takes the place of one that the backup did not have, of which the receiver has seen the message."""
    folder, restored = tmp_path / "catalog", tmp_path / "restored"
    folder.mkdir()
    hooks = Webhooks(folder, now=clock)
    hooks.add(receiver.url, private=True)
    case(folder, "before")
    shutil.copytree(folder, restored)
    for one, label in ((folder, "cup"), (restored, "mug")):
        ticket = Queue(one).cases()[0].ticket
        Queue(one).decide(ticket, "override", actor="ann", label=label)
        assert deliver(Webhooks(one, now=clock)) == 1
    messages = [(headers["webhook-id"], json.loads(body)) for headers, body in receiver.messages]
    assert [body["data"]["label"] for _, body in messages] == ["cup", "mug"]
    assert messages[0][1]["data"]["place"] == messages[1][1]["data"]["place"]
    assert messages[0][0] != messages[1][0]


def test_what_was_given_up_is_removed_though_nothing_new_is_decided(
    tmp_path: Path, hooks: Webhooks, clock: Clock
) -> None:
    hooks.add("https://shop.example/x")
    Queue(tmp_path).decide(case(tmp_path), "accept", actor="ann")
    hooks.collect()
    for _ in range(len(BACKOFF) + 1):
        clock.now += max(BACKOFF) + 1
        hooks.settle(hooks.claim()[0], "no answer")
    clock.now += KEPT_SECONDS - 1
    hooks.collect()
    assert hooks.counts().failed == 1
    clock.now += 2
    hooks.collect()
    assert hooks.counts().failed == 0


def test_two_processes_write_and_claim_each_message_once(
    tmp_path: Path, hooks: Webhooks, receiver: Receiver, clock: Clock
) -> None:
    hooks.add(receiver.url, private=True)
    for n in range(12):
        Queue(tmp_path).decide(case(tmp_path, f"r{n}"), "accept", actor="ann")
    every = [Webhooks(tmp_path, now=clock) for _ in range(4)]
    threads = [threading.Thread(target=deliver, args=(one,)) for one in every for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert deliver(hooks) == 0
    assert len(receiver.messages) == 12
    assert len({headers["webhook-id"] for headers, _ in receiver.messages}) == 12


def test_redirects_are_not_followed(tmp_path: Path, hooks: Webhooks, receiver: Receiver) -> None:
    hooks.add(receiver.url, private=True)
    Queue(tmp_path).decide(case(tmp_path), "accept", actor="ann")
    receiver.status = 307
    assert deliver(hooks) == 1
    assert hooks.every()[0].error == "answered with status 307"


def test_a_receiver_that_never_ends_its_answer_is_left(
    tmp_path: Path, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOTAL_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hooks.add(f"http://127.0.0.1:{silent.getsockname()[1]}/", private=True)
        Queue(tmp_path).decide(case(tmp_path), "accept", actor="ann")
        assert deliver(hooks) == 1
    assert hooks.every()[0].error == "no answer within 0.3 seconds"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "240.0.0.1", "198.18.0.1", "fec0::1",
        "64:ff9b:1::7f00:1",
    ],
)  # fmt: skip
def test_addresses_inside(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even through a name that leads there, whatever it led to when it was added."""
    assert not is_public(address)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 443))])
    assert "this machine or its networks" in attempt("https://shop.example/x", private=False)


def test_one_address_inside_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", (one, 443)) for one in ("93.184.215.14", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert "this machine or its networks" in attempt("https://shop.example/x", private=False)


def test_plain_http_stays_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = [(2, 1, 6, "", ("93.184.215.14", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: outside)
    assert "plain http" in attempt("http://shop.example/x", private=True)


def attempt(url: str, *, private: bool) -> str:
    delivery = Delivery(
        id="msg_1", webhook="w", url=url, secret="whsec_AAAA", private=private, body="{}", attempts=1
    )  # fmt: skip
    return anyio.run(send, delivery)


def test_the_certificate_must_be_trusted_and_of_the_name_that_was_resolved(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "shop.example")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    receiver.server.socket = served.wrap_socket(receiver.server.socket, server_side=True)
    port = receiver.server.server_port
    here = [(2, 1, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here)
    assert "CERTIFICATE_VERIFY_FAILED" in attempt(f"https://shop.example:{port}/", private=True)
    trusted = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr(module, "_public_authorities", lambda: trusted)
    assert "match" in attempt(f"https://other.example:{port}/", private=True)
    assert not receiver.messages
    assert attempt(f"https://shop.example:{port}/", private=True) == ""
    assert receiver.messages[0][0]["host"] == f"shop.example:{port}"


def certificate(folder: Path, name: str) -> Path:
    """A key and a certificate that is its own authority, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = (
        x509.CertificateBuilder()
        .subject_name(whose)
        .issuer_name(whose)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://shop.example/x", "needs https"),
        ("ftp://shop.example/x", "needs https"),
        ("shop.example/x", "not a valid URL"),
        ("https://", "not a valid URL"),
        ("https://shop.example:99999/", "not a valid URL"),
        ("https://[::1", "not a valid URL"),
        ("https://shop.example/a b", "not a valid URL"),
        ("https://shop.exämple/", "not a valid URL"),
        ("https://shop.example/" + "x" * 2000, "not a valid URL"),
        ("https://ann:secret@shop.example/", "no password"),
        ("https://127.0.0.1/x", "this machine or its networks"),
        ("https://[::1]/x", "this machine or its networks"),
        ("https://169.254.169.254/latest", "this machine or its networks"),
    ],
)
def test_urls_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        check_url(url, private=False)


def test_webhooks_from_the_command_line(
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["synesthete", "catalog", "webhook", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(str(end.code or 0))
        return code, *capsys.readouterr()

    folder = str(tmp_path)
    assert run("add", folder, receiver.url)[0] == 2
    code, printed, _ = run("add", folder, receiver.url, "--private", "--json")
    added = json.loads(printed)
    assert (code, added["secret"][:6]) == (0, "whsec_")
    assert "there already" in run("add", folder, receiver.url, "--private")[2]
    assert added["secret"] not in run("list", folder, "--json")[1]
    assert (tmp_path / "webhooks.sqlite").stat().st_mode & 0o077 == 0
    assert run("test", folder, added["id"])[0] == 0
    assert json.loads(receiver.messages[0][1])["type"] == "test"
    receiver.status = 410
    code, _, error = run("test", folder, receiver.url)
    assert (code, "answered with status 410" in " ".join(error.split())) == (2, True)
    assert run("remove", folder, "nobody")[0] == 2
    assert run("remove", folder, added["id"])[0] == 0
    assert json.loads(run("list", folder, "--json")[1]) == []


KILLED = """
import os, sys
from synesthete.reviews.cases import Queue
from synesthete.catalog.webhooks import Webhooks
hooks, queue = Webhooks(sys.argv[1]), Queue(sys.argv[1])
ticket = queue.add("suggest", {"reference": "r", "proposal": "mug"}, reason="unsure", confidence=0.1)
queue.decide(ticket, "accept", actor="ann")
os.kill(os.getpid(), 9)
"""


def test_a_decision_whose_process_was_killed_at_once_is_sent(
    tmp_path: Path, hooks: Webhooks, receiver: Receiver
) -> None:
    hooks.add(receiver.url, private=True)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert deliver(hooks) == 1
    assert len(receiver.messages) == 1
