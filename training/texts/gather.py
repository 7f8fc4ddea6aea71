"""Collect the texts of open resources: python -m training.texts.gather --wordnet DIR --gcide FILE --packages DIR.

Writes `resources.tsv`. WordNet gives the glosses of the senses in `senses.tsv`; the Collaborative International Dictionary (Debian's
`dict-gcide`) what it marks as Webster's of 1913, whose text is in the public domain; Unicode's CLDR (npm `cldr-annotations-full`) the
keywords of the concept's emoji and its names in other languages. Rows of `exclusions.tsv`, found wrong by reading, are left out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from training import languages, tables

from .rules import DESCRIPTION_WORDS, HERE, known_nouns, named, synonyms_of, words

LANGUAGES = (*languages.LANGUAGES, "ja", "ru", "zh")
COLUMNS = ("concept", "modality", "artist", "language", "text")
MIN_KEYWORDS = 4
# A definition must share this much (cosine of word weights) with what else is known of the concept, or it is another sense.
MIN_LIKENESS = 0.04

# Names of an image rather than of the thing: "face of a bear", "sign of the zodiac", "teacher (f/m)".
_NO_NAME = re.compile(r"[()«»]|の顔$|^rosto de |^морда |ansikte$|^знак зодиака |マーク$")
# What stands between a headword and its first definition: pronunciation, part of speech, plural.
_OPENING = re.compile(
    r"^\s*,?\s*(\([^)]*\),?\s*)?n\.(\s*sing\. & pl\.)?[;,]?"
    r"(\s*(E\. |L\. |rarely |sometimes )?(pl\.|E\.|L\.)?\s*\{[^}]*\}(\s*\([^)]*\))?[,.;]?)*\s*"
)


def concepts() -> list[str]:
    """The concepts that get descriptions and anecdotes."""
    return (HERE / "concepts.txt").read_text("utf-8").strip().split("\n")


def probe_concepts() -> list[str]:
    """Every concept of the probe set."""
    table = HERE.parent / "build_concepts/concepts.tsv"
    return [row["concept"] for row in tables.rows(table)]


def nameless(parts: list[str], concept: str, synonyms: list[str]) -> str:
    """The clauses of a definition up to the first that names the concept; nothing if few words are left."""
    kept = []
    for part in parts:
        if named(part, concept, synonyms):
            break
        kept.append(part.strip())
    text = "; ".join(kept).strip(" ;,.")
    low, high = DESCRIPTION_WORDS
    while kept and len(words(text)) > high:
        kept.pop()
        text = "; ".join(kept).strip(" ;,.")
    return text[:1].upper() + text[1:] + "." if len(words(text)) >= low else ""


def glosses(wordnet: Path, synonyms: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Concept and gloss, without examples and subject labels, for each sense in `senses.tsv`."""
    texts = {}
    for line in (wordnet / "data.noun").read_text("latin-1").splitlines():
        if not line.startswith(" "):
            texts[line[:8]] = line.partition(" | ")[2].strip()
    senses = {}
    for line in (wordnet / "index.noun").read_text("latin-1").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0]] = fields[-int(fields[2]) :]
    for row in tables.rows(HERE / "senses.tsv"):
        for sense in row["senses"].split(" ; "):
            lemma, _, number = sense.rsplit(".", 2)
            gloss = texts[senses[lemma.replace(" ", "_")][int(number) - 1]]
            gloss = re.sub(r"\"[^\"]*\"", "", re.sub(r"^(\([^)]*\)\s*)+", "", gloss))
            gloss = re.sub(r"`([^']*)'", r"\1", re.sub(r"\s*[;:]\s*(?=;|$)", "", gloss))
            text = nameless(gloss.split(";"), row["concept"], synonyms.get(row["concept"], []))
            if text:
                yield row["concept"], text


