"""`synesthete visualize` and `attribute`: what they print, write and refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.atlas import open_atlas
from tests.cli.conftest import Run
from tests.small_atlas import LAYER

QUICK = ("--steps", "4", "--strengths", "1")


@pytest.fixture
def atlas(workplace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workplace / "small.atlas", tmp_path / "own.atlas"))


def live(path: Path, count: int) -> list[str]:
    std = open_atlas(path).statistics(LAYER).std
    return [f"{LAYER}:{unit}" for unit in np.flatnonzero(std > 0)[:count]]


def test_json_is_a_list_of_images(run: Run, atlas: Path, tmp_path: Path) -> None:
    (address,) = live(atlas, 1)
    sheet = tmp_path / "sheet.png"
    ended = run("visualize", atlas, address, "--facets", "all", *QUICK, "--sheet", sheet, "--json")
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)
    assert {"plain", "word"} <= {row["facet"] for row in rows}
    for row in rows:
        assert set(row) >= {"facet", "path", "activation", "percentile", "excites", "strength"}
        assert Image.open(row["path"]).size == (64, 64)
        assert 0 <= row["percentile"] <= 100
    assert Image.open(sheet).width > 64
    printed = run("visualize", atlas, address, "--facets", "all", *QUICK)
    assert "0 were made now" in printed.err
    assert "no facet flag" in printed.err


def test_what_the_quick_default_leaves_out_is_printed(run: Run, atlas: Path) -> None:
    (address,) = live(atlas, 1)
    plain = run("visualize", atlas, address, "--steps", "2")
    assert "--facets all also steers" in plain.err
    faceted = run("visualize", atlas, address, "--facets", "word", "--steps", "2", "--json")
    assert "each facet at strength 1; --strengths 1,3,10 tries 3" in faceted.err
    assert {row["strength"] for row in json.loads(faceted.out)} == {0.0, 1.0}
    several = run(
        "visualize", atlas, address, "--facets", "word", "--steps", "2", "--strengths", "1,3"
    )
    assert "tries 3" not in several.err


def test_top_family_and_layer_name_neurons(run: Run, atlas: Path) -> None:
    rows = json.loads(run("visualize", atlas, "--top", "2", *QUICK, "--json").out)
    expected = [n.address for n in open_atlas(atlas).neurons() if n.std > 0][:2]
    assert [row["target"] for row in rows] == expected
    rows = json.loads(
        run("visualize", atlas, "--family", "music", "--top", "1", *QUICK, "--json").out
    )
    assert open_atlas(atlas).neuron(rows[0]["target"]).family == "music"
    ended = run("visualize", atlas, "--family", "nothing", *QUICK)
    assert ended.code == 2
    assert "no neuron is of the family" in ended.err


def test_a_direction_from_a_file(run: Run, atlas: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.npy"
    np.save(file, np.random.default_rng(0).normal(size=256).astype(np.float32))
    ended = run("visualize", atlas, "--direction", file, "--layer", LAYER, *QUICK, "--json")
    assert json.loads(ended.out)[0]["target"] == "direction:mine.npy"
    file.write_bytes(b"no array")
    ended = run("visualize", atlas, "--direction", file, "--layer", LAYER, *QUICK)
    assert ended.code == 2
    assert "cannot be read as .npy" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing was named"),
        ((f"{LAYER}:99999",), "no unit 99999"),
        ((f"{LAYER}:0", "--facets", "wrod"), "no facet 'wrod'"),
        ((f"{LAYER}:0", "--strengths", "a,b"), "are not numbers separated by commas"),
        ((f"{LAYER}:0", "--variant", "mine"), "no such variant"),
        ((f"{LAYER}:0", "--facet-folder", "nowhere"), "needs a folder of images"),
    ],
)
def test_mistakes_end_in_one_line(
    run: Run, atlas: Path, arguments: tuple[str, ...], message: str
) -> None:
    ended = run("visualize", atlas, *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.strip().count("\n") == 0
    assert ended.out == ""


def test_attribute(run: Run, atlas: Path, tmp_path: Path) -> None:
    (address,) = live(atlas, 1)
    drawing = tmp_path / "where.png"
    ended = run("attribute", atlas, address, "--limit", "2", "--out", drawing, "--json")
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)
    assert len(rows) == 2
    assert set(rows[0]) == {"image", "id", "activation", "box"}
    assert Image.open(drawing).size == (2 * 64 + 4, 64)
    Image.new("RGB", (70, 70), "red").save(tmp_path / "mine.png")
    assert run("attribute", atlas, address, "--image", tmp_path / "mine.png").code == 0
    assert run("attribute", atlas, address, "--image", tmp_path / "gone.png").code == 2
    ended = run("attribute", atlas, address, "--method", "magic")
    assert ended.code == 2
    assert "no such method" in ended.err
