"""Families as data: which there are, and by WordNet 3.0 (Princeton University) which a word belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from synesthete._core.json_reader import InvalidJson, parse_json, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.arrays import read_parquet
from synesthete.errors import SynestheteError, near

INSTANCE = "/instance"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family.

    Attributes
    ----------
    name, description
        What it is called, and what its neurons answer to.
    roots
        WordNet synsets that its words are kinds of, such as `feeling.n.01`; with `/instance` only their
        instances (`person.n.01/instance`: Elvis Presley, not a doctor).
    words
        Words that belong to it, whatever WordNet has.
    probe_families
        Families of the probe set's concepts that belong to it.
    """

    name: str
    description: str
    roots: tuple[str, ...]
    words: frozenset[str]
    probe_families: frozenset[str]


@dataclass(frozen=True)
class Families:
    """A list of families, in the order in which ties are decided."""

    families: tuple[Family, ...]
    roots: dict[int, list[tuple[int, bool]]]  # synset -> (family, instances only)

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [family.name for family in self.families]

    def of_word(self, word: str) -> dict[str, float]:
        """Families of a word with their shares, the greatest first; empty when nothing is known.

        Lists come first. Otherwise each sense of the noun votes for the family of the nearest root above
        it, with its count in WordNet's tagged texts, plus one, halved with every later sense.

        Examples
        --------
        >>> next(iter(published_families().of_word("sadness")))
        'emotion'
        >>> next(iter(published_families().of_word("violin")))
        'image feature'
        """
        plain = " ".join(word.lower().split())
        listed = [family.name for family in self.families if plain in family.words]
        if listed:
            return {name: 1 / len(listed) for name in listed}
        net, votes = wordnet(), dict.fromkeys(self.names, 0.0)
        for place, (synset, count) in enumerate(net.of(plain)):
            weight = (count + 1) / 2**place
            nearest = self._nearest(synset)
            for family in nearest:
                votes[self.families[family].name] += weight / len(nearest)
        total = sum(votes.values())
        ranked = sorted(votes.items(), key=lambda one: -one[1])
        return {name: vote / total for name, vote in ranked if vote > 0}

    def of_concept(self, concept: str, probe_family: str) -> dict[str, float]:
        """Families of a probe concept: lists, then the family of its probe family, then WordNet."""
        plain = " ".join(concept.lower().split())
        if not any(plain in family.words for family in self.families):
            mapped = [f.name for f in self.families if probe_family in f.probe_families]
            if mapped:
                return {name: 1 / len(mapped) for name in mapped}
        return self.of_word(concept)

    def _nearest(self, synset: int) -> list[int]:
        instance = wordnet().instance[synset]
        found: list[tuple[int, bool]] = []
        reached: int | None = None
        for above, distance in wordnet().above(synset):
            if reached is not None and distance > reached:
                break
            for family, instances in self.roots.get(above, []):
                if not instances or (instance and distance > 0):
                    found.append((family, instances))
                    reached = distance
        # A family of instances knows more of an instance than a family of all kinds.
        special = [family for family, instances in found if instances]
        return list(dict.fromkeys(special or [family for family, _ in found]))


def load_families(path: str | Path) -> Families:
    """Read families from a JSON file; the format is that of the shipped `families.json`.

    Raises
    ------
    SynestheteError
        No such file, no JSON, a key missing or of another type, a name twice, a root that WordNet lacks.
    """
    path = Path(path)
    try:
        content = read_json(path)
    except UnusableFile as error:
        raise SynestheteError(f"{path} cannot be read: {error.reason}", hint=error.hint) from None
    except InvalidJson as error:
        raise SynestheteError(f"{path} is not valid JSON: {error.reason}") from None
    return parse_families(content, source=str(path))


@cache
def published_families() -> Families:
    """Fifteen of the paper's sixteen families (Goh et al. 2021); the last, polysemantic, is of units with several."""
    file = resources.files("synesthete.analysis.families").joinpath("data", "families.json")
    return parse_families(parse_json(file.read_bytes(), "families.json"), source="families.json")


def parse_families(content: Any, *, source: str) -> Families:
    """Families from the content of a JSON file."""
    if not isinstance(content, dict) or not isinstance(content.get("families"), list):
        raise SynestheteError(f'{source} needs {{"families": [...]}}')
    found = [_family(entry, source) for entry in content["families"]]
    names = [family.name for family in found]
    if len(names) < 2 or len(set(names)) != len(names):
        raise SynestheteError(f"{source} needs two families or more, each name once")
    number = wordnet().number
    roots: dict[int, list[tuple[int, bool]]] = {}
    for i, family in enumerate(found):
        for root in family.roots:
            name = root.removesuffix(INSTANCE)
            if name not in number:
                raise SynestheteError(
                    f"{source}: WordNet has no {name!r} (root of {family.name})",
                    hint=near(name, number),
                )
            roots.setdefault(number[name], []).append((i, root.endswith(INSTANCE)))
    return Families(tuple(found), roots)


def _family(entry: Any, source: str) -> Family:
    lists = ("roots", "words", "probe_families")
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise SynestheteError(f"{source}: a family has no name")
    for key in lists:
        values = entry.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise SynestheteError(f"{source}: {key} of {entry['name']} is not a list of texts")
    return Family(
        name=entry["name"],
        description=str(entry.get("description", "")),
        roots=tuple(entry.get("roots", [])),
        words=frozenset(" ".join(word.lower().split()) for word in entry.get("words", [])),
        probe_families=frozenset(entry.get("probe_families", [])),
    )


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
