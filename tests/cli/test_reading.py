"""Commands that read an atlas: what they print, as tables and as JSON, without torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.small_atlas import LAYER

READING = [
    ("summary", "small.atlas"),
    ("neurons", "small.atlas"),
    ("show", "small.atlas", f"{LAYER}:0"),
    ("verify", "small.atlas"),
]


def test_summary_as_json_is_the_api(run: Run, workplace: Path) -> None:
    from synesthete.atlas import open_atlas

    ended = run("summary", "small.atlas", "--json")
    assert ended.code == 0
    assert ended.err == ""
    facts = json.loads(ended.out)
    assert facts == open_atlas(workplace / "small.atlas").summary()
    assert facts["multimodal"] == 2
    assert facts["multimodal_random_twin"] == 1
    assert facts["multimodal_shuffled"] == 0
    assert set(facts) >= {"units", "images", "concepts", "modalities"}


def test_summary_for_people_has_the_controls(run: Run) -> None:
    printed = run("summary", "small.atlas").out
    assert "2 of 256" in printed
    assert "its random twin" in printed
    assert "shuffled labels" in printed
    assert "range" in printed
    assert re.search(r"2 of 256 .* 2\n", printed), "two neurons, of two concepts"
    assert re.search(r"1 of 256 .* 1\n", printed)
    assert "1 set aside, unreadable" in printed


def test_neurons_as_json(run: Run) -> None:
    rows = json.loads(run("neurons", "small.atlas", "--json").out)
    assert len(rows) == 256
    assert set(rows[0]) >= {"address", "concept", "multimodality", "q", "auc", "multimodal"}
    assert rows[0]["address"] == f"{LAYER}:0"
    assert rows[0]["auc"] == pytest.approx(
        {"photo": 0.97, "drawing": 0.98, "symbol": 0.99, "word": 1}
    )
    scores = [row["multimodality"] for row in rows if row["multimodality"] is not None]
    assert scores == sorted(scores, reverse=True)
    assert rows[-1]["multimodality"] is None


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        (["--multimodal"], [0, 1]),
        (["--multimodal", "--limit", "1"], [0]),
        (["--concept", "APPLE", "--limit", "3"], [0, 4, 8]),
        (["--layer", LAYER, "--concept", "<b>&cat</b>", "--limit", "1"], [1]),
    ],
)
def test_neurons_filters(run: Run, options: list[str], addresses: list[int]) -> None:
    rows = json.loads(run("neurons", "small.atlas", "--json", *options).out)
    assert [row["address"] for row in rows] == [f"{LAYER}:{unit}" for unit in addresses]


def test_neurons_for_people(run: Run) -> None:
    ended = run("neurons", "small.atlas")
    assert ended.out.count(LAYER) == 25
    assert "… and 231 more" in ended.out
    assert (
        "multimodal: 2 of 256 units | random twin: 1 | permuted: 0 | random mixtures: 0 | shuffled labels: 0"
        in ended.out
    )
    assert "<b>&cat</b>" in ended.out


def test_show_writes_a_page_and_an_image_on_request(run: Run, tmp_path: Path) -> None:
    page = run("show", "small.atlas", f"{LAYER}:1", "--out", tmp_path / "page", "--json")
    assert json.loads(page.out)["png"] is None
    assert [file.suffix for file in (tmp_path / "page").iterdir()] == [".html"]
    assert "--png" in run("show", "small.atlas", f"{LAYER}:1", "--out", tmp_path / "page").err
    ended = run("show", "small.atlas", f"{LAYER}:1", "--out", tmp_path / "cards", "--png", "--json")
    printed = json.loads(ended.out)
    assert printed["concept"] == "<b>&cat</b>"
    assert Path(printed["html"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert Path(printed["png"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", [f"{LAYER}:0", "0", "apple", " APPLE "])
def test_a_neuron_by_address_number_or_concept(run: Run, tmp_path: Path, text: str) -> None:
    ended = run("show", "small.atlas", text, "--out", tmp_path, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["address"] == f"{LAYER}:0"


def test_several_neurons_of_a_concept_are_listed(run: Run) -> None:
    ended = run("show", "small.atlas", "boat")
    assert ended.code == 2
    assert "'boat' names 63 neurons" in ended.err
    assert f"{LAYER}:6 boat 0.88" in " ".join(ended.err.split())
    assert "and 55 more (give an address)" in " ".join(ended.err.split())


def test_verify(run: Run, workplace: Path, tmp_path: Path) -> None:
    sound = run("verify", "small.atlas", "--json")
    assert json.loads(sound.out) == {"intact": True, "differences": []}
    shutil.copytree(workplace / "small.atlas", tmp_path / "hurt.atlas")
    victim = tmp_path / "hurt.atlas" / "embeddings.npy"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    hurt = run("verify", tmp_path / "hurt.atlas")
    assert hurt.code == 1
    assert "embeddings.npy" in hurt.out
    printed = json.loads(run("verify", tmp_path / "hurt.atlas", "--json").out)
    assert printed["intact"] is False


def test_migrate(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parents[1] / "atlas" / "data" / "format-1.zip") as archive:
        archive.extractall(tmp_path)
    old = tmp_path / "small.atlas"
    refused = run("summary", old)
    assert refused.code == 2
    assert f"run: synesthete migrate {old}" in " ".join(refused.err.split())
    assert json.loads(run("migrate", old, "--json").out) == {"before": 1, "after": 2, "reviews": 8}
    assert run("summary", old).code == 0
    assert "already of format 2" in run("migrate", old).out
    assert run("migrate", tmp_path / "nowhere").code == 2


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_reading_loads_neither_model_nor_what_else_takes_long(
    command: tuple[str, ...], workplace: Path, tmp_path: Path
) -> None:
    options = ["--out", str(tmp_path)] if command[0] == "show" else []
    code = (
        "import sys\nfrom synesthete.cli import main\n"
        f"sys.argv = {['synesthete', *command, *options]!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = {'torch', 'open_clip', 'torchvision', 'scipy', 'pandas', 'httpx', 'synesthete.models', 'synesthete.catalog', "
        "'synesthete.server'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_neurons_by_meaning(run: Run, workplace: Path) -> None:
    ended = run("neurons", "small.atlas", "--like", "something red", "--limit", "3", "--json")
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)
    scores = [row["like"]["score"] for row in rows]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    only = run("neurons", "small.atlas", "--like", "apple", "--multimodal", "--json")
    assert {row["multimodal"] for row in json.loads(only.out)} == {True}
    image = next((workplace / "images").glob("food-photo-*.png"))
    shown = run("neurons", "small.atlas", "--like-image", image, "--limit", "2")
    assert shown.code == 0, shown.err
    assert "random sets" in shown.out
    for wrong in (
        ("--like", " "),
        ("--like", "a", "--like-image", image),
        ("--like-image", "none.png"),
    ):
        ended = run("neurons", "small.atlas", *wrong)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
