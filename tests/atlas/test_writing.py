"""Adding to an atlas: checked, reproducible, and never half done."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from synesthete.atlas import (
    clear_analysis,
    open_atlas,
    write_analysis,
    write_neurons,
    write_selectivity,
    writing,
)
from synesthete.atlas import files as atlas_files
from synesthete.atlas.arrays import npz_bytes, parquet_bytes, read_npz
from synesthete.atlas.manifest import read_manifest
from synesthete.errors import SynestheteError
from tests.atlas.conftest import LAYERS, analyse, neurons_table
from tests.recording.trees import tree

COUNTS = (
    "units",
    "live_units",
    "multimodal",
    "multimodal_random_twin",
    "multimodal_permuted",
    "multimodal_rotation",
    "multimodal_shuffled",
)


def test_an_analysis_twice_gives_the_same_bytes(analysed: Path) -> None:
    before = tree(analysed)
    analyse_again(analysed)
    assert tree(analysed) == before
    clear_analysis(analysed)
    assert not open_atlas(analysed).analysed


def analyse_again(path: Path) -> None:
    clear_analysis(path)
    analyse(path)


@pytest.mark.parametrize("moment", range(1, 11))
def test_killed_while_analysing_again(
    analysed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    expected = tree(analysed)
    changes = 0
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal changes
        changes += 1
        if changes == moment:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            analyse_again(analysed)
    # At every moment the atlas opens, and either is analysed as a whole or says that it is not.
    atlas = open_atlas(analysed)
    assert [line for line in atlas.verify() if "not listed" not in line] == []
    if atlas.analysed:
        assert len(atlas.neurons()) == 11
    analyse(analysed)
    assert tree(analysed) == expected


def test_tables_are_checked(recorded: Path) -> None:
    table = neurons_table(5)
    with pytest.raises(SynestheteError, match=r"no layer 'visual.layer4.9'.*did you mean"):
        write_neurons(recorded, "visual.layer4.9", table)
    with pytest.raises(SynestheteError, match="one row for each of the 5 units"):
        write_neurons(recorded, LAYERS[0], table.slice(0, 4))
    with pytest.raises(SynestheteError, match="lacks the columns concept, dead"):
        write_neurons(recorded, LAYERS[0], table.drop_columns(["dead", "concept"]))
    with pytest.raises(SynestheteError, match="lacks the columns auc_<modality>"):
        write_neurons(recorded, LAYERS[0], table.drop_columns(["auc_photo", "auc_word"]))
    wrong = table.set_column(table.column_names.index("q"), "q", [["x"] * 5])
    with pytest.raises(SynestheteError, match=r"the column q of neurons.parquet is string"):
        write_neurons(recorded, LAYERS[0], wrong)
    rows = pa.table({"unit": [9], "concept": ["a"], "auc_word": [0.5]})
    with pytest.raises(SynestheteError, match="names a unit outside 0…4"):
        write_selectivity(recorded, LAYERS[0], rows)
    assert open_atlas(recorded).verify() == []


def test_no_count_without_its_controls(recorded: Path) -> None:
    counts = dict.fromkeys(COUNTS, 0)
    del counts["multimodal_shuffled"]
    with pytest.raises(SynestheteError, match=r"lack ap, cell, curve, seed, a.multimodal_shuffled"):
        write_analysis(recorded, {"threshold": 0.9, "q": 0.01, "layers": {"a": counts}})


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a" / "b.txt"
    atlas_files.write_file(target, b"old")

    def pieces():  # type: ignore[no-untyped-def]
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        atlas_files.write_file(target, pieces())
    assert tree(tmp_path).keys() == {"a/b.txt"}
    assert target.read_bytes() == b"old"


@given(hnp.arrays(np.float16, hnp.array_shapes(max_dims=3, max_side=4)))
def test_arrays_come_back_as_they_were(array: np.ndarray) -> None:
    written = npz_bytes({"b": array, "a": np.arange(2)})
    again = read_npz(written, {"b": (np.float16, array.shape)}, source="x")["b"]
    assert again.tobytes() == array.tobytes()
    assert npz_bytes({"a": np.arange(2), "b": again}) == written


def test_npz_is_read_by_plain_numpy(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz_bytes({"a": np.eye(3)}))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as plain:
        assert np.array_equal(plain["a"], np.eye(3))


def test_parquet_does_not_depend_on_chunks_or_notes() -> None:
    whole = pa.table({"a": list(range(10))})
    parts = pa.concat_tables([whole.slice(0, 4), whole.slice(4)])
    noted = parts.replace_schema_metadata({"made": "yesterday"})
    assert parquet_bytes(noted) == parquet_bytes(whole)


def test_format_page_names_everything_there_is(analysed: Path, tmp_path: Path) -> None:
    page = (Path(atlas_files.__file__).parent / "FORMAT.md").read_text()
    atlas = open_atlas(analysed)
    layer = atlas.layers[0]
    names = {*atlas.manifest, *atlas.manifest["recipe"], *atlas.manifest["model"]}
    names |= {
        *atlas.manifest["probes"],
        *atlas.manifest["layers"][0],
        *atlas.manifest["thumbnails"],
    }
    names |= {*atlas.manifest["analysis"], *COUNTS, *atlas.probes.column_names}
    names |= {*atlas.statistics(layer).arrays(), *atlas.exemplars(layer).arrays()}
    columns = neurons_table(3).column_names
    names |= {name for name in columns if not name.startswith(("auc_", "p_"))}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    shutil.rmtree(tmp_path / "y", ignore_errors=True)
    text = json.dumps(atlas.manifest)
    assert str(tmp_path) not in text


def test_of_two_who_write_at_once_both_are_there(
    analysed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, write_file = threading.Event(), writing.write_file

    def late(*arguments: Any, **options: Any) -> Any:
        slow.set()
        time.sleep(0.3)
        return write_file(*arguments, **options)

    monkeypatch.setattr(writing, "write_file", late)
    first = threading.Thread(
        target=writing.add_files, args=(analysed, {"one.bin": b"1"}), kwargs={"notes": {"one": 1}}
    )
    first.start()
    assert slow.wait(60)
    writing.add_files(analysed, {}, notes={"two": 2})
    first.join()
    manifest = read_manifest(analysed)
    assert (manifest["one"], manifest["two"], "one.bin" in manifest["files"]) == (1, 2, True)
