"""What training examples are drawn from: rendered images, their concepts, and texts to match them to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training import languages, looks, more_artists, tables
from training.sources import HELD_OUT_SETS

COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "red": (220, 30, 35), "orange": (245, 140, 25), "yellow": (245, 225, 40), "green": (35, 155, 60),
    "blue": (35, 80, 205), "purple": (125, 45, 170), "brown": (120, 75, 40), "pink": (245, 125, 180),
    "black": (15, 15, 15), "white": (250, 250, 250), "gray": (130, 130, 130), "turquoise": (60, 210, 200),
}  # fmt: skip


@dataclass(kw_only=True)
class Corpus:
    """What examples are drawn from.

    `concepts[c][modality]` lists rows of `tiles`; `others` are rows of images of no concept; `bank` holds the
    texts that images and words outside the concepts are matched to; `other_names[c]` are a concept's names in other
    languages, `spelt` numbers all that may be written, and `described` the rows whose looks are known, each with its row of `looks`
    (`looks.describe`). Of a concept's images in one modality each artist (`artist[row]`)
    is drawn as often as another, whose set has the concept once or six times: `hands[c][modality]` are each one's rows. A
    concept's written name is drawn `writings` times as often as its drawings or its photographs, and of all written words
    `small_share` are small and anywhere on the image. Of the concepts' examples `photo_share` are photographs of the few that
    have some, and `grounds` are photographs that drawings may stand before.
    """

    tiles: np.ndarray
    modality: list[str]
    names: list[str]
    concepts: list[dict[str, list[int]]]
    others: list[int]
    bank: list[str]
    bank_of_image: dict[int, int]
    vocabulary: list[int]
    fonts: list[str]
    other_names: list[list[str]] = field(default_factory=list)
    artist: list[str] = field(default_factory=list)
    described: dict[int, int] = field(default_factory=dict)
    looks: np.ndarray | None = None
    concept_share: float = 0.55
    word_share: float = 0.7
    sticker_share: float = 0.3
    blank_share: float = 0.15
    synthetic_share: float = 0.08
    other_name_share: float = 0.12
    writings: int = 1
    photo_share: float = 0.3
    small_share: float = 0.5
    cases: list[list[str]] = field(init=False)
    hands: list[dict[str, list[list[int]]]] = field(init=False)
    spelt: dict[str, int] = field(init=False)
    others_by_modality: list[list[list[int]]] = field(init=False)
    colours: list[tuple[int, tuple[int, int, int]]] = field(init=False)
    counts: list[tuple[int, int]] = field(init=False)
    symbols: list[int] = field(init=False)
    photographed: list[int] = field(init=False)
    grounds: list[int] = field(init=False)

    def __post_init__(self) -> None:
        written = ["word"] * self.writings
        self.cases = [[*written, *[m for m, rows in by.items() if rows]] for by in self.concepts]
        self.hands = [{m: self._by_artist(rows) for m, rows in by.items()} for by in self.concepts]
        also = [name for names in self.other_names for name in names]
        self.spelt = {
            text: i for i, text in enumerate(dict.fromkeys([*self.bank, *self.names, *also]))
        }
        groups: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for row in self.others:
            groups[self.modality[row]][self.bank_of_image[row]].append(row)
        self.others_by_modality = [list(by_text.values()) for by_text in groups.values()]
        position = {text: i for i, text in enumerate(self.bank)}
        self.colours = [(position[n], rgb) for n, rgb in COLOURS.items() if n in position]
        self.counts = [(position[n], i + 1) for i, n in enumerate(COUNTS) if n in position]
        self.symbols = [i for i, m in enumerate(self.modality) if m == "symbol"]
        self.photographed = [i for i, by in enumerate(self.concepts) if by.get("photo")]
        photos = [row for rows in groups["photo"].values() for row in rows]
        self.grounds = [row for row in photos if self.tiles[row, ::16, ::16, 3].min() == 255]

    def _by_artist(self, rows: list[int]) -> list[list[int]]:
        hands: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            hands[self.artist[row] if self.artist else ""].append(row)
        return list(hands.values())


def is_held_out(item: str, held_out_photos: frozenset[str]) -> bool:
    """Whether evaluation keeps this item for itself."""
    return item in held_out_photos or (
        item.startswith("npm:") and item.split(":")[1] in HELD_OUT_SETS
    )


def load_tiles(path: Path) -> np.ndarray:
    """All tiles in memory with their colours multiplied by alpha, so that warping does not bleed hidden colours."""
    tiles = np.load(path)
    for start in range(0, len(tiles), 1024):
        part = tiles[start : start + 1024]
        part[..., :3] = (part[..., :3].astype(np.uint16) * part[..., 3:] // 255).astype(np.uint8)
    return tiles


def load_corpus(
    data: Path,
    table: Path,
    candidates: Path,
    texts: list[str],
    fonts: list[str],
    held_out_photos: frozenset[str],
    held_out_words: frozenset[str] = frozenset(),
    *,
    drawn: bool = False,
) -> Corpus:
    """Join the rendered images with the concept table.

    Parameters
    ----------
    table
        TSV `concept, family, modality, artist, item`: the concepts to learn and their images.
    candidates
        The wider TSV of candidate images per concept, used for photos the table leaves out.
    texts
        The caption bank, in the order of the text tower's outputs.
    held_out_words
        Words that are never written, so that evaluation can ask for reading and not for recognition.
    drawn
        The examples are drawn already (`loading.Order`), so the images stay on disk.
    """
    images = tables.rows(data / "images.tsv")
    row_of = {p["key"]: i for i, p in enumerate(images)}
    row_of |= {
        f"npm:fluent-emoji:{p['caption'].replace(' ', '-')}": i
        for i, p in enumerate(images)
        if p["key"].startswith("npm:fluent-emoji:")
    }
    items: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))

    def add(concept: str, modality: str, item: str) -> None:
        row = row_of.get(item)
        if row is not None and not is_held_out(item, held_out_photos):
            items[concept][modality].add(row)

    for row in tables.rows(table):
        add(row["concept"], row["modality"], row["item"])
    names = sorted(items)
    for also_drawn in more_artists.listed():
        if also_drawn.concept in items:
            add(also_drawn.concept, also_drawn.modality, also_drawn.key)
    also = languages.read(data / "languages.tsv")
    for one in images:
        if one["modality"] == "photo" and one["caption"] in items:
            add(one["caption"], "photo", one["key"])
    for row in tables.rows(candidates):
        if row["concept"] in items:
            for item in filter(None, row["photo"].split(";")):
                add(row["concept"], "photo", item)
    taken = {r for by in items.values() for rows in by.values() for r in rows}
    position = {text: i for i, text in enumerate(texts)}
    bank_of = {i: position[p["caption"]] for i, p in enumerate(images) if p["caption"] in position}
    held = {row_of[k] for k in held_out_photos if k in row_of}
    described, targets = looks.lookup(data)
    return Corpus(
        tiles=np.load(data / "tiles.npy", mmap_mode="r")
        if drawn
        else load_tiles(data / "tiles.npy"),
        modality=[p["modality"] for p in images],
        names=names,
        concepts=[{m: sorted(rows) for m, rows in sorted(items[n].items())} for n in names],
        others=[i for i in bank_of if i not in taken and i not in held],
        bank=texts,
        bank_of_image=bank_of,
        vocabulary=[i for i, t in enumerate(texts) if len(t) <= 24 and t not in held_out_words],
        fonts=fonts,
        other_names=[also.get(name, []) for name in names],
        artist=[p["artist"] for p in images],
        described={row: i for i, row in enumerate(described)},
        looks=targets,
    )
