"""Drawn words: what units say of them, by a slow walk over the images; sums of words; every refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from synesthete.analysis import rendered_words
from synesthete.analysis.rendered_words import draw_words, nearest_words, renderings, top_words
from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from synesthete.probes.words import load_fonts
from synesthete.recording.executors import Executor
from tests.recording.trees import tree
from tests.small_atlas import LAYER, record_small, write_known_analysis

WORDS = ["apple", "hot dog", "Äpfel", "cat", "house", "a"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    path = record_small(folder)
    write_known_analysis(path)
    (folder / "words.txt").write_text("\n".join([*WORDS, "水", "кот 水"]), encoding="utf-8")
    notes = draw_words(path, vocabulary=str(folder / "words.txt"))
    assert set(notes["skipped"]) == {"水", "кот 水"}
    assert notes["words"] == len(WORDS)
    return path


def test_answers_are_the_greatest_over_places_and_the_mean_over_sizes(drawn: Path) -> None:
    import torch

    atlas = open_atlas(drawn)
    layer = atlas.layers[0]
    model = load_model(atlas.manifest["model"]["name"])
    font = load_fonts()[0]
    for number, word in enumerate(WORDS):
        shown = [model.preprocess(image) for image in renderings(word, font)]
        one_by_one = [model.read(torch.stack([x]), [layer], "max") for x in shown]
        values = np.stack([reading.activations[layer][0] for reading in one_by_one])
        wanted = (values[0] + values[1:].max(axis=0)) / 2
        np.testing.assert_allclose(
            atlas.word_activations(layer)[number].astype(np.float32), wanted, rtol=2e-3, atol=2e-3
        )
        total = sum(reading.embeddings[0] for reading in one_by_one)
        np.testing.assert_allclose(
            atlas.word_embeddings()[number].astype(np.float32),
            total / np.linalg.norm(total),
            atol=2e-3,
        )


def test_fewer_images_of_a_word_are_the_first_ones(drawn: Path, tmp_path: Path) -> None:
    import torch

    path = Path(shutil.copytree(drawn, tmp_path / "few.atlas"))
    notes = draw_words(path, vocabulary=str(drawn.parent / "words.txt"), rendered=3)
    assert (notes["sizes"], notes["places"]) == ([1.0, 0.6], [1, 2])
    atlas, font = open_atlas(path), load_fonts()[0]
    assert not atlas.verify()
    model = load_model(atlas.manifest["model"]["name"])
    shown = torch.stack([model.preprocess(image) for image in renderings("cat", font)][:3])
    values = model.read(shown, [LAYER], "max").activations[LAYER]
    wanted = (values[0] + values[1:].max(axis=0)) / 2
    found = atlas.word_activations(LAYER)[WORDS.index("cat")].astype(np.float32)
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)
    for number in (0, 7):
        with pytest.raises(SynestheteError, match="1 to 6 times"):
            draw_words(path, rendered=number)


def test_top_words_are_sorted_and_limited(drawn: Path) -> None:
    atlas = open_atlas(drawn)
    address = f"{atlas.layers[0]}:0"
    found = top_words(atlas, address, limit=4)
    column = atlas.word_activations(atlas.layers[0])[:, 0].astype(np.float32)
    assert [row["activation"] for row in found] == sorted(column.tolist(), reverse=True)[:4]
    assert all(column[WORDS.index(row["word"])] == row["activation"] for row in found)
    assert not atlas.verify()


def test_drawing_again_gives_the_same_bytes(drawn: Path) -> None:
    before = tree(drawn)
    draw_words(drawn, vocabulary=str(drawn.parent / "words.txt"))
    assert tree(drawn) == before


def test_a_sum_of_words_is_nearest_to_what_it_means(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = np.eye(6)[:, :4]
    meanings = np.stack([axes[0] + axes[1], axes[0], axes[2], axes[1] + axes[2], axes[3], axes[1]])
    rows = meanings / np.linalg.norm(meanings, axis=1, keepdims=True)
    monkeypatch.setattr(rendered_words, "word_vectors", lambda atlas: rows.astype(np.float32))
    atlas = open_atlas(drawn)
    # (apple: 0 + 1) - (hot dog: 0) + (Äpfel: 2) is (cat: 1 + 2).
    assert nearest_words(atlas, "apple - hot dog + Äpfel", limit=1)[0]["word"] == "cat"
    assert {row["word"] for row in nearest_words(atlas, "apple")} == set(WORDS) - {"apple"}
    for wrong, message in (
        ("aple", "not among the drawn words.*apple"),
        ("apple -", "not among|not a sum"),
        ("", "not a sum"),
        ("cat - cat", "comes to nothing"),
    ):
        with pytest.raises(SynestheteError, match=message):
            nearest_words(atlas, wrong)


def test_the_mean_of_all_words_is_taken_off(drawn: Path) -> None:
    rows = open_atlas(drawn).word_embeddings().astype(np.float32)
    centred = rows - rows.mean(0)
    np.testing.assert_allclose(
        rendered_words.word_vectors(open_atlas(drawn)),
        centred / np.linalg.norm(centred, axis=1, keepdims=True),
        atol=1e-5,
    )


def test_what_cannot_be_drawn_is_refused(drawn: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(drawn, tmp_path / "copy.atlas"))
    words = tmp_path / "words.txt"
    words.write_text("水\n火\n", encoding="utf-8")
    with pytest.raises(SynestheteError, match=r"none of the 2 words can be drawn.*no letters"):
        draw_words(path, vocabulary=str(words))
    with pytest.raises(SynestheteError, match="no font 'Latoo'"):
        draw_words(path, font="Latoo")
    fresh = record_small(tmp_path / "fresh")
    write_known_analysis(fresh)
    with pytest.raises(SynestheteError, match="no drawn words"):
        top_words(open_atlas(fresh), f"{open_atlas(fresh).layers[0]}:0")


def test_whoever_draws_words(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces, computed by two processes, are what one computes in a row."""
    monkeypatch.setattr(rendered_words, "PASSES", 1)
    listed = tmp_path / "words.txt"
    listed.write_text("\n".join(f"word {n}" for n in range(11)), encoding="utf-8")
    files = []
    for name, executor in (("alone", None), ("two", Executor(kind="processes", workers=2))):
        path = tmp_path / name
        shutil.copytree(drawn, path)
        done: list[int] = []
        draw_words(
            path,
            vocabulary=str(listed),
            executor=executor,
            progress=lambda count, total, done=done: done.append(count),  # type: ignore[misc]
        )
        assert done[-1] == 11
        files.append(tree(path / "words"))
    assert files[0] == files[1]
