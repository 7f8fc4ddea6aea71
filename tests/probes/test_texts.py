"""Texts in probe sets: where they come from, what is put aside, and that they count for the fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synesthete.errors import SynestheteError
from synesthete.probes import MODALITIES, ProbeSet, UnreadableImage, load_probes, with_words
from synesthete.probes.builtin import DATA_FOLDER, describe, load_builtin, with_texts
from tests.probes.samples import png, write


def texts_of(probes: ProbeSet) -> dict[str, str]:
    """Key to text, or to why it cannot be used."""
    found = {}
    for index, key in enumerate(probes.labels["key"].to_pylist()):
        if probes.is_text[index]:
            try:
                found[key] = probes.text(index)
            except UnreadableImage as error:
                found[key] = f"! {error.reason}"
    return found


def modalities_of(probes: ProbeSet) -> dict[str, str]:
    return dict(
        zip(probes.labels["key"].to_pylist(), probes.labels["modality"].to_pylist(), strict=True)
    )


def test_text_files_beside_images(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "photo" / "a.png", png())
    write(tmp_path / "apple" / "descriptions" / "a.txt", b"A red fruit.\n")
    write(tmp_path / "apple" / "anecdote" / "b.TXT", "\ufeffIt fell on his head.".encode())
    write(tmp_path / "pear" / "c.txt", b"Green, and soft when ripe.")
    write(tmp_path / "pear" / "photo" / "d.txt", b"words")
    write(tmp_path / "pear" / "name" / "e.png", png(1))
    probes = load_probes(tmp_path)
    assert texts_of(probes) == {
        "apple/anecdote/b.TXT": "It fell on his head.",
        "apple/descriptions/a.txt": "A red fruit.",
        "pear/c.txt": "Green, and soft when ripe.",
        "pear/name/e.png": "! an image, and 'name' is a modality of texts",
        "pear/photo/d.txt": "! a text, and 'photo' is a modality of images",
    }
    assert modalities_of(probes)["pear/c.txt"] == "description"
    assert probes.modalities == ["photo", "name", "description", "anecdote"]
    assert probes.is_text.tolist() == [True, True, False, True, True, True]
    assert probes.image(2).size == (40, 30)
    with pytest.raises(UnreadableImage, match="a text, not an image"):
        probes.image(0)
    with pytest.raises(UnreadableImage, match="an image, not a text"):
        probes.text(2)
    assert "1 images, 5 texts" in repr(probes)


def test_texts_in_a_table(tmp_path: Path) -> None:
    write(tmp_path / "a.png", png())
    write(tmp_path / "long.txt", b"An anecdote in a file of its own.")
    rows = [
        {"file_name": "a.png", "concept": "apple", "text": "a caption"},
        {"text": "Apfel", "concept": "apple", "modality": "translation", "artist": "CLDR"},
        {"text": "How are you?", "concept": "apple", "modality": "tweet"},
        {"file_name": "long.txt", "concept": "apple", "modality": "anecdote"},
        {"text": "", "concept": "apple", "modality": "name"},
        {"text": "homeless", "modality": "name"},
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    probes = load_probes(tmp_path)
    assert texts_of(probes) == {
        "metadata/0000002": "Apfel",
        "metadata/0000003": "How are you?",
        "long.txt": "An anecdote in a file of its own.",
        "metadata/0000005": "! an empty text: write one or leave it out",
        "metadata/0000006": "! no concept is given for it: name the concept or leave the image out",
    }
    assert probes.labels["caption"].to_pylist()[:2] == ["a caption", ""]
    assert probes.labels["artist"].to_pylist()[1] == "CLDR"
    assert probes.modalities == ["photo", "name", "translation", "anecdote", "tweet"]


def test_a_csv_of_texts_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text('text,concept\n"Red, round.",apple\nLong.,pear\n')
    probes = load_probes(tmp_path / "mine.csv")
    assert list(texts_of(probes).values()) == ["Red, round.", "Long."]
    assert probes.part(images=False) is probes
    with pytest.raises(SynestheteError, match="holds no images"):
        load_probes(tmp_path / "mine.csv", texts=False)
    (tmp_path / "none.csv").write_text("concept\napple\n")
    with pytest.raises(SynestheteError, match="no column file_name"):
        load_probes(tmp_path / "none.csv")


def test_parquet_with_and_without_images(tmp_path: Path) -> None:
    columns = {
        "text": ["a fruit of the rose family", "caption"],
        "concept": ["apple", "apple"],
        "modality": ["description", "photo"],
    }
    pq.write_table(pa.table(columns), tmp_path / "texts.parquet")
    found = load_probes(tmp_path / "texts.parquet")
    assert texts_of(found) == {
        "texts/0000000": "a fruit of the rose family",
        "texts/0000001": "! a text, and 'photo' is a modality of images",
    }
    pq.write_table(pa.table(columns | {"image": [None, png()]}), tmp_path / "both.parquet")
    both = load_probes(tmp_path / "both.parquet")
    assert texts_of(both) == {"both/0000000": "a fruit of the rose family"}
    assert both.labels["caption"].to_pylist() == ["", "caption"]
    assert both.image(1).size == (40, 30)
    assert len(both.fingerprint) == 64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "! an empty text: write one or leave it out"),
        (" \n\t ", "! an empty text: write one or leave it out"),
        ("\x00\x07\x1b", "! an empty text: write one or leave it out"),
        ("\u200b\u202e", "! an empty text: write one or leave it out"),
        ("x" * 10_000_000, "! a text of 10,000,000 characters: at most 10,000 are read"),
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("\u202bשלום\u202c", "\u202bשלום\u202c"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("e\u0301", "é"),
        ("half a pair \ud83d", "half a pair \\ud83d"),
    ],
)
def test_texts_of_any_kind(tmp_path: Path, text: str, wanted: str) -> None:
    rows = [
        {"text": text, "concept": "apple", "modality": "anecdote"},
        {"text": "fine", "concept": "apple", "modality": "anecdote"},
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if "\ud83d" in text:  # JSON's escape of half a pair is refused where the table is read.
        with pytest.raises(SynestheteError):
            load_probes(tmp_path)
        return
    probes = load_probes(tmp_path)
    assert list(texts_of(probes).values()) == [wanted, "fine"]
    assert probes.is_text.all()
    assert len(probes.labels["text"][0].as_py()) <= 200
    assert len(probes.fingerprint) == 64


def test_text_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "fine.txt", b"fine")
    write(tmp_path / "apple" / "latin.txt", "für".encode("latin-1"))
    write(tmp_path / "apple" / "big.txt", b"x" * 17_000_000)
    outside = tmp_path.parent / "secret.txt"
    outside.write_text("secret")
    (tmp_path / "apple" / "link.txt").symlink_to(outside)
    found = texts_of(load_probes(tmp_path))
    assert found["apple/fine.txt"] == "fine"
    assert found["apple/latin.txt"] == "! not UTF-8 (byte 1)"
    assert found["apple/big.txt"].startswith("! ")
    assert "link that leads out" in found["apple/link.txt"]


def test_the_fingerprint_is_that_of_the_texts_and_of_images_alone_as_before(
    tmp_path: Path,
) -> None:
    images = tmp_path / "images"
    write(images / "apple" / "a.png", png())
    alone = load_probes(images)
    assert "text" not in alone.labels.column_names
    assert not alone.is_text.any()
    prints = {alone.fingerprint}
    for text in ("one", "two"):
        write(images / "apple" / "b.txt", text.encode())
        both = load_probes(images)
        prints.add(both.fingerprint)
        assert both.part(texts=False).fingerprint == alone.fingerprint
        assert both.part(texts=False).labels == alone.labels
        assert load_probes(images, texts=False).fingerprint == alone.fingerprint
        assert both.part(images=False).labels["text"].to_pylist() == [text]
        digests = both.table["sha256"].to_pylist()
        assert digests[0] == alone.table["sha256"][0].as_py() != digests[1]
    assert len(prints) == 3


def test_anecdotes_that_say_the_name_are_counted(tmp_path: Path) -> None:
    rows = [
        ("hot dog", "anecdote", "He ate two HOT  DOGS at the game."),
        ("hot dog", "anecdote", "A dog was hot."),
        ("hot dog", "name", "hot dog"),
        ("apple", "description", "Grows on apple trees."),
        ("apple", "description", "No pineapple at all."),
    ]
    columns = dict(zip(("concept", "modality", "text"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "texts.parquet")
    assert load_probes(tmp_path / "texts.parquet").naming_texts == [0, 3]


TABLE = {
    "concept": ["apple", "apple", "zzz", "anteater"],
    "modality": ["name", "anecdote", "description", "description"],
    "artist": ["name", "ours", "ours", "wordnet"],
    "text": ["apple", "It fell on his head.", "Sleeps.", "\x00"],
    "source": ["", "", "", "WordNet"],
    "licence": ["CC0", "CC0", "CC0", "WordNet"],
    "author": ["", "", "", ""],
    "origin": ["resource", "person", "model", "resource"],
}


def test_texts_join_a_set_behind_its_images_and_words(tmp_path: Path) -> None:
    write(tmp_path / "apple" / "a.png", png())
    plain = with_words(load_probes(tmp_path))
    joined = with_texts(plain, pa.table(TABLE))
    assert len(joined) == len(plain) + 4
    assert joined.is_text.tolist() == [False] * len(plain) + [True] * 4
    assert joined.part(texts=False).fingerprint == plain.fingerprint
    assert list(texts_of(joined).items()) == [
        ("text/name/name/apple/1", "apple"),
        ("text/anecdote/ours/apple/1", "It fell on his head."),
        ("text/description/ours/zzz/1", "Sleeps."),
        ("text/description/wordnet/anteater/1", "! an empty text: write one or leave it out"),
    ]
    assert joined.labels["origin"].to_pylist()[-4:] == TABLE["origin"]
    assert joined.image(1) == plain.image(1)
    again = with_words(with_texts(load_probes(tmp_path), pa.table(TABLE)))
    assert again.is_text.tolist()[:5] == [False, True, True, True, True]
    assert not again.is_text[5:].any()
    # Words are drawn for concepts that only texts have, too.
    assert again.labels["concept"].to_pylist()[5:8] == ["anteater", "apple", "zzz"]
    assert again.image(5).size == (128, 128)


def test_the_built_in_set_takes_up_a_shipped_table(tmp_path: Path) -> None:
    (tmp_path / "concepts").symlink_to(DATA_FOLDER / "concepts")
    plain = load_builtin(data=tmp_path)
    assert not plain.is_text.any()
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table(TABLE), tmp_path / "texts" / "texts.parquet")
    joined = load_builtin(data=tmp_path)
    assert int(joined.is_text.sum()) == 4
    assert joined.part(texts=False).labels == plain.labels
    families = dict(
        zip(plain.labels["concept"].to_pylist(), plain.labels["family"].to_pylist(), strict=True)
    )
    assert joined.labels["family"].to_pylist()[-4] == families["apple"] != ""
    counts = describe(joined)
    assert (counts["images"], counts["texts"]) == (len(plain), 4)
    assert [m for m in MODALITIES if m in counts["modalities"]] == joined.modalities
    (tmp_path / "texts" / "texts.parquet").write_bytes(b"PAR1")
    with pytest.raises(SynestheteError, match="is damaged"):
        load_builtin(data=tmp_path)
