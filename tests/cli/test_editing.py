"""Editing from the command line: what is printed, what is written, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

from tests.cli.conftest import Run
from tests.small_atlas import LAYER

UNIT = f"{LAYER}:3"


def test_edit_measures_saves_and_exports(run: Run, workplace: Path, tmp_path: Path) -> None:
    probes = workplace / "images" / "metadata.csv"
    done = run(
        "edit",
        "small.atlas",
        "--ablate",
        UNIT,
        "--steer",
        f"{LAYER}:5=2.5",
        "--probes",
        probes,
        "--save",
        tmp_path / "edits.json",
        "--export",
        tmp_path / "edited",
        "--images",
        12,
        "--json",
    )
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["effect"]["n"] == 12
    assert printed["effect"]["moved"] > 0
    assert 0 <= printed["effect"]["control_changed"] <= 1
    assert printed["export"]["difference"] <= 1e-4
    assert "exported: local-dir:" in done.err
    network, _ = open_clip.create_model_from_pretrained(printed["export"]["spec"])
    assert network.visual is not None
    saved = json.loads((tmp_path / "edits.json").read_text())
    assert saved["edits"] == printed["edits"]["edits"]
    again = run(
        "edit",
        "small.atlas",
        "--edits",
        tmp_path / "edits.json",
        "--probes",
        probes,
        "--images",
        12,
    )
    assert again.code == 0
    assert f"{LAYER}:5" in again.out
    assert "random units" in again.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to edit"),
        (["--ablate", "visual"], "not a valid address"),
        (["--ablate", f"{LAYER}:99999"], "has units 0 to"),
        (["--scale", UNIT], "expected ADDRESS=NUMBER"),
        (["--edits", "no.json"], "cannot be read"),
        (["--ablate", UNIT, "--scale", f"{UNIT}=2"], "two different edits"),
    ],
)
def test_mistakes_end_in_one_line(
    run: Run, workplace: Path, arguments: list[str], message: str
) -> None:
    done = run("edit", "small.atlas", *arguments, "--probes", workplace / "images" / "metadata.csv")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_edits_of_another_model_are_refused(run: Run, workplace: Path, tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    model = {"name": "other", "weights_sha256": "00"}
    path.write_text(
        json.dumps(
            {
                "format": "synesthete-edits",
                "version": 2,
                "model": model,
                "edits": [{"address": UNIT, "op": "ablate"}],
            }
        )
    )
    done = run("edit", "small.atlas", "--edits", path)
    assert done.code == 2
    assert "these edits are for other" in done.err


def test_what_cannot_be_folded_says_why(run: Run, workplace: Path, tmp_path: Path) -> None:
    done = run(
        "edit",
        "small.atlas",
        "--steer",
        "visual.layer4.0.act1:3=1",
        "--export",
        tmp_path / "x",
        "--probes",
        workplace / "images" / "metadata.csv",
        "--images",
        4,
    )
    assert done.code == 2
    assert "pads its input with zeros" in done.err
    assert not (tmp_path / "x").exists()


def test_defend_needs_enough_images(run: Run, workplace: Path) -> None:
    done = run("defend", "small.atlas", "--probes", workplace / "images" / "metadata.csv")
    assert done.code == 2
    assert "images has 4 classes; an attack needs 6" in done.err
    assert run("defend", "no-such-model").code == 2
