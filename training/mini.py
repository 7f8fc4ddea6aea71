"""All of it, from packages to a model's folder: `python -m training mini --out FOLDER`.

Every step is a command of its own, printed before it runs, so that any of them can be run again by hand. What is there already is not
made again, and the image tower goes on from its last checkpoint.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from training import needs, photographs, tables
from training.arguments import CANDIDATES
from training.sources import scene_items

HELD_OUT_FONTS = "merriweather,caveat,caveat-brush,ubuntu,zilla-slab,eb-garamond"
"""Fonts never written in: the probe set's three that are held out, and their like."""
PROBE_FONTS = "Caveat,EB Garamond,Zilla Slab"
RECIPE = (
    "--sizes", "64:0,128:0.4", "--batch", "256", "--parts", "4", "--sparsity", "1", "--votes", "1", "--spread", "0.2",
    "--letters", "0.02", "--last-letters", "0.08", "--others", "0.5", "--looks", "2",
)  # fmt: skip
"""What the shipped model's last runs were trained with, and small images first, since this begins from nothing."""


@dataclass(frozen=True)
class Step:
    """One command, and the file that tells that it is done; without one it is run every time."""

    command: tuple[str, ...]
    makes: Path | None = None

    @property
    def done(self) -> bool:
        return self.makes is not None and self.makes.exists()


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where everything lies: what is fetched, what is made of it, and the model."""

    packages: Path
    photos: Path
    scenes: Path
    data: Path
    model: Path


def steps(
    at: Folders, *, minutes: float, text_minutes: float, fonts: int, extra: tuple[str, ...] = ()
) -> list[Step]:
    """The commands after everything is fetched, in their order; `extra` are arguments of `image`."""
    data, candidates = str(at.data), ("--candidates", str(CANDIDATES))
    held_out = ("--held-out-photos", f"{data}/held_out.txt")
    words = ("--held-out-words", f"{data}/held_out_words.txt")
    photos, packages = ("--photos", str(at.photos)), ("--packages", str(at.packages))
    table = ("--table", f"{data}/table.tsv")
    return [
        Step(
            ("build", *packages, *photos, "--scenes", str(at.scenes), *candidates, "--out", data),
            at.data / "images.tsv",
        ),
        Step(("lists", *candidates, "--data", data, *packages), at.data / "table.tsv"),
        Step(
            ("teach", *packages, *table, *candidates, "--spelling", "0.3",
             "--minutes", f"{text_minutes:g}", "--out", data),
            at.data / "text.pt",
        ),
        # Again: words that are never written are chosen from the teacher's.
        Step(("lists", *candidates, "--data", data, *packages), at.data / "held_out_words.txt"),
        Step(("look", "--data", data, *held_out), at.data / "looks.npz"),
        Step(
            ("image", *table, *candidates, "--fonts", str(at.packages / "@fontsource"), *held_out, *words,
             "--held-out-fonts", HELD_OUT_FONTS, *RECIPE, "--minutes", f"{minutes:g}", *extra, "--out", data),
        ),
        Step(
            ("export", "--data", data, *held_out, "--held-out-fonts", PROBE_FONTS, "--out", str(at.model)),
        ),
        Step(("sentences", "--data", data, "--model", str(at.model))),
        Step(
            ("evaluate", "--data", data, *photos, "--fonts", str(fonts), *words,
             "--held-out-clip-art", f"{data}/clip_art.txt", "--out", str(at.model)),
        ),
    ]  # fmt: skip


def prepare(out: Path, photos: Path | None, packages: Path | None) -> Folders:
    """Fetch what is not here: npm packages, GCompris's images, and photographs unless `photos` has them.

    Raises
    ------
    OSError
        If a Debian package or a program is missing (the message has the command), or npm fails.
    """
    if wanted := needs.missing():
        raise OSError(f"not installed: {' '.join(wanted)} (apt-get install {' '.join(wanted)})")
    out.mkdir(parents=True, exist_ok=True)
    done = out / "packages" / ".complete"
    if packages is None:
        if not done.exists():
            print(f"npm: {len(needs.npm_packages())} packages", flush=True)
            needs.install(out / "packages")
            done.touch()
        packages = out / "packages" / "node_modules"
    if not (scenes := out / "scenes").exists():
        count = needs.unpack_scenes(scene_items(CANDIDATES), scenes)
        print(f"{count} images of GCompris", flush=True)
    if photos is None:
        photos = out / "photos"
        there, listed = photographs.fetch_all(photos, [])
        print(f"{there} of {listed} photographs", flush=True)
    return Folders(
        packages=packages, photos=photos, scenes=scenes, data=out / "data", model=out / "model"
    )


def run(
    out: Path,
    *,
    photos: Path | None = None,
    packages: Path | None = None,
    minutes: float = 95.0,
    text_minutes: float = 32.0,
    extra: tuple[str, ...] = (),
) -> Path:
    """Make a model as mini was made; returns its folder. `extra` are further arguments of the step `image`.

    Raises
    ------
    OSError
        As `prepare`, or if a step fails.
    """
    from training.words import font_files

    at = prepare(out, photos, packages)
    families = frozenset(HELD_OUT_FONTS.split(","))
    fonts = len(font_files(at.packages / "@fontsource", held_out=families))
    started = time.monotonic()
    for step in steps(at, minutes=minutes, text_minutes=text_minutes, fonts=fonts, extra=extra):
        command = [sys.executable, "-m", "training", *step.command]
        if step.done:
            print(f"{step.command[0]}: there already", flush=True)
            continue
        print(f"\n$ {shlex.join(command)}", flush=True)
        if code := subprocess.run(command, check=False).returncode:
            raise OSError(
                f"{step.command[0]} ended with {code}; run the same command again to go on"
            )
    count = len(tables.rows(at.data / "images.tsv"))
    spent = (time.monotonic() - started) / 60
    print(f"{at.model}: from {count} images in {spent:.0f} minutes", flush=True)
    return at.model
