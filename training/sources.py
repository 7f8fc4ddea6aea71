"""Every openly licensed image the training may see, rendered once to RGBA tiles with a caption.

`build` walks the installed icon packages, the clip art and the photo folders, renders each image to
`TILE` x `TILE` RGBA and writes `tiles.npy` (uint8 `[images, TILE, TILE, 4]`) beside `images.tsv`.
Vendors that evaluation holds out are never rendered.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training import more_artists, pictographs, tables
from training.iconify import icons

TILE = 128

DRAWN = {
    "noto": "noto",
    "noto-v1": "noto",
    "twemoji": "twemoji",
    "fluent-emoji-flat": "fluent",
    "fxemoji": "fxemoji",
    "streamline-emojis": "streamline",
    "openmoji": "openmoji",
    "circle-flags": "circle-flags",
    "flag": "flag",
}
SYMBOLS = {
    "fluent-emoji-high-contrast": "fluent",
    "mdi": "mdi",
    "tabler": "tabler",
    "ph": "ph",
    "game-icons": "game-icons",
    "fa6-solid": "fa6-solid",
    "healthicons": "healthicons",
    "simple-icons": "simple-icons",
}
GCOMPRIS = "deb:gcompris-qt-data:"
HELD_OUT_SETS = ("emojione", "emojione-v1", "emojione-monotone", "lucide", "lucide-lab")

_STYLE_WORDS = {"outline", "filled", "variant", "bold", "thin", "light", "duotone", "fill"}
_SKIN = re.compile(r"skin-tone|-(light|medium|dark)(-|$)|^(light|medium|dark)-")


@dataclass(frozen=True)
class SourceImage:
    """One image of the training data: where it comes from and what it is called."""

    key: str
    modality: str
    artist: str
    caption: str


def clean_name(name: str) -> str:
    """An icon's file name as words.

    Examples
    --------
    >>> clean_name("red-apple-outline")
    'red apple'
    """
    words = [w for w in re.split(r"[-_\s]+", name.lower()) if w and w not in _STYLE_WORDS]
    return " ".join(words) or name.lower()


def _icon_sets(packages: Path) -> Iterator[tuple[SourceImage, str]]:
    for name, artist in {**DRAWN, **SYMBOLS}.items():
        modality = "drawing" if name in DRAWN else "symbol"
        for icon, svg in icons(packages, name):
            if name in DRAWN and _SKIN.search(icon):
                continue
            if name == "ph" and icon.rsplit("-", 1)[-1] in {"thin", "light", "duotone"}:
                continue
            yield SourceImage(f"npm:{name}:{icon}", modality, artist, clean_name(icon)), svg


def _more_artists(packages: Path) -> Iterator[tuple[SourceImage, str]]:
    """The listed icons of the sets that only training uses."""
    listed = {row.key: row for row in more_artists.listed()}
    for name in (*more_artists.DRAWN, *more_artists.SYMBOLS):
        for icon, svg in icons(packages, name):
            if row := listed.get(f"npm:{name}:{icon}"):
                yield SourceImage(row.key, row.modality, name, more_artists.plain(icon)), svg


def _pictographs(packages: Path) -> Iterator[tuple[SourceImage, str]]:
    """What fonts draw of the concepts, named by the concept, so that no caption is new."""
    for font, code, concept, svg in pictographs.glyphs(packages):
        yield SourceImage(f"{font.key}:{code}", "symbol", font.artist, concept), svg


def _fluent_3d(packages: Path) -> Iterator[tuple[SourceImage, Path]]:
    names = {
        row["hexcode"].lower(): row["label"]
        for row in json.loads((packages / "emojibase-data" / "en" / "data.json").read_text())
    }
    for path in sorted((packages / "@lobehub" / "fluent-emoji-3d" / "assets").glob("*.webp")):
        label = names.get(path.stem) or names.get(path.stem.replace("-fe0f", ""))
        if label:
            yield (
                SourceImage(f"npm:fluent-emoji:{path.stem}", "drawing", "fluent", label.lower()),
                path,
            )


def _clip_art(root: Path) -> Iterator[tuple[SourceImage, Path]]:
    for path in sorted(root.rglob("*.svg")):
        head = path.read_bytes()[:6000].decode("utf-8", "replace")
        title = re.search(r"<dc:title>([^<]{2,60})</dc:title>", head)
        words = [w for w in re.findall(r"<rdf:li>([^<]{2,30})</rdf:li>", head) if w != "unsorted"]
        caption = clean_name(title.group(1)) if title else clean_name(path.stem)
        caption = " ".join(re.sub(r"[^a-z ]", " ", caption).split())
        caption = (
            ", ".join([caption, *[w.lower() for w in words[:3]]])
            if caption
            else ", ".join(words[:3])
        )
        if caption:
            key = f"deb:openclipart-svg:{path.relative_to(root)}"
            yield SourceImage(key, "drawing", "openclipart", caption), path


def _photos(root: Path) -> Iterator[tuple[SourceImage, Path]]:
    for row in tables.rows(root / "manifest.csv"):
        source = row["path"].split("/")[0]
        yield SourceImage(f"photo:{row['path']}", "photo", source, row["label"]), root / row["path"]


def _stamps(root: Path) -> Iterator[tuple[SourceImage, Path]]:
    for path in sorted([*root.rglob("*.png"), *root.rglob("*.svg")]):
        text = path.with_suffix(".txt")
        if text.exists() and "/photo" not in path.name:
            line = text.read_text(encoding="utf-8", errors="replace").splitlines()
            caption = line[0].strip(" .!").lower() if line else path.stem
            key = f"deb:tuxpaint-stamps-default:{path.relative_to(root)}"
            yield (
                SourceImage(
                    key, "drawing" if path.suffix == ".svg" else "photo", "tuxpaint", caption
                ),
                path,
            )


def _scenes(root: Path, wanted: dict[str, str]) -> Iterator[tuple[SourceImage, Path]]:
    """Images of an unpacked gcompris-qt-data (only the `wanted` ones: most of it is interface art)."""
    for item, modality in sorted(wanted.items()):
        path = root / item
        if path.exists():
            caption = clean_name(path.stem)
            yield SourceImage(f"{GCOMPRIS}{item}", modality, "gcompris", caption), path


def scene_items(candidates: Path) -> dict[str, str]:
    """Paths inside gcompris-qt-data that the candidate table names, each with its modality: photographs and drawings."""
    return {
        item.removeprefix(GCOMPRIS): modality
        for column, modality in (("drawn", "drawing"), ("photo", "photo"))
        for row in tables.rows(candidates)
        for item in row.get(column, "").split(";")
        if item.startswith(GCOMPRIS)
    }


def _fit(image: Image.Image) -> np.ndarray:
    """Scale the longer side to TILE and centre on a transparent square; RGBA `[TILE, TILE, 4]`."""
    image = image.convert("RGBA")
    image.thumbnail((TILE, TILE), Image.Resampling.BICUBIC)
    if max(image.size) < TILE:
        scale = TILE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    tile = Image.new("RGBA", (TILE, TILE), (255, 255, 255, 0))
    tile.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return np.asarray(tile)


def _square(image: Image.Image) -> np.ndarray:
    """The centre square of a photo scaled to TILE; RGBA `[TILE, TILE, 4]`."""
    image = image.convert("RGBA")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC))


def render(job: tuple[SourceImage, str | Path]) -> np.ndarray | None:
    """RGBA tile of one source, or None when it cannot be drawn."""
    import resvg_py

    source, origin = job
    try:
        if isinstance(origin, str) or origin.suffix == ".svg":
            # The renderer takes a string; clip art may carry a stray encoding.
            svg = (
                origin
                if isinstance(origin, str)
                else origin.read_bytes().decode("utf-8", "replace")
            )
            png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=TILE * 2, dpi=96))
            tile = _fit(Image.open(io.BytesIO(png)))
            return tile if tile[..., 3].mean() > 4 else None
        image = Image.open(origin)
        opaque = source.modality == "photo" and image.mode not in ("RGBA", "LA", "P")
        return _square(image) if opaque else _fit(image)
    except Exception:  # noqa: BLE001 - an undrawable source is left out of training, whatever broke
        return None


def build(
    packages: Path,
    photos: Path,
    out: Path,
    *,
    clip_art: Path,
    stamps: Path,
    scenes: Path,
    candidates: Path,
) -> int:
    """Render every source; returns the number of images written.

    Parameters
    ----------
    packages
        `node_modules` holding the icon packages.
    photos
        Folder with `manifest.csv` and the photo files.
    out
        Folder that receives `tiles.npy` and `images.tsv`.
    """
    jobs: list[tuple[SourceImage, str | Path]] = [
        *_icon_sets(packages),
        *_fluent_3d(packages),
        *_more_artists(packages),
        *_pictographs(packages),
    ]
    for root, walk in ((clip_art, _clip_art), (photos, _photos), (stamps, _stamps)):
        if root.exists():
            jobs.extend(walk(root))
    jobs.extend(_scenes(scenes, scene_items(candidates)))
    out.mkdir(parents=True, exist_ok=True)
    tiles = np.lib.format.open_memmap(
        out / "tiles.part.npy", mode="w+", dtype=np.uint8, shape=(len(jobs), TILE, TILE, 4)
    )
    kept: list[SourceImage] = []
    with multiprocessing.Pool(2) as pool:
        for (image, _), tile in zip(jobs, pool.imap(render, jobs, chunksize=64), strict=True):
            if tile is not None:
                tiles[len(kept)] = tile
                kept.append(image)
                if len(kept) % 5000 == 0:
                    print(f"{len(kept)} of {len(jobs)} images", flush=True)
    tiles.flush()
    (out / "tiles.part.npy").rename(out / "tiles.npy")
    with (out / "images.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["key", "modality", "artist", "caption"])
        writer.writerows([p.key, p.modality, p.artist, p.caption] for p in kept)
    return len(kept)
