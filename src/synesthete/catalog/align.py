"""Align: how well a copy matches an image, judged by the catalogue's own pairs, and what makes it so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float32
from synesthete._core.user_files import FileInside, read_inside
from synesthete.catalog.encode import image_bytes
from synesthete.catalog.query_encoder import QueryEncoder
from synesthete.catalog.requests import Align, Alignments
from synesthete.catalog.schema import Alignment, Flag, ImageSource, Region, Word, image_name
from synesthete.catalog.search import shares_of, unit_reasons
from synesthete.catalog.sources import IMAGE_SUFFIXES, TEXT_BYTES
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.tables import as_text, image_at, read_rows
from synesthete.errors import SynestheteError
from synesthete.probes.request_images import see

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

Verdict = Literal["match", "mismatch", "unsure"]

PAIRS = 2000  # of the catalogue's own are enough for a distribution
LEAST_PAIRS = 20
SHIFTS = 5
MATCH, MISMATCH = 0.95, 0.80  # of mismatched pairs score lower
LONGEST_COPY = 60  # words that are left out one by one
NOTICED = 0.05  # of all that speaks for a match: from this share on a flagged unit is reported

TABLES = ("campaign.csv", "campaign.jsonl", "campaign.parquet")


@dataclass(frozen=True)
class Pairs:
    """Scores of the catalogue's items' images with their own texts, and with others', ascending."""

    own: Float32
    others: Float32

    def among_own(self, score: float) -> float | None:
        """Share of own pairs that score lower."""
        return _below(self.own, score)

    def among_others(self, score: float) -> float | None:
        """Share of mismatched pairs that score lower."""
        return _below(self.others, score)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    name: str
    vector: Float32  # centred, unit length
    scale: float  # by which units' shares become shares of the cosine
    units: Float32
    places: npt.NDArray[np.int16]
    grid: tuple[int, int]


def align(encoder: QueryEncoder, model: ImageTextModel, request: Align) -> Alignments:
    """Every copy against every image, best first.

    Raises
    ------
    SynestheteError
        No copy or no image, an empty copy, an image that cannot be read.
    """
    copies, images = request.copies, request.images
    if not copies or not images:
        raise SynestheteError("nothing to align", hint="give a copy and an image at least")
    snapshot = encoder.snapshot
    pairs = own_pairs(snapshot)
    texts = [(copy, _text(encoder, copy)) for copy in copies]
    found = []
    for image in images:
        seen = _see(snapshot, model, image)
        found += [
            _one(encoder, pairs, copy, vector, seen, request.reasons) for copy, vector in texts
        ]
    order = sorted(range(len(found)), key=lambda i: (-found[i].score, i))
    return Alignments([found[i] for i in order])


def own_pairs(snapshot: Snapshot) -> Pairs:
    """The catalogue's own pairs, matched and mismatched; kept with the snapshot."""
    return snapshot.computed("pairs", lambda: _own_pairs(snapshot))


def verdict_of(among_others: float | None) -> Verdict:
    """`match` when fewer than 1 in 20 mismatched pairs score as high; `mismatch` when more than 1 in 5 do."""
    if among_others is None:
        return "unsure"
    if among_others >= MATCH:
        return "match"
    return "mismatch" if among_others < MISMATCH else "unsure"


def _one(
    encoder: QueryEncoder, pairs: Pairs, copy: str, text: Float32, seen: _Seen, limit: int
) -> Alignment:
    snapshot = encoder.snapshot
    score = float(text @ seen.vector)
    among = pairs.among_others(score)
    verdict = verdict_of(among)
    shares = shares_of(snapshot, text, seen.units[None])[0] * np.float32(seen.scale)
    agreeing = unit_reasons(snapshot, shares, limit, untested=True)
    flags = _flags(snapshot, pairs, shares, score, verdict, limit)
    if verdict == "match" and any(flag.decides for flag in flags):
        # A match that hangs on writing in the image, or on who is in it, is for a person to settle.
        verdict = "unsure"
    return Alignment(
        copy=copy,
        image=seen.name,
        score=score,
        among_pairs=pairs.among_own(score),
        among_others=among,
        verdict=verdict,
        agreeing=tuple(agreeing),
        disagreeing=tuple(unit_reasons(snapshot, shares, limit, sign=-1, untested=True)),
        words=_words(encoder, copy, score, seen.vector, limit),
        regions=tuple(_region(one.address, seen) for one in agreeing),
        flags=flags,
    )


def _text(encoder: QueryEncoder, copy: str) -> Float32:
    """A copy stands where an item's own text stands, about the centre of those."""
    found: Float32 = encoder.snapshot.space.texts(encoder.raw_text(copy)[None])[0]
    return found


def _see(snapshot: Snapshot, model: ImageTextModel, image: ImageSource) -> _Seen:
    pixels = see(image_bytes(image), model.preprocess)[None]
    layer = snapshot.layer
    mean = model.read(pixels, [layer], "mean")
    peak = model.read(pixels, [layer], "max")
    raw = mean.embeddings
    length = float(np.linalg.norm(raw[0] - snapshot.space.image_centre))
    return _Seen(
        name=image_name(image),
        vector=snapshot.space.images(raw)[0],
        scale=1 / max(length, 1e-9),
        units=mean.activations[layer][0],
        places=peak.positions[layer][0],
        grid=peak.grids[layer],
    )


