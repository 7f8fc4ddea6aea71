"""A browser, and a running microscope for it; what the pages say on the console and ask of the network is kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from synesthete.reviews import say
from synesthete.server import Gate, create_app
from synesthete.server.connections import LimitedServer
from tests.browser import chromium
from tests.server.conftest import TOKEN, original
from tests.small_atlas import LAYER

__all__ = ["original"]

# A busy machine may take long over anything; five seconds, the default, were not always enough.
expect.set_options(timeout=300_000)
# What Chromium remarks of any WebGL canvas where there is no GPU.
SOFTWARE_GL = "GPU stall due to ReadPixels"


@dataclass
class Served:
    """A microscope at an address."""

    base: str
    gate: Gate
    atlas: Path


@dataclass
class Seen:
    """What a page logged and requested."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def served(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    import shutil

    folder = tmp_path_factory.mktemp("browsed")
    atlas = Path(shutil.copytree(original, folder / "small.atlas"))
    shutil.copytree(original.parent / "made.audit", folder / "made.audit")
    # So that the page of reviews has its table, whether the tests that write some ran before or not.
    say(atlas, "accept", f"{LAYER}:0", rater="cleo")
    gate = Gate(TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    server = LimitedServer(create_app([atlas, original], gate))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", gate, atlas)
    server.should_exit = True
    thread.join(10)


# Not for the session: Playwright keeps an event loop running, beside which no other test could run one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    assert path, "no Chromium is here: bash tools/get_chromium.sh .venv/bin/python"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(chromium.ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture
def seen() -> Seen:
    return Seen()


Opener = Callable[..., Page]


def alive(page: Page) -> None:
    """Wait for the modules of a page, which come after it."""
    expect(page.locator("[data-module]:not([data-alive])")).to_have_count(0)


@pytest.fixture
def open_page(browser: Browser, served: Served, seen: Seen) -> Iterator[Opener]:
    """Opens a page in a context of its own, with the cookie unless `inside=False`; more arguments are the context's."""
    contexts: list[BrowserContext] = []

    def opener(path: str = "", *, inside: bool = True, **more: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | more))
        contexts.append(context)
        if inside:
            cookie = {"name": served.gate.cookie, "value": served.gate.session, "url": served.base}
            context.add_cookies([cookie])  # type: ignore[list-item]
        context.set_default_timeout(300_000)
        page = context.new_page()
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                seen.errors.append(message.text)
                if message.type in ("error", "warning") and SOFTWARE_GL not in message.text
                else None
            ),
        )
        if path:
            page.goto(path if "://" in path else served.base + path)
            if more.get("java_script_enabled", True):
                alive(page)
        return page

    yield opener
    for context in contexts:
        context.close()
