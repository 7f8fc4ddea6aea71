"""Nothing outside a folder is opened through it, and nothing but regular files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from synesthete._core.user_files import (
    FileInside,
    UnusableFile,
    decoded,
    open_inside,
    read_file,
    read_inside,
    read_named,
    relative_name,
    resolve_inside,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"a")
    return folder


def test_files_and_links_inside_are_read(folder: Path) -> None:
    (folder / "deep" / "link").symlink_to("../a.txt")
    assert read_inside(folder, folder / "a.txt") == b"a"
    assert read_inside(folder, folder / "deep" / "link") == b"a"
    (folder.parent / "alias").symlink_to(folder)
    assert read_inside(folder.parent / "alias", folder.parent / "alias" / "a.txt") == b"a"


@pytest.mark.parametrize("target", ["../secret", "deep/../../secret", "out/secret", "hop"])
def test_what_leads_out_is_refused(folder: Path, target: str) -> None:
    (folder / "out").symlink_to("..")
    (folder / "hop").symlink_to("out/secret")
    (folder / "link").symlink_to(target)
    for path in (folder / "link", folder / target):
        with pytest.raises(UnusableFile, match="leads out of the folder"):
            read_inside(folder, path)
    with pytest.raises(UnusableFile):
        resolve_inside(folder, folder / "link")


def test_a_sibling_that_begins_alike_is_outside(folder: Path) -> None:
    sibling = folder.parent / "folder2"
    sibling.mkdir()
    (sibling / "x").write_bytes(b"x")
    with pytest.raises(UnusableFile, match="leads out"):
        read_inside(folder, folder / ".." / "folder2" / "x")


def test_what_is_not_a_regular_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")  # opening it to read would wait for a writer for ever
    (folder / "loop").symlink_to("loop")
    for name, reason in (
        ("pipe", "not a regular file"), ("deep", "not a regular file"), ("loop", "cannot be read"),
        ("none", "no such file"), ("a\0b", "cannot be read"), ("\udcff\n", "no such file"),
    ):  # fmt: skip
        with pytest.raises(UnusableFile, match=reason) as caught:
            read_inside(folder, folder / name)
        assert str(caught.value).isprintable()
    with pytest.raises(UnusableFile, match="not a regular file"):
        read_named(Path("/dev/zero"))
    with pytest.raises(UnusableFile, match="not a regular file"):
        read_named(folder / "pipe")


def test_size_is_bounded(folder: Path) -> None:
    (folder / "big").write_bytes(b"x" * 101)
    assert len(read_inside(folder, folder / "big", max_bytes=101)) == 101
    with pytest.raises(UnusableFile, match="limit of 100 bytes"):
        open_inside(folder, folder / "big", max_bytes=100)


def test_a_named_link_may_lead_anywhere(folder: Path) -> None:
    (folder / "link").symlink_to("../secret")
    assert read_named(folder / "link") == b"secret"


def test_a_path_keeps_the_folder_that_it_may_be_read_from(folder: Path) -> None:
    path = FileInside.of(folder, folder / "a.txt")
    assert (path, read_file(path)) == (folder / "a.txt", b"a")
    sent = pickle.loads(pickle.dumps(path))
    assert (sent, sent.folder) == (path, folder)
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to("../secret")
    for one in (path, sent):
        with pytest.raises(UnusableFile, match="leads out"):
            read_file(one)
    assert read_file(folder / "a.txt") == b"secret"


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/a", "C:\\a", "C:a", "\\\\server\\a", "", ".", "a\0", "http://x/a"],
)
def test_names_in_tables_that_lead_out(name: str) -> None:
    with pytest.raises(UnusableFile) as caught:
        relative_name(name)
    assert str(caught.value).isprintable()


def test_names_in_tables() -> None:
    assert [relative_name(name) for name in ("a.png", "./a/b.png", "a\\b.png", "a//b")] == [
        "a.png",
        "a/b.png",
        "a/b.png",
        "a/b",
    ]


def test_text_is_utf_8_with_plain_line_ends(folder: Path) -> None:
    assert decoded(b"\xef\xbb\xbfa\r\nb\rc", folder) == "a\nb\nc"
    with pytest.raises(UnusableFile, match="not UTF-8"):
        decoded(b"\xff", folder)
