"""Commands that make things: record, analyze, demo, contact sheets, lists."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from synesthete.atlas import open_atlas
from synesthete.cli import progress, record
from synesthete.probes.sources import FileSource
from tests.cli.conftest import Run
from tests.probes.samples import png, write
from tests.small_atlas import LAYER

RECORD = ("record", "local-dir:model", "--probes", "images/metadata.csv", "--layer", LAYER)


def test_record_analyses_and_prints(run: Run, tmp_path: Path) -> None:
    ended = run(*RECORD, "--out", tmp_path / "new.atlas", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert facts["analysed"] is True
    assert (facts["images"], facts["quarantined"]) == (64, 1)
    assert facts["multimodal_random_twin"] is not None
    assert "recording: 65 of 65 images" in ended.err
    again = run(*RECORD, "--out", tmp_path / "new.atlas")
    assert again.code == 0
    assert "recording" not in again.err
    assert "its random twin" in again.out


def test_record_texts_beside_images(run: Run, tmp_path: Path) -> None:
    for number, concept in enumerate(("apple", "pear")):
        write(tmp_path / "mine" / concept / "photo" / "a.png", png(number))
        write(tmp_path / "mine" / concept / "anecdote" / "a.txt", b"It grows on trees")
    out = tmp_path / "both.atlas"
    given = ("--no-words", "--no-analyze", "--twins", "none", "--texts", "--out", out)
    ended = run(
        "record", "local-dir:model", "--probes", tmp_path / "mine", "--layer", LAYER, *given
    )
    assert ended.code == 0, ended.err
    assert list(open_atlas(out).layers) == [LAYER, "text.transformer.resblocks.0.mlp", "joint"]


@pytest.mark.parametrize(
    ("model", "message"),
    [("local-dir:model", "has no texts"), ("timm:test_resnet/random", "reads no texts")],
)
def test_record_texts_where_there_are_none(
    run: Run, tmp_path: Path, model: str, message: str
) -> None:
    ended = run("record", model, *RECORD[2:4], "--texts", "--out", tmp_path / "x.atlas")
    assert ended.code != 0
    assert message in ended.err
    assert not (tmp_path / "x.atlas").exists()


def test_record_without_analysis_then_analyze(run: Run, tmp_path: Path) -> None:
    raw = tmp_path / "raw.atlas"
    recorded = run(*RECORD, "--out", raw, "--no-analyze", "--twins", "none")
    assert recorded.code == 0, recorded.err
    assert "not analysed yet" in recorded.out
    facts = json.loads(run("analyze", raw, "--threshold", "0.8", "--q", "0.5", "--json").out)
    assert (facts["threshold"], facts["q"]) == (0.8, 0.5)
    assert facts["multimodal_random_twin"] is None
    assert "not recorded" in run("summary", raw).out


@pytest.fixture
def own_images(workplace: Path, tmp_path: Path) -> Path:
    """The small set's photos and drawings in folders, without words."""
    rows = csv.DictReader((workplace / "images" / "metadata.csv").open(encoding="utf-8"))
    for row in rows:
        if row["modality"] in ("photo", "drawing") and row["file_name"] != "broken.png":
            name = "cat" if "cat" in row["concept"] else row["concept"]
            folder = tmp_path / "own" / name / row["modality"]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(workplace / "images" / row["file_name"], folder)
    return tmp_path / "own"


OWN = ("record", "local-dir:model", "--layer", LAYER, "--probes")


