"""`synesthete words`: quick unless all is wanted, and then it says so."""

from __future__ import annotations

import shutil
from pathlib import Path

from synesthete.atlas import open_atlas
from tests.cli.conftest import Run
from tests.small_atlas import LAYER


def test_what_the_quick_default_leaves_out_is_printed(
    run: Run, workplace: Path, tmp_path: Path
) -> None:
    atlas = Path(shutil.copytree(workplace / "small.atlas", tmp_path / "own.atlas"))
    (tmp_path / "words.txt").write_text("apple\nboat\n", encoding="utf-8")
    command = ("words", atlas, f"{LAYER}:0", "--vocabulary", tmp_path / "words.txt")
    quick = run(*command)
    assert quick.code == 0, quick.err
    assert "drawn in 2 of 6 ways" in quick.err
    assert "--renderings 6 adds the corners" in quick.err
    assert open_atlas(atlas).manifest["words"]["places"] == [1, 1]
    assert "ways" not in run(*command[:3]).err  # what was drawn is read
    every = run(*command, "--renderings", "6")
    assert "ways" not in every.err
    assert open_atlas(atlas).manifest["words"]["places"] == [1, 5]
