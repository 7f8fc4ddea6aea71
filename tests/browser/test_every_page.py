"""Every page in a real browser: no errors, nothing from elsewhere, accessible, in light and dark, on a phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Opener, Seen, Served
from tests.server.test_pages import PATHS
from tests.small_atlas import LAYER

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
MORE = (
    "/enter",
    "/docs",
    "/nothing",
    f"/compare?a={LAYER}:0&b={LAYER}:1&other=small-2",
    "/models?other=small-2",
)


# Pages that between them have every kind of element.
DARK = ("/", f"/layer/{LAYER}", f"/neuron/{LAYER}:0", "/map", "/reviews", "/try-image", "/nothing")


def violations(page: Page, options: dict[str, object]) -> list[str]:
    found = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("path", [*PATHS, *MORE])
def test_a_page(path: str, open_page: Opener, seen: Seen, served: Served) -> None:
    page = open_page(path, color_scheme="light")
    page.wait_for_load_state("networkidle")
    expected = 1 if path == "/nothing" else 0  # the browser reports the 404 of the page itself
    assert len(seen.errors) == expected, seen.errors
    assert all(url.startswith(served.base + "/") for url in seen.requests), "a request leaves"
    assert page.locator("h1").count() == 1
    assert page.locator("img:not([alt])").count() == 0
    assert not violations(page, RULES)
    if path in DARK:
        page.emulate_media(color_scheme="dark")
        assert not violations(page, CONTRAST)
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert within(page, width), f"wider than {width} pixels"


def within(page: Page, width: int) -> bool:
    """Whether the page is no wider than that, once it is laid out again, for which it has minutes.

    `wait_for_function` is no help: what it asks again and again, the page's policy forbids from the second time on.
    """
    for _ in range(3000):
        if page.evaluate("document.documentElement.scrollWidth") <= width:
            return True
        page.wait_for_timeout(100)
    return False


def test_a_long_name_of_a_layer_does_not_widen_a_phone(open_page: Opener) -> None:
    page = open_page("/neurons", viewport={"width": 320, "height": 844})
    page.evaluate(
        "document.querySelectorAll('h2 a').forEach((one) => { one.textContent = 'text.transformer.resblocks.11.mlp'; })"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_images_are_there(open_page: Opener) -> None:
    page = open_page(f"/neuron/{LAYER}:0")
    page.evaluate(
        "document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })"
    )
    assert page.locator("img").count() > 20
    # Resolved when all are there, and rejected by one that cannot be shown.
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


def test_reading_works_without_scripts(open_page: Opener) -> None:
    page = open_page(f"/layer/{LAYER}", java_script_enabled=False)
    page.get_by_label("multimodal only").check()
    page.get_by_role("button", name="Show").click()
    assert page.locator(".tile").count() == 2
    page.locator(".tile").first.click()
    assert page.locator("h1").inner_text() == "red apple"
    assert page.locator("svg.chart").count() > 4
