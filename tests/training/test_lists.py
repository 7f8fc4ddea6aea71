"""What is learnt and what is left out: chosen by hash, apart from each other, the same wherever it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from training import lists


def images(folder: Path) -> Path:
    rows = [("key", "modality", "artist", "caption")]
    rows += [
        (f"deb:openclipart-svg:{i}.svg", "drawing", "openclipart", f"title {i % 700}")
        for i in range(1400)
    ]
    rows += [("npm:noto:ant", "drawing", "noto", "ant"), ("npm:ph:ant-bold", "symbol", "ph", "ant")]
    rows += [
        ("npm:mdi:apple", "symbol", "mdi", "apple"),
        ("photo:trashnet/paper/1.webp", "photo", "trashnet", "paper"),
    ]
    (folder / "images.tsv").write_text("\n".join(map("\t".join, rows)) + "\n")
    return folder


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    path = tmp_path / "candidates.tsv"
    path.write_text(
        "concept\tdrawn\ticon\tmono_emoji\tphoto\n"
        "ant\tdeb:openclipart-svg:3.svg;npm:noto:ant\tnpm:game-icons:ant\t\t\n"
        "no such concept\tnpm:noto:x\t\t\t\n"
    )
    return path


def test_the_table_has_what_was_curated_and_what_is_called_so(
    tmp_path: Path, candidates: Path
) -> None:
    table = lists.concept_table(images(tmp_path), candidates)
    ants = {item for concept, _, _, _, item in table if concept == "ant"}
    assert {
        "npm:noto:ant",
        "npm:ph:ant-bold",
        "npm:game-icons:ant",
        "deb:openclipart-svg:3.svg",
    } <= ants
    assert len(table) == len(set(table))
    assert not any(item in {"npm:mdi:apple", "npm:noto:x"} for *_, item in table)
    assert {family for concept, family, *_ in table if concept == "ant"} == {"animal"}


def test_what_is_held_out_is_never_learnt_from(tmp_path: Path, candidates: Path) -> None:
    data = images(tmp_path)
    counts = lists.write(data, candidates)
    assert counts["clip_art.txt"] == 500
    held = set((data / "held_out.txt").read_text().split("\n"))
    chosen = (data / "clip_art.txt").read_text().split()
    titles = {int(key.split(":")[2].split(".")[0]) % 700 for key in chosen}
    assert len(titles) == 500
    learnt = {row.split("\t")[4] for row in (data / "table.tsv").read_text().split("\n")[1:] if row}
    assert not {key for key in held if "openclipart" in key} & learnt
    shown = {key for key in held if "openclipart" in key}
    assert shown == {f"deb:openclipart-svg:{i}.svg" for i in range(1400) if i % 700 in titles} - {
        "deb:openclipart-svg:3.svg"
    }
    assert "photo:trashnet/paper/1.webp" in held
    assert not (data / "held_out_words.txt").exists()


def test_held_out_words_stand_in_no_name(tmp_path: Path) -> None:
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]
    texts = ["ant", "a wab thing", *words]
    kinds = ["names", "captions", *["words"] * len(words)]
    np.savez(tmp_path / "teacher.npz", texts=texts, kinds=kinds, targets=np.zeros((602, 2)))
    held = lists.held_out_words(tmp_path)
    assert len(held) == 500
    assert "wab" not in held
    assert held == sorted(set(held))
