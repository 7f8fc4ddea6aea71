"""metadata.csv and metadata.jsonl: the ImageFolder convention, and paths that must not escape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.probes.probe_set import UnreadableImage
from tests.probes.samples import png, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "outside.png", png(7))
    for i, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        write(tmp_path / "set" / name, png(i))
    return tmp_path / "set"


def csv_set(folder: Path, text: str) -> Path:
    return write(folder / "metadata.csv", text.encode())


def jsonl_set(folder: Path, *rows: object) -> Path:
    return write(folder / "metadata.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


def test_csv_with_every_column(folder: Path) -> None:
    csv_set(
        folder,
        "file_name,concept,modality,caption,artist,family,source,licence,author,extra\n"
        'a.png,apple,Drawing,"an apple, red",ann,fruit,web,CC0,Ann A.,9\n'
        "sub/c.png,pear,,,,,,,,\n",
    )
    probes = load_probes(folder)
    first = {name: probes.labels[name][0].as_py() for name in probes.labels.column_names}
    assert first == {
        "key": "a.png",
        "concept": "apple",
        "modality": "drawing",
        "artist": "ann",
        "caption": "an apple, red",
        "family": "fruit",
        "source": "web",
        "licence": "CC0",
        "author": "Ann A.",
    }
    assert probes.labels["modality"].to_pylist() == ["drawing", "photo"]
    assert probes.image(1).size == (40, 30)
    assert probes.name == "set"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("lead", ["", "\ufeff"])
def test_csv_as_spreadsheets_write_it(folder: Path, delimiter: str, lead: str) -> None:
    rows = [["file_name", " label ", "text"], ["a.png", "apple", "red\u2028green"]]
    csv_set(folder, lead + "\r\n".join(delimiter.join(row) for row in rows))
    probes = load_probes(folder / "metadata.csv")
    assert probes.concepts == ["apple"]
    assert probes.labels["caption"].to_pylist() == ["red\u2028green"]


def test_jsonl_with_numbers_and_nulls(folder: Path) -> None:
    path = jsonl_set(
        folder,
        {"file_name": "a.png", "label": 3, "license": "MIT", "text": None},
        {"file_name": "b.png", "label": "4"},
    )
    path.write_text(path.read_text() + "\n\n")
    probes = load_probes(path)
    assert probes.concepts == ["3", "4"]
    assert probes.labels["licence"].to_pylist() == ["MIT", ""]
    assert probes.labels["caption"].to_pylist() == ["", ""]


def test_windows_paths_are_understood(folder: Path) -> None:
    jsonl_set(folder, {"file_name": "sub\\c.png", "concept": "pear"})
    probes = load_probes(folder)
    assert probes.labels["key"].to_pylist() == ["sub/c.png"]
    assert probes.image(0)


def test_one_image_may_show_two_concepts(folder: Path) -> None:
    csv_set(folder, "file_name,concept\na.png,apple\na.png,fruit\n")
    assert load_probes(folder).labels["key"].to_pylist() == ["a.png", "a.png#2"]


def test_missing_files_and_concepts_are_rows_with_a_reason(folder: Path) -> None:
    name = "n" * 5000
    csv_set(folder, f"file_name,concept\na.png,apple\nmissing.png,apple\nb.png,\n{name}.png,pear\n")
    probes = load_probes(folder)
    with pytest.raises(UnreadableImage, match="no such file"):
        probes.image(1)
    with pytest.raises(UnreadableImage, match="no concept"):
        probes.image(2)
    with pytest.raises(UnreadableImage):
        probes.image(3)
    assert len(probes.table) == 4


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "sub/../../outside.png",
        "sub/../a.png",
        "..\\outside.png",
        "sub\\..\\..\\outside.png",
        "/etc/passwd",
        "//server/share/a.png",
        "\\\\server\\share\\a.png",
        "C:\\a.png",
        "C:a.png",
        "c:/a.png",
        "..",
        ".",
        "a\0.png",
        "file:///etc/passwd",
        "https://example.org/a.png",
        "link.png",
        "out/outside.png",
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_path_out_of_the_folder_is_an_error(folder: Path, name: str, kind: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "out").symlink_to(folder.parent)
    if kind == "csv":
        csv_set(folder, f"file_name,concept\na.png,apple\n{name},apple\n")
    else:
        jsonl_set(
            folder, {"file_name": "a.png", "concept": "x"}, {"file_name": name, "concept": "x"}
        )
    line = "line 3" if kind == "csv" else "line 2"
    with pytest.raises(SynestheteError, match=line) as caught:
        load_probes(folder)
    assert "\n" not in str(caught.value)


def test_a_link_within_the_folder_is_fine(folder: Path) -> None:
    (folder / "near.png").symlink_to("sub/c.png")
    csv_set(folder, "file_name,concept\nnear.png,apple\n")
    assert load_probes(folder).image(0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column file_name"),
        ("filename,concept\na.png,apple\n", "its columns are filename, concept"),
        ("file_name,thing\na.png,apple\n", "no column concept or label"),
        ("file_name,concept\n", "lists no images"),
        ("file_name,concept\n,apple\n", "line 2: no file_name"),
        ("file_name,concept\na.png,apple,red\n", "line 2: more fields"),
        ('file_name,concept\na.png,"apple\n', "after line 1"),
        ("file_name,concept\nno.png,apple\n", "no usable image"),
        ("file_name,concept\na.png,\n", "no usable image"),
        ("file_name,concept\na.png," + "x" * 200_000, "after line 1"),
    ],
)
def test_a_bad_csv(folder: Path, text: str, words: str) -> None:
    with pytest.raises(SynestheteError, match=words):
        load_probes(csv_set(folder, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no images"),
        ("{", "line 1: not JSON"),
        ('{"file_name": "a.png", "concept": "x"}\nnot json', "line 2: not JSON"),
        ('["a.png"]', "line 1: not an object"),
        ('{"concept": "apple"}', "line 1: no file_name"),
        ('{"file_name": null}', "line 1: no file_name"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_bad_jsonl(folder: Path, text: str, words: str) -> None:
    with pytest.raises(SynestheteError, match=words):
        load_probes(write(folder / "metadata.jsonl", text.encode()))


def test_a_table_that_is_not_utf_8(folder: Path) -> None:
    path = write(folder / "metadata.csv", "file_name,concept\na.png,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(SynestheteError, match="save it as UTF-8"):
        load_probes(path)
