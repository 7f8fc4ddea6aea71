"""What a text of the probe set must keep: it does not name its concept, and no two concepts share a phrase."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from training import tables

HERE = Path(__file__).parent
NOUNS = HERE.parents[1] / "src/synesthete/analysis/families/data/nouns.parquet"
MODALITIES = ("name", "translation", "synonym", "description", "anecdote")
NAMELESS = ("description", "anecdote")
RUN_WORDS = 5
DESCRIPTION_WORDS = (5, 30)
ANECDOTE_WORDS = (15, 60)
ANECDOTE_SENTENCES = (2, 3)

# Words that carry nothing of a name of several words, as "of" in "statue of liberty".
_SMALL = frozenset(
    [
        "a",
        "an",
        "and",
        "at",
        "by",
        "for",
        "in",
        "into",
        "no",
        "not",
        "of",
        "off",
        "on",
        "or",
        "out",
        "over",
        "the",
        "to",
        "up",
        "with",
    ]
)
_IRREGULAR = {
    "axe": "axes", "calf": "calves", "child": "children", "die": "dice", "feces": "faeces", "foot": "feet", "goose": "geese",
    "hoof": "hooves", "knife": "knives", "leaf": "leaves", "loaf": "loaves", "man": "men", "mouse": "mice", "ox": "oxen",
    "scarf": "scarves", "shelf": "shelves", "thief": "thieves", "tooth": "teeth", "wolf": "wolves", "woman": "women",
    "cry": "cried", "eat": "ate", "fly": "flew", "ring": "rang", "swim": "swam", "think": "thought", "wind": "wound",
    "run": "ran", "shoot": "shot", "break": "broke", "teach": "taught", "weep": "wept", "freeze": "frozen", "speak": "spoke", "write": "wrote", "fry": "fried",
}  # fmt: skip
# Stems of names that are themselves derived: a text about a dancer must not say "danced".
_STEMS = {
    "angry": "anger", "applause": "applaud", "bowling": "bowl", "boxing": "box", "broken": "break", "chequered": "checker",
    "climbing": "climb", "coaster": "coast", "computer": "compute", "crossed": "cross", "crying": "cry", "dancer": "dance",
    "elevator": "elevate", "embarrassed": "embarrass", "explosion": "explode", "extinguisher": "extinguish",
    "farmer": "farm", "fishing": "fish", "fried": "fry", "hiking": "hike", "infinity": "infinite", "juggling": "juggle",
    "magnifying": "magnify", "nesting": "nest", "potted": "pot", "prayer": "pray", "printer": "print",
    "radioactive": "radioactivity", "recycling": "recycle", "roller": "roll", "shooting": "shoot", "shopping": "shop",
    "skier": "ski", "surfing": "surf", "swimming": "swim", "teacher": "teach", "thinking": "think", "warning": "warn",
    "waving": "wave", "flying": "fly", "weeping": "weep", "clapping": "clap", "screaming": "scream", "smiling": "smile",
}  # fmt: skip
# Endings after which a word is still of the name's stem: "farmer" of "farm", "sunny" of "sun".
_ENDINGS = (
    "ish",
    "s",
    "es",
    "ed",
    "d",
    "er",
    "ers",
    "ing",
    "ings",
    "y",
    "ly",
    "ist",
    "ists",
    "ful",
    "less",
    "like",
    "n",
    "en",
)
# Pairs that look like one stem and are not.
_UNRELATED = frozenset(
    {
        ("but", "butter"), ("corn", "corner"), ("corn", "corners"), ("flow", "flower"), ("flow", "flowers"),
        ("show", "shower"), ("show", "showers"), ("tow", "tower"), ("numb", "number"), ("see", "seed"), ("ring", "ringer"),
        ("pen", "penny"), ("pie", "pied"), ("ear", "earn"), ("mist", "mister"),
        ("tent", "tenty"), ("cook", "cooky"), ("rain", "rainer"), ("for", "ford"),
        ("off", "offer"), ("fin", "finer"), ("mast", "master"), ("temp", "temper"), ("ging", "ginger"), ("wat", "water"),
        ("pan", "paned"), ("can", "caned"), ("lad", "lady"), ("tin", "tiny"), ("part", "party"), ("pant", "pants"),
        ("broth", "brother"), ("moth", "mother"), ("lett", "letter"), ("matt", "matter"), ("ham", "hamper"), ("batt", "batter"),
        ("past", "paster"), ("count", "country"), ("hear", "heard"), ("pep", "pepper"), ("bar", "barn"), ("plat", "platter"),
        ("bee", "been"), ("bee", "beer"), ("bee", "beers"), ("hors", "horse"), ("ant", "antlike"), ("chin", "chinese"),
        ("win", "winter"), ("port", "porter"), ("pin", "pined"), ("pin", "pines"), ("pine", "pin"), ("in", "inn"),
        ("candle", "candled"), ("band", "bandy"), ("cap", "cape"), ("war", "warn"), ("tap", "tapes"),
        ("wine", "win"), ("nine", "ninny"), ("quart", "quarter"), ("rat", "rates"),
    }
)  # fmt: skip
_VOWELS = "aeiou"


def words(text: str) -> list[str]:
    """The words of a text in small letters, without possessive endings.

    >>> words("The bee's 2 wings -- don't touch!")
    ['the', 'bee', '2', 'wings', 'don', 't', 'touch']
    """
    found = re.findall(r"[^\W_]+", re.sub(r"['’]s\b", "", text.lower()))
    return [str(word) for word in found]


def sentences(text: str) -> int:
    """How many sentences: runs that end in . ! or ? before a space or the end."""
    return len(re.findall(r"[.!?…]+[\"'”’)]*(?=\s|$)", text))


@cache
def known_nouns() -> frozenset[str]:
    """WordNet's nouns of one word."""
    return frozenset(filter(str.isalpha, pq.read_table(NOUNS)["word"].to_pylist()))


