"""Images on the web: fetched from allowed hosts only, whole or not at all, and never from the user's own network."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from synesthete.catalog import Item, Quarantined
from synesthete.catalog.addresses import is_allowed
from synesthete.catalog.encode import load
from synesthete.catalog.sources import LeftOut, RemoteImages, read_items, remote_images
from synesthete.errors import SynestheteError
from tests.catalog.sources.site import PNG, Site, send, serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as one:
        yield one


def fetch(
    folder: Path, site: Site, *paths: str, **options: Any
) -> tuple[list[bytes | None], list[str], RemoteImages]:
    """The images at some paths, one item each, why others were not fetched, and what fetched them."""
    options = {"allow_http": True, "allow_private": True, "hosts": [site.host], **options}
    scheme = options.pop("scheme", "http")
    remote = RemoteImages(folder / "images", options.pop("hosts"), **options)
    table = folder / "items.csv"
    urls = [path if "://" in path else f"{scheme}://{site.host}{path}" for path in paths]
    table.write_text("id,title,image\n" + "".join(f"{n},mug,{url}\n" for n, url in enumerate(urls)))
    found = list(read_items(table, remote=remote))
    items = [one for one in found if isinstance(one, Item)]
    assert [one.id for one in items] == [str(n) for n in range(len(urls))], "all, in order"
    loaded = [load(one) for one in items]
    assert not any(one.quarantined for one in loaded)
    data = [one.data[0] if one.data else None for one in loaded]
    return data, [one.reason for one in found if isinstance(one, Quarantined)], remote


def files(folder: Path) -> list[Path]:
    return [one for one in (folder / "images").rglob("*") if one.is_file()]


def test_an_image_is_transferred_once(tmp_path: Path, site: Site) -> None:
    def by_tag(handler: BaseHTTPRequestHandler) -> None:
        same = handler.headers["If-None-Match"] == '"1"'
        (send(b"", 304, ETag='"1"') if same else send(ETag='"1"'))(handler)

    site.answers["/a.png?size=2"] = by_tag
    data, reasons, remote = fetch(tmp_path, site, "/a.png?size=2", "/a.png?size=2")
    assert (data, reasons, remote.transferred, len(site.requests)) == ([PNG, PNG], [], 1, 1)
    data, reasons, remote = fetch(tmp_path, site, "/a.png?size=2")
    assert (data, reasons, remote.transferred) == ([PNG], [], 0)
    assert site.requests[1][1]["if-none-match"] == '"1"'
    # A damaged copy is fetched again, whole.
    (copy,) = (one for one in files(tmp_path) if one.suffix == "")
    copy.write_bytes(PNG[:100])
    assert fetch(tmp_path, site, "/a.png?size=2")[0] == [PNG]
    assert "if-none-match" not in site.requests[2][1]


def test_dates_serve_where_there_are_no_tags(tmp_path: Path, site: Site) -> None:
    day = "Sun, 01 Mar 2026 10:00:00 GMT"
    site.answers["/a"] = send(Last_Modified=day)
    fetch(tmp_path, site, "/a")
    fetch(tmp_path, site, "/a")
    assert site.requests[1][1]["if-modified-since"] == day


@pytest.mark.parametrize(
    "headers", [{"Content_Length": "100000"}, {"Transfer_Encoding": "chunked"}, {}]
)
def test_half_a_download_is_never_kept(tmp_path: Path, site: Site, headers: dict[str, str]) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write((b"40\r\n" if "Transfer_Encoding" in headers else b"") + PNG[:64])
        handler.close_connection = True

    site.answers["/a"] = half
    data, reasons, _ = fetch(tmp_path, site, "/a")
    assert (data, len(reasons), files(tmp_path)) == ([None], 1, [])
    # Nor does it replace an earlier copy.
    site.answers["/a"] = send()
    assert fetch(tmp_path, site, "/a")[0] == [PNG]
    site.answers["/a"] = half
    data, reasons, _ = fetch(tmp_path, site, "/a")
    assert data == ([PNG] if headers else [None])
    assert not list(tmp_path.rglob("*.part"))


def test_when_the_host_is_down_the_copy_serves(tmp_path: Path, site: Site) -> None:
    site.answers["/a"] = send()
    fetch(tmp_path, site, "/a")
    site.answers["/a"] = send(b"", 503)
    data, reasons, remote = fetch(tmp_path, site, "/a", "/b")
    assert data == [PNG, None]
    assert reasons == ["the host answers with status 404"]
    assert remote.later == 0
    site.answers["/b"] = send(b"", 503)
    assert fetch(tmp_path, site, "/b")[2].later == 1


def test_large_and_slow_images_are_given_up(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_images, "MAX_BYTES", 1000)
    monkeypatch.setattr(remote_images, "SECONDS", 0.5)
    stopped = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while not stopped.is_set():
            handler.wfile.write(b"64\r\n" + b"x" * 100 + b"\r\n")

    def dribbling(handler: BaseHTTPRequestHandler) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
            handler.wfile.write(bytes([letter]))
            if stopped.wait(0.05):
                return

    site.answers |= {"/large": send(b"x" * 1001), "/endless": endless, "/slow": dribbling}
    try:
        _, reasons, _ = fetch(tmp_path, site, "/large", "/endless", "/slow")
    finally:
        stopped.set()
    assert ["larger" in reasons[0], "larger" in reasons[1], "no image within" in reasons[2]] == [
        True
    ] * 3
    assert files(tmp_path) == []


def test_redirects_are_checked(tmp_path: Path, site: Site) -> None:
    with serving() as other:
        other.answers["/secret"] = send()
        site.answers |= {
            "/ok": send(b"", 302, Location="/image"), "/image": send(),
            "/host": send(b"", 301, Location=f"http://{other.host}/secret"),
            "/file": send(b"", 302, Location="file:///etc/passwd"), "/loop": send(b"", 307, Location="/loop"),
        }  # fmt: skip
        data, reasons, _ = fetch(tmp_path, site, "/ok", "/host", "/file", "/loop")
        assert other.requests == []
    assert data == [PNG, None, None, None]
    for reason, part in zip(
        reasons, ("not among the hosts", "file: is not", "redirects"), strict=True
    ):
        assert part in reason
    assert sum(path == "/loop" for path, _ in site.requests) == remote_images.REDIRECTS + 1


def test_only_https_of_allowed_hosts(tmp_path: Path) -> None:
    remote = RemoteImages(tmp_path, ["cdn.example", "*.shop.example", "LOCAL.example:8443"])
    for url in ("https://cdn.example/a.png", "https://CDN.example./a", "https://a.shop.example/a", "https://local.example:8443/a"):  # fmt: skip
        assert not isinstance(remote.place(url), str), url
    for url, reason in (
        ("http://cdn.example/a", "--allow-http"), ("https://evil.example/a", "not among"), ("https://shop.example/a", "not among"),
        ("https://cdn.example:22/a", "not among"), ("https://a.b.shop.example/a", "not among"),
        ("https://cdn.example@evil.example/a", "user name"), ("https://evil.example/cdn.example", "not among"),
        ("https://[::1", "not a valid"), ("https://cdn.example.evil/a", "not among"),
    ):  # fmt: skip
        assert reason in str(remote.place(url)), url
    for hosts in ([], [""], ["https://x"], ["*"]):
        with pytest.raises(SynestheteError):
            RemoteImages(tmp_path, hosts)


@pytest.mark.parametrize("scheme", ["file:///etc/passwd", "ftp://h/a", "data:image/png;base64,AAAA", "javascript:alert(1)", "gopher://h"])  # fmt: skip
def test_other_schemes_are_refused(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "t.csv").write_text(f'id,title,image\n1,mug,"{scheme}"\n')
    for remote in (
        None,
        RemoteImages(tmp_path / "images", ["h"], allow_http=True, allow_private=True),
    ):
        left_out = LeftOut()
        aside, item = read_items(tmp_path / "t.csv", remote=remote, left_out=left_out)
        assert isinstance(item, Item)
        assert item.images == ()
        assert isinstance(aside, Quarantined)
        assert "is never fetched" in aside.reason
        assert not left_out.image_urls


def test_without_the_option_they_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,title,image\n1,mug,https://a.example/1|http://a.example/2|x.png\n"
    )
    left_out = LeftOut()
    (item,) = read_items(tmp_path / "t.csv", left_out=left_out)
    assert isinstance(item, Item)
    assert [Path(one).name for one in item.images if isinstance(one, Path)] == ["x.png"]
    assert left_out.image_urls == {"a.example": 2}


PRIVATE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1", "::",
    "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "255.255.255.255",
    "64:ff9b:1::7f00:1", "::127.0.0.1", "fec0::1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(
    tmp_path: Path, site: Site, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_allowed(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answer = [(family, socket.SOCK_STREAM, 6, "", (address, site.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answer)
    _, reasons, _ = fetch(tmp_path, site, "/a", allow_private=False)
    assert len(reasons) == 1
    assert "not an address on the public internet" in reasons[0]
    assert site.requests == []


def test_link_local_addresses_are_refused_even_where_private_ones_are_not() -> None:
    assert is_allowed("10.0.0.1", private=True)
    assert is_allowed("::1", private=True)
    for address in (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "0.0.0.0",
        "::a9fe:a9fe",
        "64:ff9b:1::1",
    ):
        assert not is_allowed(address, private=True), address


def test_the_address_that_was_checked_is_connected_to(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is first public and then private (DNS rebinding): it is looked up once."""
    looked_up: list[str] = []
    connected: list[object] = []

    def once_public(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        looked_up.append(host)
        address = "93.184.216.34" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        connected.append(address)
        raise OSError("unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", once_public)
    monkeypatch.setattr(socket, "create_connection", connect)
    fetch(tmp_path, site, "/a", allow_private=False)
    assert looked_up == ["localhost"]
    assert connected == [("93.184.216.34", site.port)]
    assert site.requests == []


def test_links_in_the_folder_lead_nowhere(tmp_path: Path, site: Site) -> None:
    site.answers["/a"] = send()
    (tmp_path / "images").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "images" / "localhost").symlink_to(tmp_path / "elsewhere")
    _, reasons, _ = fetch(tmp_path, site, "/a")
    assert "leads out" in reasons[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_of_images_that_is_a_link_is_refused(tmp_path: Path, site: Site) -> None:
    site.answers["/a"] = send()
    (tmp_path / "my.catalog").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "my.catalog" / "images").symlink_to(tmp_path / "elsewhere")
    _, reasons, _ = fetch(tmp_path / "my.catalog", site, "/a")
    assert "leads out" in reasons[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_several_at_once(tmp_path: Path, site: Site) -> None:
    together = threading.Barrier(remote_images.AT_ONCE, timeout=300)

    def meeting(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        send()(handler)

    paths = [f"/{n}" for n in range(2 * remote_images.AT_ONCE)]
    site.answers |= dict.fromkeys(paths, meeting)
    data, reasons, _ = fetch(tmp_path, site, *paths)
    assert (data, reasons) == ([PNG] * len(paths), [])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


def test_https_checks_the_hosts_certificate(tmp_path: Path, certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(server) as site:
        site.answers["/a"] = send()
        secure = {"scheme": "https", "allow_http": False}
        assert fetch(tmp_path, site, "/a", tls=trusting, **secure)[0] == [PNG]
        (tmp_path / "other").mkdir()
        _, reasons, _ = fetch(tmp_path / "other", site, "/a", **secure)
        assert "certificate" in reasons[0].lower()
        address = f"127.0.0.1:{site.port}"  # for which the certificate is not valid
        _, reasons, _ = fetch(
            tmp_path / "other",
            site,
            f"https://{address}/a",
            hosts=[address],
            tls=trusting,
            **secure,
        )
        assert "certificate" in reasons[0].lower()
        assert len(site.requests) == 1
