"""Folders of images: where concepts and modalities are read from, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.probes.probe_set import ProbeSet, UnreadableImage
from tests.probes.samples import encoded, png, scene, write


def labels_of(probes: ProbeSet) -> list[tuple[str, str]]:
    columns = (probes.labels[name].to_pylist() for name in ("concept", "modality"))
    return list(zip(*columns, strict=True))


def reasons(probes: ProbeSet) -> dict[str, str]:
    found = {}
    for i, key in enumerate(probes.labels["key"].to_pylist()):
        try:
            probes.image(i)
        except UnreadableImage as error:
            found[key] = error.reason
    return found


def test_concept_folders(tmp_path: Path) -> None:
    for i, name in enumerate(["apple/b.png", "apple/a.png", "hot_dog/x.png"]):
        write(tmp_path / "fruit" / name, png(i))
    probes = load_probes(tmp_path / "fruit")
    assert probes.name == "fruit"
    assert probes.labels["key"].to_pylist() == ["apple/a.png", "apple/b.png", "hot_dog/x.png"]
    assert labels_of(probes) == [("apple", "photo"), ("apple", "photo"), ("hot dog", "photo")]
    assert not reasons(probes)


def test_concept_and_modality_folders_mixed(tmp_path: Path) -> None:
    for name in ["apple/photo/a.png", "apple/Drawings/b.png", "apple/c.png", "pear/word/d.png"]:
        write(tmp_path / name, png())
    assert labels_of(load_probes(tmp_path)) == [
        ("apple", "drawing"),
        ("apple", "photo"),
        ("apple", "photo"),
        ("pear", "word"),
    ]


def test_the_users_own_modalities_when_every_concept_has_such_folders(tmp_path: Path) -> None:
    for name in ["apple/x-ray/a.png", "pear/x-ray/b.png", "pear/photo/c.png", "README.md"]:
        write(tmp_path / name, png())
    probes = load_probes(tmp_path)
    assert probes.modalities == ["photo", "x-ray"]
    assert list(reasons(probes)) == ["README.md"]


def test_the_users_own_modalities_alone(tmp_path: Path) -> None:
    for name in ["apple/x-ray/a.png", "pear/x-ray/b.png", "pear/scan/c.png", "fig/scan/d.png"]:
        write(tmp_path / name, png())
    assert load_probes(tmp_path).modalities == ["scan", "x-ray"]


@pytest.mark.parametrize(
    "names",
    [
        ["web/apple/a.png", "camera/apple/b.png", "camera/pear/c.png"],
        ["clipart/apple/a.png", "clipart/pear/b.png", "real/apple/c.png", "real/pear/d.png"],
    ],
)
def test_sources_of_concepts_are_not_mistaken_either(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path / name, png())
    with pytest.raises(SynestheteError, match=r"not a known modality .* metadata\.csv"):
        load_probes(tmp_path)


def test_families_of_concepts_are_not_mistaken_for_modalities(tmp_path: Path) -> None:
    for name in ["animal/badger/a.png", "animal/bat/b.png", "fruit/apple/c.png"]:
        write(tmp_path / name, png())
    with pytest.raises(SynestheteError, match="'badger', which is not a known modality"):
        load_probes(tmp_path)


def test_modality_outside_concept_inside(tmp_path: Path) -> None:
    for name in ["photo/apple/a.png", "drawing/apple/b.png"]:
        write(tmp_path / name, png())
    assert labels_of(load_probes(tmp_path)) == [("apple", "drawing"), ("apple", "photo")]


def test_misplaced_files_are_kept_with_the_reason(tmp_path: Path) -> None:
    for name in ["a.png", "apple/b.png", "apple/odd/c.png", "apple/photo/deep/d.png"]:
        write(tmp_path / name, png())
    found = reasons(load_probes(tmp_path))
    assert set(found) == {"a.png", "apple/odd/c.png", "apple/photo/deep/d.png"}
    assert "outside every concept" in found["a.png"]
    assert "'odd'" in found["apple/odd/c.png"]
    assert "3 folders deep" in found["apple/photo/deep/d.png"]


def test_every_kind_of_bad_file_is_a_row_with_a_reason(tmp_path: Path) -> None:
    whole = encoded(scene(200, 200), "JPEG")
    write(tmp_path / "apple" / "good.jpg", whole)
    write(tmp_path / "apple" / "lies.jpg", png())
    write(tmp_path / "apple" / "half.jpg", whole[: len(whole) // 2])
    write(tmp_path / "apple" / "empty.png", b"")
    write(tmp_path / "apple" / "note.txt", b"buy apples")
    write(
        tmp_path / "apple" / "moves.gif",
        encoded(scene(), "GIF", save_all=True, append_images=[scene(seed=1)]),
    )
    os.mkfifo(tmp_path / "apple" / "pipe.png")
    (tmp_path / "apple" / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "apple" / "round.png").symlink_to("round.png")
    probes = load_probes(tmp_path)
    found = reasons(probes)
    assert len(probes) == 9
    assert {key.split("/")[1]: reason.split(" ")[0] for key, reason in found.items()} == {
        "broken.png": "no",
        "empty.png": "empty",
        "half.jpg": "truncated",
        "moves.gif": "animated",
        "note.txt": "a",
        "pipe.png": "not",
        "round.png": "no",
    }
    assert len(probes.table) == 9
    assert probes.fingerprint


@pytest.mark.skipif(os.getuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "a.png", png()).chmod(0)
    assert "cannot be read" in reasons(load_probes(tmp_path))["apple/a.png"]


def test_a_file_that_goes_away_later(tmp_path: Path) -> None:
    path = write(tmp_path / "apple" / "a.png", png())
    probes = load_probes(tmp_path)
    path.unlink()
    assert "no such file" in reasons(probes)["apple/a.png"]


def test_a_huge_file_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "apple" / "a.png"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(600 * 1024 * 1024)
    assert "600 MiB" in reasons(load_probes(tmp_path))["apple/a.png"]


def test_hidden_files_and_litter_are_passed_over(tmp_path: Path) -> None:
    for name in [".git/a.png", "apple/.DS_Store", "apple/Thumbs.db", "apple/a.png", ".hidden.png"]:
        write(tmp_path / name, png())
    assert load_probes(tmp_path).labels["key"].to_pylist() == ["apple/a.png"]


def test_a_link_to_a_file_outside_is_refused(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.png", png())
    write(tmp_path / "set" / "apple" / "a.png", png())
    (tmp_path / "set" / "apple" / "link.png").symlink_to(secret)
    (tmp_path / "set" / "apple" / "near.png").symlink_to("a.png")
    probes = load_probes(tmp_path / "set")
    found = reasons(probes)
    assert list(found) == ["apple/link.png"]
    assert "leads out" in found["apple/link.png"]
    assert probes.table["sha256"].to_pylist()[1] == ""


def test_a_file_replaced_by_a_link_later_is_refused(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.png", png())
    path = write(tmp_path / "set" / "apple" / "a.png", png())
    probes = load_probes(tmp_path / "set")
    path.unlink()
    path.symlink_to(secret)
    assert "leads out" in reasons(probes)["apple/a.png"]


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "a.png", png())
    (tmp_path / "apple" / "again").symlink_to(tmp_path)
    with pytest.raises(SynestheteError, match="link to a folder"):
        load_probes(tmp_path)


@pytest.mark.parametrize("names", [[], [".hidden.png"], ["apple/.DS_Store"]])
def test_an_empty_folder(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path / name, png())
    with pytest.raises(SynestheteError, match="no images in the folder"):
        load_probes(tmp_path)


def test_a_folder_without_folders_is_a_set_without_concepts(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"{i}.png", png(i))
    write(tmp_path / "notes.txt", b"not an image")
    probes = load_probes(tmp_path, words=True)
    assert labels_of(probes) == [("", "photo")] * 4 + [("", "description")]
    assert (probes.concepts, probes.modalities) == ([], ["photo", "description"])
    assert set(probes.labels["artist"].to_pylist()) == {"unknown-a", "unknown-b"}
    assert probes.image(0).size == (40, 30)
    assert list(reasons(probes)) == ["notes.txt"]


def test_one_loose_image_beside_concepts_is_not_taken_for_an_unlabelled_set(tmp_path: Path) -> None:
    write(tmp_path / "loose.png", png())
    write(tmp_path / "apple" / "a.png", png(1))
    assert "FOLDER/CONCEPT/IMAGE" in reasons(load_probes(tmp_path))["loose.png"]


def test_one_concept_and_one_modality_load(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "a.png", png())
    probes = load_probes(tmp_path)
    assert (probes.concepts, probes.modalities) == (["apple"], ["photo"])


def test_the_same_folder_elsewhere_is_the_same_set(tmp_path: Path) -> None:
    for i, name in enumerate(["apple/a.png", "apple/b.png", "pear/word/c.png", "pear/d.png"]):
        write(tmp_path / "one" / name, png(i))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = load_probes(tmp_path / "one"), load_probes(tmp_path / "two")
    assert one.table.equals(two.table)
    assert one.fingerprint == two.fingerprint


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "apple")
    (tmp_path / "apple").mkdir()
    try:
        with open(folder + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123
            file.write(png())
    except OSError:
        pytest.skip("this file system takes Unicode only")
    probes = load_probes(tmp_path)
    assert probes.image(0).size == (40, 30)
    assert probes.fingerprint


def test_nothing_there_and_wrong_kinds(tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="did you mean 'concepts'"):
        load_probes("concept")
    with pytest.raises(SynestheteError, match="no such probe set, folder or file"):
        load_probes(tmp_path / "missing")
    with pytest.raises(SynestheteError, match="give a folder"):
        load_probes(write(tmp_path / "a.png", png()))
    with pytest.raises(SynestheteError, match="no such probe set, folder or file"):
        load_probes("x" * 5000)
    with pytest.raises(SynestheteError, match="no such probe set, folder or file"):
        load_probes("a\0b")
    with pytest.raises(SynestheteError):
        load_probes("~nobody-of-this-name/x")
