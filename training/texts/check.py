"""Check written texts against the rules: python -m training.texts.check [FILE.tsv ...]; prints each row that breaks one."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from training import tables

from .rules import HERE, NAMELESS, problems, shared_runs, synonyms_of

COLUMNS = ["concept", "modality", "text"]


def written_files(folder: Path = HERE) -> list[Path]:
    """The files of texts written for the project."""
    return sorted(folder.glob("written_*.tsv"))


def check(files: list[Path], others: list[Path]) -> list[str]:
    """Return a line for each broken rule in `files`; phrases are also compared with `others`."""
    concepts = set((HERE / "concepts.txt").read_text("utf-8").split("\n"))
    synonyms = synonyms_of()
    lines, everything, mine = [], [], set()
    for path in [*files, *(other for other in others if other not in files)]:
        rows = tables.rows(path)
        everything += rows
        if path not in files:
            continue
        seen: set[str] = set()
        for number, row in enumerate(rows, start=2):
            place = f"{path.name}:{number} {row.get('concept')}"
            if list(row) != COLUMNS or None in row.values():
                lines.append(f"{place}: not the columns {' '.join(COLUMNS)}")
                continue
            mine.add(row["concept"])
            found = problems(row, synonyms.get(row["concept"], ()))
            if row["concept"] not in concepts:
                found.append("not in concepts.txt")
            if row["modality"] not in NAMELESS:
                found.append("neither description nor anecdote")
            if row["text"] in seen:
                found.append("written twice")
            seen.add(row["text"])
            lines += [f"{place}: {problem} | {row['text']}" for problem in found]
    for run, owners in sorted(shared_runs(everything).items()):
        if owners & mine:
            lines.append(f"five words shared by {', '.join(sorted(owners))}: '{run}'")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.texts.check", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="default: every written_*.tsv")
    arguments = parser.parse_args()
    everything = written_files()
    files = [path.resolve() for path in arguments.files] or everything
    wrong = check(files, everything)
    print("\n".join(wrong))
    for path in files:
        counts = Counter((row["concept"], row["modality"]) for row in tables.rows(path))
        full = {c for c, _ in counts if all(counts[c, m] >= 2 for m in NAMELESS)}
        print(
            f"{path.name}: {sum(counts.values())} rows, {len(full)} concepts with two of each",
            file=sys.stderr,
        )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
