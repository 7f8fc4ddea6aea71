"""Webhooks: a signed message to another program for every decision on a case, at least once.

The messages follow from the log of decisions: each webhook remembers up to where it has read it, so a decision writes nothing more
and waits for nobody, and a message lost to a kill is written again. Signatures are those of Standard Webhooks
(https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import ipaddress
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpcore

from synesthete._core.sqlite import AppendOnly
from synesthete.catalog.addresses import is_public
from synesthete.errors import SynestheteError, near
from synesthete.reviews.acts import CASES, Act
from synesthete.reviews.cases import Case, Queue

FILE = "webhooks.sqlite"
PREFIX = "whsec_"
EVENT, TEST = "decision", "test"
MOST, LONGEST_URL = 20, 2000
# After each attempt that failed, seconds until the next; after the last a message is given up.
BACKOFF = (30, 120, 600, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
KEPT_SECONDS = 30 * 24 * 3600  # how long a message that was given up is shown
TOTAL_SECONDS, LEASE_SECONDS = 10.0, 60.0
AT_ONCE, LOOK_SECONDS, TROUBLE_SECONDS = 8, 1.0, 10.0
_UNREACHABLE = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)
_SCHEMA = (
    "CREATE TABLE webhooks (id TEXT PRIMARY KEY, url TEXT NOT NULL UNIQUE, secret TEXT NOT NULL, private INTEGER NOT NULL,"
    " place INTEGER NOT NULL, created TEXT NOT NULL, delivered INTEGER NOT NULL, error TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE deliveries (id TEXT PRIMARY KEY, webhook TEXT NOT NULL, body TEXT NOT NULL, attempts INTEGER NOT NULL,"
    " due REAL NOT NULL, failed INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX deliveries_by_due ON deliveries (failed, due)",
)
_CLAIM = (
    "UPDATE deliveries SET attempts = attempts + 1, due = :now + :lease WHERE id IN"
    " (SELECT id FROM deliveries WHERE failed = 0 AND due <= :now ORDER BY due LIMIT :most)"
    " RETURNING id, webhook, body, attempts"
)


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where decisions are sent.

    Attributes
    ----------
    id
        Its name.
    url
        Where to.
    private
        Whether the address may be of this machine or its networks, and the URL plain HTTP then.
    created
        When, UTC.
    delivered
        Messages that arrived.
    waiting, failed
        Messages that are sent again later, and that were given up.
    error
        Of the last attempt; empty when it succeeded.
    """

    id: str
    url: str
    private: bool
    created: str
    delivered: int
    waiting: int
    failed: int
    error: str


