"""The bench in a browser: a word is typed, a neuron is switched off, and the address holds both."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Opener, Seen


def test_type_a_word_and_switch_a_neuron_off(open_page: Opener, seen: Seen) -> None:
    page = open_page("/")
    page.locator("[name=word]").fill("drum")
    expect(page.locator("[data-bars] progress").first).to_be_visible()
    expect(page.locator("[data-units] li").first).to_be_visible()
    says = page.locator("[data-says]").inner_text()
    assert says
    page.locator("[name=off]").first.check()
    assert "word=drum" in page.url
    assert "off=" in page.url
    share = page.locator("[data-bars] b").all_inner_texts()
    page.reload()
    expect(page.locator("[data-bars] b")).to_have_text(share)
    assert page.locator("[name=off]").first.is_checked()
    assert page.locator("[data-card]").get_attribute("href")
    assert not seen.errors
