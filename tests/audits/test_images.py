"""Which images an audit takes: in turns from all classes, held out where that is known, unreadable ones reported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from synesthete.audits import images as room
from synesthete.audits.images import load_images
from synesthete.errors import SynestheteError
from tests.audits.fakes import SIDE, Blind, write_image_folders


def test_a_folder_in_turns_with_what_cannot_be_read_reported(tmp_path: Path) -> None:
    folder = write_image_folders(tmp_path / "mine", each=16)
    (folder / "apple" / "empty.png").write_bytes(b"")
    (folder / "boat" / "text.png").write_text("no image", encoding="utf-8")
    found = load_images(Blind(), "any", folder)
    assert set(found.unreadable) == {"apple/empty.png", "boat/text.png"}
    assert found.classes == ["apple", "boat", "drum"]
    assert len(found.images) == 48
    assert all(image.size == (SIDE, SIDE) for image in found.images)
    assert not found.held_out
    # Others take the place of those that cannot be read.
    few = load_images(Blind(), "any", folder, limit=30)
    assert len(few.images) == 30
    assert max(Counter(few.truth.tolist()).values()) <= 11


@pytest.mark.parametrize("limit", [30, 31])
def test_the_same_seed_takes_the_same(tmp_path: Path, limit: int) -> None:
    folder = write_image_folders(tmp_path / "mine", each=16)
    one, same, other = (
        load_images(Blind(), "any", folder, limit=limit, seed=seed) for seed in (1, 1, 2)
    )
    assert [i.tobytes() for i in one.images] == [i.tobytes() for i in same.images]
    assert [i.tobytes() for i in one.images] != [i.tobytes() for i in other.images]


def test_the_shipped_model_is_audited_on_what_it_never_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    from synesthete.analysis.zero_shot import held_out_rows
    from synesthete.probes import load_probes

    shown: list[np.ndarray] = []
    original = room._seen

    def noted(model, probes, rows, limit, unreadable):  # type: ignore[no-untyped-def]
        shown.append(np.asarray(rows))
        return original(model, probes, rows, min(limit, 40), unreadable)

    monkeypatch.setattr(room, "_seen", noted)
    found = load_images(Blind(), "mini", prefer=["pizza", "shark"])
    probes = load_probes("concepts")
    unseen = held_out_rows("mini", probes.labels)
    attacked, training = shown
    assert unseen[attacked].all()
    assert len(found.images) == 40
    assert not set(attacked[:40].tolist()) & set(training.tolist())
    assert found.held_out
    modality = np.array(probes.labels["modality"].to_pylist())
    assert set(modality[attacked]) <= {"photo", "drawing"}
    concept = np.array(probes.labels["concept"].to_pylist())
    assert len(set(concept[attacked])) == 100
    assert {"pizza", "shark"} <= set(concept[attacked])


def test_folders_that_are_no_audit(tmp_path: Path) -> None:
    write_image_folders(tmp_path / "few", each=3)
    with pytest.raises(SynestheteError, match="9 images can be used"):
        load_images(Blind(), "any", tmp_path / "few")
    write_image_folders(tmp_path / "one", ("apple",), 31)
    with pytest.raises(SynestheteError, match="has one class"):
        load_images(Blind(), "any", tmp_path / "one")
