"""Probe sets by URL: tars, Parquet and folders of an S3 server, tars and Parquet of a web server that is slow, broken or redirects."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete._core import remote_files
from synesthete._core.remote_files import (
    RemoteFile,
    RemoteFolder,
    Unreachable,
    check_url,
    find_file,
    list_files,
    shown,
)
from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.probes.readers import read_path
from tests.probes.samples import png, write
from tests.probes.test_parquet import struct_file
from tests.probes.test_webdataset import sample, tar_bytes
from tests.s3 import SECRET

needs_s3 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("moto", "obstore")),
    reason="needs an S3 server and its client: pip install 'moto[server]' obstore",
)


def upload(folder: Path, url: str) -> None:
    remote = RemoteFolder(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            assert remote.put(path.relative_to(folder).as_posix(), path.read_bytes())


def the_same(here: Any, there: Any) -> None:
    assert there.labels.equals(here.labels)
    assert there.fingerprint == here.fingerprint
    for row in np.flatnonzero(~here.is_text):
        assert there.image(int(row)).tobytes() == here.image(int(row)).tobytes()


def shards(folder: Path) -> None:
    for shard in range(3):
        files: dict[str, bytes] = {}
        for number in range(4):
            files |= sample(f"{number:04d}", shard, concept=f"c{number % 2}")
        write(folder / f"{shard:03d}.tar", tar_bytes(files))


@needs_s3
def test_tars_and_parquet_of_an_object_store(tmp_path: Path, bucket: str) -> None:
    shards(tmp_path / "set")
    (tmp_path / "tables").mkdir()
    struct_file(tmp_path / "tables" / "a b.parquet", key=[f"k{n}" for n in range(10)])
    upload(tmp_path, bucket)
    here = load_probes(tmp_path / "set")
    for spec in ("{000..002}.tar", "*.tar", ""):
        the_same(here, load_probes(f"{bucket}/set/{spec}"))
    the_same(
        load_probes(tmp_path / "tables" / "a b.parquet"), load_probes(f"{bucket}/tables/*.parquet")
    )
    there = load_probes(f"{bucket}/set/")
    assert there.name == "set"
    assert pickle.loads(pickle.dumps(there)).image(7).tobytes() == here.image(7).tobytes()
    with pytest.raises(SynestheteError, match=r"there is no s3://.*/set/003\.tar"):
        load_probes(f"{bucket}/set/{{000..003}}.tar")
    with pytest.raises(SynestheteError, match="no file like"):
        load_probes(f"{bucket}/*.tar")  # a wildcard stops at a slash


@needs_s3
def test_folders_of_an_object_store(tmp_path: Path, bucket: str) -> None:
    for number in range(30):
        write(
            tmp_path / "fruit" / f"c{number % 3}" / "drawing" / f"{number}?#%20 .png", png(number)
        )
    write(tmp_path / "fruit" / "c0" / "a.txt", b"a red fruit")
    write(tmp_path / "fruit" / "c0" / ".hidden", b"")
    write(tmp_path / "table" / "x" / "1.png", png(1))
    rows = "file_name,concept,text\nx/1.png,apple,red\n,apple,a red fruit\nx/2.png,pear,\n"
    write(tmp_path / "table" / "metadata.csv", rows.encode())
    upload(tmp_path, bucket)
    the_same(load_probes(tmp_path / "fruit"), load_probes(f"{bucket}/fruit"))
    probes = load_probes(f"{bucket}/table/")
    assert probes.labels.drop_columns(["key"]).equals(
        load_probes(tmp_path / "table").labels.drop_columns(["key"])
    )
    assert probes.image(0).size == (40, 30)
    with pytest.raises(SynestheteError, match="no such file"):
        probes.image(2)
    for name in ("../1.png", "/etc/1.png", "s3://other/1.png"):
        RemoteFolder(bucket).put("table/metadata.csv", f"file_name,concept\n{name},a\n".encode())
        with pytest.raises(SynestheteError, match=r"metadata\.csv, line 2"):
            load_probes(f"{bucket}/table")
    with pytest.raises(SynestheteError, match="no files under"):
        load_probes(f"{bucket}/none")


@needs_s3
def test_what_changed_or_went_since_is_refused_and_never_quarantined(
    tmp_path: Path, bucket: str
) -> None:
    from synesthete.recording.feed import decode
    from tests.recording.fakes import FakeModel

    shards(tmp_path)
    upload(tmp_path, bucket)
    write(tmp_path / "f" / "a" / "1.png", png(1))
    upload(tmp_path / "f", f"{bucket}/f")
    tars, folder = load_probes(f"{bucket}/000.tar"), load_probes(f"{bucket}/f")
    assert folder.fingerprint
    RemoteFolder(bucket).put("000.tar", (tmp_path / "001.tar").read_bytes())
    RemoteFolder(bucket).remove(["f/a/1.png"])
    for probes in (tars, folder):
        with pytest.raises(Unreachable, match="was changed while it was read"):
            decode(FakeModel(), probes, range(1), 1, False)  # type: ignore[arg-type]


@needs_s3
def test_a_file_is_added_once_and_replaced_only_as_it_was_seen(bucket: str) -> None:
    folder = RemoteFolder(bucket)
    assert folder.add("a", b"1")
    assert not folder.add("a", b"2")
    seen = folder.find("a")
    assert seen is not None
    assert seen.read() == b"1"
    assert folder.put("a", b"3", instead_of=seen)
    assert not folder.put("a", b"4", instead_of=seen)
    with pytest.raises(Unreachable, match="changed"):
        seen.read()
    assert list(folder.names()) == ["a"]
    folder.remove(["a", "none"])
    assert folder.find("a") is None


@needs_s3
def test_a_large_file_has_time_to_be_written(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    put, limits = obstore.put, []

    def noted(store: Any, *arguments: Any, **more: Any) -> Any:
        limits.append(store.client_options["timeout"])
        return put(store, *arguments, **more)

    monkeypatch.setattr(obstore, "put", noted)
    folder, large = RemoteFolder(bucket), bytes(remote_files.BLOCK + 1)
    write(tmp_path / "large", large)
    assert folder.add("small", b"1")
    assert folder.add("a", memoryview(large))
    with (tmp_path / "large").open("rb") as file:
        assert folder.put("b", file)
    assert limits == ["120s", remote_files.LONG, remote_files.LONG]
    assert {name: file.size for name, file in folder.names().items()} == {
        "small": 1,
        "a": len(large),
        "b": len(large),
    }


@needs_s3
def test_a_store_that_does_not_answer_is_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unreachable) as caught:
        load_probes(f"{bucket}/a.tar")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc", "ftp://host/a.tar", "memory://a", "http://host/a.tar", "simplecache::s3://b/a.tar", "zip://a::s3://b/x.zip",
        "s3://", "s3://b/../x", "https://h/%2e%2e/x.tar", "s3://[", "https://host\\x/a.tar", "pipe:cat://x", "S3A://b/x", "https://h/a\n.tar",
        "https://a::b/x", "http://127.0.0.1.evil.example/a.tar",
    ],
)  # fmt: skip
def test_other_protocols_and_chains_are_refused(url: str) -> None:
    for enter in (check_url, load_probes):
        with pytest.raises(SynestheteError, match=r"not a URL|no meaning"):
            enter(url)


@pytest.mark.parametrize(
    "url",
    [f"s3://key:{SECRET}@bucket/a", f"https://{SECRET}@host/a.tar", f"s3://b/a?token={SECRET}", f"https://h/a.tar#{SECRET}",
     f"https://me:a/{SECRET}@host/a.tar", f"https://me:{SECRET}/b@host/a.tar", f"https://me:1/{SECRET}@host/a.tar", f"s3://key:{SECRET}?b@bucket/a"],
)  # fmt: skip
def test_secrets_in_a_url_are_refused_unsaid(url: str) -> None:
    with pytest.raises(SynestheteError, match="more than a place") as caught:
        load_probes(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in shown(url)


def test_what_an_atlas_names_is_not_fetched() -> None:
    with pytest.raises(SynestheteError, match="a file names it, not you"):
        load_probes("https://evil.example/x.tar", remote=False)


class Site:
    """Serves files by parts; `odd` may answer a request otherwise."""

    def __init__(self, folder: Path) -> None:
        site = self
        self.requests: list[tuple[str, str]] = []
        self.odd: Callable[[http.server.BaseHTTPRequestHandler, int], bool] = lambda _, __: False

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, self.headers.get("Range", "")))
                if site.odd(self, len(site.requests)):
                    return
                path = folder / self.path.partition("?")[0].lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                first, last = re.findall(r"\d+", self.headers["Range"])
                part = data[int(first) : int(last) + 1]
                self.send_response(206)
                self.send_header("ETag", f'"{hash(data)}"')
                stop = int(first) + len(part) - 1
                self.send_header("Content-Range", f"bytes {first}-{stop}/{len(data)}")
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                self.wfile.write(part)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(remote_files, "PAUSE", 0.0)
    site = Site(tmp_path)
    thread = threading.Thread(target=site.server.serve_forever, daemon=True)
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_files_of_the_web(tmp_path: Path, site: Site) -> None:
    shards(tmp_path / "set")
    struct_file(tmp_path / "a.parquet")
    the_same(load_probes(tmp_path / "set"), load_probes(f"{site.url}/set/{{000..002}}.tar"))
    the_same(load_probes(tmp_path / "a.parquet"), load_probes(f"{site.url}/a.parquet"))
    signed = load_probes(f"{site.url}/set/000.tar?X-Signature={SECRET}")
    assert any(SECRET in path for path, _ in site.requests)
    assert signed.name == "000"
    assert SECRET not in json.dumps(signed.table.to_pylist())
    for spec, message in (
        (f"{site.url}/set", "cannot be listed"),
        (f"{site.url}/set/*.tar", "cannot be listed"),
        (f"{site.url}/none.tar?x={SECRET}", "there is no"),
    ):
        with pytest.raises(SynestheteError, match=message) as caught:
            load_probes(spec)
        assert SECRET not in str(caught.value)


def test_failures_are_tried_again_and_then_one_line(tmp_path: Path, site: Site) -> None:
    shards(tmp_path)
    here = load_probes(tmp_path / "000.tar")

    def refused(handler: Any, count: int) -> bool:
        if count % 3:
            handler.send_error(503)
        return bool(count % 3)

    site.odd = refused
    the_same(here, load_probes(f"{site.url}/000.tar"))

    def halved(handler: Any, count: int) -> bool:
        if count % 2:
            return False
        first = re.findall(r"\d+", handler.headers["Range"])[0]
        handler.send_response(206)
        data = (tmp_path / "000.tar").read_bytes()
        handler.send_header("ETag", f'"{hash(data)}"')
        handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True
        return True

    site.odd = halved
    site.requests.append(("", ""))
    the_same(here, load_probes(f"{site.url}/000.tar"))

    site.odd = lambda handler, _: handler.send_error(503) is None
    site.requests.clear()
    with pytest.raises(Unreachable, match="answers 503, 4 times"):
        load_probes(f"{site.url}/000.tar")
    assert len(site.requests) == remote_files.TRIES


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "10.1", "localhost."])
def test_redirects_to_this_machine_by_another_name_of_it(host: str) -> None:
    with pytest.raises(Unreachable, match="which is not followed"):
        remote_files._checked_redirect("https://a.example/x", f"https://{host}/x")


def test_a_url_is_kept_but_for_its_protocol_and_a_slash() -> None:
    assert remote_files.check_url("S3://Bucket/X/") == "s3://Bucket/X"
    signed = "https://host/a.tar?signature=abc/"
    assert remote_files.check_url(signed) == signed


@pytest.mark.parametrize(
    "target", ["http://host/x.tar", "file:///etc/passwd", "https://u:p@h/x", "ftp://h/x"]
)
def test_redirects_stay_on_https(tmp_path: Path, site: Site, target: str) -> None:
    def away(handler: Any, count: int) -> bool:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()
        return True

    site.odd = away
    with pytest.raises(SynestheteError):
        load_probes(f"{site.url}/a.tar")


@pytest.mark.parametrize("target", ["{site}/x.tar", "https://10.0.0.1/x", "https://localhost./x"])
def test_the_web_does_not_lead_to_this_machine(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    import httpx

    shards(tmp_path)
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(302, headers={"Location": target.format(site=site.url)})

    client = httpx.Client(mounts={"https://": httpx.MockTransport(answer)})
    monkeypatch.setattr(remote_files, "_client", lambda: client)
    with pytest.raises(Unreachable, match=r"it redirects to .*, which is not followed"):
        load_probes("https://example.com/a.tar")
    assert hosts == ["example.com"]
    assert site.requests == []

    def moved(handler: Any, count: int) -> bool:
        if handler.path != "/moved.tar":
            return False
        handler.send_response(302)
        handler.send_header("Location", f"{site.url}/000.tar")
        handler.end_headers()
        return True

    site.odd = moved
    assert find_file(f"{site.url}/moved.tar").size == (tmp_path / "000.tar").stat().st_size


def test_servers_that_cannot_send_parts_or_lie_about_them(tmp_path: Path, site: Site) -> None:
    answers = {
        "does not send parts": lambda h: (h.send_response(200), h.send_header("Content-Length", "3"), h.end_headers(), h.wfile.write(b"abc")),
        "answers 206": lambda h: (h.send_response(206), h.send_header("Content-Range", "bytes 7-9/100"), h.send_header("Content-Length", "0"), h.end_headers()),
        "answers 403": lambda h: h.send_error(403),
        "more than 5 redirects": lambda h: (h.send_response(307), h.send_header("Location", h.path), h.send_header("Content-Length", "0"), h.end_headers()),
    }  # fmt: skip
    for message, answer in answers.items():
        site.odd = lambda handler, _, answer=answer: answer(handler) is not ...  # type: ignore[misc]
        with pytest.raises(Unreachable, match=message):
            find_file(f"{site.url}/x.tar")


def test_a_file_of_the_web_that_changes_is_refused(tmp_path: Path, site: Site) -> None:
    write(tmp_path / "a.bin", b"a" * 100)
    found = find_file(f"{site.url}/a.bin")
    assert found.read(10, 20) == b"a" * 10
    assert (found.size, found.read(), found.read(100)) == (100, b"a" * 100, b"")
    write(tmp_path / "a.bin", b"b" * 100)
    with pytest.raises(Unreachable, match="was changed"):
        found.read()


def test_a_file_object_reads_as_a_file_does(tmp_path: Path, site: Site) -> None:
    data = os.urandom(10_000)
    write(tmp_path / "a.bin", data)
    with find_file(f"{site.url}/a.bin").open(block=700) as file:
        assert file.seek(-100, 2) == 9900
        assert file.read() == data[-100:]
        file.seek(5)
        assert [file.read(3), file.read(2000), file.tell()] == [data[5:8], data[8:2008], 2008]
        assert file.read(-1) == data[2008:]


def test_hugging_face_is_read_at_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub itself is not asked: a stand-in for its file system, with the calls that are made of it."""
    from types import SimpleNamespace

    import huggingface_hub

    commit = "c" * 40
    files = {"a/000.tar": tar_bytes(sample("1", 1, concept="x")), "b.txt": b""}

    class Files:
        def resolve_path(self, path: str) -> Any:
            repo, _, rest = path.removeprefix("datasets/").partition("@")
            inside = rest.partition("/")[2] if rest else "/".join(path.split("/")[3:])
            repo = repo if rest else "/".join(path.split("/")[1:3])
            return SimpleNamespace(
                repo_id=repo, repo_type="dataset", revision="main", path_in_repo=inside
            )

        def find(self, path: str, detail: bool) -> Any:
            root, _, under = path.partition(f"@{commit}")
            return {
                f"{root}@{commit}/{name}": {"size": len(data), "blob_id": "b"}
                for name, data in files.items()
                if f"/{name}".startswith(under)
            }

        def info(self, path: str) -> Any:
            data = files[path.partition(f"@{commit}/")[2]]
            return {"type": "file", "size": len(data), "blob_id": "b"}

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            assert f"org/name@{commit}/" in path
            return files[path.partition(f"@{commit}/")[2]][start:end]

    class Api:
        def repo_info(self, repo: str, **_: Any) -> Any:
            assert repo == "org/name"
            return SimpleNamespace(sha=commit)

    monkeypatch.setattr(huggingface_hub, "HfFileSystem", Files)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    for spec in ("a/000.tar", "a/*.tar", "a"):
        probes = load_probes(f"hf://datasets/org/name/{spec}")
        assert probes.labels["key"].to_pylist() == ["000/1.png"]
        assert probes.image(0).size == (40, 30)
    assert list(list_files("hf://datasets/org/name@main")) == ["a/000.tar", "b.txt"]


def test_a_wildcard_names_files_in_the_order_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synesthete.probes import locations

    names = sorted(["a/1.tar", "a-b/1.tar", "a.b/1.tar", "a/0.tar", "b/1.tar"])
    for name in names:
        write(tmp_path / name, b"")
    files = {name: RemoteFile(url=f"s3://b/{name}", size=0, tag="") for name in names}
    monkeypatch.setattr(locations, "list_files", lambda _: files)
    here = [
        str(Path(str(one)).relative_to(tmp_path))
        for one in locations.expanded(f"{tmp_path}/*/*.tar")
    ]
    assert [
        str(one).removeprefix("s3://b/") for one in locations.expanded("s3://b/*/*.tar")
    ] == here
    assert here != names


def test_memory_of_a_listed_file_is_small() -> None:
    file = RemoteFile(url="s3://b/a b/x.y.tar", size=1, tag="t")
    assert (file.name, file.stem, file.suffix, str(file)) == (
        "x.y.tar",
        "x.y",
        ".tar",
        "s3://b/a b/x.y.tar",
    )
    assert read_path is not None
