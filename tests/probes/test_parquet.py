"""Parquet files: struct and binary images, class names, row groups small and large, damage."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.probes.parquet import ParquetSource
from synesthete.probes.probe_set import UnreadableImage
from tests.probes.samples import png, write

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def struct_file(path: Path, count: int = 10, group: int = 4, **columns: Any) -> Path:
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(count)]
    table = {
        "image": pa.array(images, STRUCT),
        "concept": [f"c{i % 3}" for i in range(count)],
        **columns,
    }
    pq.write_table(pa.table(table), path, row_group_size=group)
    return path


def test_struct_images(tmp_path: Path) -> None:
    probes = load_probes(struct_file(tmp_path / "set.parquet"))
    assert probes.name == "set"
    assert probes.labels["key"].to_pylist() == [f"{i}.png" for i in range(10)]
    assert probes.table["sha256"].to_pylist() == [
        hashlib.sha256(png(i)).hexdigest() for i in range(10)
    ]
    assert probes.image(9).size == (40, 30)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_binary_images(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "set.parquet"
    table = {"picture": pa.array([png(0), None, b"junk\x00"], kind), "label": ["a", "b", "c"]}
    pq.write_table(pa.table(table), path)
    probes = load_probes(path)
    assert probes.labels["key"].to_pylist() == [f"set/{i:07d}" for i in range(3)]
    assert probes.image(0)
    with pytest.raises(UnreadableImage, match="no image bytes"):
        probes.image(1)
    with pytest.raises(UnreadableImage, match="not an image"):
        probes.image(2)
    assert probes.table["sha256"].to_pylist()[1] == ""


def test_null_structs_and_null_bytes(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    images = pa.array([{"bytes": png(), "path": None}, None, {"bytes": None, "path": "x"}], STRUCT)
    pq.write_table(pa.table({"image": images, "concept": ["a", "b", "c"]}), path)
    probes = load_probes(path)
    assert probes.image(0)
    for row in (1, 2):
        with pytest.raises(UnreadableImage, match="no image bytes"):
            probes.image(row)


def test_hugging_face_class_names(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    images = pa.array([{"bytes": png(i), "path": None} for i in range(3)], STRUCT)
    table = pa.table({"image": images, "label": pa.array([1, 0, None], pa.int64())})
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(note), path)
    probes = load_probes(path)
    assert probes.labels["concept"].to_pylist() == ["dog", "cat", ""]
    with pytest.raises(UnreadableImage, match="no concept"):
        probes.image(2)


def test_a_folder_of_shards(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    struct_file(tmp_path / "data" / "a.parquet", 5)
    struct_file(tmp_path / "data" / "b.parquet", 3)
    probes = load_probes(tmp_path / "data")
    assert probes.name == "data"
    assert probes.labels["key"].to_pylist()[4:6] == ["4.png", "0.png#2"]
    assert np.array_equal(np.asarray(probes.image(6)), np.asarray(probes.image(1)))


@pytest.mark.parametrize("group_bytes", [0, 1 << 20])
@pytest.mark.parametrize("group", [7, 50, 1000])
def test_any_order_gives_the_same_bytes(tmp_path: Path, group: int, group_bytes: int) -> None:
    path = struct_file(tmp_path / "set.parquet", 100, group)
    source = ParquetSource([path], "image.bytes", group_bytes=group_bytes)
    order = np.random.default_rng(0).permutation(100)
    for row in [*range(100), *order, *range(99, -1, -1)]:
        assert source.digest(int(row)) == hashlib.sha256(png(int(row))).hexdigest()


class Counted(ParquetSource):
    """Counts how often a row group is gone through."""

    passes = 0

    def _batches(self, index: int) -> Iterator[list[bytes | None]]:
        self.passes += 1
        return super()._batches(index)


@pytest.mark.parametrize("group_bytes", [0, 1 << 20])
def test_reading_in_order_goes_through_a_group_once(tmp_path: Path, group_bytes: int) -> None:
    path = struct_file(tmp_path / "set.parquet", 64, 64)
    source = Counted([path], "image.bytes", group_bytes=group_bytes)
    for row in range(64):
        source.digest(row)
    assert source.passes == 1


def test_a_copy_for_another_process(tmp_path: Path) -> None:
    source = ParquetSource([struct_file(tmp_path / "s.parquet")], "image.bytes", group_bytes=0)
    source.digest(3)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.digest(3) == source.digest(3)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"concept": ["a"]}, "no column of images"),
        ({"image": pa.array([b"x"]), "thing": ["a"]}, "no column concept or label"),
        ({"left": pa.array([b"x"]), "right": pa.array([b"y"]), "label": ["a"]}, "left, right"),
        ({"image": pa.array([b"x"]), "concept": [""]}, "no concept in any row"),
        ({"image": pa.array([], pa.binary()), "concept": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_tables_that_cannot_be_a_probe_set(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    with pytest.raises(SynestheteError, match=words):
        load_probes(tmp_path / "set.parquet")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_damaged_file(tmp_path: Path, part: float) -> None:
    data = struct_file(tmp_path / "set.parquet").read_bytes()
    write(tmp_path / "set.parquet", data[: int(part * len(data))])
    with pytest.raises(SynestheteError, match="parquet") as caught:
        load_probes(tmp_path / "set.parquet")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_damaged_or_gone_later(tmp_path: Path) -> None:
    path = struct_file(tmp_path / "set.parquet", 10, 10)
    probes = load_probes(path)
    whole = path.read_bytes()
    write(path, whole[:200] + b"\xff" * 400 + whole[600:])
    for row in range(10):
        try:
            probes.image(row)
        except UnreadableImage:
            continue
    path.unlink()
    fresh = load_probes(struct_file(tmp_path / "other.parquet"))
    (tmp_path / "other.parquet").unlink()
    with pytest.raises(UnreadableImage, match="damaged parquet"):
        fresh.image(0)
    assert fresh.table["sha256"].to_pylist() == [""] * 10