def entries(gcide: Path) -> dict[str, list[str]]:
    """Webster's nouns: each headword in small letters and its numbered definitions, as text."""
    with gzip.open(gcide, "rt", encoding="utf-8", errors="replace") as file:
        text = file.read()
    found: dict[str, list[str]] = defaultdict(list)
    for entry in re.split(r"\n(?=\S)", text):
        first, _, rest = entry.partition("\n")
        head = first.partition("\\")[0].strip().lower()
        if "\\" not in first or not re.search(r"\\[^\\]*\\,?\s*(\([^)]*\),?\s*)?n\.", first):
            continue
        rest = first[first.rindex("\\") + 1 :] + "\n" + rest
        for part in rest.split("[1913 Webster]")[:-1]:
            body = re.split(r"\[[A-Za-z ]*(?:PJC|WordNet|Webster|Cent\. Dict)[^]]*\]", part)[-1]
            body = re.sub(r"\s+", " ", body)
            body = _OPENING.sub("", body)
            found[head].append(body.strip())
    return found


def tidy(definition: str) -> str:
    """A definition without number, etymology, labels, quotations and references.

    >>> tidy("1. (Zool.) A bird of prey, of the genus {Aquila}. See {Bird}.")
    'A bird of prey, of the genus Aquila.'
    """
    text, count = re.sub(r"^.{0,40}?\bpl\. .{0,60}?\.\s+(?=\d\.|[A-Z]\w+ )", "", definition), 1
    text = re.sub(r"\[(ae|oe|[^\w\s]?\w)\]", r"\1", text)
    while count:
        text, count = re.subn(r"\[[^][]*\]", "", text)
    text = re.sub(r"\((?:[A-Z][\w. &]*\.|[a-z])\)", "", text)
    text = re.sub(r"^\W*(\d+\.)?\W*((\w+\)|Pl\.|Or \w+ \(\w+\)\.)\W*(\d+\.)?\W*)?", "", text)
    text = re.sub(r"\((?:[^()]*[{}][^()]*)\)", "", text).replace("{", "").replace("}", "")
    text = re.split(
        r"\bSee\b|\bCf\.|Note:|--|\bCalled also\b|\bcalled also\b|\bSyn:|: as,|; as,", text
    )[0]
    text = re.sub(r"\s+([,.;:])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,;:(")
    stop = re.search(r"(?<=[a-z)]{3})\.(?=\s+[A-Z])", text)
    return text[: stop.end()] if stop else text