@dataclass(frozen=True)
class Counts:
    """Messages of all webhooks that are sent again later, and that were given up."""

    waiting: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message to one webhook, to be sent now.

    Attributes
    ----------
    id
        The same at every attempt.
    webhook
        Its id.
    url, secret, private
        Of the webhook.
    body
        JSON.
    attempts
        Including this one.
    """

    id: str
    webhook: str
    url: str
    secret: str
    private: bool
    body: str
    attempts: int


class Webhooks:
    """The webhooks of a catalogue and the messages that are to be sent.

    Parameters
    ----------
    folder
        The catalogue's.
    now
        Seconds since 1970, as they go on while no server runs.

    Examples
    --------
    >>> import tempfile
    >>> webhooks = Webhooks(tempfile.mkdtemp())
    >>> webhook, secret = webhooks.add("https://shop.example/decisions")
    >>> webhook.url, secret.startswith("whsec_")
    ('https://shop.example/decisions', True)
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], float] = time.time) -> None:
        self._file = AppendOnly(Path(folder) / FILE, _SCHEMA, tables=())
        self._queue = Queue(folder)
        self._now = now

    def add(self, url: str, *, private: bool = False) -> tuple[Webhook, str]:
        """Send decisions from now on to a URL; returns the webhook and the secret that messages are signed with.

        Parameters
        ----------
        private
            Whether its address may be of this machine or its networks, and the URL plain HTTP then.

        Raises
        ------
        SynestheteError
            Not a URL of HTTPS; one that is there already; too many.
        """
        check_url(url, private=private)
        entries = self._queue.trail.entries()
        secret = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        created = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds")
        row = (
            secrets.token_hex(4),
            url,
            secret,
            private,
            entries[-1][0] if entries else 0,
            created,
        )
        with self._file.writing() as connection:
            urls = [one for (one,) in connection.execute("SELECT url FROM webhooks")]
            if url in urls:
                raise SynestheteError("a webhook with that URL is there already")
            if len(urls) >= MOST:
                raise SynestheteError(f"there are {MOST} webhooks already", hint="remove one")
            connection.execute("INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?, 0, '')", row)
        return self.find(row[0]), secret

    def remove(self, name: str) -> None:
        """Send nothing more to a webhook, given by its id or URL; what waits for it is dropped.

        Raises
        ------
        SynestheteError
            No such webhook.
        """
        id = self.find(name).id
        with self._file.writing() as connection:
            connection.execute("DELETE FROM deliveries WHERE webhook = ?", (id,))
            connection.execute("DELETE FROM webhooks WHERE id = ?", (id,))

    def every(self) -> list[Webhook]:
        """All webhooks, the oldest first."""
        query = (
            "SELECT id, url, private, created, delivered, error,"
            " (SELECT count(*) FROM deliveries WHERE webhook = webhooks.id AND failed = 0),"
            " (SELECT count(*) FROM deliveries WHERE webhook = webhooks.id AND failed = 1)"
            " FROM webhooks ORDER BY created, id"
        )
        with self._file.reading() as connection:
            rows = connection.execute(query).fetchall() if connection else []
        return [
            Webhook(
                id=id, url=url, private=bool(private), created=created, delivered=delivered,
                error=error, waiting=waiting, failed=failed,
            )
            for id, url, private, created, delivered, error, waiting, failed in rows
        ]  # fmt: skip

    def find(self, name: str) -> Webhook:
        """A webhook by its id or URL.

        Raises
        ------
        SynestheteError
            No such webhook.
        """
        every = self.every()
        for one in every:
            if name in (one.id, one.url):
                return one
        hint = near(name, [one.id for one in every] + [one.url for one in every])
        raise SynestheteError(f"there is no webhook {name[:80]!r}", hint=hint)

    def counts(self) -> Counts:
        """How many messages wait and were given up."""
        query = "SELECT count(*) FILTER (WHERE failed = 0), count(*) FILTER (WHERE failed = 1) FROM deliveries"
        with self._file.reading() as connection:
            return Counts(*connection.execute(query).fetchone()) if connection else Counts(0, 0)

    def collect(self) -> None:
        """Write the messages about decisions that came since the last time, and forget old ones that were given up."""
        now = self._now()
        oldest = (now - KEPT_SECONDS,)
        query = "SELECT 1 FROM deliveries WHERE failed = 1 AND due < ? LIMIT 1"
        with self._file.reading() as connection:
            if not connection:
                return
            places = connection.execute("SELECT place FROM webhooks").fetchall()
            old = connection.execute(query, oldest).fetchone()
        if old:
            with self._file.writing() as connection:
                connection.execute("DELETE FROM deliveries WHERE failed = 1 AND due < ?", oldest)
        new = self._queue.trail.entries(after=min(places)[0]) if places else []
        if not new:
            return
        with self._file.writing() as connection:
            # Here, so that a case is forgotten either before, and raises, or after, and its messages are removed.
            messages = [
                (place, act.id, self._message(place, act))
                for place, _, act in new
                if act.kind in CASES.verdicts
            ]
            for id, place in connection.execute("SELECT id, place FROM webhooks").fetchall():
                rows = [(_name(id, act), id, body, now) for at, act, body in messages if at > place]
                insert = "INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, 0, ?, 0)"
                connection.executemany(insert, rows)
            connection.execute("UPDATE webhooks SET place = max(place, ?)", (new[-1][0],))

    def forget(self) -> int:
        """Remove the messages about cases that the queue has no more; returns how many.

        Raises
        ------
        SynestheteError
            The file cannot be written, or not be compacted while others read it.
        """
        with self._file.reading() as connection:
            if not connection:
                return 0
        ticket, count = "json_extract(body, '$.data.ticket')", 0
        with self._file.forgetting() as connection:
            of = {one for (one,) in connection.execute(f"SELECT {ticket} FROM deliveries")}
            for gone in of - {case.ticket for case in self._queue.cases()}:
                remove = f"DELETE FROM deliveries WHERE {ticket} = ?"
                count += connection.execute(remove, (gone,)).rowcount
        self._file.compact()
        return count

    def claim(self, most: int = AT_ONCE) -> list[Delivery]:
        """Messages that are due, for this process to send; whose process is killed meanwhile, they are due again."""
        now = self._now()
        query = "SELECT 1 FROM deliveries WHERE failed = 0 AND due <= ? LIMIT 1"
        with self._file.reading() as connection:
            if not (connection and connection.execute(query, (now,)).fetchone()):
                return []
        given = {"now": now, "lease": LEASE_SECONDS, "most": most}
        with self._file.writing() as connection:
            claimed = connection.execute(_CLAIM, given).fetchall()
            webhooks = {
                id: (url, secret, bool(private))
                for id, url, secret, private in connection.execute(
                    "SELECT id, url, secret, private FROM webhooks"
                )
            }
        return [_delivery(row, *webhooks[row[1]]) for row in claimed]

    def settle(self, delivery: Delivery, error: str) -> None:
        """Note how an attempt ended: an empty `error` when the message arrived."""
        forget = "DELETE FROM deliveries WHERE id = ?"
        with self._file.writing() as connection:
            note = "UPDATE webhooks SET delivered = delivered + ?, error = ? WHERE id = ?"
            connection.execute(note, (not error, error, delivery.webhook))
            if not error:
                connection.execute(forget, (delivery.id,))
            else:
                failed = delivery.attempts > len(BACKOFF)
                wait = 0 if failed else BACKOFF[delivery.attempts - 1]
                later = "UPDATE deliveries SET due = ?, failed = ? WHERE id = ?"
                connection.execute(later, (self._now() + wait, failed, delivery.id))

    def test(self, name: str) -> Delivery:
        """A message that says nothing, to be sent now to a webhook.

        Raises
        ------
        SynestheteError
            No such webhook.
        """
        found = self.find(name)
        with self._file.reading() as connection:
            assert connection
            query = "SELECT url, secret, private FROM webhooks WHERE id = ?"
            url, secret, private = connection.execute(query, (found.id,)).fetchone()
        row = (f"msg_{secrets.token_hex(16)}", found.id, _body(TEST, self._now(), {}), 1)
        return _delivery(row, url, secret, bool(private))

    def _message(self, place: int, act: Act) -> str:
        case: Case = self._queue.case(act.address)
        verdict, _ = case.verdict() or (None, "")
        at = datetime.fromisoformat(act.at).timestamp()
        reference = case.payload.get("reference")
        data = {
            "place": place,
            "ticket": act.address,
            "kind": case.kind,
            "reference": reference if isinstance(reference, str) else None,
            "actor": act.rater,
            "decision": act.kind,
            "open": case.open,
            "verdict": verdict,
            "label": case.label(),
        }
        return _body(EVENT, at, data)