def test_record_draws_the_words_that_a_set_lacks(
    run: Run, own_images: Path, tmp_path: Path
) -> None:
    ended = run(*OWN, own_images, "--out", tmp_path / "own.atlas", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert list(facts["modalities"]) == ["photo", "drawing", "word"]
    assert facts["modalities"]["word"] >= 16
    assert facts["not_tested"] is None
    assert facts["multimodal"] is not None


def test_a_set_without_words_is_recorded_and_says_what_it_is_good_for(
    run: Run, own_images: Path, tmp_path: Path
) -> None:
    atlas = tmp_path / "own.atlas"
    ended = run(*OWN, own_images, "--out", atlas, "--no-words")
    assert ended.code == 0, ended.err
    printed = "no count of multimodal neurons: multimodality needs written words"
    assert ended.out.count(printed) == 1
    assert "record with --words" in ended.out
    assert "The atlas shows which images excite a neuron, and how well it tells" in ended.out
    for command in ("analyze", "summary", "neurons"):
        again = run(command, atlas)
        assert (again.code, again.out.count(printed)) == (0, 1), command
    assert '"multimodal": null' in run("summary", atlas, "--json").out
    (best, *_) = json.loads(run("neurons", atlas, "--json").out)
    assert set(best["auc"]) == {"photo", "drawing"}
    shown = run("show", atlas, best["address"], "--out", tmp_path / "cards")
    assert shown.code == 0, shown.err
    (card,) = (tmp_path / "cards").glob("*.html")
    assert "multimodality was not tested." in card.read_text(encoding="utf-8")
    assert "Not multimodal" not in card.read_text(encoding="utf-8")


def test_unlabelled_images_are_recorded_too(run: Run, own_images: Path, tmp_path: Path) -> None:
    flat, atlas = tmp_path / "flat", tmp_path / "flat.atlas"
    flat.mkdir()
    for image in own_images.rglob("*.png"):
        shutil.copy(image, flat)
    ended = run(*OWN, flat, "--out", atlas)
    assert ended.code == 0, ended.err
    assert "the probe images show no named concept (name them:" in ended.out
    assert ended.out.rstrip().endswith("The atlas shows which images excite a neuron")
    assert json.loads(run("summary", atlas, "--json").out)["concepts"] == 0
    live = next(n for n in json.loads(run("neurons", atlas, "--json").out) if not n["dead"])
    assert live["concept"] == ""
    shown = run("show", atlas, live["address"], "--out", tmp_path / "cards")
    assert shown.code == 0, shown.err
    for command in ("name", "families"):
        refused = run(command, atlas)
        assert refused.code == 2
        assert "labelled probe set" in refused.err, (
            "not a hint at a command that cannot work either"
        )
    words = run("words", atlas, live["address"])
    assert "the vocabulary concepts is empty" in words.err
    assert "--vocabulary english" in words.err
    site = run("export", atlas, tmp_path / "site")  # every page of the microscope
    assert site.code == 0, site.err
    front = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "No count of multimodal neurons: the probe images show no named concept" in front


def test_demo_ends_by_itself(
    run: Run, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MODEL", "local-dir:model")
    monkeypatch.setattr(record, "PROBES", "images/metadata.csv")
    opened: list[tuple[list[Path], bool]] = []
    monkeypatch.setattr(
        "synesthete.cli.serve.serve",
        lambda atlases, *, browser: opened.append((atlases, browser)),
    )
    ended = run("demo", "--out", tmp_path / "demo.atlas")
    assert ended.code == 0, ended.err
    assert "its random twin" in ended.out
    cards = sorted((tmp_path / "demo.cards").glob("*.html"))
    assert len(cards) == record.CARDS
    assert all(str(card) in ended.out for card in cards)
    assert opened == []
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(record, "has_screen", lambda: True)
    shown = run("demo", "--out", tmp_path / "demo.atlas")
    assert shown.code == 0, shown.err
    assert opened == [([tmp_path / "demo.atlas"], True)]
    assert run("demo", "--out", tmp_path / "demo.atlas", "--no-serve").code == 0
    assert len(opened) == 1
    assert json.loads(run("demo", "--out", tmp_path / "demo.atlas", "--json").out)["analysed"]


def test_contact_sheets(run: Run, tmp_path: Path) -> None:
    ended = run("probes", "sheet", "images/metadata.csv", "--out", tmp_path / "sheets", "--json")
    assert ended.code == 0, ended.err
    sheets = [Path(sheet) for sheet in json.loads(ended.out)["sheets"]]
    assert sheets
    assert all(sheet.read_bytes().startswith(b"\x89PNG") for sheet in sheets)


def test_layers_of_a_model(run: Run) -> None:
    rows = json.loads(run("models", "layers", "local-dir:model", "--json").out)
    found = {row["name"]: row for row in rows}
    assert found[LAYER] == {
        "name": LAYER,
        "kind": found[LAYER]["kind"],
        "units": 256,
        "grid": [2, 2],
        "default": True,
        "tower": "image",
    }
    assert f"{LAYER}:pre" in found
    assert "read by default" in run("models", "layers", "local-dir:model").out


def test_list_of_models(run: Run) -> None:
    names = [row["name"] for row in json.loads(run("models", "list", "--json").out)]
    assert "RN50x4/openai" in names
    assert "RN50x4/openai" in run("models", "list").out


def test_evaluate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def hashed(self: FileSource, row: int) -> str:
        raise AssertionError("naming images needs no hash of each")

    monkeypatch.setattr(FileSource, "digest", hashed)
    ended = run(
        "models", "evaluate", "local-dir:model", "--probes", "images/metadata.csv", "--json"
    )
    assert ended.code == 0, ended.err
    rates = json.loads(ended.out)["modalities"]
    assert set(rates) == {"photo", "drawing", "symbol", "word"}
    for rate in rates.values():
        assert rate["n"] == 16
        assert rate["top1"] <= rate["top5"]
        assert rate["chance"] == 0.25
    printed = run("models", "evaluate", "local-dir:model", "--probes", "images/metadata.csv").out
    assert "random twin" in printed
    assert "95 %" in printed


def test_progress_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.Reporter("recording") as reporter:
        for done in range(0, 101, 10):
            reporter(done, 100)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) < 7
    assert errors[-1].startswith("recording: 100 of 100 images")
    assert "left" in errors[0]
