"""How far words alone go: `python benchmarks/text_baseline.py`.

TF-IDF of the probe set's descriptions and anecdotes. A text is to find its concept among all by the words of the other artists' texts
about each concept (descriptions, anecdotes, synonyms and the name); the texts of its own artist are left out, whose habits would help.
Printed by modality and artist: how often the concept comes first and among the first five, with words and with parts of words as
features, and with the other artists' texts dealt to the concepts at random (the control).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer

TEXTS = Path(__file__).parents[1] / "src/synesthete/probes/data/texts/texts.parquet"
FEATURES = {
    "words": {"analyzer": "word", "sublinear_tf": True, "stop_words": "english"},
    "parts of words": {"analyzer": "char_wb", "ngram_range": (3, 5), "sublinear_tf": True},
}


def ranks(
    known: list[str], queries: list[str], answers: np.ndarray, features: dict[str, object]
) -> np.ndarray:
    """Rank of each text's concept among all, 0 the first; equals count against it."""
    vectors = TfidfVectorizer(**features)
    bank = vectors.fit_transform(known)
    likeness = (vectors.transform(queries) @ bank.T).toarray()
    own = likeness[np.arange(len(queries)), answers]
    return np.asarray((likeness >= own[:, None]).sum(axis=1) - 1)


def main() -> None:
    """Print one line for each modality, artist and kind of feature."""
    rows = [row for row in pq.read_table(TEXTS).to_pylist() if row["modality"] != "translation"]
    described = {row["concept"] for row in rows if row["modality"] in ("description", "anecdote")}
    concepts = sorted(described)
    place = {concept: i for i, concept in enumerate(concepts)}
    rows = [row for row in rows if row["concept"] in place]
    random = np.random.default_rng(0)
    print(f"{len(concepts)} concepts; chance {1 / len(concepts):.2%} and {5 / len(concepts):.2%}\n")
    print("| modality | artist | n | features | first | first five | first, dealt at random |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for modality in ("description", "anecdote"):
        for artist in sorted({row["artist"] for row in rows if row["modality"] == modality}):
            bags: dict[str, list[str]] = {concept: [] for concept in concepts}
            for row in rows:
                if row["artist"] != artist:
                    bags[row["concept"]].append(row["text"])
            others = [" ".join(bags[concept]) for concept in concepts]
            queries = [r for r in rows if r["modality"] == modality and r["artist"] == artist]
            answers = np.array([place[r["concept"]] for r in queries])
            dealt = [others[i] for i in random.permutation(len(others))]
            for name, features in FEATURES.items():
                texts = [r["text"] for r in queries]
                rank = ranks(others, texts, answers, features)
                control = ranks(dealt, texts, answers, features)
                print(
                    f"| {modality} | {artist} | {len(queries):,} | {name} | {(rank < 1).mean():.1%}"
                    f" | {(rank < 5).mean():.1%} | {(control < 1).mean():.1%} |"
                )


if __name__ == "__main__":
    main()