def _body(event: str, at: float, data: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    return json.dumps({"type": event, "timestamp": when, "data": data}, ensure_ascii=False)


def _name(webhook: str, act: str) -> str:
    """The id of a message: the same however often it is written, and of no other act, as its place may be after a restore."""
    return f"msg_{hashlib.sha256(f'{webhook} {act}'.encode()).hexdigest()[:32]}"


def _delivery(row: tuple[str, str, str, int], url: str, secret: str, private: bool) -> Delivery:
    id, webhook, body, attempts = row
    return Delivery(
        id=id,
        webhook=webhook,
        url=url,
        secret=secret,
        private=private,
        body=body,
        attempts=attempts,
    )


def check_url(url: str, *, private: bool) -> None:
    """Refuse what no message is sent to.

    Raises
    ------
    SynestheteError
        Not a URL of HTTPS (or of HTTP with `private`), a name and password in it, an address of this machine or its networks.
    """
    hint = "write https://HOST/PATH"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SynestheteError("that is not a valid URL", hint=hint) from None
    if (
        not host
        or len(url) > LONGEST_URL
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise SynestheteError("that is not a valid URL", hint=hint)
    if parts.scheme != "https" and not (parts.scheme == "http" and private):
        raise SynestheteError(f"a webhook needs https, not {parts.scheme[:20]!r}", hint=hint)
    if "@" in parts.netloc or parts.fragment:
        raise SynestheteError("a webhook's URL has no password and no #", hint=hint)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    _check_address(host, private=private, secure=parts.scheme == "https")


def _check_address(address: str, *, private: bool, secure: bool) -> None:
    public = is_public(address)
    if not public and not private:
        raise SynestheteError(
            "the address is of this machine or its networks",
            hint="add it with --private if that is meant",
        )
    if public and not secure:
        raise SynestheteError("plain http to an address on the internet", hint="use https")


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, so that a name cannot lead elsewhere between the check and the connection."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._secure = urlsplit(delivery.url).scheme == "https"
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve the name, check every address, and connect to the first that answers."""
        found = await anyio.getaddrinfo(host, port)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            _check_address(address, private=self._delivery.private, secure=self._secure)
        error: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as last:
                error = last
        raise error


def sign(secret: str, id: str, timestamp: int, body: str) -> str:
    """The signature of a message, as the header `webhook-signature` has it.

    Examples
    --------
    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise SynestheteError("the secret of the webhook is damaged") from None
    signed = hmac.digest(key, f"{id}.{timestamp}.{body}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


async def send(delivery: Delivery) -> str:
    """Send a message; returns what went wrong, in one line, and nothing when it arrived.

    It arrived when the status is 2xx. Redirects are not followed, the body of the response is not read, and all of it takes at
    most ten seconds.
    """
    timestamp = int(time.time())
    headers: dict[bytes | str, bytes | str] = {
        "Content-Type": "application/json",
        "User-Agent": "synesthete-webhooks",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(delivery.secret, delivery.id, timestamp, delivery.body),
    }
    pool = httpcore.AsyncConnectionPool(
        ssl_context=_public_authorities(), network_backend=_Checked(delivery)
    )
    try:
        with anyio.fail_after(TOTAL_SECONDS):
            async with (
                pool,
                pool.stream(
                    "POST", delivery.url, headers=headers, content=delivery.body.encode()
                ) as response,
            ):
                status = response.status
    except SynestheteError as error:
        return error.message
    except TimeoutError:
        return f"no answer within {TOTAL_SECONDS:g} seconds"
    except (*_UNREACHABLE, OSError, UnicodeError) as error:
        return f"cannot be reached: {str(error)[:200] or type(error).__name__}"
    return "" if 200 <= status < 300 else f"answered with status {status}"


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


class Sender:
    """Sends what is due, in a thread of its own, for as long as a server runs. Several processes may do so at once.

    Parameters
    ----------
    webhooks
        Of the catalogue.
    report
        Where one line goes when the catalogue's files cannot be read.
    """

    def __init__(self, webhooks: Webhooks, report: Callable[[str], None]) -> None:
        self._webhooks, self._report = webhooks, report
        self._complaint = ""

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(
            target=anyio.run, args=(self._go_on,), name="webhooks", daemon=True
        ).start()

    async def run_once(self) -> int:
        """Send what is due now; returns how many messages that were."""
        self._webhooks.collect()
        claimed = self._webhooks.claim()
        async with anyio.create_task_group() as group:
            for delivery in claimed:
                group.start_soon(self._send, delivery)
        return len(claimed)

    async def _send(self, delivery: Delivery) -> None:
        self._webhooks.settle(delivery, await send(delivery))

    async def _go_on(self) -> None:
        while True:
            wait = LOOK_SECONDS
            try:
                if await self.run_once():
                    wait = 0.0
            except* SynestheteError as trouble:
                wait = TROUBLE_SECONDS
                self._complain(str(trouble.exceptions[0]))
            else:
                self._complaint = ""
            await anyio.sleep(wait)

    def _complain(self, message: str) -> None:
        """Say what holds the messages up, once for as long as it does."""
        if message != self._complaint:
            self._report(f"webhooks wait: {message}")
        self._complaint = message
