"""What training reads that is not in this repository: npm and Debian packages, and whether they are here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from training import more_artists, pictographs, words
from training.build_concepts import npm
from training.build_concepts.qtresource import read_rcc
from training.build_concepts.sources import ACTIVITIES, RCC_FOLDER

BESIDES = (
    "@iconify-json/circle-flags@1.2.11", "@iconify-json/flag@1.2.12", "@iconify-json/noto-v1@1.2.5",
    "@iconify-json/simple-icons@1.2.102", "emojibase-data@17.0.0",
)  # fmt: skip
"""Of npm, what only training reads: flags, an older hand, brand marks; emoji names in other languages."""
DEBIAN = {
    "openclipart-svg": "/usr/share/openclipart/svg",
    "gcompris-qt-data": str(RCC_FOLDER / "*.rcc"),
    "tuxpaint-stamps-default": "/usr/share/tuxpaint/stamps",
    "wordnet-base": "/usr/share/wordnet/data.noun",
    "fonts-symbola": "/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf",
    "unifont": "/usr/share/fonts/opentype/unifont/unifont*.otf",
}
"""Packages, each with a file of its own."""
PROGRAMS = {"npm": "npm", "zstd": "zstd"}
"""Programs, each with the Debian package that has it: GCompris's archives are Zstandard."""


def npm_packages() -> list[str]:
    """Every npm package that training reads, in its version: the probe set's, its fonts and what only training has."""
    fonts = [f"{row['package']}@{row['version']}" for row in words.more_fonts()]
    more = [*more_artists.npm_packages(), *pictographs.PACKAGES, *fonts, *BESIDES]
    return sorted({*npm.npm_packages(), *more})


def _is_here(file: Path) -> bool:
    return any(file.parent.glob(file.name))


def missing(debian: dict[str, str] | None = None) -> list[str]:
    """The Debian packages that are not here."""
    wanted = DEBIAN if debian is None else debian
    packages = [name for name, file in wanted.items() if not _is_here(Path(file))]
    return packages + [name for program, name in PROGRAMS.items() if shutil.which(program) is None]


def lines() -> list[str]:
    """The two commands that install all of it."""
    debian = " ".join(sorted({*DEBIAN, *PROGRAMS.values()}))
    return [
        f"apt-get install {debian}",
        f"npm install --ignore-scripts {' '.join(npm_packages())}",
    ]


def install(folder: Path) -> Path:
    """Install the npm packages into `folder`; returns its `node_modules`.

    Raises
    ------
    OSError
        If npm fails; what it said is part of the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # npm installs into the nearest folder above that has a package.json, unless this one has.
    (folder / "package.json").write_text('{"private": true}\n')
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(
        ["npm", "install", *quiet, *npm_packages()],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"npm install failed: {done.stderr[-2000:]}")
    return folder / "node_modules"


def unpack_scenes(items: dict[str, str], out: Path, rcc: Path = RCC_FOLDER) -> int:
    """Write the wanted images (`sources.scene_items`) of GCompris's archives to `out`; how many there were."""
    found = 0
    for archive in sorted(rcc.glob("*.rcc")):
        for name, data in read_rcc(archive).items():
            if (item := name.removeprefix(ACTIVITIES)) in items:
                path = out / item
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                found += 1
    return found
