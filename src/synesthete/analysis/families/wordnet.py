"""WordNet's nouns: what a word can mean, and what those meanings are kinds of (WordNet 3.0, Princeton University)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

import pyarrow as pa

from synesthete.atlas.arrays import read_parquet

_NOT_LETTERS = re.compile(r"[^a-z' -]")


class WordNet:
    """The two shipped tables; made once, by `wordnet()`."""

    def __init__(self, nouns: pa.Table, synsets: pa.Table) -> None:
        self.parents: list[list[int]] = synsets["parents"].to_pylist()
        self.instance: list[bool] = synsets["instance"].to_pylist()
        self.number = {name: i for i, name in enumerate(synsets["name"].to_pylist()) if name}
        columns = (nouns[key].to_pylist() for key in ("word", "synset", "count"))
        self.senses: dict[str, list[tuple[int, int]]] = {}
        for word, synset, count in zip(*columns, strict=True):
            self.senses.setdefault(word, []).append((synset, count))

    def of(self, word: str) -> list[tuple[int, int]]:
        """Synsets of a noun with their counts in tagged texts, commonest first; plurals are tried too.

        Examples
        --------
        >>> net = wordnet()
        >>> net.of("cats") == net.of("cat"), net.of("xyzzy")
        (True, [])
        """
        word = " ".join(word.lower().replace("_", " ").split())
        tries = [word, word.removesuffix("s"), word.removesuffix("es")]
        if word.endswith("ies"):
            tries.append(word[:-3] + "y")
        last = word.rsplit(" ", 1)[-1]
        for one in (*tries, last) if last != word else tries:
            if one in self.senses:
                return self.senses[one]
        return []

    def above(self, synset: int) -> Iterator[tuple[int, int]]:
        """Every synset that one is a kind of, itself first, with the distance; nearest first."""
        seen, level, distance = {synset}, [synset], 0
        while level:
            for one in level:
                yield one, distance
            level = [p for one in level for p in self.parents[one] if p not in seen]
            level = list(dict.fromkeys(level))
            seen.update(level)
            distance += 1


@cache
def wordnet() -> WordNet:
    """The shipped nouns; read on first use."""
    folder = resources.files("synesthete.analysis.families").joinpath("data")
    files = [folder.joinpath(f"{name}.parquet") for name in ("nouns", "synsets")]
    return WordNet(*(read_parquet(file.read_bytes(), source=file.name) for file in files))


def nouns(limit: int = 20_000) -> list[str]:
    """The commonest nouns, by how often WordNet's tagged texts have them, then by the alphabet.

    Examples
    --------
    >>> found = nouns(1000)
    >>> len(found), "dog" in found
    (1000, True)
    """
    net = wordnet()
    counted = {
        word: sum(count for _, count in senses)
        for word, senses in net.senses.items()
        if not _NOT_LETTERS.search(word) and len(word) > 2 and len(word.split()) <= 3
    }
    return sorted(counted, key=lambda word: (-counted[word], word))[:limit]
