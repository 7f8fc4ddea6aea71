"""Files and folders by URL: listed, read in parts, and written in one conditional step each; protocols by an allow-list.

Object stores (`s3`, `gs`) through obstore, `https` through httpx, `hf` through huggingface_hub. What is secret comes from the environment, or
from the query of a signed https URL; neither is ever part of a message.
"""

from __future__ import annotations

import contextlib
import functools
import io
import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from synesthete.errors import SynestheteError

READABLE = ("s3", "gs", "hf", "https")
WRITABLE = ("s3", "gs")
ENVIRONMENT = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (or AWS_ENDPOINT_URL)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "HF_TOKEN",
}
BLOCK = 4 * 1024 * 1024
TRIES = 4
PAUSE = 0.25  # seconds, doubled after each try
SILENCE = 30.0
LONG = "6h"  # for one large upload: the client's limit of silence counts from its start, too
REDIRECTS = 5
_LATER = (408, 425, 429, 500, 502, 503, 504)
_REDIRECT = (301, 302, 303, 307, 308)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")

Content: TypeAlias = bytes | memoryview | BinaryIO

Result = TypeVar("Result")


class Unreachable(SynestheteError):
    """A file elsewhere that cannot be read or written now, or is another than it was; never a fault of one image."""


class NotThere(Unreachable):
    """There is no such file."""


def is_url(text: object) -> bool:
    """Whether a text is meant as a URL rather than a path.

    Examples
    --------
    >>> is_url("s3://bucket/x"), is_url("photos/a:b")
    (True, False)
    """
    return isinstance(text, str) and "://" in text


def check_url(url: str, *, schemes: tuple[str, ...] = READABLE) -> str:
    """The URL, without a slash at its end, if it is of an allowed kind and has no secret in it.

    Raises
    ------
    SynestheteError
        Another protocol, chained URLs (`::`), a password, a query anywhere but in https.

    Examples
    --------
    >>> check_url("s3://bucket/x.atlas/")
    's3://bucket/x.atlas'
    """
    try:
        parts = urlsplit(url)
        host, secret = (
            parts.hostname or "",
            parts.username is not None
            or parts.password is not None
            or ("@" in url and _has_strange_port(url)),
        )
        clean = url.isprintable() and "\\" not in url and "::" not in url.replace("[::1]", "")
    except ValueError:
        parts, host, secret, clean = urlsplit(""), "", False, False
    local = parts.scheme == "http" and host in _LOOPBACK and "https" in schemes
    if secret or parts.fragment or (parts.query and parts.scheme not in ("https", "http")):
        raise SynestheteError(
            f"{shown(url)}: the URL holds more than a place",
            hint=f"give what is secret in the environment: {ENVIRONMENT.get(parts.scheme, 'no URL takes a password')}",
        )
    if not clean or not parts.netloc or not (parts.scheme in schemes or local):
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise SynestheteError(f"{shown(url)!r} is not a URL of a kind that is used here ({known})")
    if any(part in (".", "..") for part in unquote(parts.path).split("/")):
        raise SynestheteError(f"{shown(url)}: '.' and '..' have no meaning in a URL")
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{rest if parts.query else rest.rstrip('/')}"


def shown(url: str) -> str:
    """A URL for messages: without user, password, query and fragment.

    Examples
    --------
    >>> shown("https://me:secret@host/a.tar?token=secret#x")
    'https://host/a.tar'
    """
    scheme, colon, rest = url.partition("://")
    if _has_strange_port(url):  # a password with a slash in it
        return f"{scheme}{colon}…"[:300]
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return f"{scheme}{colon}{host.rpartition('@')[2]}{slash}{path}"[:300]


