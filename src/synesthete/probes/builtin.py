"""The probe sets that come with the package: images in sprites, words drawn on demand, texts in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from synesthete._core.user_files import UnusableFile, read_inside
from synesthete.errors import SynestheteError, near
from synesthete.probes.decoding import UnreadableImage, decode
from synesthete.probes.labels import usable_text
from synesthete.probes.probe_set import (
    COLUMNS,
    ORIGIN,
    TEXT,
    ByNumber,
    ImageSource,
    ProbeSet,
    plain_concept,
)
from synesthete.probes.sources import JoinedSource, RecentlyUsed, pixel_digest
from synesthete.probes.words import (
    CASES,
    FONT_FOLDER,
    MAX_LETTERS,
    Font,
    has_letters,
    load_fonts,
    render_word,
    set_case,
)

BUILTINS = ("concepts", "concepts-test")
"""`concepts-test` has other artists, and no model, criterion or list was chosen by it."""
DATA_FOLDER = Path(__file__).parent / "data"
TILE_PX = 128
TILES_PER_ROW = 16
_REPAIR = "install the package again"
_MOSAIC_BYTES = 128 * 1024 * 1024


def load_builtin(
    name: str = "concepts", *, data: Path = DATA_FOLDER, fonts: Path | None = None
) -> ProbeSet:
    """Load a probe set that comes with the package.

    Parameters
    ----------
    name
        One of `BUILTINS`.
    data
        Folder with `NAME/manifest.parquet` and the sprites it names: WebP mosaics of 128-pixel
        tiles, 16 tiles a row. And `texts/texts.parquet` where there are texts: string columns `concept`, `modality`,
        `artist`, `text`, `source`, `licence`, `author`, `origin` (person, model or resource).
    fonts
        Folder of `fonts.json` and the fonts: of `concepts` the package's own when None, of other sets `NAME/fonts`.

    Returns
    -------
    ProbeSet
        The images in the order of sprite and tile, so that each mosaic is decoded once, and then
        the words: for every concept its name in every font; then the texts, in the order of their table.

    Raises
    ------
    SynestheteError
        No such set, or its files are missing or damaged.
    """
    if name not in BUILTINS:
        raise SynestheteError(f"no built-in probe set '{name}'", hint=near(name, BUILTINS))
    import pyarrow.compute as pc  # takes long to import

    folder = data / name
    try:
        # From bytes, and no `sort_by`: both else have threads of Arrow's (`atlas.arrays.read_parquet` says why not).
        packed = pa.BufferReader(read_inside(folder, folder / "manifest.parquet"))
        manifest = pq.ParquetFile(packed).read(use_threads=False)
        texts = _shipped_texts(data / "texts") if name == "concepts" else None
        order = pc.sort_indices(manifest, [("sprite", "ascending"), ("tile", "ascending")])
        manifest = manifest.take(order)
        images = manifest.select(list(COLUMNS))
        sprites = SpriteSource(folder, manifest["sprite"].to_pylist(), manifest["tile"].to_pylist())
    except (pa.ArrowException, OSError, SynestheteError, KeyError) as error:
        text = " ".join(str(error).split())[:160]
        raise SynestheteError(
            f"the built-in probe set '{name}' is damaged ({text})", hint=_REPAIR
        ) from None
    if fonts is None:
        fonts = FONT_FOLDER if name == "concepts" else folder / "fonts"
    probes = _with_words(name, images, sprites, load_fonts(fonts))
    return probes if texts is None else with_texts(probes, texts)


def _shipped_texts(folder: Path) -> pa.Table | None:
    """The table of texts, of which a package may have none."""
    if not (folder / "texts.parquet").exists():
        return None
    packed = pa.BufferReader(read_inside(folder, folder / "texts.parquet"))
    return pq.ParquetFile(packed).read(use_threads=False)


def with_texts(probes: ProbeSet, texts: pa.Table) -> ProbeSet:
    """A probe set and, behind it, texts.

    Parameters
    ----------
    probes
        Any probe set.
    texts
        String columns `concept`, `modality` and `text`, and any other of `COLUMNS` and `origin`. A text whose concept the set knows
        gets its family; one without a key is called after modality, artist and concept.
    """
    families = dict(
        zip(probes.labels["concept"].to_pylist(), probes.labels["family"].to_pylist(), strict=True)
    )
    met: Counter[str] = Counter()
    rows: list[dict[str, str]] = []
    problems = dict(probes.problems)
    for given in texts.to_pylist():
        row = {name: given.get(name) or "" for name in (*COLUMNS, TEXT, ORIGIN)}
        row[TEXT], problem = usable_text(row[TEXT])
        stem = f"text/{row['modality']}/{row['artist']}/{row['concept']}"
        met[stem] += 1
        row["key"] = row["key"] or f"{stem}/{met[stem]}"
        row["family"] = row["family"] or families.get(row["concept"], "")
        if problem:
            problems[_size(probes) + len(rows)] = problem
        rows.append(row)
    schema = pa.schema([(name, pa.string()) for name in (*COLUMNS, TEXT, ORIGIN)])
    labels = probes.labels
    for name in (TEXT, ORIGIN):
        if name not in labels.column_names:
            labels = labels.append_column(name, pa.array([""] * len(labels), pa.string()))
    joined = pa.concat_tables([labels.cast(schema), pa.Table.from_pylist(rows, schema=schema)])
    behind = range(_size(probes), _size(probes) + len(rows))
    return ProbeSet(
        probes.name,
        joined,
        probes.source,
        rows=[*probes.rows.tolist(), *behind],
        problems=problems,
    )


def _size(probes: ProbeSet) -> int:
    """The first row that is certainly none of the source's."""
    return max(int(probes.rows.max()), *probes.problems, 0) + 1


