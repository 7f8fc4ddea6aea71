"""What people do in the microscope: sign in, look, label by keyboard, show it images, read in the dark."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from synesthete.reviews import read
from tests.browser.conftest import Opener, Seen, Served, alive
from tests.server.conftest import TOKEN
from tests.small_atlas import LAYER

NEURON = f"/neuron/{LAYER}:0"


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (80, 60), "#c33").save(stream, "PNG")
    return stream.getvalue()


def test_the_link_of_the_start_opens_it_and_the_token_later(
    open_page: Opener, served: Served
) -> None:
    page = open_page("/", inside=False)
    expect(page.locator("h1")).to_have_text("Sign in")
    page.get_by_role("link", name="Type the token").click()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Invalid token")).to_be_visible()
    page.goto(f"{served.base}/enter")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Neurons", exact=True)).to_be_visible()
    link = served.gate.link
    fresh = open_page(link, inside=False)
    expect(fresh.locator(".kicker").first).to_have_text("Model card")
    again = open_page(link, inside=False)
    expect(again.locator("h1")).to_have_text("Sign in")


def test_labelling_by_keyboard_alone(open_page: Opener, served: Served, seen: Seen) -> None:
    page = open_page(f"/label/{LAYER}:0")
    page.get_by_label("You are").focus()
    page.keyboard.type("ada")
    status = page.locator(".label-status")
    total = int(status.inner_text().split(" of ")[1])
    page.keyboard.press("Tab")
    for text in ("a red thing", "1", ""):
        page.keyboard.type(text)
        before = status.inner_text()
        page.keyboard.press("Enter")
        expect(status).not_to_have_text(before)
        expect(page.get_by_label("You see")).to_be_focused()
    for _ in range(total - 3):
        before = status.inner_text()
        page.keyboard.press("Enter")
        expect(status).not_to_have_text(before)
    expect(status).to_contain_text("2 labels given")
    kept = [act for act in read(served.atlas) if act.kind == "label"]
    assert [(act.rater, act.value) for act in kept] == [("ada", "a red thing")] * 2
    assert len({act.image for act in kept}) == 2
    assert not seen.errors


def test_a_name_half_typed_when_the_script_comes_is_typed_to_its_end(
    open_page: Opener, served: Served
) -> None:
    page = open_page()
    held: list[Route] = []
    page.route("**/static/label.js", lambda route: held.append(route))
    with page.expect_request("**/static/label.js"):
        page.goto(f"{served.base}/label/{LAYER}:0", wait_until="domcontentloaded")
    page.get_by_label("You are").focus()
    page.keyboard.type("a")
    held[0].continue_()
    alive(page)
    page.keyboard.type("da")
    expect(page.get_by_label("You are")).to_have_value("ada")


def test_a_verdict_is_kept_and_shown(open_page: Opener, served: Served) -> None:
    page = open_page(f"/neuron/{LAYER}:1")
    page.get_by_label("You are").fill("ben")
    page.get_by_label("You say").select_option("rename")
    page.get_by_label("Name, note or reason").fill("<b>tabby</b>")
    page.get_by_role("button", name="Say it").click()
    expect(page.locator("#review")).to_contain_text("called <b>tabby</b>")
    assert page.url.endswith("#review")
    assert [act.value for act in read(served.atlas) if act.kind == "rename"] == ["<b>tabby</b>"]
    page.reload()
    assert page.get_by_label("You are").input_value() == "ben", "the name is remembered"


def test_keys_lead_through_the_neurons_and_to_the_search(open_page: Opener) -> None:
    page = open_page(NEURON)
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/neuron/{LAYER}:1")
    alive(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**{NEURON}")
    alive(page)
    page.keyboard.press("/")
    page.keyboard.type("red apple")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=red+apple")
    page.locator("main .tile").first.click()
    page.wait_for_url(f"**{NEURON}")
    page.goto(page.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()


@pytest.mark.parametrize("way", ["chosen", "pasted", "dropped"])
def test_an_image_is_shown_to_the_model(
    way: str, open_page: Opener, seen: Seen, served: Served
) -> None:
    page = open_page("/try-image")
    if way == "chosen":
        page.get_by_label("Choose, drop or paste an image").set_input_files(
            {"name": "red.png", "mimeType": "image/png", "buffer": png()}
        )
    else:
        _hand_over(page, way)
    page.wait_for_selector(".fired, .none", timeout=300_000)
    expect(page.locator(".kicker").first).to_contain_text("looks at red.png")
    assert page.locator(".fired .tile, .none").count() >= 1
    # Not `wait_for_function`: what it asks again and again, the page's policy forbids from the second time on.
    width = "document.images[0].decode().then(() => document.images[0].naturalWidth)"
    assert page.evaluate(width) > 100
    assert not seen.errors
    assert all(url.startswith((served.base, "blob:")) for url in seen.requests)


def _hand_over(page: Page, way: str) -> None:
    page.evaluate(
        """([bytes, way]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "red.png", { type: "image/png" }));
            const kind = way === "pasted" ? ClipboardEvent : DragEvent;
            const event = way === "pasted"
                ? new kind("paste", { clipboardData: data, bubbles: true, cancelable: true })
                : new kind("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            document.querySelector(way === "pasted" ? "body" : ".drop").dispatchEvent(event);
        }""",
        [list(png()), way],
    )


def test_a_word_is_shown_to_the_model_and_a_bad_file_refused(open_page: Opener) -> None:
    page = open_page("/try-image")
    page.get_by_label("or draw a word").fill("apple")
    page.keyboard.press("Enter")
    page.wait_for_selector(".fired, .none", timeout=300_000)
    expect(page.locator(".kicker").first).to_contain_text("looks at apple")
    page.goto(page.url.split("?")[0])
    alive(page)
    page.get_by_label("Choose, drop or paste an image").set_input_files(
        {"name": "page.png", "mimeType": "image/png", "buffer": b"<html><script>alert(1)</script>"}
    )
    expect(page.locator(".lead")).to_contain_text("cannot be read")


def test_light_and_dark(open_page: Opener) -> None:
    page = open_page("/", color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate(ground)
    assert _lightness(light) > 200 > 60 > _lightness(dark)
    page.reload()
    assert page.evaluate(ground) == dark, "the choice is remembered"
    other = open_page("/", color_scheme="dark")
    assert other.evaluate(ground) == dark, "the system's choice is the first"


def _lightness(colour: str) -> float:
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3


def test_the_map(open_page: Opener, seen: Seen) -> None:
    page = open_page("/map")
    card, canvas = page.locator(".map-card"), page.locator(".map canvas")
    expect(card).to_be_hidden()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(card).to_be_visible()
    first = card.get_attribute("href")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(card).to_be_visible()
    assert first
    page.keyboard.press("Enter")
    page.wait_for_url("**/neuron/**")
    assert not seen.errors


def test_the_map_answers_as_soon_as_it_says_so(
    open_page: Opener, served: Served, seen: Seen
) -> None:
    page = open_page()
    # The first sight of a size comes with a frame, and on a busy machine that may be long.
    page.add_init_script("window.ResizeObserver = class { observe() {} };")
    page.goto(served.base + "/map")
    alive(page)
    page.locator(".map canvas").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".map-card").is_visible()
    assert not seen.errors


def test_a_static_site_opens_from_a_disk(
    original: Path, tmp_path: Path, open_page: Opener, seen: Seen
) -> None:
    from synesthete.server.export import export_site

    export_site(original, tmp_path / "site")
    page = open_page((tmp_path / "site" / "index.html").as_uri(), inside=False)
    page.get_by_role("link", name="Neurons", exact=True).click()
    page.locator(".tile").first.click()
    expect(page.locator("h1")).to_have_text("red apple")
    assert page.evaluate("document.fonts.ready.then(() => document.fonts.check('16px Inter'))")
    page.get_by_role("link", name="Map").click()
    page.locator(".map canvas").focus()
    alive(page)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".map-card")).to_be_visible()
    page.get_by_role("link", name="Search", exact=True).click()
    page.locator("main input[name=q]").fill("appl")
    page.locator("main li a").first.click()
    expect(page.locator("h1")).to_contain_text("apple")
    assert not seen.errors
    assert all(url.startswith("file://") for url in seen.requests)
