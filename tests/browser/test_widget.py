"""The notebook widget's script in a browser, clicked, with the real widget behind it in place of a kernel."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

import synesthete as syn
from synesthete.report import notebook
from tests.small_atlas import LAYER

pytestmark = pytest.mark.skipif(find_spec("anywidget") is None, reason="needs anywidget")
STATE = ["address", "query", "found", "card", "title", "message"]
# What a notebook gives a widget's script: the state, a way to change it, and news of changes.
MODEL = """async (script) => {
  const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  let state = await window.state();
  const listeners = [], changes = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => { changes[name] = value; },
    on: (event, listener) => listeners.push([event, listener]),
    off: () => {},
    save_changes: async () => {
      for (const [name, value] of Object.entries(changes)) await window.change(name, value);
      state = await window.state();
      for (const [, listener] of listeners) listener();
    },
  };
  module.default.render({ model, el: document.body });
}"""


def test_click_and_search(browser: Browser, original: Path) -> None:
    widget = syn.browse(original)
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.expose_function("state", lambda: widget.get_state(STATE))

    def change(name: str, value: Any) -> None:
        setattr(widget, name, value)

    page.expose_function("change", change)
    page.set_content("<!doctype html><title>notebook</title>")
    page.evaluate(MODEL, (Path(notebook.__file__).parent / "widget.js").read_text("utf-8"))
    first = widget.address
    expect(page.get_by_role("img")).to_have_attribute("alt", widget.title)
    pressed = page.get_by_role("button", pressed=True)
    expect(pressed).to_contain_text(first)
    page.get_by_role("listitem").filter(has_not_text=first).first.get_by_role("button").click()
    expect(pressed).not_to_contain_text(first)
    assert widget.address != first
    expect(page.get_by_role("img")).to_have_attribute("src", widget.card)
    page.get_by_role("searchbox").fill("apple")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^[1-9]\d* found$"))
    assert (widget.query, widget.address) == ("apple", first)
    expect(pressed).to_contain_text(first)
    expect(page.get_by_role("listitem")).to_have_count(len(widget.found))
    expect(page.get_by_role("listitem").first).to_contain_text(LAYER)
    page.close()
    assert not errors