def with_words(probes: ProbeSet, *, fonts: Path = FONT_FOLDER) -> ProbeSet:
    """A probe set and, behind it, every concept's name as rendered words in the shipped fonts.

    A set that has images of written words already, or names no concept, is returned as it is.

    Parameters
    ----------
    probes
        Any probe set, such as one of photos alone.
    fonts
        Folder of `fonts.json` and the fonts.

    Raises
    ------
    SynestheteError
        The fonts cannot be read.
    """
    if "word" in probes.modalities or not probes.concepts:
        return probes
    drawn = _with_words(probes.name, probes.labels, ByNumber(probes), load_fonts(fonts))
    drawn.notes = probes.notes
    return drawn


def list_probes() -> list[dict[str, Any]]:
    """The built-in probe sets, each with counts, modalities and licences.

    Returns
    -------
    list of dict
        `name`, `images`, where there are any `texts`, `concepts`, `families`, `artists`, `modalities` ({name: images}),
        `licences` ({licence: images}).
    """
    return [describe(load_builtin(name)) for name in BUILTINS]


def describe(probes: ProbeSet) -> dict[str, Any]:
    """Counts of a probe set by modality and licence, from its labels alone."""
    labels = probes.labels
    modalities = Counter(labels["modality"].to_pylist())
    licences = Counter(value or "unknown" for value in labels["licence"].to_pylist())
    texts = int(probes.is_text.sum())
    return {
        "name": probes.name,
        "images": len(probes) - texts,
        **({"texts": texts} if texts else {}),
        "concepts": len(probes.concepts),
        "families": len(set(labels["family"].to_pylist()) - {""}),
        "artists": len(set(labels["artist"].to_pylist()) - {""}),
        "modalities": {name: modalities[name] for name in probes.modalities},
        "licences": dict(sorted(licences.items(), key=lambda item: (-item[1], item[0]))),
    }


