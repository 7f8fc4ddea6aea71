"""WordNet's nouns as two small tables: `python -m training.build_wordnet --wordnet DIR --out DIR`.

`nouns.parquet` has a row per noun and sense (`word`, `synset`, `count` in WordNet's sense-tagged texts), the senses of a word in
WordNet's order; `synsets.parquet` a row per synset (`name` such as dog.n.01, `parents` its hypernyms, `instance` whether it
is an instance such as a person or a country). WordNet 3.0, (c) 2006 Princeton University, whose licence allows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HYPERNYM, INSTANCE = "@", "@i"


def _lines(path: Path) -> list[str]:
    return [
        line for line in path.read_text("latin-1").splitlines() if line and not line.startswith(" ")
    ]


def read_synsets(path: Path) -> dict[str, tuple[list[str], list[str], bool]]:
    """Offset of each noun synset -> its words, its hypernyms' offsets, whether it is an instance."""
    found = {}
    for line in _lines(path):
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
        place = 4 + 2 * count
        pointers = [
            fields[place + 1 + 4 * i : place + 5 + 4 * i] for i in range(int(fields[place]))
        ]
        above = [(kind, offset) for kind, offset, part, _ in pointers if part == "n"]
        parents = [offset for kind, offset in above if kind in (HYPERNYM, INSTANCE)]
        found[fields[0]] = (words, parents, any(kind == INSTANCE for kind, _ in above))
    return found


def tables(wordnet: Path) -> tuple[pa.Table, pa.Table]:
    """`nouns` and `synsets`."""
    synsets = read_synsets(wordnet / "data.noun")
    number = {offset: i for i, offset in enumerate(synsets)}
    counts: dict[tuple[str, int], int] = {}
    for line in _lines(wordnet / "cntlist.rev"):
        key, sense, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith("1:"):
            counts[lemma, int(sense)] = int(count)
    words, owners, tagged = [], [], []
    names: dict[str, str] = {}
    for line in _lines(wordnet / "index.noun"):
        fields = line.split()
        senses = int(fields[2])
        for sense, offset in enumerate(fields[-senses:], start=1):
            words.append(fields[0].replace("_", " "))
            owners.append(number[offset])
            tagged.append(counts.get((fields[0], sense), 0))
            if synsets[offset][0][0].lower().replace(" ", "_") == fields[0]:
                names[offset] = f"{fields[0]}.n.{sense:02d}"
    nouns = pa.table(
        {
            "word": pa.array(words, pa.string()),
            "synset": pa.array(owners, pa.int32()),
            "count": pa.array(tagged, pa.int32()),
        }
    )
    rows = pa.table(
        {
            "name": pa.array([names.get(offset, "") for offset in synsets], pa.string()),
            "parents": pa.array(
                [[number[p] for p in parents] for _, parents, _ in synsets.values()],
                pa.list_(pa.int32()),
            ),
            "instance": pa.array([instance for *_, instance in synsets.values()], pa.bool_()),
        }
    )
    return nouns, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for name, table in zip(("nouns", "synsets"), tables(arguments.wordnet), strict=True):
        path = arguments.out / f"{name}.parquet"
        pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=False)
        print(f"{path.name}: {table.num_rows:,} rows, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