def _words(
    encoder: QueryEncoder, copy: str, score: float, image: Float32, limit: int
) -> tuple[Word, ...]:
    """What the match loses without each word; the strongest on both sides."""
    words = copy.split()
    if not 2 <= len(words) <= LONGEST_COPY:
        return ()
    found = []
    for place, word in enumerate(words):
        rest = " ".join(words[:place] + words[place + 1 :])
        found.append(Word(word, score - float(_text(encoder, rest) @ image)))
    found.sort(key=lambda one: -one.weight)
    best = [one for one in found[:limit] if one.weight > 0]
    worst = [one for one in found[::-1][:limit] if one.weight < 0]
    return (*best, *worst)


def _region(address: str, seen: _Seen) -> Region:
    rows, columns = seen.grid
    place = int(seen.places[int(address.rpartition(":")[2])])
    if place < 0:
        return Region(address=address, left=0.0, top=0.0, width=1.0, height=1.0)
    row, column = divmod(place, columns)
    return Region(
        address=address, left=column / columns, top=row / rows, width=1 / columns, height=1 / rows
    )


def _flags(
    snapshot: Snapshot, pairs: Pairs, shares: Float32, score: float, verdict: Verdict, limit: int
) -> tuple[Flag, ...]:
    reference = snapshot.reference
    total = max(float(shares[shares > 0].sum()), 1e-9)
    found: list[Flag] = []
    for kind, marked in (
        ("typographic", reference.typographic),
        ("sensitive", reference.sensitive),
    ):
        theirs = np.where(marked & (shares > 0), shares, 0)
        if theirs.sum() < NOTICED * total:
            continue
        without = verdict_of(pairs.among_others(score - float(theirs.sum())))
        decides = without != verdict
        found += [
            Flag(
                kind="typographic" if kind == "typographic" else "sensitive",
                address=one.address,
                text=one.text,
                weight=one.weight,
                decides=decides,
            )
            for one in unit_reasons(snapshot, np.asarray(theirs, np.float32), limit, untested=True)
        ]
    return tuple(found)


def _own_pairs(snapshot: Snapshot) -> Pairs:
    ids = snapshot.ids
    if len(ids) > PAIRS:
        places = np.unique(np.linspace(0, len(ids) - 1, PAIRS).round().astype(np.int64))
        ids = [ids[place] for place in places]
    rows = snapshot.rows(ids, ("images", "texts"))
    images, texts = rows.array("images"), rows.array("texts")
    both = images.any(axis=1) & texts.any(axis=1)
    images = snapshot.space.images(images[both])
    texts = snapshot.space.texts(texts[both])
    own = np.sort((images * texts).sum(1))
    count = len(images)
    steps = sorted({round(i * count / (SHIFTS + 1)) for i in range(1, SHIFTS + 1)} - {0, count})
    others = [(images * np.roll(texts, step, axis=0)).sum(1) for step in steps]
    empty = np.zeros(0, np.float32)
    return Pairs(own, np.sort(np.concatenate(others)) if others else empty)


def _below(values: Float32, score: float) -> float | None:
    if len(values) < LEAST_PAIRS:
        return None
    return float(np.searchsorted(values, score, side="left") / len(values))


@dataclass(frozen=True)
class Part:
    """Copies that are variants of one another, for images that are, too."""

    name: str
    copies: tuple[str, ...]
    images: tuple[Path, ...]


def read_campaign(folder: Path) -> Iterator[Part]:
    """Parts of a campaign.

    With a `campaign.csv` (or `.jsonl`, `.parquet`; columns `image` and `copy`), every row is a part, and rows of one
    image are variants of its copy. Otherwise a text file goes with the images whose name begins with its own:
    `summer.txt` with `summer.jpg` and `summer-2.jpg`; every non-empty line of it is a variant.

    Raises
    ------
    SynestheteError
        No such folder, nothing in it that belongs together, an image outside it.
    """
    if not folder.is_dir():
        raise SynestheteError(f"no such folder: '{folder}'")
    for name in TABLES:
        if (folder / name).is_file():
            return iter(_from_table(folder / name))
    return iter(_from_files(folder))


def _from_table(path: Path) -> list[Part]:
    copies: dict[Path, list[str]] = {}
    for line, row in read_rows(path, root=path.parent):
        where = f"{path.name}, line {line}"
        given = {
            "image": as_text(row.get("image") or row.get("picture")).strip(),
            "copy": as_text(row.get("copy")).strip(),
        }
        for key, value in given.items():
            if not value:
                raise SynestheteError(f"{where}: no {key}")
        copies.setdefault(image_at(path.parent, given["image"], where), []).append(given["copy"])
    if not copies:
        raise SynestheteError(f"'{path}' has no rows")
    return [Part(one.name, tuple(texts), (one,)) for one, texts in copies.items()]


def _from_files(folder: Path) -> list[Part]:
    files = sorted(one for one in folder.iterdir() if one.is_file())
    images = [FileInside.of(folder, one) for one in files if one.suffix.lower() in IMAGE_SUFFIXES]
    texts = sorted(
        (one for one in files if one.suffix.lower() == ".txt"), key=lambda f: -len(f.stem)
    )
    taken: set[Path] = set()
    parts = []
    for text in texts:
        own = [p for p in images if p not in taken and p.stem.startswith(text.stem)]
        taken.update(own)
        data = read_inside(folder, text, max_bytes=TEXT_BYTES)
        lines = data.decode("utf-8-sig", errors="replace").splitlines()
        variants = tuple(line.strip() for line in lines if line.strip())
        if own and variants:
            parts.append(Part(text.stem, variants, tuple(own)))
    if not parts:
        raise SynestheteError(
            f"'{folder}' has no text with an image of its name",
            hint="put summer.txt beside summer.jpg, or a campaign.csv with image and copy",
        )
    return sorted(parts, key=lambda part: part.name)