def _has_strange_port(url: str) -> bool:
    """Whether what is behind the colon of the host is no number, or one that a path with an `@` follows."""
    host, _, path = re.split(r"[?#]", url.partition("://")[2], maxsplit=1)[0].partition("/")
    _, colon, port = re.sub(r"\[.*\]", "", host.rpartition("@")[2]).partition(":")
    local = url.startswith("http://") and host.partition(":")[0] in _LOOPBACK
    return bool(colon) and (not re.fullmatch("[0-9]{0,5}", port) or ("@" in path and not local))


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file elsewhere as it was when it was found.

    Attributes
    ----------
    url
        Where it is; `str()` gives it without its query.
    size
        Bytes.
    tag
        What tells this content from a later one: the store's ETag. Empty where the store gives none.
    version
        The same, where a store numbers its contents.
    """

    url: str
    size: int
    tag: str
    version: str = ""

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return _path_of(self.url).rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of its name."""
        return PurePosixPath(self.name).suffix

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes `start` to `stop`.

        Raises
        ------
        Unreachable
            After some tries; or the file is another than it was.
        """
        stop = self.size if stop is None else min(stop, self.size)
        if start >= stop:
            return b""
        return _attempt(self.url, lambda: self._part(start, stop))

    def blocks(self) -> Iterator[bytes]:
        """All of it, block by block; errors as for `read`."""
        for start in range(0, self.size, BLOCK):
            yield self.read(start, start + BLOCK)

    def _part(self, start: int, stop: int) -> bytes:
        store, path = _store_of(self.url)
        data = store.part(path, start, stop, self)
        if len(data) != stop - start:
            raise _Again("a download ended early")
        return data

    def open(self, block: int = BLOCK) -> BinaryIO:
        """A file object that reads it in blocks; no more than one is in memory."""
        return io.BufferedReader(_Raw(self), block)


class _Raw(io.RawIOBase):
    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def find_file(url: str) -> RemoteFile:
    """The file at a URL.

    Raises
    ------
    Unreachable
        It cannot be found; `NotThere` where the store says that there is none.
    """
    url = _pinned(check_url(url))
    store, path = _store_of(url)
    size, tag, version = _attempt(url, lambda: store.facts(path))
    return RemoteFile(url=url, size=size, tag=tag, version=version)


def list_files(url: str) -> dict[str, RemoteFile]:
    """Every file under a URL by its name from there on, sorted.

    Raises
    ------
    Unreachable
        It cannot be listed; https never can.
    """
    url = _pinned(check_url(url))
    store, path = _store_of(url)
    found = _attempt(url, lambda: list(store.listed(path)))
    inside = f"{path}/" if path else ""
    return {
        name.removeprefix(inside): RemoteFile(
            url=f"{url}/{name.removeprefix(inside)}", size=size, tag=tag
        )
        for name, size, tag in sorted(found)
        if name.startswith(inside) and not name.endswith("/")
    }


class RemoteFolder:
    """A prefix of an object store that is written to. There are no renames: each file is one request, complete or absent.

    Parameters
    ----------
    url
        `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url, schemes=WRITABLE)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemoteFolder:
        return RemoteFolder(f"{self.url}/{name}")

    def names(self) -> dict[str, RemoteFile]:
        """The files in it, by their names."""
        return list_files(self.url)

    def find(self, name: str) -> RemoteFile | None:
        """A file of it; None where there is none."""
        try:
            return find_file(f"{self.url}/{name}")
        except NotThere:
            return None

    def add(self, name: str, data: Content) -> bool:
        """Write a file that is not there yet (`If-None-Match: *`); whether it was not."""
        return self._put(name, data, "create")

    def put(self, name: str, data: Content, *, instead_of: RemoteFile | None = None) -> bool:
        """Write a file, in place of an earlier one; where that is another than `instead_of`, do nothing and return False."""
        if instead_of is None:
            return self._put(name, data, "overwrite")
        found = {"e_tag": instead_of.tag, "version": instead_of.version}
        return self._put(name, data, {key: value for key, value in found.items() if value})

    def remove(self, names: list[str]) -> None:
        """Delete files."""
        store, path = _store_of(self.url)
        assert isinstance(store, _ObjectStore)
        for start in range(0, len(names), 500):
            batch = [f"{path}/{name}" for name in names[start : start + 500]]
            _attempt(self.url, functools.partial(store.delete, batch))

    def _put(self, name: str, data: Content, mode: Any) -> bool:
        store, path = _store_of(f"{self.url}/{name}")
        assert isinstance(store, _ObjectStore)
        return _attempt(f"{self.url}/{name}", lambda: store.put(path, data, mode))


class _Again(Exception):
    """What may succeed at another try."""


class _Store(Protocol):
    def facts(self, path: str) -> tuple[int, str, str]: ...

    def listed(self, path: str) -> Iterator[tuple[str, int, str]]: ...

    def part(self, path: str, start: int, stop: int, file: RemoteFile) -> bytes: ...


def _attempt(url: str, action: Callable[[], Result]) -> Result:
    pause = PAUSE
    for left in range(TRIES - 1, -1, -1):
        try:
            return action()
        except _Again as error:
            if not left:
                raise Unreachable(
                    f"{shown(url)}: {error}, {TRIES} times", hint="run the same command again later"
                ) from None
            time.sleep(pause)
            pause *= 2
    raise AssertionError


def _changed(file: RemoteFile) -> Unreachable:
    return Unreachable(
        f"{file} was changed while it was read", hint="start again when nobody writes there"
    )


def _store_of(url: str) -> tuple[_Store, str]:
    """The store of a URL, and the path in it."""
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if scheme in WRITABLE:
        return _object_store(scheme, bucket, os.environ.get("AWS_ENDPOINT_URL", "")), path
    return (_Hub(), rest) if scheme == "hf" else (_Web(), url)


def _path_of(url: str) -> str:
    """The path of a URL; names of objects are literal, and may hold what is special elsewhere."""
    scheme, _, rest = url.partition("://")
    return unquote(urlsplit(url).path) if scheme in ("https", "http") else rest.partition("/")[2]


def _pinned(url: str) -> str:
    """Of a Hugging Face URL the one with the commit in place of the branch: its files cannot change."""
    return _Hub().pinned(url.removeprefix("hf://")) if url.startswith("hf://") else url


@functools.cache
def _object_store(scheme: str, bucket: str, endpoint: str) -> _ObjectStore:
    del endpoint  # part of the key: the environment may name another one later
    return _ObjectStore(scheme, bucket)


class _ObjectStore:
    def __init__(self, scheme: str, bucket: str) -> None:
        try:
            from obstore.store import GCSStore, S3Store
        except ImportError:
            raise SynestheteError(
                f"{scheme}:// needs the package obstore", hint="pip install 'synesthete[remote]'"
            ) from None
        settings: Any = {
            "retry_config": {"max_retries": TRIES - 1},
            "client_options": {"timeout": "120s", "connect_timeout": "10s"},
        }
        if scheme == "s3" and os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
            settings["client_options"]["allow_http"] = True
        self._scheme, self._bucket = scheme, bucket
        kind: Any = S3Store if scheme == "s3" else GCSStore
        self._store = kind(bucket, **settings)
        patient = {**settings["client_options"], "timeout": LONG}
        self._patient = kind(bucket, **settings | {"client_options": patient})

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise NotThere(f"there is no {what}") from None
        except BaseError as error:
            # Its message may quote a response; its first line has neither query nor key.
            line = shown(str(error).partition("\n")[0].partition(": <")[0])
            raise Unreachable(
                f"{what}: {line[:200]}",
                hint=f"does the environment say how to reach it: {ENVIRONMENT[self._scheme]}",
            ) from None

    def _url(self, path: str) -> str:
        return f"{self._scheme}://{self._bucket}/{path}"

    def facts(self, path: str) -> tuple[int, str, str]:
        import obstore

        with self._errors(self._url(path)):
            found = obstore.head(self._store, path)
        return found["size"], found["e_tag"] or "", found["version"] or ""

    def listed(self, path: str) -> Iterator[tuple[str, int, str]]:
        import obstore

        with self._errors(self._url(path)):
            for chunk in obstore.list(self._store, path or None):
                for one in chunk:
                    yield one["path"], one["size"], one["e_tag"] or ""

    def part(self, path: str, start: int, stop: int, file: RemoteFile) -> bytes:
        import obstore
        from obstore.exceptions import PreconditionError

        options: Any = {"range": (start, stop)} | ({"if_match": file.tag} if file.tag else {})
        try:
            with self._errors(self._url(path)):
                try:
                    return bytes(obstore.get(self._store, path, options=options).bytes())
                except PreconditionError:
                    raise _changed(file) from None
        except NotThere:
            raise _changed(file) from None

    def put(self, path: str, data: Content, mode: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._errors(self._url(path)):
            try:
                # A condition is checked in one step only where there is one request.
                parts = None if mode == "overwrite" else False
                store = self._store if _size(data) <= BLOCK else self._patient
                obstore.put(store, path, data, mode=mode, use_multipart=parts)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def delete(self, paths: list[str]) -> None:
        import obstore

        with self._errors(self._url(paths[0])), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, paths)


def _size(data: Content) -> int:
    if isinstance(data, bytes | memoryview):
        return len(data)
    at = data.tell()
    end = data.seek(0, io.SEEK_END)
    data.seek(at)
    return end - at


class _Web:
    """https, by parts of a file; redirects stay on https."""

    def facts(self, path: str) -> tuple[int, str, str]:
        # Not HEAD, which signed URLs refuse.
        with self._get(path, 0, 1) as (size, tag, _):
            return size, tag, ""

    def listed(self, path: str) -> Iterator[tuple[str, int, str]]:
        raise Unreachable(
            f"{shown(path)}: a folder cannot be listed over https",
            hint="name its files, such as https://host/{000..009}.tar",
        )

    def part(self, path: str, start: int, stop: int, file: RemoteFile) -> bytes:
        with self._get(path, start, stop) as (size, tag, pieces):
            if (size, tag) != (file.size, file.tag):
                raise _changed(file)
            data = bytearray()
            for piece in pieces:
                data += piece
                if len(data) > stop - start:
                    break
        return bytes(data[: stop - start])

    @contextlib.contextmanager
    def _get(self, url: str, start: int, stop: int) -> Iterator[tuple[int, str, Iterator[bytes]]]:
        import httpx

        client = _client()
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        what = shown(url)
        try:
            for _ in range(REDIRECTS + 1):
                with client.stream("GET", url, headers=headers) as answer:
                    if answer.status_code in _REDIRECT:
                        target = urljoin(url, answer.headers.get("Location", ""))
                        url = _checked_redirect(url, target)
                        continue
                    if answer.status_code in _LATER:
                        raise _Again(f"the server answers {answer.status_code}")
                    if answer.status_code in (404, 410):
                        raise NotThere(f"there is no {what}")
                    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                    if answer.status_code == 206 and found and int(found[1]) == start:
                        yield int(found[3]), _tag(answer.headers), answer.iter_raw()
                        return
                    if answer.status_code == 200:
                        raise Unreachable(
                            f"{what}: the server does not send parts of a file", hint="download it"
                        )
                    raise Unreachable(f"{what}: the server answers {answer.status_code}")
            raise Unreachable(f"{what}: more than {REDIRECTS} redirects")
        except httpx.TransportError as error:
            raise _Again(f"no connection ({type(error).__name__})") from None
        except (httpx.InvalidURL, ValueError):  # of where a redirect leads, too
            raise Unreachable(f"{what} is not a valid URL") from None


def _checked_redirect(url: str, target: str) -> str:
    """Where a redirect leads. It is as little trusted as a URL, may carry a signature of its own, and leads to this machine only from it."""
    target = check_url(target, schemes=("https",))
    here, there = urlsplit(url), urlsplit(target)
    elsewhere = there.hostname != here.hostname and _is_private(there.hostname or "")
    if here.scheme == "https" and (there.scheme != "https" or elsewhere):
        raise Unreachable(f"{shown(url)}: it redirects to {shown(target)}, which is not followed")
    return target


def _is_private(host: str) -> bool:
    """Whether a host is named as an address that is not of the internet, or as this machine."""
    host = host.rstrip(".")
    with contextlib.suppress(OSError, UnicodeError):  # an address in fewer parts, or as one number
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _tag(headers: Mapping[str, str]) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


@functools.cache
def _client() -> Any:
    import httpx

    return httpx.Client(timeout=SILENCE, follow_redirects=False)


class _Hub:
    """Data sets of Hugging Face, at one commit: `ORG/NAME@COMMIT/PATH` after `datasets/`."""

    def __init__(self) -> None:
        from huggingface_hub import HfFileSystem

        self._files: Any = HfFileSystem()

    def pinned(self, path: str) -> str:
        from huggingface_hub import HfApi

        with self._errors(path):
            place = self._files.resolve_path(path)
            about = HfApi().repo_info(
                place.repo_id, repo_type=place.repo_type, revision=place.revision
            )
        kind = "" if place.repo_type == "model" else f"{place.repo_type}s/"
        inside = f"/{place.path_in_repo}" if place.path_in_repo else ""
        return f"hf://{kind}{place.repo_id}@{about.sha}{inside}"

    def facts(self, path: str) -> tuple[int, str, str]:
        with self._errors(path):
            found = self._files.info(path)
        if found["type"] != "file":
            raise NotThere(f"there is no file hf://{path}")
        return found["size"], str(found.get("blob_id", "")), ""

    def listed(self, path: str) -> Iterator[tuple[str, int, str]]:
        with self._errors(path):
            found = self._files.find(path, detail=True)
        repository, _, place = path.partition("@")
        root = f"{repository}@{place.partition('/')[0]}"
        for name, one in found.items():
            inside = name.partition("@")[2].partition("/")[2]
            yield f"{root}/{inside}", one["size"], str(one.get("blob_id", ""))

    def part(self, path: str, start: int, stop: int, file: RemoteFile) -> bytes:
        del file  # at a commit, whose files do not change
        with self._errors(path):
            return bytes(self._files.cat_file(path, start=start, end=stop))

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        import httpx
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        what = f"hf://{path}"
        try:
            yield
        except FileNotFoundError:
            raise NotThere(f"there is no {what}") from None
        except OfflineModeIsEnabled:
            raise Unreachable(f"{what}: HF_HUB_OFFLINE is set") from None
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", 0)
            if status in _LATER:
                raise _Again(f"the hub answers {status}") from None
            raise Unreachable(f"{what}: the hub answers {status}", hint="HF_TOKEN?") from None
        except (httpx.TransportError, OSError) as error:
            raise _Again(f"no connection ({type(error).__name__})") from None
        except ValueError as error:
            raise Unreachable(f"{what}: {str(error)[:200]}") from None
