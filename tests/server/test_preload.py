"""The model that is loaded while the first page is read: when it is, what it spares, and that nothing else depends on it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from synesthete.analysis import provenance
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.errors import SynestheteError
from synesthete.report.neuron import pairs_of
from synesthete.server import Gate, create_app, preload
from synesthete.server.preload import Preload
from tests.server.conftest import BEARER, TOKEN
from tests.server.test_cli import serving, status

MODULE = "libtorch"


def client(path: Path) -> tuple[Preload, TestClient]:
    app = create_app([path], Gate(TOKEN))
    ahead = Preload(app, app.state.library)
    return ahead, TestClient(ahead, base_url="http://127.0.0.1:8000")


def test_what_the_first_answer_needs_is_there(
    atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provenance._loaded.cache_clear()
    ahead, browser = client(atlas_path)
    assert browser.get("/").status_code == 401
    assert ahead.thread is None, "whoever is not let in has nothing loaded"
    assert browser.get("/", headers=BEARER).status_code == 200
    assert ahead.thread is not None
    first = ahead.thread
    first.join(120)
    assert not first.is_alive()
    assert provenance._loaded.cache_info().currsize == 1
    monkeypatch.setattr("synesthete.models.load_model", None)  # must not be called again
    monkeypatch.setattr("synesthete.analysis.zero_shot.class_embeddings", own_words_only)
    answer = browser.get("/bench.json", params={"word": "ipod"}, headers=BEARER)
    assert answer.status_code == 200, answer.text
    assert answer.json()["computed"] == "now"
    assert ahead.thread is first


def own_words_only(model: object, names: list[str], **how: bool) -> object:
    """Embeds what was typed; those of the concepts must be there."""
    assert names == ["ipod"]
    return class_embeddings(model, names, **how)  # type: ignore[arg-type]


def test_a_model_that_cannot_be_loaded_is_left_to_the_page_that_needs_it(
    atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def gone(name: str) -> object:
        tried.append(name)
        raise SynestheteError(f"no model {name!r}")

    provenance._loaded.cache_clear()
    monkeypatch.setattr("synesthete.models.load_model", gone)
    ahead, browser = client(atlas_path)
    assert browser.get("/", headers=BEARER).status_code == 200
    assert ahead.thread is not None
    ahead.thread.join(120)
    assert len(tried) == 1
    assert browser.get("/neurons", headers=BEARER).status_code == 200
    answer = browser.get("/bench.json", params={"word": "ipod"}, headers=BEARER)
    assert answer.status_code >= 400
    assert "no model" in answer.text


def test_what_has_not_started_is_left_out_at_the_end(
    atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def steps(_: object) -> object:
        for number in range(3):
            started.append(number)
            ahead.stop()
            yield

    monkeypatch.setattr(preload, "_steps", steps)
    ahead, browser = client(atlas_path)
    browser.get("/", headers=BEARER)
    assert ahead.thread is not None
    ahead.thread.join(60)
    assert started == [0]


@pytest.mark.parametrize("wanted", [True, False])
def test_torch_comes_after_the_first_page_and_only_where_it_is_wanted(
    original: Path, wanted: bool
) -> None:
    bearer = {"Authorization": "Bearer T"}
    with serving(original, *(() if wanted else ("--no-preload",))) as (base, _, pid):
        maps = Path(f"/proc/{pid}/maps")
        assert MODULE not in maps.read_text()
        assert status(f"{base}/", **bearer)[0] == 200
        for _ in range(600 if wanted else 10):
            assert status(f"{base}/neurons", **bearer)[0] == 200
            if MODULE in maps.read_text():
                break
            time.sleep(0.1)
        assert (MODULE in maps.read_text()) is wanted


def test_the_pairs_of_the_towers_are_there(
    atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, layers = [], ("visual.layer4.1", "text.transformer.resblocks.0.mlp")

    def pairs(atlas: object, *layers: str, controls: bool) -> object:
        computed.append((layers, controls))
        return layers

    monkeypatch.setattr("synesthete.analysis.towers.default_layers", lambda atlas: layers)
    monkeypatch.setattr("synesthete.report.neuron.tower_pairs", pairs)
    ahead, browser = client(atlas_path)
    browser.get("/", headers=BEARER)
    assert ahead.thread is not None
    ahead.thread.join(120)
    opened = ahead.library.get(ahead.library.first)
    assert pairs_of(opened, *layers) == layers
    assert computed == [(layers, False)], "once, before anybody asked"
