"""Files that belong together, and drafts: whole or absent after an interruption at any moment."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from synesthete.atlas.files import claim_draft, write_together
from synesthete.errors import SynestheteError
from tests.recording.trees import tree

OLD = {"page.html": b"old page", "card.md": b"old card", "report.json": b"old report"}
NEW = {"page.html": b"new page", "card.md": b"new card", "report.json": b"new report"}


class Killed(BaseException):
    """As a kill does, it leaves everything where it is."""


def dying(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop at the n-th change of a name; from then on nothing is cleared up."""
    seen = 0

    def at(change: Callable[..., object]) -> Callable[..., object]:
        def changing(*arguments: object, **options: object) -> object:
            nonlocal seen
            seen += 1
            if seen >= step:
                raise Killed
            return change(*arguments, **options)

        return changing

    monkeypatch.setattr(Path, "replace", at(Path.replace))
    monkeypatch.setattr(Path, "unlink", at(Path.unlink))


@pytest.mark.parametrize("step", range(1, 6))
def test_whoever_finds_the_last_file_finds_all_of_one_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    write_together(tmp_path, OLD)
    with monkeypatch.context() as patch:
        dying(step, patch)
        if step < 5:
            with pytest.raises(Killed):
                write_together(tmp_path, NEW)
        else:
            write_together(tmp_path, NEW)
    if (tmp_path / "report.json").exists():
        found = {name: (tmp_path / name).read_bytes() for name in NEW}
        assert found == (OLD if step == 1 else NEW)
    else:
        assert 1 < step < 5
    write_together(tmp_path, NEW)
    assert {name: (tmp_path / name).read_bytes() for name in NEW} == NEW
    assert len(tree(tmp_path)) == len(NEW)


def test_a_full_disk_leaves_all_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_together(tmp_path, OLD)
    before, written = tree(tmp_path), 0

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SynestheteError, match="disk full"):
        write_together(tmp_path, NEW)
    assert tree(tmp_path) == before


def test_a_draft_is_empty_and_alone_and_gone_unless_moved(tmp_path: Path) -> None:
    draft = tmp_path / ".x.draft"
    (draft / "folder").mkdir(parents=True)
    (draft / "folder" / "left.txt").write_text("by a killed process")
    (draft / "link").symlink_to(tmp_path)
    with claim_draft(draft) as folder:
        assert list(folder.iterdir()) == []
        with pytest.raises(SynestheteError, match="another process is writing"), claim_draft(draft):
            pass
        (folder / "made.txt").write_text("made")
    assert list(tmp_path.iterdir()) == []
    with claim_draft(draft) as folder:
        (folder / "made.txt").write_text("made")
        folder.replace(tmp_path / "x")
    assert tree(tmp_path).keys() == {"x/made.txt"}


def test_a_draft_that_was_moved_away_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        flock(descriptor, how)
        (tmp_path / ".x.draft").replace(tmp_path / "x")

    (tmp_path / ".x.draft").mkdir()
    (tmp_path / ".x.draft" / "made.txt").write_text("made")
    monkeypatch.setattr(fcntl, "flock", late)
    with (
        pytest.raises(SynestheteError, match="another process"),
        claim_draft(tmp_path / ".x.draft"),
    ):
        pass
    assert tree(tmp_path).keys() == {"x/made.txt"}


def test_a_link_is_no_draft(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    (tmp_path / "draft").symlink_to(mine)
    with pytest.raises(SynestheteError, match="draft"), claim_draft(tmp_path / "draft"):
        pass
    assert (mine / "thesis.tex").read_text() == "x"