class SpriteSource:
    """Images cut out of mosaics of equal tiles.

    Parameters
    ----------
    folder
        Where the mosaics lie.
    sprites, tiles
        For each row the mosaic's file name and the number of the tile, counted row by row.
    """

    def __init__(self, folder: Path, sprites: Sequence[str], tiles: Sequence[int]) -> None:
        self.folder = folder
        self.sprites = sprites
        self.tiles = tiles
        self._mosaics: RecentlyUsed[Image.Image] = RecentlyUsed(_MOSAIC_BYTES)

    def image(self, row: int) -> Image.Image:
        """The tile of a row, `TILE_PX` square; raises `UnreadableImage`."""
        name = self.sprites[row]
        mosaic = self._mosaics.get(name, lambda: self._mosaic(name))
        line, place = divmod(self.tiles[row], TILES_PER_ROW)
        left, top = place * TILE_PX, line * TILE_PX
        if left < 0 or top < 0 or left + TILE_PX > mosaic.width or top + TILE_PX > mosaic.height:
            raise UnreadableImage(f"no tile {self.tiles[row]} in '{name}'", hint=_REPAIR)
        return mosaic.crop((left, top, left + TILE_PX, top + TILE_PX))

    def digest(self, row: int) -> str:
        """SHA-256 of the tile's pixels; empty where the mosaic cannot be read."""
        try:
            return pixel_digest(self.image(row))
        except UnreadableImage:
            return ""

    def _mosaic(self, name: str) -> tuple[Image.Image, int]:
        try:
            data = read_inside(self.folder, self.folder / name)
        except UnusableFile as error:
            raise UnreadableImage(f"no sprite '{name}' ({error.reason})", hint=_REPAIR) from None
        mosaic = decode(data)
        return mosaic, mosaic.width * mosaic.height * 3


class WordSource:
    """Words drawn when they are asked for.

    Parameters
    ----------
    words
        For each row the text, the font and the case.
    size_px
        Side of the images in pixels.
    """

    def __init__(self, words: Sequence[tuple[str, Font, str]], *, size_px: int = TILE_PX) -> None:
        self.words = words
        self.size_px = size_px

    def image(self, row: int) -> Image.Image:
        """The word of a row, black on white."""
        text, font, case = self.words[row]
        return render_word(text, font, size_px=self.size_px, case=case)

    def digest(self, row: int) -> str:
        """SHA-256 of the word's pixels."""
        return pixel_digest(self.image(row))


def _with_words(
    name: str, images: pa.Table, source: ImageSource, fonts: Sequence[Font]
) -> ProbeSet:
    """The images, and behind them each concept's word in each font.

    The case goes round with font and concept, so that among any three fonts in a row a concept is
    met in all three cases, and in any one font a third of the concepts in each case.
    """
    families: dict[str, str] = {}
    for concept, family in zip(
        images["concept"].to_pylist(), images["family"].to_pylist(), strict=True
    ):
        if concept:
            families[concept] = families.get(concept) or family
    concepts = sorted(families)
    rows: list[dict[str, str]] = []
    words: list[tuple[str, Font, str]] = []
    unwritten = dict.fromkeys(concepts)
    for f, font in enumerate(fonts):
        for c, concept in enumerate(concepts):
            case = CASES[(f + c) % len(CASES)]
            text = set_case(plain_concept(concept), case)
            if len(text) <= MAX_LETTERS and has_letters(text, font):
                words.append((plain_concept(concept), font, case))
                rows.append(_word_row(concept, families[concept], font, case, text))
                unwritten.pop(concept, None)
    problems = {}
    for concept in unwritten if fonts else ():
        problems[len(images) + len(words)] = (
            f"no shipped font can write '{concept}': give images of the word"
        )
        words.append((concept, fonts[0], "lower"))
        rows.append(_word_row(concept, families[concept], fonts[0], "lower", concept))
    if not words:
        raise SynestheteError(f"no words can be drawn for '{name}'", hint="no fonts or no concepts")
    schema = pa.schema([(column, pa.string()) for column in images.column_names])
    rows = [dict.fromkeys(schema.names, "") | row for row in rows]
    labels = pa.concat_tables([images.cast(schema), pa.Table.from_pylist(rows, schema=schema)])
    joined = JoinedSource([(source, len(images)), (WordSource(words), len(words))])
    return ProbeSet(name, labels, joined, problems=problems)


def _word_row(concept: str, family: str, font: Font, case: str, text: str) -> dict[str, str]:
    return {
        "key": f"word/{font.name}/{concept}/{case}",
        "concept": concept,
        "modality": "word",
        "artist": font.family,
        "caption": text,
        "family": family,
        "source": font.source,
        "licence": font.licence,
        "author": font.author,
    }
