"""`synesthete look`: from a folder of photos to the microscope."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from synesthete.analysis.provenance import own_probes
from synesthete.atlas import open_atlas
from tests.cli.conftest import Run

LOOK = ("look", "--model", "local-dir:model", "--no-serve")


@pytest.fixture
def few_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in set with three of its concepts: that of all takes the small model long."""
    from synesthete.probes import builtin

    whole = builtin.load_builtin

    def few() -> object:
        return whole().part(texts=False).select(concepts=["apple", "bat", "drum"])

    for place in ("synesthete.probes.photos", "synesthete.probes.builtin"):
        monkeypatch.setattr(f"{place}.load_builtin", few)


@pytest.fixture
def pile(workplace: Path, tmp_path: Path) -> Path:
    """A loose pile with a corrupt file and a movie, and one folder."""
    root = tmp_path / "pile"
    (root / "apple").mkdir(parents=True)
    for image in sorted((workplace / "images").glob("*photo*.png")):
        shutil.copy(image, root / "apple" if image.name.startswith("food") else root)
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "clip.mov").write_bytes(b"x")
    return root


@pytest.mark.usefixtures("few_concepts")
def test_a_pile_of_photos(
    run: Run, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pile.atlas"
    ended = run(*LOOK, pile, "--out", out)
    assert ended.code == 0, ended.err
    before, _after = ended.err.split("recording:", 1)
    assert "What so few images can show:" in before, "said before the work"
    assert "guesses of" in before
    assert "left out, not images: 1 (clip.mov)" in before
    assert "broken.jpg" not in ended.out
    assert "(zero-shot)" in ended.out
    assert f"serve {out}" in ended.out
    atlas = open_atlas(out)
    assert atlas.analysed
    assert atlas.manifest["probes"]["quarantined"] == 1
    assert {"photo", "drawing", "symbol", "word"} <= set(atlas.summary()["modalities"])
    concepts = set(atlas.concepts)
    assert "apple" in concepts
    assert all(one == "apple" or one.endswith(" (zero-shot)") for one in concepts)
    assert own_probes(atlas, pile).fingerprint == atlas.manifest["probes"]["fingerprint"]

    again = json.loads(run(*LOOK, pile, "--out", out, "--json").out)
    assert "recording:" not in run(*LOOK, pile, "--out", out).err
    assert len(again["photos"]) == 16
    assert any(row["neurons"] for row in again["photos"])

    opened: list[dict[str, object]] = []
    monkeypatch.setattr(
        "synesthete.cli.serve.serve",
        lambda paths, **given: opened.append({"paths": paths, **given}),
    )
    monkeypatch.setattr("synesthete.cli.look.has_screen", lambda: False)
    assert (
        run("look", "--model", "local-dir:model", "--serve", "--port", "0", pile, "--out", out).code
        == 0
    )
    assert opened == [{"paths": [out], "port": 0, "browser": False}]


@pytest.mark.usefixtures("few_concepts")
def test_a_single_photo_ends_in_no_error(run: Run, pile: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    (one / "りんご").mkdir(parents=True)
    shutil.copy(next((pile / "apple").iterdir()), one / "りんご" / "写真.png")
    ended = run(*LOOK, one, "--out", tmp_path / "one.atlas")
    assert ended.code == 0, ended.err
    assert "no neuron can be called multimodal" in ended.err.split("recording:", 1)[0]
    assert "left out" in ended.err
    site = run("export", tmp_path / "one.atlas", tmp_path / "site")
    assert site.code == 0, site.err


def test_what_cannot_be_looked_at_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, expected in (
        (tmp_path / "empty", "holds no file"),
        (tmp_path / "no", "does not exist"),
    ):
        ended = run(*LOOK, given)
        assert (ended.code, ended.out) == (2, "")
        assert expected in ended.err
    assert run("look", tmp_path / "empty", "--model", "nothing-like-it").code == 2


def test_a_model_without_a_text_tower_gives_no_labels(
    pile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from synesthete.cli.look import _labelled
    from synesthete.probes.photos import load_photos

    silent = SimpleNamespace(name="eyes", reads_texts=False)
    found = _labelled(pile, load_photos(pile), silent)  # type: ignore[arg-type]
    assert found.concepts == ["apple"]
    assert "eyes reads no text" in capsys.readouterr().err
