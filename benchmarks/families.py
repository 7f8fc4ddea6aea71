"""Families by WordNet alone against the curated families of the probe concepts.

    python benchmarks/families.py

The WordNet route sees the word only; the truth is the curated family of the concept, mapped to the paper's families. Words of
the families' own lists are left out, since both routes read those.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from synesthete._core.intervals import wilson_interval
from synesthete.analysis.families import published_families

CONCEPTS = Path(__file__).parents[1] / "training" / "build_concepts" / "concepts.tsv"


def main() -> None:
    """Print agreement and the commonest confusions."""
    families = published_families()
    listed = set().union(*(family.words for family in families.families))
    with CONCEPTS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["concept"] not in listed]
    pairs, unknown = [], 0
    for row in rows:
        truth = next(iter(families.of_concept(row["concept"], row["family"])), None)
        found = next(iter(families.of_word(row["concept"])), None)
        if found is None or truth is None:
            unknown += 1
        else:
            pairs.append((truth, found))
    right = sum(truth == found for truth, found in pairs)
    low, high = wilson_interval(right, len(pairs))
    commonest = Counter(truth for truth, _ in pairs).most_common(1)[0]
    print(
        f"{right} of {len(pairs)} agree: {right / len(pairs):.1%} ({low:.1%} to {high:.1%});",
        end=" ",
    )
    print(
        f"{unknown} words unknown; always saying '{commonest[0]}': {commonest[1] / len(pairs):.1%}"
    )
    per = {}
    for family in dict.fromkeys(truth for truth, _ in pairs):
        mine = [found for truth, found in pairs if truth == family]
        per[family] = sum(found == family for found in mine) / len(mine)
    mean = sum(per.values()) / len(per)
    print(f"mean over {len(per)} families: {mean:.1%} (always saying one: {1 / len(per):.1%})")
    for (truth, found), n in Counter(p for p in pairs if p[0] != p[1]).most_common(10):
        print(f"  {n:3}  curated {truth}, WordNet {found}")


if __name__ == "__main__":
    main()
