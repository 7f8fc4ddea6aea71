"""Images on the web, fetched only where the user asked for it, from hosts that the user named, into a folder of the catalogue.

A table may come from anybody, so its addresses may aim at the user's own network (server-side request forgery). Hence
the addresses of a host are looked up once and checked, and the connection goes to a checked one; redirects pass the same
checks; proxies of the environment are not used. Size and time are limited, and a file is there completely or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore
import httpx

from synesthete._core.json_reader import parse_json
from synesthete._core.user_files import FileInside, UnusableFile, leads_out, read_inside
from synesthete.atlas.files import disk_errors, write_file
from synesthete.catalog.addresses import is_allowed
from synesthete.catalog.schema import Item, Quarantined
from synesthete.errors import SynestheteError

FOLDER = "images"
MAX_BYTES = 32 * 1024 * 1024
SECONDS = 30.0  # for an image with its redirects, and for each silence 10 of them
SILENCE = 10.0
REDIRECTS = 3
AT_ONCE, AHEAD = 8, 64  # images; items
_REMEMBERED = 10_000  # outcomes of a run, since a placeholder may be the image of many items
_REDIRECT = (301, 302, 303, 307, 308)
_LATER = (408, 425, 429, 500, 502, 503, 504)


class RemoteImage(FileInside):
    """The place of an image on the web in the folder that it is fetched into.

    Attributes
    ----------
    url
        Where it is fetched from.
    """

    url: str


class NotFetched(Exception):
    """Why an image was not fetched, in one line; `later` where another attempt may succeed."""

    def __init__(self, reason: str, *, later: bool = False) -> None:
        super().__init__(reason)
        self.later = later


class RemoteImages:
    """Fetches images into a folder.

    Parameters
    ----------
    folder
        Where they are kept, by address; an image that is there is asked for again with its ETag.
    hosts
        The only hosts that are connected to: `cdn.example.com`, `*.example.com`, or with a port `localhost:8443`.
    allow_http
        Whether unencrypted connections are allowed.
    allow_private
        Whether addresses of private networks and of this machine are allowed; link-local ones, where clouds have their
        credentials, never are.
    tls
        Certificates to trust; without it those of `SSL_CERT_FILE`, or certifi's.

    Attributes
    ----------
    transferred
        Images that were transferred, as against those that had not changed.
    later
        Images that could not be fetched for a reason that may pass.

    Raises
    ------
    SynestheteError
        No host, or one that is not valid.
    """

    def __init__(
        self,
        folder: Path,
        hosts: Iterable[str],
        *,
        allow_http: bool = False,
        allow_private: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.folder = folder
        self.hosts = frozenset(host.strip().rstrip(".").lower() for host in hosts) - {""}
        if not self.hosts:
            hint = "name those that images may be fetched from: --image-hosts cdn.example.com"
            raise SynestheteError("no hosts of images", hint=hint)
        if wrong := sorted(
            host for host in self.hosts if "/" in host or "@" in host or host == "*"
        ):
            raise SynestheteError(f"{wrong[0]!r} is not a host", hint="such as cdn.example.com")
        self.allow_http = allow_http
        self.transferred = self.later = 0
        self._lock = threading.Lock()
        self._network = _CheckedNetwork(allow_private)
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=AT_ONCE,
            network_backend=self._network,
        )

    def place(self, url: str) -> RemoteImage | str:
        """Where the image of an address will be, or why it is not fetched."""
        try:
            checked = self._checked(url)
        except NotFetched as refusal:
            return f"{url[:80].partition('?')[0]!r}: {refusal}"
        name = hashlib.sha256(str(checked).encode()).hexdigest()
        image = RemoteImage(self.folder / checked.raw_host.decode("ascii") / name)
        image.folder, image.url = self.folder, str(checked)
        return image

    def fetched(self, items: Iterable[Item | Quarantined]) -> Iterator[Item | Quarantined]:
        """The same items in the same order when their images are there; without those that could not be fetched."""
        waiting: deque[tuple[Item | Quarantined, dict[RemoteImage, Future[str]]]] = deque()
        known: dict[RemoteImage, Future[str]] = {}
        workers = ThreadPoolExecutor(AT_ONCE, "images")
        try:
            for item in items:
                images = [] if isinstance(item, Quarantined) else item.images
                wanted = [one for one in images if isinstance(one, RemoteImage)]
                if len(known) > _REMEMBERED:
                    known.clear()
                for image in wanted:
                    if image not in known:
                        known[image] = workers.submit(self._outcome, image)
                waiting.append((item, {image: known[image] for image in wanted}))
                if len(waiting) > AHEAD:
                    yield from _settled(*waiting.popleft())
            while waiting:
                yield from _settled(*waiting.popleft())
        finally:
            workers.shutdown(cancel_futures=True)
            self._pool.close()

    def _outcome(self, image: RemoteImage) -> str:
        """Empty when the image is in its place; else why not."""
        try:
            changed = self._fetch(image)
        except NotFetched as refusal:
            with self._lock:
                self.later += refusal.later
            return str(refusal)
        with self._lock:
            self.transferred += changed
        return ""

    def _fetch(self, image: RemoteImage) -> bool:
        """Bring an image into its place; returns whether it was transferred.

        Raises
        ------
        NotFetched
            It is not there, or not allowed; where the host does not answer, an earlier copy does.
        """
        self._network.start(SECONDS)
        facts = _kept(image)
        try:
            return self._follow(image, facts)
        except NotFetched as refusal:
            if refusal.later and facts:
                return False
            raise
        except (httpcore.TimeoutException, _TooSlow):
            problem = NotFetched(f"no image within {SECONDS:.0f} seconds", later=True)
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            problem = NotFetched(reason, later=True)
        if facts:
            return False
        raise problem

    def _follow(self, image: RemoteImage, facts: dict[str, str]) -> bool:
        url = self._checked(image.url)
        for _ in range(REDIRECTS + 1):
            headers = [
                ("Accept", "image/*"),
                ("Accept-Encoding", "identity"),
                ("User-Agent", "synesthete"),
                *((name, facts[key]) for name, key in _CONDITIONS if facts.get(key)),
            ]
            limits = dict.fromkeys(("connect", "read", "write", "pool"), SILENCE)
            with self._pool.stream(
                "GET", str(url), headers=headers, extensions={"timeout": limits}
            ) as response:
                sent = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
                if response.status in _REDIRECT and "location" in sent:
                    url = self._checked(sent["location"], base=url)
                    continue
                if response.status == 304 and facts:
                    return False
                if response.status != 200:
                    reason = f"the host answers with status {response.status}"
                    raise NotFetched(reason, later=response.status in _LATER)
                _keep(image, response, sent)
                return True
        raise NotFetched(f"more than {REDIRECTS} redirects")

    def _checked(self, address: str, base: httpx.URL | None = None) -> httpx.URL:
        """The address without its fragment; raises `NotFetched` where it may not be fetched."""
        try:
            url = (base.join(address) if base else httpx.URL(address)).copy_with(fragment=None)
            host = url.raw_host.decode("ascii").rstrip(".")
            port = url.port
        except (httpx.InvalidURL, ValueError, UnicodeError):
            raise NotFetched("not a valid address") from None
        schemes = ("https", "http") if self.allow_http else ("https",)
        if url.scheme not in schemes:
            hint = " (--allow-http allows http)" if url.scheme == "http" else ""
            raise NotFetched(f"{url.scheme}: is not fetched, only {' and '.join(schemes)}{hint}")
        if url.userinfo:
            raise NotFetched("an address with a user name")
        name = host if port is None else f"{host}:{port}"
        _, _, domain = name.partition(".")
        if name not in self.hosts and f"*.{domain}" not in self.hosts:
            raise NotFetched(f"'{name}' is not among the hosts of images (--image-hosts)")
        return url


_CONDITIONS = (("If-None-Match", "etag"), ("If-Modified-Since", "last_modified"))


def _settled(
    item: Item | Quarantined, images: dict[RemoteImage, Future[str]]
) -> Iterator[Item | Quarantined]:
    """An item without the images that could not be fetched, after these."""
    if isinstance(item, Quarantined) or not images:
        yield item
        return
    refused = {image: reason for image, one in images.items() if (reason := one.result())}
    for image, reason in refused.items():
        yield Quarantined(item.id, _shown(image.url), reason)
    yield replace(item, images=tuple(one for one in item.images if one not in refused))


def _kept(image: RemoteImage) -> dict[str, str]:
    """What is known of an image that is in its place; empty where there is none, or it is damaged."""
    if _leads_out(image):
        return {}
    try:
        facts = parse_json(read_inside(image.folder, _facts(image)).decode(), "facts")
        data = read_inside(image.folder, Path(image), max_bytes=MAX_BYTES)
    except (UnusableFile, SynestheteError, UnicodeDecodeError):
        return {}
    sound = isinstance(facts, dict) and all(isinstance(one, str) for one in facts.values())
    if not sound or facts.get("sha256") != hashlib.sha256(data).hexdigest():
        return {}
    return dict(facts)


def _keep(image: RemoteImage, response: httpcore.Response, sent: dict[str, str]) -> None:
    """Write a response into the image's place when it is complete."""
    if sent.get("content-encoding", "identity") != "identity":
        raise NotFetched("compressed, which was not asked for")
    length = sent.get("content-length", "")
    if not length.isdecimal() and sent.get("transfer-encoding", "").lower() != "chunked":
        raise NotFetched("the host does not say how long it is")
    if length.isdecimal() and int(length) > MAX_BYTES:
        raise NotFetched(f"larger than {MAX_BYTES >> 20} MiB")
    place, digest, size = Path(image), hashlib.sha256(), 0
    with disk_errors(place):
        if _leads_out(image):
            raise NotFetched(f"{place.parent} is a link that leads out of the catalogue")
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".part", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in response.iter_stream():
                    size += len(piece)
                    if size > MAX_BYTES:
                        raise NotFetched(f"larger than {MAX_BYTES >> 20} MiB")
                    digest.update(piece)
                    file.write(piece)
            _facts(image).unlink(missing_ok=True)
            Path(temporary).replace(place)
        finally:
            Path(temporary).unlink(missing_ok=True)
    facts = {"url": image.url, "sha256": digest.hexdigest()}
    facts["etag"] = sent.get("etag", "")
    facts["last_modified"] = sent.get("last-modified", "")
    write_file(_facts(image), json.dumps(facts, indent=1).encode(), sync=False)


