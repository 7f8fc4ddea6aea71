"""Find out whose a photograph is and under which licence, from what its package itself says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training import tables

# What may be shipped; the GPL is left out because it would reach into the package's own licence.
SHIPPABLE = re.compile(
    r"^(CC0-1\.0|Public domain|CC-BY-[234]\.\d|CC-BY-SA-[234]\.\d|MIT|ISC|Apache-2\.0|OFL-1\.1)$"
)


@dataclass(frozen=True)
class Credit:
    """Whose an image is: artist group, licence (SPDX where there is one), author, source."""

    artist: str
    licence: str
    author: str
    source: str

    @property
    def shippable(self) -> bool:
        """Whether the licence allows shipping and the author it wants named is known by name."""
        named = bool(self.author) and not self.author.startswith("http")
        return bool(SHIPPABLE.match(self.licence)) and (
            named or self.licence in ("CC0-1.0", "Public domain")
        )


def normal_licence(text: str) -> str:
    """Return a licence in its SPDX spelling.

    >>> normal_licence("CC BY-SA 3.0"), normal_licence("CC-0 1.0"), normal_licence("Public Domain")
    ('CC-BY-SA-3.0', 'CC0-1.0', 'Public domain')
    """
    tidy = " ".join(text.split())
    if tidy.lower() == "public domain":
        return "Public domain"
    if re.fullmatch(r"CC-?0([ -]1\.0)?", tidy):
        return "CC0-1.0"
    return re.sub(r"^CC[ -]BY", "CC-BY", tidy).replace(" ", "-")


def gcompris_credits(files: dict[str, bytes]) -> dict[str, Credit]:
    """Read the README files of GCompris, which name author, licence and source file by file."""
    credits: dict[str, Credit] = {}
    root = "gcompris/src/activities/"
    for path, content in files.items():
        if PurePosixPath(path).name != "README":
            continue
        folder = str(PurePosixPath(path).parent).removeprefix(root)
        for block in re.split(r"\n\s*\n", content.decode("utf-8")):
            licence = re.search(r"^License: *(.+)$", block, re.M)
            author = re.search(r"^Copyright: *(.*(?:\n  .*)*)$", block, re.M)
            origin = re.search(r"(?:Source: *|source at )(\S+)", block)
            first = re.search(r"based on an? (?:original )?(?:image|photo) by ([^,]+),", block)
            if not licence or not author:
                continue
            whose = _tidy_author(author[1])
            if first:
                whose = f"{first[1]}, adapted by {whose}"
            for name in re.findall(r"[\w./-]+\.webp", block):
                credits[f"{folder}/{name}"] = Credit(
                    "gcompris",
                    normal_licence(licence[1]),
                    whose,
                    origin[1] if origin else "",
                )
    return credits


def _tidy_author(text: str) -> str:
    years = re.compile(r"^(Copyright|©)? *(\d{4}([-, ]+\d{4})*(?!\w))?,? *")
    lines = (years.sub("", part.strip()) for part in text.splitlines())
    return "; ".join(line for line in lines if line)


def photo_folder_credits(manifest: Path) -> dict[str, Credit]:
    """Read the manifest of the collected photographs: one licence and attribution a row."""
    return {
        row["path"]: Credit(
            row["path"].split("/")[0],
            normal_licence(row["licence"]),
            row["attribution"],
            f"github.com/{row['source repo']}@{row['commit'][:12]} {row['original path']}",
        )
        for row in tables.rows(manifest)
    }


def wheel_credits(name: str) -> dict[str, Credit]:
    """Return the credits of the sample photographs inside two Python wheels.

    The scikit-image ones are quoted from the docstrings of `skimage/data/_fetchers.py`, the
    scikit-learn ones from `sklearn/datasets/images/README.txt`.
    """
    if name == "scikit-learn":
        source = "scikit-learn 1.9.1 sklearn/datasets/images/README.txt"
        return {
            "sklearn/datasets/images/china.jpg": Credit(
                "scikit-learn", "CC-BY-2.0", "danielbuechele (flickr)", source
            ),
            "sklearn/datasets/images/flower.jpg": Credit(
                "scikit-learn", "CC-BY-2.0", "vultilion (flickr)", source
            ),
        }
    source = "scikit-image 0.25.2 skimage/data/_fetchers.py"
    rows = {
        "astronaut.png": ("Public domain", "NASA"),
        "brick.png": ("CC0-1.0", "CC0Textures (Bricks25)"),
        "clock_motion.png": ("Public domain", "Stefan van der Walt"),
        "chelsea.png": ("CC0-1.0", "Stefan van der Walt"),
        "coffee.png": ("CC0-1.0", "Rachel Michetti"),
        "rocket.jpg": ("Public domain", "SpaceX"),
    }
    return {
        f"skimage/data/{file}": Credit("scikit-image", licence, author, source)
        for file, (licence, author) in rows.items()
    }
