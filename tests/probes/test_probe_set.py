"""A probe set keeps its images in order, knows them by content and hands out parts of itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synesthete.errors import SynestheteError
from synesthete.probes.labels import LabelTable, modality_name
from synesthete.probes.probe_set import COLUMNS, ProbeSet, UnreadableImage
from synesthete.probes.sources import FileSource, JoinedSource, RecentlyUsed
from tests.probes.samples import png, write


class Counting(FileSource):
    """A folder that counts what is read from it."""

    def __init__(self, root: Path, files: list[str]) -> None:
        super().__init__(root, files)
        self.hashed: list[int] = []

    def digest(self, row: int) -> str:
        self.hashed.append(row)
        return super().digest(row)


def small_set(folder: Path, name: str = "set") -> ProbeSet:
    labels = LabelTable()
    files = []
    for i, (concept, modality) in enumerate(
        [
            ("pear", "word"),
            ("apple", "photo"),
            ("apple", "x-ray"),
            ("pear", "photo"),
            ("fig", "drawing"),
        ]
    ):
        files.append(f"{i}.png")
        write(folder / files[-1], png(i))
        labels.add(files[-1], {"concept": concept, "modality": modality, "artist": f"ann {i % 2}"})
    return ProbeSet(name, labels.table(), Counting(folder, files))


def test_columns_and_order(tmp_path: Path) -> None:
    probes = small_set(tmp_path)
    assert len(probes) == 5
    assert probes.table.column_names == [*COLUMNS, "sha256"]
    assert all(pa.types.is_string(field.type) for field in probes.table.schema)
    assert probes.table["key"].to_pylist() == [f"{i}.png" for i in range(5)]
    assert probes.concepts == ["apple", "fig", "pear"]
    assert probes.modalities == ["photo", "drawing", "word", "x-ray"]
    assert "5 images" in repr(probes)


def test_hashes_are_of_the_bytes_and_read_only_when_needed(tmp_path: Path) -> None:
    probes = small_set(tmp_path)
    source = probes.source
    assert isinstance(source, Counting)
    probes.image(0)
    assert source.hashed == []
    assert probes.table["sha256"].to_pylist() == [
        hashlib.sha256(png(i)).hexdigest() for i in range(5)
    ]
    probes.select(indices=[4, 0]).table["sha256"]
    assert source.hashed == [0, 1, 2, 3, 4]


def test_fingerprint_follows_content_not_name(tmp_path: Path) -> None:
    one = small_set(tmp_path / "a", "one")
    two = small_set(tmp_path / "b", "two")
    assert one.fingerprint == two.fingerprint
    write(tmp_path / "b" / "3.png", png(9))
    assert small_set_again(tmp_path / "b", two).fingerprint != one.fingerprint
    assert one.select(indices=[1, 0, 2, 3, 4]).fingerprint != one.fingerprint


def small_set_again(folder: Path, probes: ProbeSet) -> ProbeSet:
    return ProbeSet("again", probes.labels, FileSource(folder, [f"{i}.png" for i in range(5)]))


@pytest.mark.parametrize("column", ["key", "concept", "modality", "artist"])
def test_fingerprint_follows_labels(tmp_path: Path, column: str) -> None:
    probes = small_set(tmp_path)
    values = probes.labels[column].to_pylist()
    values[0] += "x"
    labels = probes.labels.set_column(COLUMNS.index(column), column, pa.array(values))
    assert ProbeSet("set", labels, probes.source).fingerprint != probes.fingerprint


def test_select_by_concept_modality_and_index(tmp_path: Path) -> None:
    probes = small_set(tmp_path)
    part = probes.select(concepts=["pear", "fig"], modalities=["photo", "drawing"])
    assert part.labels["key"].to_pylist() == ["3.png", "4.png"]
    assert np.array_equal(np.asarray(part.image(0)), np.asarray(probes.image(3)))
    twice = part.select(indices=[1, 0])
    assert twice.labels["key"].to_pylist() == ["4.png", "3.png"]
    assert np.array_equal(np.asarray(twice.image(0)), np.asarray(probes.image(4)))


def test_select_says_what_there_is(tmp_path: Path) -> None:
    probes = small_set(tmp_path)
    with pytest.raises(SynestheteError, match="did you mean 'apple'"):
        probes.select(concepts=["aple"])
    with pytest.raises(SynestheteError, match=r"no modality 'qqq' .*it has drawing, photo"):
        probes.select(modalities=["qqq"])
    with pytest.raises(SynestheteError, match="from 0 to 4, not 0 to 5"):
        probes.select(indices=[0, 5])
    with pytest.raises(SynestheteError, match="no image"):
        probes.select(concepts=["fig"], modalities=["word"])
    with pytest.raises(SynestheteError, match="no image"):
        probes.select(indices=[])


def test_known_problems_stay_and_are_reported(tmp_path: Path) -> None:
    labels = LabelTable()
    labels.add("a.png", {"concept": "apple"})
    labels.add("b.png", {"concept": ""})
    write(tmp_path / "a.png", png())
    source = FileSource(tmp_path, ["a.png", "b.png"])
    probes = ProbeSet("set", labels.table(), source, problems=labels.problems)
    assert probes.image(0).size == (40, 30)
    with pytest.raises(UnreadableImage, match="no concept"):
        probes.select(indices=[1]).image(0)
    assert probes.concepts == ["apple"]
    assert probes.table["sha256"].to_pylist()[1] == ""


def test_a_set_without_images(tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="no images"):
        ProbeSet("empty", LabelTable().table(), FileSource(tmp_path, []))


def test_modality_names() -> None:
    assert modality_name("Photos") == "photo"
    assert modality_name(" WORD ") == "word"
    assert modality_name("X-ray") == "X-ray"
    assert modality_name("") == ""


def test_missing_modality_is_photo_and_aliases_count() -> None:
    labels = LabelTable()
    labels.add("a", {"label": "cat", "text": "a cat", "license": "CC0"})
    labels.add("b", {"label": "no", "concept": "dog"})
    table = labels.table()
    assert table["concept"].to_pylist() == ["cat", "dog"]
    assert table["modality"].to_pylist() == ["photo", "photo"]
    assert table["caption"].to_pylist() == ["a cat", ""]
    assert table["licence"].to_pylist() == ["CC0", ""]


def test_keys_stay_unique() -> None:
    labels = LabelTable()
    for _ in range(3):
        labels.add("a.png", {"concept": "cat"})
    assert labels.table()["key"].to_pylist() == ["a.png", "a.png#2", "a.png#3"]


def test_names_that_are_no_unicode_are_kept_readable() -> None:
    labels = LabelTable()
    labels.add("caf\udce9.png", {"concept": "cafe\u0301", "caption": "\ud800"})
    table = labels.table()
    assert table["key"].to_pylist() == ["caf\\udce9.png"]
    assert table["concept"].to_pylist() == ["café"]


def artists_of(keys: list[str], concepts: list[str]) -> dict[str, str]:
    labels = LabelTable()
    for key, concept in zip(keys, concepts, strict=True):
        labels.add(key, {"concept": concept})
    table = labels.table()
    return dict(zip(table["key"].to_pylist(), table["artist"].to_pylist(), strict=True))


def test_unknown_artists_make_two_balanced_halves_whatever_the_order() -> None:
    keys = [f"{i}.png" for i in range(200)]
    concepts = [f"c{i % 25}" for i in range(200)]
    artists = artists_of(keys, concepts)
    assert artists == artists_of(keys[::-1], concepts[::-1])
    for c in range(25):
        mine = [artists[f"{i}.png"] for i in range(200) if i % 25 == c]
        assert mine.count("unknown-a") == mine.count("unknown-b") == 4


def test_odd_images_fall_to_either_half() -> None:
    artists = artists_of([f"{i}.png" for i in range(100)], [f"c{i}" for i in range(100)])
    assert 30 <= list(artists.values()).count("unknown-a") <= 70


def test_known_artists_are_left_alone() -> None:
    labels = LabelTable()
    labels.add("a", {"concept": "cat", "artist": "Ann"})
    assert labels.table()["artist"].to_pylist() == ["Ann"]


def test_joined_sources(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / f"{i}.png", png(i))
    parts = [FileSource(tmp_path, ["0.png", "1.png"]), FileSource(tmp_path, ["2.png", "3.png"])]
    joined = JoinedSource([(parts[0], 2), (parts[1], 2)])
    assert [joined.digest(i) for i in range(4)] == [
        hashlib.sha256(png(i)).hexdigest() for i in range(4)
    ]


def test_recently_used_keeps_to_its_budget() -> None:
    computed: list[int] = []

    def make(key: int) -> tuple[int, int]:
        computed.append(key)
        return key * 10, 40

    kept: RecentlyUsed[int] = RecentlyUsed(100)
    for key in (1, 2, 1, 3, 2, 1):
        assert kept.get(key, lambda key=key: make(key)) == key * 10  # type: ignore[misc]
    assert computed == [1, 2, 3, 2, 1]


def test_a_value_over_the_budget_is_kept_alone() -> None:
    kept: RecentlyUsed[int] = RecentlyUsed(10)
    assert kept.get("big", lambda: (1, 1000)) == 1
    assert kept.get("big", lambda: (2, 1000)) == 1