def weights(texts: dict[str, list[str]]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """For each concept the tf-idf of all its texts' words, and the idf of every word."""
    bags = {c: Counter(w for text in some for w in words(text)) for c, some in texts.items()}
    spread = Counter(w for bag in bags.values() for w in bag)
    idf = {w: math.log(len(bags) / n) for w, n in spread.items()}
    return {
        c: {w: (1 + math.log(n)) * idf[w] for w, n in bag.items()} for c, bag in bags.items()
    }, idf


def likeness(text: str, bag: dict[str, float], idf: dict[str, float]) -> float:
    """Cosine of a text's words and a concept's."""
    mine = {w: idf.get(w, max(idf.values())) for w in set(words(text))}
    dot = sum(x * bag.get(w, 0.0) for w, x in mine.items())
    return dot / math.sqrt(
        (sum(x * x for x in mine.values()) or 1) * (sum(x * x for x in bag.values()) or 1)
    )


def websters(
    gcide: Path, synonyms: dict[str, list[str]], known: dict[str, list[str]]
) -> Iterator[tuple[str, str]]:
    """Concept and the definition of 1913 that is most like what else is known of it."""
    found = entries(gcide)
    bags, idf = weights(known)
    for concept in concepts():
        heads = [
            concept,
            *(s.lower() for s in synonyms.get(concept, [])),
            concept.removesuffix("s"),
        ]
        candidates = []
        for head in dict.fromkeys(heads):
            for definition in found.get(head, []):
                text = nameless(
                    re.split(r"[;:]", tidy(definition)), concept, synonyms.get(concept, [])
                )
                if text:
                    candidates.append((likeness(text, bags.get(concept, {}), idf), text))
        best = max(candidates, default=(0.0, ""))
        if best[0] >= MIN_LIKENESS:
            yield concept, best[1]


def _annotations(packages: Path, language: str) -> dict[str, dict[str, list[str]]]:
    path = packages / "cldr-annotations-full/annotations" / language / "annotations.json"
    found: dict[str, dict[str, list[str]]] = json.loads(path.read_text("utf-8"))["annotations"][
        "annotations"
    ]
    return found


def _plain(name: str) -> str:
    return name.lower().replace("ñ", "n").removesuffix("s")


def emoji(packages: Path, synonyms: dict[str, list[str]]) -> dict[str, str]:
    """The emoji that CLDR calls by the concept's name or by one of its synonyms that names no other concept."""
    called = {
        _plain(e["tts"][0]): sign for sign, e in _annotations(packages, "en").items() if "tts" in e
    }
    others = {_plain(concept) for concept in probe_concepts()}
    found = {}
    for concept in probe_concepts():
        names = [concept, *(s for s in synonyms.get(concept, []) if _plain(s) not in others)]
        signs = [called[_plain(name)] for name in names if _plain(name) in called]
        if signs:
            found[concept] = signs[0]
    return found


def keywords(listed: list[str], concept: str, synonyms: list[str]) -> list[str]:
    """CLDR's keywords that are English nouns (no slang, no pieces of phrases) and no part of the name."""
    parts = words(concept)
    return [
        noun
        for noun in listed
        if noun in known_nouns()
        and len(noun) >= 3
        and not any(noun in part or part in noun for part in parts)
        and not named(noun, concept, synonyms)
    ]


def gather(wordnet: Path, gcide: Path, packages: Path) -> list[dict[str, str]]:
    """All rows of `resources.tsv`, in order of concept, without the excluded ones."""
    synonyms = synonyms_of()
    known: dict[str, list[str]] = defaultdict(list)
    # The first writer's texts only: with more, other definitions might win than those that were read.
    for row in tables.rows(HERE / "written_a.tsv"):
        known[row["concept"]].append(row["text"])
    rows = [(c, "description", "wordnet", "en", text) for c, text in glosses(wordnet, synonyms)]
    for concept, _, _, _, text in rows:
        known[concept] += [text, text]
    rows += [
        (c, "description", "webster", "en", text) for c, text in websters(gcide, synonyms, known)
    ]
    described = set(concepts())
    signs = emoji(packages, synonyms)
    english = _annotations(packages, "en")
    for concept, sign in signs.items():
        kept = keywords(english[sign]["default"], concept, synonyms.get(concept, []))
        text = ", ".join(kept)
        enough = len(kept) >= MIN_KEYWORDS and concept in described
        if enough and not named(text, concept, synonyms.get(concept, [])):
            rows.append((concept, "description", "cldr", "en", text))
    seen = set()
    for language in LANGUAGES:
        named_there = _annotations(packages, language)
        for concept, sign in signs.items():
            name = named_there.get(sign, {}).get("tts", [""])[0].lower()
            plain = name and not _NO_NAME.search(name)
            if plain and (concept, name) not in seen and not named(name, concept):
                seen.add((concept, name))
                rows.append((concept, "translation", f"cldr-{language}", language, name))
    out = {(row["concept"], row["artist"]) for row in tables.rows(HERE / "exclusions.tsv")}
    rows = [row for row in rows if (row[0], row[2]) not in out]
    order = {concept: i for i, concept in enumerate(probe_concepts())}
    rows.sort(key=lambda row: (order[row[0]], row[1], row[2]))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def main() -> None:
    """Parse the command line, write the table."""
    parser = argparse.ArgumentParser(prog="python -m training.texts.gather", description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--gcide", type=Path, default=Path("/usr/share/dictd/gcide.dict.dz"))
    parser.add_argument("--packages", type=Path, required=True, help="a node_modules folder")
    arguments = parser.parse_args()
    rows = gather(arguments.wordnet, arguments.gcide, arguments.packages)
    with (HERE / "resources.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for (modality, artist), count in sorted(
        Counter((r["modality"], r["artist"]) for r in rows).items()
    ):
        print(f"{modality} {artist}: {count}")


if __name__ == "__main__":
    main()
