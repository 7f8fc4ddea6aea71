"""Pages to try each part by hand: they work without JavaScript, are the owner's, and let no form of others in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from synesthete.catalog import Catalog, Item, search
from synesthete.catalog.events import EventLog
from synesthete.models.image_text_model import ImageTextModel
from synesthete.reviews.cases import Queue
from tests.catalog.server.conftest import BASE, TOKEN, png

NASTY = "<script>alert(1)</script>"
PAGES = (
    "/",
    "/search",
    "/recommend",
    "/align",
    "/suggest",
    "/classify",
    "/queue",
    "/metrics",
    "/item?id=item-01",
)


@pytest.fixture
def browser(app: FastAPI) -> TestClient:
    """A browser that typed the token in."""
    one = TestClient(app, base_url=BASE, headers={"Accept": "text/html", "Origin": BASE})
    assert one.post("/enter", data={"token": TOKEN}).status_code == 200
    return one


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found
    return found.group(1)


@pytest.mark.parametrize("where", PAGES)
def test_every_page_opens(browser: TestClient, where: str) -> None:
    answer = browser.get(where)
    assert answer.status_code == 200
    assert "</html>" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "style=" not in answer.text, "the policy forbids inline styles"


def test_forms_find(browser: TestClient) -> None:
    form = {"csrf": csrf(browser.get("/search").text)}
    image = {"image": ("x.png", png("red"), "image/png")}
    assert (
        "relevance"
        in browser.post(
            "/search", data={**form, "text": "mug", "where": "price<5; colour=red"}
        ).text
    )
    assert "relevance" in browser.post("/search", data=form, files=image).text
    assert (
        "relevance"
        in browser.post(
            "/recommend", data={**form, "likes": "item-01\nblue", "dislikes": "cup"}
        ).text
    )
    assert (
        "For it"
        in browser.post(
            "/align",
            data={**form, "copies": "a mug\na boat"},
            files={"images": ("x.png", png("red"), "image/png")},
        ).text
    )
    assert (
        "confidence"
        in browser.post("/suggest", data={**form, "brief": "for tea"}, files=image).text
    )
    nothing = browser.post("/search", data=form)
    assert nothing.status_code == 409
    assert "That did not work" in nothing.text
    assert "To the catalogue" in nothing.text
    form_page = {"Referer": f"{BASE}/search"}
    nothing = browser.post("/search", data=form, headers=form_page)
    assert 'href="/search">Back to the form' in nothing.text


def facets(page: str) -> dict[str, int]:
    """Value of each button that filters to its count."""
    found = re.findall(r'name="add" value="([^"]*)">[^<]*<small>([\d,]+)</small>', page)
    return {value: int(number) for value, number in found}


def test_a_number_that_may_be_higher_says_so(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_of = search._page
    assert "<p>6 items match" in browser.get("/search", params={"where": "colour=blue"}).text
    monkeypatch.setattr(search, "_page", lambda *given: replace(page_of(*given), at_least=True))
    page = browser.get("/search", params={"where": "colour=blue"}).text
    assert "<p>at least 6 items match" in page


def test_facets_filter_and_pages_go_on(browser: TestClient) -> None:
    form = {"csrf": csrf(browser.get("/search").text), "sort": "-price"}
    page = browser.post("/search", data={**form, "where": "price<20"}).text
    assert "20 items match" in page
    assert facets(page)["category=mug"] == 10
    assert facets(page)["colour=red"] == 4
    assert page.index("item-19") < page.index("item-00")
    page = browser.post("/search", data={**form, "filter": "price<20", "add": "colour=red"}).text
    assert "4 items match" in page
    assert facets(page)["category=mug"] == 2
    page = browser.post(
        "/search", data={**form, "filter": ["price<20", "colour=red"], "drop": "price<20"}
    ).text
    assert "6 items match" in page
    first = browser.post("/search", data=form).text
    assert 'name="offset" value="24"' in first
    second = browser.post("/search", data={**form, "offset": "24"}).text
    assert "previous" in second
    assert "item-05" in second
    assert "item-06" not in second
    linked = browser.get("/search", params={"where": "colour=blue", "sort": "title"}).text
    assert "6 items match" in linked
    for wrong in ({"offset": "x"}, {"offset": "-1"}, {"text": "x" * 20_001}):
        answer = browser.post("/search", data={**form, **wrong})
        assert answer.status_code == 422
        assert "That did not work" in answer.text


def test_an_image_stays_with_its_search(browser: TestClient) -> None:
    form = {"csrf": csrf(browser.get("/search").text)}
    image = {"image": ("x.png", png("red"), "image/png")}
    page = browser.post("/search", data=form, files=image).text
    kept = re.search(r'name="kept" value="([^"]+)"', page)
    assert kept
    hits = re.findall(r'href="/item\?id=([^"]+)"', page)
    again = browser.post("/search", data={**form, "kept": kept[1]}).text
    assert re.findall(r'href="/item\?id=([^"]+)"', again) == hits
    filtered = browser.post("/search", data={**form, "kept": kept[1], "add": "colour=red"}).text
    found = re.findall(r'href="/item\?id=([^"]+)"', filtered)
    assert found
    assert found == [one for one in hits if int(one[-2:]) % 5 == 0][: len(found)]
    assert browser.post("/search", data={**form, "kept": "%%"}).status_code == 422


def test_a_browser_sends_a_file_without_name_where_none_was_chosen(browser: TestClient) -> None:
    token = csrf(browser.get("/search").text)
    for path, name in (("/search", "text"), ("/suggest", "brief"), ("/recommend", "likes")):
        body = (
            f'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n'
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nmug\r\n'
            '--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n'
            "Content-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = browser.post(path, content=body, headers=kind)
        assert answer.status_code == 200, path
        assert "relevance" in answer.text


def test_items_are_listed_in_another_order(browser: TestClient) -> None:
    page = browser.get("/", params={"sort": "-price"}).text
    assert page.index("item-29") < page.index("item-03")
    assert browser.get("/", params={"sort": "prize"}).status_code == 409


def test_forms_of_others_are_refused(browser: TestClient) -> None:
    for path in ("/search", "/recommend", "/align", "/suggest", "/classify"):
        assert browser.post(path, data={"text": "mug"}).status_code == 403
    elsewhere = browser.post(
        "/search", data={"text": "mug"}, headers={"Origin": "http://evil.example"}
    )
    assert elsewhere.status_code == 403


def test_keys_open_no_pages(keyed: Callable[..., TestClient], app: FastAPI) -> None:
    program = keyed("read", "write", "events", "metrics", "review")
    assert {program.get(path).status_code for path in PAGES} == {403}
    stranger = TestClient(app, base_url=BASE, headers={"Accept": "text/html"})
    assert "Closed" in stranger.get("/").text
    assert stranger.get("/enter").status_code == 200


def test_nothing_that_was_given_runs(
    browser: TestClient, path: Path, model: ImageTextModel
) -> None:
    own = Catalog.open(path, model=model)
    own.upsert(
        [
            Item(
                f'"><{NASTY}',
                title=NASTY,
                description=NASTY,
                category=NASTY,
                reviews=(NASTY,),
                price=1.0,
                attributes={NASTY: (NASTY,)},
            )
        ]
    )
    own.close()
    queue = Queue(path)
    ticket = queue.add(
        "suggest",
        {"reference": NASTY, "proposal": NASTY, "choices": [NASTY], "more": {NASTY: NASTY}},
        reason=NASTY,
        confidence=0.1,
    )
    EventLog(path).take(
        [{"key": "1", "kind": "impression", "item": "item-01", "experiment": NASTY, "variant": "A"}]
    )
    form = {"csrf": csrf(browser.get("/search").text)}
    pages = [browser.get(one).text for one in ("/", "/queue", f"/queue/{ticket}", "/metrics")]
    pages.append(browser.get("/item", params={"id": f'"><{NASTY}'}).text)
    pages.append(browser.get("/experiment", params={"name": NASTY}).text)
    pages.append(browser.post("/search", data={**form, "text": NASTY}).text)
    pages.append(browser.post("/search", data={**form, "text": "x", "sort": NASTY}).text)
    pages.append(browser.post("/search", data={**form, "sort": "price"}).text)
    pages.append(browser.post("/search", data={**form, "where": f"category={NASTY}"}).text)
    pages.append(browser.post("/search", data={**form, "text": "x", "where": NASTY}).text)
    pages.append(browser.get("/item", params={"id": NASTY}).text)
    for page in pages:
        assert NASTY not in page
        assert "alert(1)" in page


def test_a_case_is_decided_by_hand(browser: TestClient, path: Path) -> None:
    queue = Queue(path)
    ticket = queue.add(
        "classify",
        {"reference": "r", "proposal": "pear", "notice": "Research use"},
        reason="unsure",
        confidence=0.2,
    )
    page = browser.get(f"/queue/{ticket}").text
    assert "Accept “pear”" in page
    assert "Research use" in page
    form = {"csrf": csrf(page), "verdict": "override", "label": "apple", "actor": "ann"}
    assert "Settled" in browser.post(f"/queue/{ticket}", data=form).text
    assert queue.case(ticket).label() == "apple"
    assert browser.get("/queue/nope").status_code == 404
    assert browser.post(f"/queue/{ticket}", data={**form, "actor": ""}).status_code == 409


def test_the_dashboard_shows_recorded_events(browser: TestClient, path: Path) -> None:
    rows = [
        {
            "key": f"{kind}{i}",
            "kind": kind,
            "item": "item-01",
            "subject": f"v{i}",
            "list": "l",
            "experiment": "spring",
            "variant": "AB"[i % 2],
            "at": "2026-01-01T00:00:00Z",
        }
        for i in range(40)
        for kind in (("impression", "click") if i % 4 == 0 else ("impression",))
    ]
    EventLog(path).take(rows)
    page = browser.get("/metrics").text
    assert "25 %" in page
    assert "n = 40" in page
    shown = browser.get(
        "/experiment", params={"name": "spring", "metric": "click", "window_hours": 0}
    ).text
    assert "spring: A is better" in shown
    assert browser.get("/experiment", params={"name": "autumn"}).status_code == 404


def test_all_that_the_style_asks_for_is_there(app: FastAPI) -> None:
    client = TestClient(app, base_url=BASE)
    style = client.get("/static/style.css").text
    found = re.findall(r'url\("([^"]+)"\)', style)
    assert len(found) == 3
    for one in found:
        assert client.get(f"/static/{one}").status_code == 200, one
