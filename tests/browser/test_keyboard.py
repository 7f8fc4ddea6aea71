"""Every page by keyboard alone: Tab reaches everything that can be used, and shows where it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Opener
from tests.server.test_pages import PATHS
from tests.small_atlas import LAYER

MORE = ("/enter", "/docs", "/nothing", f"/compare?a={LAYER}:0&b={LAYER}:1&other=small-2")
# What has the focus, where it is, and whether it, or the image that stands for it, is marked.
FOCUSED = """
() => {
  const one = document.activeElement;
  if (!one || one === document.body || one === document.documentElement) return null;
  const marked = [one, one.nextElementSibling, one.closest("label")].some((part) => {
    if (!part) return false;
    const style = getComputedStyle(part);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  });
  const box = one.getBoundingClientRect();
  const all = window.walked ??= new Set();
  const again = all.has(one) && one.type !== "radio";
  all.add(one);
  return {
    html: one.outerHTML.slice(0, 120), again, marked,
    seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
      };
}
"""
# What can be used and was not reached: of radio buttons of one name one is enough (arrows lead to the others).
MISSED = """
() => [...document.querySelectorAll("a[href], button, input, select, textarea, canvas[tabindex]")].filter((one) => {
  if (one.disabled || one.type === "hidden" || !one.checkVisibility() || window.walked.has(one)) return false;
  if (one.type !== "radio") return true;
  return ![...window.walked].some((other) => other.type === "radio" && other.name === one.name);
}).map((one) => one.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("path", [*PATHS, *MORE])
def test_tab_reaches_everything(path: str, open_page: Opener) -> None:
    page = open_page(path)
    page.wait_for_load_state("networkidle")
    # Some pages begin in a field of theirs; the walk begins at the top of all of them.
    page.evaluate("document.querySelector('a[href], button, input').focus()")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    walk: list[dict[str, Any]] = [page.evaluate(FOCUSED)]
    for _ in range(900):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None or found["again"]:
            break
        walk.append(found)
    assert len(walk) < 900, "no way out"
    assert "skip" in walk[0]["html"], "the first stop leads past the heading"
    assert not page.evaluate(MISSED)
    assert [one["html"] for one in walk if not one["marked"]] == []
    assert [one["html"] for one in walk if not one["seen"]] == []


def test_the_skip_link_leads_to_the_page(open_page: Opener) -> None:
    page = open_page(f"/layer/{LAYER}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('main'))")


def test_on_a_phone_the_open_page_is_in_view_among_the_names(open_page: Opener) -> None:
    page = open_page("/audits", viewport={"width": 390, "height": 844})
    page.wait_for_load_state("networkidle")
    box = page.locator(".top nav [aria-current]").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


@pytest.mark.parametrize("path", ["/audits/made", f"/neuron/{LAYER}:0"])
def test_on_a_phone_charts_can_be_read(path: str, open_page: Opener) -> None:
    page = open_page(path, viewport={"width": 390, "height": 844})
    page.wait_for_load_state("networkidle")
    sizes = page.evaluate(
        """[...document.querySelectorAll("svg.chart text")].map((text) =>
            parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"""
    )
    assert len(sizes) > 10
    assert min(sizes) >= 8.5
