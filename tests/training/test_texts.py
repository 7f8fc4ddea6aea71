"""The texts of the probe set: what they may not say, what they are made of, and that the shipped table is what the sources give."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synesthete.analysis.design import Design
from synesthete.probes.builtin import load_builtin
from training import tables
from training.texts import __main__ as build
from training.texts import check, gather, rules

SHIPPED = pq.read_table(build.OUT)
ROWS = SHIPPED.to_pylist()
SYNONYMS = rules.synonyms_of()


def test_columns_concepts_and_size() -> None:
    assert SHIPPED.column_names == list(build.COLUMNS)
    assert {row["concept"] for row in ROWS} <= set(load_builtin().concepts)
    assert {row["modality"] for row in ROWS} == set(rules.MODALITIES)
    assert {row["origin"] for row in ROWS} <= {"person", "model", "resource"}
    assert all(row[name] for row in ROWS for name in build.COLUMNS)
    assert build.OUT.stat().st_size <= 3_000_000


def test_the_shipped_table_is_what_the_sources_give() -> None:
    built, _ = build.table()
    assert built.equals(SHIPPED)


def test_no_description_or_anecdote_names_its_concept() -> None:
    wrong = [
        (row["concept"], row["text"])
        for row in ROWS
        if row["modality"] in rules.NAMELESS
        and rules.named(row["text"], row["concept"], SYNONYMS.get(row["concept"], ()))
    ]
    assert not wrong


def test_no_five_words_are_shared_by_two_concepts() -> None:
    assert not rules.shared_runs(ROWS)


def test_the_written_files_keep_the_rules() -> None:
    files = check.written_files()
    assert not check.check(files, files)


def test_anecdotes_are_two_or_three_sentences() -> None:
    anecdotes = [row["text"] for row in ROWS if row["modality"] == "anecdote"]
    assert {rules.sentences(text) for text in anecdotes} <= {2, 3}


def test_each_writer_gave_what_the_readme_says() -> None:
    counts = Counter(
        (row["concept"], row["modality"], row["artist"])
        for row in ROWS
        if row["modality"] in rules.NAMELESS
    )
    least = {"a": (2, 2), "b": (2, 2), "c": (0, 1)}
    files = {path.stem.removeprefix("written_") for path in check.written_files()}
    assert files == set(least)
    for letter, wanted in least.items():
        writer = build.WRITERS[letter]
        full = [
            concept
            for concept in gather.concepts()
            if all(
                counts[concept, modality, writer] >= n
                for modality, n in zip(rules.NAMELESS, wanted, strict=True)
            )
        ]
        assert len(full) >= 500, letter


def test_descriptions_and_anecdotes_have_three_artists() -> None:
    assert min(build.coverage(ROWS).values()) >= 500


def test_each_half_of_the_artists_has_two_anecdotes_and_one_half_two_writers() -> None:
    columns = [[row[key] for row in ROWS] for key in ("concept", "modality", "artist")]
    scoring = Design.of(*columns, tower="text").split.scoring.tolist()
    texts: Counter[tuple[str, bool]] = Counter()
    writers: dict[bool, set[str]] = defaultdict(set)
    for row, half in zip(ROWS, scoring, strict=True):
        if row["modality"] == "anecdote":
            texts[row["concept"], half] += 1
            writers[half].add(row["artist"])
    both = [c for c in gather.concepts() if min(texts[c, True], texts[c, False]) >= 2]
    assert len(both) >= 500
    # An artist is in one half; the scoring half, where significance is decided, has two of the three.
    assert not writers[True] & writers[False]
    assert len(writers[True]) == 2
    assert len(writers[False]) == 1


def test_no_text_stands_twice() -> None:
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in ROWS:
        seen[row["modality"], row["text"]].append(row["concept"])
    twice = {key: some for key, some in seen.items() if len(some) != len(set(some))}
    assert not twice
    assert not [key for key, some in seen.items() if len(some) > 1 and key[0] in rules.NAMELESS]


@pytest.mark.parametrize(
    ("concept", "text"),
    [
        ("apple", "Two apples fell."),
        ("mouse", "She heard mice."),
        ("bee", "He keeps a beehive."),
        ("dancer", "They danced."),
        ("swimming", "He swims home."),
        ("fire truck", "It fights a fire."),
        ("sunflower", "Some sunflowers."),
        ("car", "Her automobile stopped."),
        ("yin yang", "All yang, no yin."),
        ("knife", "Sharp knives."),
        ("baby", "Two babies cried."),
        ("statue of liberty", "Give me liberty!"),
    ],
)
def test_names_stems_and_synonyms_are_seen(concept: str, text: str) -> None:
    assert rules.named(text, concept, SYNONYMS.get(concept, ()))


@pytest.mark.parametrize(
    ("concept", "text"),
    [
        ("corn", "Round the corner."),
        ("ant", "I want the giant plant."),
        ("ring", "Spring is near."),
        ("statue of liberty", "One of the best."),
        ("butter", "Nice, but cold."),
        ("bee", "It has been."),
        ("star", "They stared."),
    ],
)
def test_other_words_are_let_pass(concept: str, text: str) -> None:
    assert not rules.named(text, concept)


def written(path: Path, *rows: tuple[str, str, str]) -> Path:
    lines = ["concept\tmodality\ttext", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    good = written(
        tmp_path / "written_x.tsv",
        ("owl", "description", "It hoots and hunts by night in the wood."),
    )
    assert check.check([good], [good]) == []
    wrong = written(
        tmp_path / "written_y.tsv",
        ("owl", "description", "An owlish face."),
        ("crow", "description", "It hoots and hunts by night, says he."),
        ("crow", "anecdote", "Only a single sentence of more than fifteen words stands in this row, which is one too few."),
        ("unheard", "description", "Nobody put this one in any list."),
        ("crow", "poem", "Nevermore, it said once more to me."),
        ("crab", "description", "Runs off to the the side on a beach."),
    )  # fmt: skip
    found = "\n".join(check.check([wrong], [good, wrong]))
    for part in (
        "names it: owlish", "3 words", "five words shared by crow, owl: 'it hoots and hunts by'", "1 sentences",
        "not in concepts.txt", "no modality 'poem'", "a word twice in a row: the the",
    ):  # fmt: skip
        assert part in found


def test_a_row_that_repeats_another_concepts_phrase_is_left_out() -> None:
    rows = [
        {"concept": "owl", "modality": "description", "text": "It hoots and hunts by night."},
        {"concept": "owl", "modality": "description", "text": "It hoots and hunts by day too."},
        {
            "concept": "bat",
            "modality": "description",
            "text": "Something that hoots and hunts by night.",
        },
        {"concept": "bat", "modality": "name", "text": "it hoots and hunts by night"},
    ]
    kept, dropped = build.without_shared_runs(rows)
    assert (len(kept), dropped) == (3, [rows[2]])


def test_glosses_lose_examples_labels_and_clauses_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.noun").write_text(
        "  1 licence\n"
        '00000001 05 n 01 owl 0 000 | (zoology) bird of prey that flies by night; an owl is wise; "the owl hooted"\n'
        "00000002 05 n 01 owl 0 000 | an owl of any kind\n"
    )
    (tmp_path / "index.noun").write_text("  1 licence\nowl n 2 1 @ 2 0 00000001 00000002\n")
    monkeypatch.setattr(gather, "HERE", tmp_path)
    (tmp_path / "senses.tsv").write_text("concept\tsenses\nowl\towl.n.01 ; owl.n.02\n")
    assert list(gather.glosses(tmp_path, {})) == [("owl", "Bird of prey that flies by night.")]


def test_webster_gives_only_what_is_marked_1913(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "gcide.dict.dz", "wt", encoding="utf-8") as file:
        file.write(
            "Owl \\Owl\\ (oul), n. [OE. oule, [ae]ule.]\n   1. (Zool.) A bird of the {Strigid[ae]} that hunts at night.\n"
            "      See {Bird}.\n      [1913 Webster]\n\n   2. A person up late.\n      [PJC]\n\n"
            "Owl \\Owl\\, v. i.\n   To pry about.\n   [1913 Webster]\n"
        )
    found = gather.entries(tmp_path / "gcide.dict.dz")
    assert [gather.tidy(text) for text in found["owl"]] == [
        "A bird of the Strigidae that hunts at night."
    ]


def test_cldr_names_only_the_emoji_called_so(tmp_path: Path) -> None:
    entries = {"🦉": ("owl", "uil"), "🖱": ("mouse", "muis"), "🚗": ("automobile", "auto")}
    for i, language in enumerate(("en", "nl")):
        folder = tmp_path / "cldr-annotations-full/annotations" / language
        folder.mkdir(parents=True)
        notes = {sign: {"tts": [names[i]], "default": []} for sign, names in entries.items()}
        (folder / "annotations.json").write_text(
            json.dumps({"annotations": {"annotations": notes}})
        )
    found = gather.emoji(tmp_path, {"car": ["automobile"], "computer mouse": ["mouse"]})
    assert found == {"owl": "🦉", "mouse": "🖱", "car": "🚗"}


def test_keywords_are_nouns_and_no_part_of_the_name() -> None:
    listed = ["omw", "berry", "fruit", "jam", "straw", "strawberries", "red"]
    assert gather.keywords(listed, "strawberry", []) == ["fruit", "jam", "red"]


def test_tables_name_known_concepts_and_reasons() -> None:
    known = set(load_builtin().concepts)
    for name in ("senses.tsv", "synonyms.tsv", "resources.tsv", "exclusions.tsv"):
        assert {row["concept"] for row in tables.rows(rules.HERE / name)} <= known, name
    out = {(row["concept"], row["artist"]) for row in tables.rows(rules.HERE / "exclusions.tsv")}
    described = {(r["concept"], r["artist"]) for r in ROWS if r["modality"] == "description"}
    assert not out & described
    assert all(row["reason"] for row in tables.rows(rules.HERE / "exclusions.tsv"))
