"""The bench: a state is in its address, examples need no model, and what an atlas cannot show is not offered."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from synesthete.atlas import open_atlas
from synesthete.atlas.manifest import read_manifest, write_manifest
from synesthete.editing.sticker import State
from synesthete.editing.sticker_survey import SECTION
from synesthete.report.columns import ProbeColumns, read_probe_columns
from synesthete.server.export import export_site
from tests.server.conftest import BEARER, client_of
from tests.small_atlas import LAYER

HTML = {"accept": "text/html"}
UNITS = [f"{LAYER}:0", f"{LAYER}:1"]


def with_example(path: Path) -> Path:
    """An atlas that keeps one example of known content."""
    from dataclasses import asdict

    from synesthete.editing.sticker_survey import Survey

    example = State(
        image=int(read_probe_columns(open_atlas(path)).photos[0]), word="boat", labels=["apple", "boat"], plain=[0.9, 0.1],
        without=[[0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.7, 0.3]],
        answers=["boat", "apple", "boat", "apple"], units=UNITS, control=[0.21, 0.22], draws=8,
    )  # fmt: skip
    survey = Survey(
        layer=LAYER, photos=16, pairs=10, turned=5, repaired=4, by_chance=0, share=0.1, seed=0,
        examples=[example],
    )  # fmt: skip
    write_manifest(path, read_manifest(path) | {SECTION: asdict(survey)})
    return path


@pytest.fixture
def kept(atlas_path: Path) -> Iterator[TestClient]:
    with client_of(with_example(atlas_path), BEARER) as client:
        yield client


def test_an_example_is_shown_with_its_state(kept: TestClient) -> None:
    home = kept.get("/index.json").json()["bench"]
    assert (home["word"], home["computed"], home["answers"][0]) == ("boat", "before", "boat")
    at = {"image": home["key"], "word": "boat", "off": UNITS[0]}
    found = kept.get("/bench.json", params=at).json()
    assert found["mask"] == 1
    assert [one["off"] for one in found["units"]] == [True, False]
    assert [one["alone"] for one in found["units"]] == [0.6, 0.3]
    page = kept.get(found["path"], headers=HTML).text
    assert "data-says>apple<" in page
    assert page.count(" checked") == 1
    assert "0 % to 43 %" in page, "how often, with its interval"
    assert f'property="og:image" content="{kept.base_url}/bench.png?' in page
    for path, size in ((found["card"], (1200, 630)), (found["photo"], (384, 384))):
        assert Image.open(io.BytesIO(kept.get(path).content)).size == size


def test_a_word_is_answered_by_the_model(shared: TestClient) -> None:
    start = shared.get("/bench.json").json()
    assert (start["bars"], start["computed"]) == ([], "")
    assert len({one["concept"] for one in start["examples"]}) == len(start["examples"]) > 0
    found = shared.get("/bench.json", params={"image": start["key"], "word": " a  drum "}).json()
    assert (found["word"], found["computed"]) == ("a drum", "now")
    assert len(found["answers"]) == 2 ** len(found["units"])
    assert all(
        0 <= share <= 1 for bar in found["bars"] for share in (bar["plain"], *bar["without"])
    )
    again = shared.get("/bench.json", params={"image": start["key"], "word": "a drum"}).json()
    assert again == found
    plain = shared.get("/bench.json", params={"image": start["key"]}).json()
    assert plain["units"] == []
    assert plain["bars"][0]["plain"] == plain["bars"][0]["without"][0]
    assert shared.get(plain["card"]).headers["content-type"] == "image/png"


def test_a_card_of_a_photo_of_which_nothing_was_computed(shared: TestClient) -> None:
    answer = shared.get("/bench.png", params={"image": ""})
    assert answer.status_code == 200
    assert Image.open(io.BytesIO(answer.content)).size == (1200, 630)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"image": "0" * 16, "word": "boat"}, 404, "no such image"),
        ({"word": "\U0001f600"}, 409, "no font here"),
        ({"word": "x" * 61}, 422, "word"),
        ({"word": "boat", "off": f"{LAYER}:99999"}, 404, "no unit"),
    ],
)
def test_wrong_input(shared: TestClient, query: dict[str, str], status: int, message: str) -> None:
    answer = shared.get("/bench.json", params=query)
    assert answer.status_code == status
    assert message in answer.text


def test_an_atlas_of_words_only_has_no_bench(
    atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProbeColumns, "photos", np.zeros(0, np.int64))
    with client_of(atlas_path, BEARER) as client:
        home = client.get("/", headers=HTML).text
        assert "No bench to write words on photos here: there is no image" in home
        assert "<h1>" in home
        assert client.get("/bench.json").status_code == 409


def test_the_home_page_needs_no_torch(atlas_path: Path) -> None:
    code = f"""
import sys
from tests.server.conftest import BEARER, client_of
from pathlib import Path
with client_of(Path({str(with_example(atlas_path))!r}), BEARER) as client:
    home = client.get("/", headers={{"accept": "text/html"}})
    card = client.get(client.get("/index.json").json()["bench"]["card"])
assert (home.status_code, card.status_code) == (200, 200), card.text
print("torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_a_static_site_has_the_examples(atlas_path: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    export_site(with_example(atlas_path), site, neurons=4)
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "data-says>boat<" in home
    assert 'name="word"' not in home
    assert len(list(site.glob("bench-image-*-word-boat.html"))) == 1
    cards = list(site.glob("bench-image-*-word-boat.png"))
    assert len(cards) == 1
    assert f'property="og:image" content="{cards[0].name}"' in home