def _forms(word: str) -> set[str]:
    """A word and what the endings make of it."""
    found = {word}
    stems = {word}
    if word.endswith("e"):
        stems.add(word[:-1])
    if word.endswith("y"):
        stems.add(word[:-1] + "i")
    doubles = (
        len(word) > 2
        and word[-1] not in _VOWELS + "wxy"
        and word[-2] in _VOWELS
        and word[-3] not in _VOWELS
    )
    doubled = word + word[-1] if doubles else ""
    for ending in _ENDINGS:
        if ending in ("n", "d", "en") and len(word) < 4:
            continue
        if ending in ("d", "n") and not word.endswith("e"):
            continue
        vowel = ending[0] in "aeiouy"
        for stem in stems:
            if stem == word[:-1] and not vowel:
                continue
            if doubled and stem == word and vowel and ending not in ("es", "ist", "ists"):
                found.add(doubled + ending)
                if len(word) < 6:
                    continue
            if word.endswith("e") and stem == word and vowel and ending != "y":
                continue
            found.add(stem + ending)
    if word in _IRREGULAR:
        found.add(_IRREGULAR[word])
    return found


@cache
def _kin(word: str) -> frozenset[str]:
    return frozenset(_forms(word))


@cache
def same_stem(word: str, name: str) -> bool:
    """Whether a word is a form of another or a compound that holds it.

    >>> [same_stem(w, "bee") for w in ("bees", "beehive", "been", "beekeepers")]
    [True, True, False, True]
    >>> same_stem("mice", "mouse"), same_stem("farmer", "farm"), same_stem("corner", "corn")
    (True, True, False)
    """
    if word == name:
        return True
    if len(word) < 3 or len(name) < 3:
        return False
    if (name, word) in _UNRELATED or (word, name) in _UNRELATED:
        return False
    if word in _kin(name) or name in _kin(word):
        return True
    if name in _STEMS and (word == _STEMS[name] or word in _kin(_STEMS[name])):
        return True
    plain = re.sub(r"s$", "", name)
    for whole in {word, re.sub(r"s$", "", word)}:
        for part in {name, plain}:
            for rest in (whole.removeprefix(part), whole.removesuffix(part)):
                if rest != whole and len(rest) >= 3 and rest in known_nouns():
                    return True
    return False


def content_words(name: str) -> list[str]:
    """The words of a name that a text about it must not hold.

    >>> content_words("statue of liberty")
    ['statue', 'liberty']
    """
    return [part for part in words(name) if part not in _SMALL]


def named(text: str, name: str, synonyms: Iterable[str] = ()) -> list[str]:
    """The words by which a text names its concept.

    A name's every word counts by itself; a synonym of several words only where all of them stand side by side.

    >>> named("Feathered nests hang in the branch.", "feather"), named("A long car ride.", "fire truck", ["motor car"])
    (['feathered'], [])
    """
    there = words(text)
    found = [w for w in there if any(same_stem(w, part) for part in content_words(name))]
    for synonym in synonyms:
        parts = words(synonym)
        for start in range(len(there) - len(parts) + 1):
            run = there[start : start + len(parts)]
            if all(same_stem(a, b) for a, b in zip(run, parts, strict=True)):
                found.append(" ".join(run))
    return found


def runs(text: str) -> set[tuple[str, ...]]:
    """Every run of five words of a text; the whole of a shorter one."""
    there = words(text)
    last = max(len(there) - RUN_WORDS + 1, 1)
    return {tuple(there[i : i + RUN_WORDS]) for i in range(last)}


def shared_runs(rows: Iterable[Mapping[str, str]]) -> dict[str, set[str]]:
    """Runs of five words that descriptions or anecdotes of several concepts hold, and those concepts."""
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["modality"] in NAMELESS:
            for run in runs(row["text"]):
                owners[" ".join(run)].add(row["concept"])
    return {run: concepts for run, concepts in owners.items() if len(concepts) > 1}


def synonyms_of(path: Path = HERE / "synonyms.tsv") -> dict[str, list[str]]:
    """The other names of each concept."""
    found: dict[str, list[str]] = defaultdict(list)
    if path.exists():
        for row in tables.rows(path):
            found[row["concept"]].append(row["text"])
    return found


def problems(
    row: Mapping[str, str], synonyms: Iterable[str] = (), *, resource: bool = False
) -> list[str]:
    """What is wrong with a description or an anecdote, in words; nothing for another modality.

    A resource's list of keywords may be short.
    """
    text, modality = row["text"], row["modality"]
    if modality not in MODALITIES:
        return [f"no modality '{modality}'"]
    if not text.strip() or text != " ".join(text.split()):
        return ["empty or untidy spaces"]
    if modality not in NAMELESS:
        return []
    found = []
    if at := named(text, row["concept"], synonyms):
        found.append("names it: " + ", ".join(at))
    count = len(words(text))
    low, high = DESCRIPTION_WORDS if modality == "description" else ANECDOTE_WORDS
    low = min(low, 4) if resource else low
    if not low <= count <= high:
        found.append(f"{count} words, not {low} to {high}")
    if modality == "anecdote":
        parts = sentences(text)
        if not ANECDOTE_SENTENCES[0] <= parts <= ANECDOTE_SENTENCES[1]:
            found.append(f"{parts} sentences, not two or three")
    if at_twice := re.search(r"\b(a|an|and|in|is|it|of|the|to|was) \1\b", text, re.IGNORECASE):
        found.append(f"a word twice in a row: {at_twice[0]}")
    return found
