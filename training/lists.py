"""What to learn and what to leave out, as lists: the table of concepts, held-out images and held-out words.

`table.tsv` has the curated images of every concept, the candidates that curation did not exclude, and icons whose
own name is the concept. `held_out.txt` has the photographs that evaluation keeps, a whole photo source, and clip arts (with all
others of the same titles); `clip_art.txt` the clip arts that retrieval is measured on; `held_out_words.txt` words that are never
written. Choices are made by hash, so that they are the same wherever this runs.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from pathlib import Path

from training import languages, pictographs, tables, teacher

HERE = Path(__file__).parent / "build_concepts"
SOURCE_NEVER_SEEN = "photo:trashnet/"
CLIP_ARTS, WORDS = 500, 500
_VARIANT = re.compile(r"-(bold|fill|filled|outline|variant)$")
# Icons that carry the name of a concept and show a firm's mark.
MARKS = frozenset({("apple", "npm:openmoji:apple"), ("apple", "npm:mdi:apple")})


def _by_hash(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest())


def _key(item: str) -> str:
    found = re.match(r"npm:fluent-emoji-3d:(.*)", item)
    return f"npm:fluent-emoji:{found.group(1).lower()}" if found else item


def concept_table(data: Path, candidates: Path) -> list[tuple[str, str, str, str, str]]:
    """Rows `concept, family, modality, artist, item`."""
    families = {row["concept"]: row["family"] for row in tables.rows(HERE / "concepts.tsv")}
    excluded = {
        (row["concept"], row["item"]) for row in tables.rows(HERE / "exclusions.tsv")
    } | MARKS
    rows: dict[tuple[str, str, str], None] = {}
    for row in tables.rows(HERE / "images.tsv"):
        for item in (_key(row["item"]), *pictographs.items_of(row["item"])):
            rows[row["concept"], row["modality"], item] = None
    columns = {"drawn": "drawing", "icon": "symbol", "mono_emoji": "symbol", "photo": "photo"}
    for row in tables.rows(candidates):
        concept = row["concept"]
        if concept not in families or (concept, "") in excluded:
            continue
        for column, modality in columns.items():
            for item in filter(None, row.get(column, "").split(";")):
                if (concept, item) not in excluded:
                    rows[concept, modality, _key(item)] = None
    named = defaultdict(list)
    for image in tables.rows(data / "images.tsv"):
        if image["modality"] in ("drawing", "symbol") and image["artist"] != "openclipart":
            named[image["caption"]].append(image)
    for concept in families:
        for image in named.get(concept, ()) if (concept, "") not in excluded else ():
            key = image["key"]
            if not {(concept, key), (concept, _VARIANT.sub("", key))} & excluded:
                rows.setdefault((concept, image["modality"], key))
    return [(c, families[c], m, item.split(":")[1], item) for c, m, item in rows]


def held_out_clip_art(
    data: Path, table: list[tuple[str, str, str, str, str]]
) -> tuple[list[str], list[str]]:
    """Clip arts to measure retrieval on, each with a title of its own, and all that share one of those titles."""
    used = {item for *_, item in table}
    free = [
        p
        for p in tables.rows(data / "images.tsv")
        if p["artist"] == "openclipart" and p["key"] not in used
    ]
    title = {p["key"]: p["caption"] for p in free}
    chosen: dict[str, str] = {}
    for key in _by_hash([p["key"] for p in free if 4 < len(p["caption"]) < 40]):
        chosen.setdefault(title[key], key)
        if len(chosen) == CLIP_ARTS:
            break
    return list(chosen.values()), [key for key, caption in title.items() if caption in chosen]


def held_out_words(data: Path) -> list[str]:
    """Words of the bank that stand in no name and no caption, never to be written."""
    texts, kinds, _ = teacher.lookup(data)
    pairs = [(str(text), str(kind)) for text, kind in zip(texts, kinds, strict=True)]
    seen = {w for text, kind in pairs if kind != "words" for w in text.replace(",", " ").split()}
    free = [
        text for text, kind in pairs
        if kind == "words" and text.isalpha() and 3 <= len(text) <= 10 and text not in seen
    ]  # fmt: skip
    return sorted(_by_hash(free)[:WORDS])


def write(data: Path, candidates: Path, packages: Path | None = None) -> dict[str, int]:
    """Write the lists into `data`; the words only once the teacher has run, names in other languages (`languages.tsv`)
    only with `packages`. Returns how long each list is.
    """
    table = concept_table(data, candidates)
    lines = ["\t".join(("concept", "family", "modality", "artist", "item")), *map("\t".join, table)]
    clip_art, same_title = held_out_clip_art(data, table)
    source = [
        p["key"] for p in tables.rows(data / "images.tsv") if p["key"].startswith(SOURCE_NEVER_SEEN)
    ]
    photos = (HERE / "held_out_photos.txt").read_text().split("\n")
    lists = {
        "table.tsv": lines,
        "clip_art.txt": clip_art,
        "held_out.txt": sorted({*filter(None, photos), *source, *clip_art, *same_title}),
    }
    if (data / "teacher.npz").exists():
        lists["held_out_words.txt"] = held_out_words(data)
    for name, rows in lists.items():
        (data / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    lengths = {name: len(rows) for name, rows in lists.items()}
    if packages is not None:
        rows = languages.names(packages, sorted({concept for concept, *_ in table}))
        languages.write(data / "languages.tsv", rows)
        lengths["languages.tsv"] = len(rows)
    return lengths
