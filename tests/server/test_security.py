"""Local by default, closed by default (invariant 11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import synesthete.server
from synesthete.errors import SynestheteError
from synesthete.server import Gate, create_app
from synesthete.server.auth import gate_for, is_loopback
from synesthete.server.middleware import UPLOAD_LIMIT
from synesthete.server.render import _error_page, render_sign_in
from tests.server.conftest import BEARER, TOKEN, client_of
from tests.small_atlas import LAYER

HERE = Path(synesthete.server.__file__).parent
NOTE = {"kind": "note", "address": f"{LAYER}:0", "rater": "ada", "value": "hm"}


def test_without_the_token_everything_is_closed(original: Path) -> None:
    with client_of(original) as client:
        routes = [
            "/",
            "/index.json",
            f"/neuron/{LAYER}:0",
            "/openapi.json",
            "/docs",
            "/try-image",
            "/image/0.webp",
            "/nothing",
        ]
        for path in routes:
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert LAYER not in answer.text
        for wrong in (
            "Bearer wrong",
            f"Basic {TOKEN}",
            TOKEN,
            "Bearer",
            "Bearer " + TOKEN[:-1],
            "Bearer é",
        ):
            sent = {"Authorization": wrong.encode("latin-1", "replace")}
            assert client.get("/", headers=sent).status_code == 401
        assert client.get("/static/style.css").status_code == 200
        assert client.get("/enter").status_code == 200


def test_the_link_works_once_and_gives_a_cookie(original: Path) -> None:
    gate = Gate(TOKEN)
    app = create_app([original], gate)
    with TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False) as client:
        link = gate.link
        answer = client.get(link)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/").status_code == 200
        client.cookies.clear()
        assert client.get(link).status_code == 401
        assert client.get("/").status_code == 401
        wrong = client.post(
            "/enter", data={"token": "no"}, headers={"Origin": "http://127.0.0.1:8000"}
        )
        assert wrong.status_code == 401
        right = client.post(
            "/enter", data={"token": TOKEN}, headers={"Origin": "http://127.0.0.1:8000"}
        )
        assert right.status_code == 303
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "",
        "a@127.0.0.1",
        "127.0.0.1:x",
    ],
)
def test_other_host_names_are_refused(shared: TestClient, host: str) -> None:
    assert shared.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(shared: TestClient, method: str) -> None:
    assert shared.request(method, "/").status_code == 405


def test_writes_need_our_own_form(atlas_path: Path) -> None:
    gate = Gate(TOKEN)
    home = {"Origin": "http://127.0.0.1:8000"}
    with TestClient(
        create_app([atlas_path], gate), base_url="http://127.0.0.1:8000", follow_redirects=False
    ) as client:
        client.get(gate.link)
        good = NOTE | {"csrf": gate.csrf}
        assert client.post("/reviews", data=NOTE, headers=home).status_code == 403, (
            "no token of the form"
        )
        assert client.post("/reviews", data=good).status_code == 403, "no origin"
        for origin in (
            "http://evil.example",
            "null",
            "http://127.0.0.1:9999",
            "https://evil.example:8000",
        ):
            assert client.post("/reviews", data=good, headers={"Origin": origin}).status_code == 403
        assert (
            client.post(
                "/reviews", data=good, headers=home | {"Sec-Fetch-Site": "cross-site"}
            ).status_code
            == 403
        )
        assert not (atlas_path / "reviews.sqlite").exists()
        done = client.post("/reviews", data=good, headers=home)
        assert done.status_code == 303
        assert done.headers["location"] == f"/neuron/{LAYER}:0#review"


def test_every_answer_has_the_headers(shared: TestClient) -> None:
    for path in ("/", "/nothing", "/static/main.js", "/index.json", "/image/0.webp"):
        headers = shared.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers


def test_too_much_is_refused_whatever_the_length_header_says(shared: TestClient) -> None:
    big = b"x" * (UPLOAD_LIMIT + 1)
    assert shared.post("/try-image.json", files={"file": ("a.png", big)}).status_code == 413

    def stream():  # type: ignore[no-untyped-def]
        for _ in range(UPLOAD_LIMIT // 2**20 + 2):
            yield b"x" * 2**20

    answer = shared.post(
        "/try-image.json",
        content=stream(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 413


def test_on_other_addresses_a_token_must_be_chosen() -> None:
    with pytest.raises(SynestheteError, match="token of your choice"):
        gate_for("0.0.0.0", None)
    gate = gate_for("0.0.0.0", "chosen")
    assert gate.allows_host("192.168.1.7:8000")
    assert not gate.allows_host("rebound.example")
    assert gate_for("127.0.0.1", None).token != gate_for("127.0.0.1", None).token
    assert not is_loopback("192.168.1.7")
    for bad in ("", "a b", "é"):
        with pytest.raises(SynestheteError, match="visible ASCII"):
            Gate(bad)


def test_pages_are_ours_alone_and_light() -> None:
    static = [file for file in HERE.glob("static/**/*") if file.is_file()]
    files = [*static, *HERE.glob("templates/**/*.html")]
    assert sum(file.stat().st_size for file in static) < 500_000
    for file in files:
        text = file.read_text(encoding="utf-8")
        outside = [
            one for one in re.findall(r"https?://[^\s\"')]+", text) if "www.w3.org" not in one
        ]
        assert not outside, file.name
        assert not re.search(
            r"\son\w+=|style=\"|javascript:|innerHTML|eval\(|document\.write", text
        ), file.name


def test_reading_pages_loads_no_model(original: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom starlette.testclient import TestClient\nfrom synesthete.server import Gate, create_app\n"
        f"client = TestClient(create_app([{str(original)!r}], Gate('t')), base_url='http://127.0.0.1', headers={BEARER | {'Authorization': 'Bearer t'}!r})\n"
        f"for path in ('/', '/neurons', '/neuron/{LAYER}:0', '/map', '/concepts', '/reviews', '/search?q=a', '/licences', '/label/{LAYER}:0'):\n"
        "    assert client.get(path).status_code == 200, path\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_a_broken_atlas_is_reported_and_nothing_else(atlas_path: Path) -> None:
    folder = next((atlas_path / "layers").iterdir())
    with client_of(atlas_path, BEARER) as client:
        kept = (folder / "exemplars.npz").read_bytes()
        (folder / "exemplars.npz").write_bytes(
            kept[: len(kept) // 2] + b"\0" * (len(kept) - len(kept) // 2)
        )
        answer = client.get(f"/neuron/{LAYER}:0.json")
        assert answer.status_code in (409, 503)
        assert "exemplars" in answer.json()["error"]["message"]
        assert "Traceback" not in answer.text
        assert client.get("/concepts.json").status_code == 200, "other pages still work"
    (folder / "neurons.parquet").unlink()
    with pytest.raises(SynestheteError, match="neurons"):
        create_app([atlas_path], Gate("t"))


def test_two_servers_write_reviews_at_once(atlas_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from synesthete.reviews import read

    clients = [client_of(atlas_path, BEARER) for _ in range(2)]

    def write(number: int) -> int:
        review = NOTE | {"value": f"note {number}"}
        return int(clients[number % 2].post("/reviews.json", data=review).status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(24))) == {201}
    assert {act.value for act in read(atlas_path)} == {f"note {number}" for number in range(24)}


@pytest.mark.parametrize(
    "path",
    [
        "/static/../guard.py",
        "/static/%2e%2e/guard.py",
        "/static/..%2fguard.py",
        "/static/fonts/..%2f..%2fcard.py",
        "/image/..%2f..%2fatlas.json",
        "/shown/..%2f..%2fetc%2fpasswd.webp",
        "/a/..%2f..%2f/index.json",
        "/neuron/..%2f..%2f:0.webp",
    ],
)
def test_no_path_of_a_request_is_a_path_on_the_disk(shared: TestClient, path: str) -> None:
    answer = shared.get(path, headers={"accept": "application/json"})
    assert answer.status_code == 404, path
    assert "import" not in answer.text


def test_the_page_of_the_api_is_our_own(shared: TestClient) -> None:
    answer = shared.get("/docs", headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert "cdn" not in answer.text
    assert "/neuron/{address}.json" in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_pages_for_those_without_a_token_are_drawn_once(original: Path) -> None:
    """Else asking for them over and over would take the time of those who have one."""
    with client_of(original) as client:
        for path in ("/", "/enter"):
            assert client.get(path).text == client.get(path).text
    before = _error_page.cache_info().misses, render_sign_in.cache_info().misses
    with client_of(original) as client:
        for _ in range(5):
            assert client.get("/try-image").status_code == 401
            assert client.get("/enter").status_code == 200
    assert (_error_page.cache_info().misses, render_sign_in.cache_info().misses) == before
