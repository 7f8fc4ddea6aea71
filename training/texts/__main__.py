"""Build the texts of the probe set: python -m training.texts [--out FILE].

Joins what was written for this project (`written_*.tsv`), what open resources say (`resources.tsv`), the concepts' names and their
synonyms into one table, a row a text, and prints how many texts and artists each concept has.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training import tables

from .check import written_files
from .rules import HERE, NAMELESS, named, problems, runs, synonyms_of

OUT = HERE.parents[1] / "src/synesthete/probes/data/texts/texts.parquet"
COLUMNS = (
    "concept", "family", "modality", "artist", "text", "source", "licence", "author", "origin", "language",
)  # fmt: skip
_OURS = ("written for Synesthete", "Apache-2.0", "The Synesthete authors")
# Artist: source, licence, author, origin. CLDR's translators of each language count as an artist.
CREDITS = {
    "synesthete": (*_OURS, "model"),
    "synesthete-b": (*_OURS, "model"),
    "synesthete-c": (*_OURS, "model"),
    "wordnet": ("WordNet 3.0", "WordNet", "Princeton University", "resource"),
    "webster": (
        "Webster's Revised Unabridged Dictionary of 1913, by way of GCIDE",
        "Public domain",
        "Noah Webster, Noah Porter and others",
        "resource",
    ),
    "cldr": ("Unicode CLDR 48.2 annotations", "Unicode-3.0", "Unicode, Inc.", "resource"),
}
WRITERS = {"a": "synesthete", "b": "synesthete-b", "c": "synesthete-c"}


def sources() -> list[dict[str, str]]:
    """Every text with concept, modality, artist and language, the written ones first.

    Raises
    ------
    ValueError
        When a description or an anecdote breaks a rule.
    """
    rows = []
    for path in written_files():
        artist = WRITERS[path.stem.removeprefix("written_")]
        rows += [{**row, "artist": artist, "language": "en"} for row in tables.rows(path)]
    rows += tables.rows(HERE / "resources.tsv")
    synonyms = synonyms_of()
    for row in rows:
        if wrong := problems(
            row,
            synonyms.get(row["concept"], ()),
            resource=row["artist"] in ("wordnet", "webster", "cldr"),
        ):
            raise ValueError(
                f"{row['concept']}, {row['artist']}: {'; '.join(wrong)} | {row['text']}"
            )
    for row in tables.rows(HERE.parent / "build_concepts/concepts.tsv"):
        concept = row["concept"]
        rows.append(
            {
                "concept": concept,
                "modality": "name",
                "artist": "synesthete",
                "language": "en",
                "text": concept,
            }
        )
    listed = tables.rows(HERE / "synonyms.tsv")
    used = Counter(row["text"].lower() for row in listed) + Counter(
        {
            name
            for row in rows
            if row["modality"] == "name"
            for name in (row["text"], row["text"] + "s", row["text"][:-1])
        }
    )
    for row in listed:
        # Not the name in another spelling or with a word added, and no other concept's name.
        if used[row["text"].lower()] == 1 and not named(row["text"], row["concept"]):
            artist = "wordnet" if row["origin"] == "wordnet" else "synesthete"
            rows.append(
                {
                    "concept": row["concept"],
                    "modality": "synonym",
                    "artist": artist,
                    "language": "en",
                    "text": row["text"],
                }
            )
    return rows


def without_shared_runs(
    rows: list[dict[str, str]],
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows to keep, and those left out as an earlier text about another concept holds five of their words in a row."""
    owner: dict[tuple[str, ...], str] = {}
    kept, dropped = [], []
    for row in rows:
        mine = runs(row["text"]) if row["modality"] in NAMELESS else set()
        if any(owner.get(run, row["concept"]) != row["concept"] for run in mine):
            dropped.append(row)
        else:
            owner |= dict.fromkeys(mine, row["concept"])
            kept.append(row)
    return kept, dropped


def table() -> tuple[pa.Table, list[dict[str, str]]]:
    """The table of texts, and the rows left out for a phrase that another concept's text holds."""
    families = {
        row["concept"]: row["family"]
        for row in tables.rows(HERE.parent / "build_concepts/concepts.tsv")
    }
    kept, dropped = without_shared_runs(sources())
    place = {concept: i for i, concept in enumerate(families)}
    order = ("name", "translation", "synonym", "description", "anecdote")
    kept.sort(key=lambda row: (place[row["concept"]], order.index(row["modality"]), row["artist"]))
    for row in kept:
        credit = CREDITS[
            row["artist"].split("-")[0] if row["artist"].startswith("cldr") else row["artist"]
        ]
        row["source"], row["licence"], row["author"], row["origin"] = credit
        row["family"] = families[row["concept"]]
    return pa.table(
        {name: pa.array([row[name] for row in kept], pa.string()) for name in COLUMNS}
    ), dropped


def coverage(rows: list[dict[str, str]]) -> dict[str, int]:
    """Concepts by what they have: `description` and `anecdote` each of at least 4 texts and 3 artists, and `both`."""
    texts: Counter[tuple[str, str]] = Counter()
    artists: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        texts[row["concept"], row["modality"]] += 1
        artists[row["concept"], row["modality"]].add(row["artist"])
    full = {
        modality: {
            c for c, m in texts if m == modality and texts[c, m] >= 4 and len(artists[c, m]) >= 3
        }
        for modality in NAMELESS
    }
    return {
        **{m: len(some) for m, some in full.items()},
        "both": len(set.intersection(*full.values())),
    }


def main() -> None:
    """Parse the command line, build, report."""
    parser = argparse.ArgumentParser(prog="python -m training.texts", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write")
    arguments = parser.parse_args()
    try:
        texts, dropped = table()
    except ValueError as problem:
        sys.exit(str(problem))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(texts, arguments.out, compression="zstd", compression_level=19)
    rows = texts.to_pylist()
    print(f"{len(rows):,} texts, {arguments.out.stat().st_size / 1e6:.2f} MB")
    for (modality, artist), count in sorted(
        Counter((r["modality"], r["artist"]) for r in rows).items()
    ):
        print(f"  {modality} {artist}: {count}")
    left_out = Counter(row["artist"] for row in dropped)
    print(
        "left out for a shared phrase:",
        ", ".join(f"{a} {n}" for a, n in left_out.items()) or "none",
    )
    print("concepts with four texts of three artists:", coverage(rows))


if __name__ == "__main__":
    main()
