"""A model of images only, from a recording to an exported edit and the pages: what needs texts is left out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from synesthete.analysis import analyze
from synesthete.cli import main
from synesthete.models import load_model
from synesthete.probes import load_probes
from synesthete.recording import record
from tests.server.conftest import BEARER, client_of
from tests.small_atlas import write_images

MODEL = "timm:test_resnet/random"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images-only")
    probes = load_probes(write_images(folder / "images"))
    path = record(load_model(MODEL), probes, None, folder / "x.atlas", exemplars=8)
    analyze(path)
    return path


def test_edits_are_measured_without_names_and_exported(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [
        "edit",
        str(atlas),
        "--ablate",
        "3",
        "--images",
        "8",
        "--probes",
        str(atlas.with_name("images") / "metadata.csv"),
        "--export",
        str(tmp_path / "out"),
    ]
    for more in (["--json"], []):
        monkeypatch.setattr("sys.argv", ["synesthete", *given[: -2 if not more else None], *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        printed = capsys.readouterr().out
        if more:
            assert json.loads(printed)["effect"] is None
        else:
            assert "the model reads no texts" in printed
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_pages(atlas: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (60, 50), "teal").save(stream, "PNG")
    with client_of(atlas, BEARER) as client:
        found = client.post("/try-image.json", files={"file": ("a.png", stream.getvalue())}).json()
        assert found["guesses"] == []
        assert found["fired"]
        for path in ("/", "/edit", "/map", "/families", "/try-image", "/search?q=apple"):
            assert client.get(path, headers={"accept": "text/html"}).status_code == 200, path
        assert client.get("/bench.json").status_code == 409
