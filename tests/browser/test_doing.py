"""What people do in the microscope: sign in, look, label by keyboard, show it images, read in the dark."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from synesthete._core.progress import Progress
from synesthete.analysis.rendered_words import draw_words
from synesthete.reviews import read
from synesthete.server.pages import on_demand
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
    expect(fresh.get_by_text("Model card", exact=True)).to_be_visible()
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


def test_another_name_is_one_field_and_a_verdict_one_click(
    open_page: Opener, served: Served, seen: Seen
) -> None:
    page = open_page(f"/neuron/{LAYER}:1")
    page.get_by_label("The name is wrong, it is").fill("<b>tabby</b>")
    page.get_by_label("says").fill("ben")
    page.get_by_label("The name is wrong, it is").press("Enter")
    page.wait_for_url("**#review")
    alive(page)
    expect(page.locator("h1")).to_contain_text("people: <b>tabby</b>")
    expect(page.locator(".said-by li")).to_contain_text("ben, 20")
    expect(page.get_by_label("You are").first).to_have_value("ben")
    page.get_by_role("button", name="Right").click()
    expect(page.locator(".said-by li")).to_contain_text("is right")
    expect(page.locator("h1")).not_to_contain_text("people:")
    kept = [(act.kind, act.value) for act in read(served.atlas) if act.rater == "ben"]
    assert kept == [("rename", "<b>tabby</b>"), ("accept", "")]
    assert not seen.errors


def test_enter_beside_the_thumbs_says_nothing(open_page: Opener, served: Served) -> None:
    page = open_page(f"/neuron/{LAYER}:0")
    before = len(read(served.atlas))
    page.get_by_label("You are").first.fill("dora")
    page.get_by_label("You are").first.press("Enter")
    page.get_by_text("Cite", exact=True).click()
    assert len(read(served.atlas)) == before


def test_a_neuron_is_cited_and_its_card_saved(open_page: Opener, served: Served) -> None:
    page = open_page(f"/neuron/{LAYER}:0", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".share [role=status]")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == served.base + NEURON
    page.get_by_text("Cite", exact=True).click()
    expect(page.locator("#bibtex")).to_contain_text("@misc{synesthete-")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save its card").click()
    assert download.value.suggested_filename == f"{LAYER}-0.html"
    content = download.value.path().read_text(encoding="utf-8")
    assert "red apple" in content
    assert "<script" not in content


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


def test_what_a_page_lacks_is_computed_on_a_click(
    open_page: Opener, seen: Seen, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original.parent)  # where the images of the probe set are
    go_on = threading.Event()

    def held_up(path: Path, *, progress: Progress, **options: Any) -> None:
        progress(2, 4)
        assert go_on.wait(300)
        draw_words(path, progress=progress, **options)

    monkeypatch.setattr(on_demand, "draw_words", held_up)
    path = f"/neuron/{LAYER}:7"
    page, plain = open_page(path), open_page(path, java_script_enabled=False)
    try:
        page.get_by_role("button", name="Draw words").click()
        expect(page.locator("#words [role=status]")).to_have_text("2 of 4")
        expect(page.get_by_role("progressbar", name="Draw words")).to_be_visible()
        expect(page.get_by_role("button", name="Draw words")).to_be_disabled()
        # Meanwhile another visitor's browser, without scripts: a form, and a page that is loaded again by itself.
        plain.get_by_role("button", name="Compute an image").click()
        expect(plain.locator("#image [role=status]")).to_contain_text("waiting for another")
        expect(plain.locator("#words [role=status]")).to_have_text("2 of 4")
    finally:
        go_on.set()
    expect(page.locator(".cloud")).to_contain_text("drum")
    expect(page.get_by_role("button", name="Draw words")).to_have_count(0)
    expect(plain.locator(".visualizations img")).to_have_count(1)
    expect(plain.locator(".cloud")).to_contain_text("drum")
    expect(page.locator(".visualizations img")).to_have_count(1)
    assert not seen.errors


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


@pytest.mark.parametrize("renderer", ["webgl2", "svg"])
def test_the_map(renderer: str, open_page: Opener, served: Served, seen: Seen) -> None:
    page = open_page()
    if renderer == "svg":
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(f"{served.base}/map")
    alive(page)
    assert page.locator(".map").get_attribute("data-renderer") == renderer
    card, canvas = page.locator(".map-card"), page.locator(".map canvas")
    expect(card).to_be_hidden()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(card).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(card).to_be_visible()
    expect(card.locator("img")).to_have_js_property("complete", True)
    page.get_by_label("Find on the map").fill("no such thing")
    expect(page.locator(".map-found")).to_have_text("0 neurons")
    page.get_by_label("Find on the map").fill("boat")
    expect(page.locator(".map-found")).to_have_text(
        re.compile(r"^\d+ neurons; Enter zooms to them$")
    )
    page.keyboard.press("Enter")
    page.get_by_label("Colour by").select_option("verdict")
    expect(page.get_by_role("button", name="none (")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="concept cell (").click()
    expect(page.get_by_role("button", name="none (")).to_have_attribute("aria-pressed", "false")
    page.get_by_label("Find on the map").fill("")
    page.get_by_role("button", name="Show all").click()
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    expect(card).to_contain_text("concept cell")
    page.keyboard.press("Enter")
    page.wait_for_url("**/neuron/**")
    assert not seen.errors


def test_the_map_goes_to_what_is_found(open_page: Opener, served: Served) -> None:
    page = open_page(viewport={"width": 1280, "height": 1200})
    # Drawn as SVG it says which part of its thousandths is seen.
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(f"{served.base}/map")
    alive(page)
    points = page.request.get(f"{page.url}.json").json()["points"]
    dot = points["unit"].index(0)  # "red apple"
    at = [points[axis][dot] / 65.535 for axis in ("x", "y")]
    box = page.locator(".map canvas").bounding_box()
    assert box
    away = [
        side * (0.25 if place > 500 else 0.75)
        for place, side in zip(at, (box["width"], box["height"]), strict=True)
    ]

    def seen_now() -> bool:
        left, top, wide, high = map(
            float, str(page.locator(".map-drawing").get_attribute("viewBox")).split()
        )
        return left <= at[0] <= left + wide and top <= at[1] <= top + high

    page.locator(".map canvas").focus()
    page.mouse.move(box["x"] + away[0], box["y"] + away[1])
    assert seen_now()
    for _ in range(20):
        page.mouse.wheel(0, -1000)
        page.wait_for_timeout(50)
        if not seen_now():
            break
    assert not seen_now()
    page.get_by_label("Find on the map").fill("red apple")
    for _ in range(3000):
        if seen_now():
            return
        page.wait_for_timeout(100)
    pytest.fail("the window stays where nothing is found")


def test_the_map_zooms_and_moves_with_the_mouse_and_by_touch(open_page: Opener, seen: Seen) -> None:
    page = open_page("/map", has_touch=True)
    canvas, card = page.locator(".map canvas"), page.locator(".map-card")
    points = page.request.get(f"{page.url}.json").json()["points"]

    def place(dot: int, zoom: float = 1) -> tuple[float, float]:
        """Where a dot is in the window: magnified about its middle."""
        box, found = canvas.bounding_box(), []
        assert box
        for axis, side in (("x", "width"), ("y", "height")):
            reach = box[side]
            at = 24 + points[axis][dot] / 65535 * (reach - 48)
            found.append(box[axis] + (at - reach / 2) * zoom + reach / 2)
        return found[0], found[1]

    middle = min(
        range(len(points["x"])),
        key=lambda i: abs(points["x"][i] - 32767) + abs(points["y"][i] - 32767),
    )
    address = f"{LAYER}:{points['unit'][middle]}"
    page.mouse.move(*place(middle))
    expect(card).to_be_visible()
    expect(card).to_contain_text(address)
    page.mouse.down()
    page.mouse.move(place(middle)[0] + 50, place(middle)[1] + 30, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("/map$"))  # a drag opens nothing
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("button", name="Zoom in").click()
    page.mouse.move(1, 1)
    expect(card).to_be_hidden()
    page.mouse.move(*place(middle, zoom=1.6))
    expect(card).to_be_visible()
    expect(card).to_contain_text(address)
    page.mouse.move(1, 1)
    expect(card).to_be_hidden()
    # A finger's first tap on a neuron shows it, the second opens it.
    page.touchscreen.tap(*place(middle, zoom=1.6))
    expect(card).to_be_visible()
    expect(card).to_contain_text(address)
    expect(page).to_have_url(re.compile("/map$"))
    page.touchscreen.tap(*place(middle, zoom=1.6))
    page.wait_for_url(f"**/neuron/{address}")
    assert not seen.errors


def test_the_map_is_seen_without_scripts(open_page: Opener) -> None:
    page = open_page("/map", java_script_enabled=False)
    assert page.locator(".map-drawing path").count() >= 4
    expect(page.get_by_role("link", name="the list of neurons")).to_be_visible()


def test_the_search_field_suggests_and_enter_opens(open_page: Opener, seen: Seen) -> None:
    page = open_page("/")
    page.keyboard.press("/")
    page.keyboard.type("red ap")
    option = page.get_by_role("option").first
    expect(option).to_contain_text("red apple")
    page.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{NEURON}")
    assert not seen.errors


def test_search_by_meaning(open_page: Opener, seen: Seen) -> None:
    page = open_page("/search")
    page.locator("main input[name=q]").fill("something red")
    page.get_by_role("button", name="By meaning").click()
    expect(page.get_by_role("heading", name="Near “something red” in meaning")).to_be_visible()
    assert page.locator("main .tile").count() == 24
    page.get_by_label("Neurons like an image").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": png()}
    )
    page.get_by_role("button", name="By image").click()
    expect(page.get_by_role("heading", name="Like red.png")).to_be_visible()
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