def _leads_out(image: RemoteImage) -> bool:
    """Whether the images' folder leads out of the catalogue, or a host's out of that."""
    return leads_out(image.folder.parent, image.folder) or leads_out(image.folder, image.parent)


def _facts(image: RemoteImage) -> Path:
    return Path(image.folder, image.parent.name, f"{image.name}.json")


def _shown(url: str) -> str:
    """An address for messages: without its query, which may be a signature."""
    return url.partition("?")[0][:200]


class _TooSlow(Exception):
    """The time for an image is over."""


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connections to addresses that were checked, each until a time that its thread was given."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets = httpcore.SyncBackend()
        self._until = threading.local()

    def start(self, seconds: float) -> None:
        """Give this thread's next requests so many seconds together."""
        self._until.time = time.monotonic() + seconds

    def left(self, timeout: float | None) -> float:
        """Seconds that a step may take; raises `_TooSlow` when none are left."""
        seconds: float = self._until.time - time.monotonic()
        if seconds <= 0:
            raise _TooSlow
        return min(seconds, timeout or seconds)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of a host's addresses that are allowed."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a valid name"
            later = getattr(error, "errno", None) == socket.EAI_AGAIN
            raise NotFetched(f"'{host}': {reason}", later=later) from None
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        allowed = [one for one in addresses if is_allowed(one, private=self._allow_private)]
        if not allowed:
            reason = f"'{host}' is at {addresses[0]}, not an address on the public internet"
            raise NotFetched(f"{reason} (--allow-private allows private networks)")
        for address in allowed[:-1]:
            with contextlib.suppress(httpcore.ConnectError):
                return self._connected(address, port, timeout)
        return self._connected(allowed[-1], port, timeout)

    def _connected(self, address: str, port: int, timeout: float | None) -> _TimedStream:
        return _TimedStream(self._sockets.connect_tcp(address, port, self.left(timeout)), self)


class _TimedStream(httpcore.NetworkStream):
    """A connection on which no step takes longer than its thread's image may."""

    def __init__(self, stream: httpcore.NetworkStream, network: _CheckedNetwork) -> None:
        self._stream, self._network = stream, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As the stream's."""
        return self._stream.read(max_bytes, self._network.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As the stream's."""
        self._stream.write(buffer, self._network.left(timeout))

    def close(self) -> None:
        """As the stream's."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """As the stream's; the certificate must be the host's, whatever its address."""
        left = self._network.left(timeout)
        return _TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, left), self._network
        )

    def get_extra_info(self, info: str) -> Any:
        """As the stream's."""
        return self._stream.get_extra_info(info)
