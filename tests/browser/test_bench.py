"""The bench in a browser: a word is typed, a neuron is switched off, and the address holds both."""

from __future__ import annotations

import re

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


def test_what_was_typed_last_is_what_is_shown(open_page: Opener, seen: Seen) -> None:
    page = open_page("/bench")
    word = page.locator("[name=word]")
    word.fill("")
    word.press_sequentially("volcano", delay=150)
    expect(page.locator("[data-card]")).to_have_attribute("href", re.compile("word=volcano"))
    query = page.locator("[data-card]").get_attribute("href").partition("?")[2]  # type: ignore[union-attr]
    found = page.request.get(page.url.partition("/bench")[0] + f"/bench.json?{query}").json()
    expect(page.locator("[data-bars] li > span")).to_have_text(
        [one["label"] for one in found["bars"]]
    )
    expect(page.locator("h1")).to_have_text(found["title"])
    assert page.title().startswith(found["title"])
    assert page.locator("[data-now]").inner_text().startswith(found["answers"][0])
    assert not seen.errors


def test_back_from_an_example_is_the_photo_before(open_page: Opener, seen: Seen) -> None:
    page = open_page("/bench")
    examples = page.locator("[data-key]")
    examples.nth(0).click()
    expect(examples.nth(0)).to_have_attribute("aria-current", "true")
    first = page.url
    examples.nth(1).click()
    expect(examples.nth(1)).to_have_attribute("aria-current", "true")
    assert page.url != first
    page.go_back()
    expect(page.locator("[data-key]").nth(0)).to_have_attribute("aria-current", "true")
    assert page.url == first
    assert not seen.errors


def test_a_failure_says_of_what_the_page_still_is(open_page: Opener) -> None:
    page = open_page("/bench")
    page.locator("[name=word]").fill("drum")
    expect(page.locator("[data-card]")).to_have_attribute("href", re.compile("word=drum"))
    page.route(
        "**/bench.json*", lambda route: route.fulfill(status=500, body="Internal Server Error")
    )
    page.locator("[name=word]").fill("boat")
    expect(page.locator("[data-status]")).to_have_text(
        "The server failed at this; its log says why. What is shown is “drum”."
    )
