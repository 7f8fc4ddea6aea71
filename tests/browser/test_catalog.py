"""What a shopkeeper does on the page Search: narrow down by a click, sort, turn pages; also on a phone."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from synesthete.catalog.server.app import create_app
from synesthete.server import Gate
from synesthete.server.connections import LimitedServer
from tests.browser.test_every_page import within
from tests.catalog.conftest import empty_path, model
from tests.catalog.server.conftest import TOKEN, filled

__all__ = ["empty_path", "filled", "model"]


@pytest.fixture
def searching(browser: Browser, filled: Path, tmp_path: Path) -> Iterator[Page]:
    """The page of a catalogue of thirty items, in a browser that is signed in."""
    app = create_app(shutil.copytree(filled, tmp_path / "shop.catalog"), Gate(TOKEN))
    listener = socket.create_server(("127.0.0.1", 0))
    server = LimitedServer(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    base, gate = f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.gate
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": gate.cookie, "value": gate.session, "url": base}])
    context.set_default_timeout(300_000)
    page = context.new_page()
    page.goto(f"{base}/search")
    yield page
    context.close()
    server.should_exit = True
    thread.join(10)


def shown(page: Page) -> list[str]:
    """Ids of the items of the page, in order."""
    links = page.locator(".hits a[href^='/item']").evaluate_all("all => all.map(a => a.href)")
    return list(dict.fromkeys(link.rpartition("id=")[2] for link in links))


def test_facets_sorting_and_pages_by_clicks(searching: Page) -> None:
    page, errors = searching, list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.get_by_label("Sort by").select_option("price")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("30 items match")).to_be_visible()
    first = shown(page)
    assert first == [f"item-{n:02d}" for n in range(len(first))], "the cheapest come first"
    page.get_by_role("button", name="next").click()
    expect(page.get_by_role("button", name="previous")).to_be_visible()
    assert shown(page)[0] == f"item-{len(first):02d}"
    page.get_by_role("button", name="cup 15").click()
    expect(page.get_by_text("15 items match")).to_be_visible()
    assert all(int(one[-2:]) % 2 for one in shown(page))
    page.get_by_role("button", name="red 3").click()
    expect(page.get_by_text("3 items match")).to_be_visible()
    assert shown(page) == ["item-05", "item-15", "item-25"]
    page.get_by_role("button", name="Without the filter category=cup").click()
    expect(page.get_by_text("6 items match")).to_be_visible()
    page.set_viewport_size({"width": 400, "height": 800})
    assert within(page, 400), "it scrolls sideways"
    assert page.get_by_role("button", name="mug 3").is_visible()
    assert not errors
