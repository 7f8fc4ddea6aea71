"""Find out whose a photograph is and under which licence, from what its package itself says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training import tables

# What may be shipped; the GPL is left out because it would reach into the package's own licence.
SHIPPABLE = re.compile(
    r"^(CC0-1\.0|Public domain|CC-BY-[234]\.\d|CC-BY-SA-[234]\.\d|MIT|ISC|Apache-2\.0|OFL-1\.1)$"
)

STUDENT_GAP = 10
"""Ten signs a student: photographs further apart by number are of two."""


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
                    photographer(whose),
                    normal_licence(licence[1]),
                    whose,
                    origin[1] if origin else "",
                )
    return credits


def _tidy_author(text: str) -> str:
    years = re.compile(r"^(Copyright|©)? *(\d{4}([-, ]+\d{4})*(?!\w))?,? *")
    lines = (years.sub("", part.strip()) for part in text.splitlines())
    return "; ".join(line for line in lines if line)


def photographer(author: str) -> str:
    """Return who took a photograph: the first person named, whoever adapted it.

    >>> photographer("Evan-Amos"), photographer("Benh LIEU SONG, adapted by Bruno Coudoin")
    ('Evan-Amos', 'Benh LIEU SONG')
    >>> photographer("https://commons.wikimedia.org/wiki/File:A_(b).jpg (Matt Lavin)")
    'Matt Lavin'
    """
    text = author.split(", adapted by ")[0]
    if named := re.fullmatch(r"https?://\S+ \((.+)\)", text):
        return named[1]
    return re.sub(r"\s*https?://\S+\s*", "", text) or author


def artist_of(path: str, original: str, attribution: str) -> str:
    """Return the artist of a collected photograph, at the finest grain that its source tells.

    The product (Grocery Store: all photographs of one product), the dish (FFML), the garment (clothing), the object (BOSS), the student
    (sign digits, by `students`), the photographer (StreetComplete). Where a
    source numbers its photographs and says no more (vehicles, TrashNet), ten numbers in a row are one artist, because neighbours may
    show one thing twice; a source that shows one object at one place (Azure's samples, playing cards) is one artist.

    >>> artist_of("grocery/apple/1.webp", "dataset/train/Fruit/Apple/Royal-Gala/Royal-Gala_003.jpg", "Marcus Klasson")
    'grocery Royal-Gala'
    >>> artist_of("trashnet/paper/4.webp", "dataset-resized/paper/paper311.jpg", "Gary Thung")
    'trashnet paper 31x'
    """
    source = path.split("/")[0]
    folder, name = original.split("/")[-2:]
    stem = name.rsplit(".", 1)[0]
    if source in ("grocery", "grocery_val"):
        return f"grocery {folder}"
    if source in ("ffml_food", "clothing"):
        return f"{source} {folder if source == 'ffml_food' else stem}"
    if source == "boss":
        return f"boss {re.sub(r'[0-9]*_RE_[0-9]+$', '', stem)}"
    if source == "streetcomplete":
        return photographer(attribution)
    if source in ("trashnet", "zenodo_vehicles"):
        kind = stem.rstrip("0123456789")
        return f"{source} {kind} {int(stem.removeprefix(kind)) // 10}x"
    return source


def students(originals: Iterable[str]) -> dict[str, str]:
    """Return the student whom each photograph of the sign digits shows: a student's signs follow each other by number, none twice.

    >>> students(["Dataset/8/IMG_1177.JPG", "Dataset/0/IMG_1179.JPG", "Dataset/8/IMG_1188.JPG"])["Dataset/0/IMG_1179.JPG"]
    'signdigits IMG_1177'
    """
    numbered = sorted((int(path.split("_")[-1].split(".")[0]), path) for path in originals)
    found: dict[str, str] = {}
    signs: set[str] = set()
    first = last = 0
    for number, path in numbered:
        sign = path.split("/")[-2]
        if not found or sign in signs or number - last > STUDENT_GAP:
            first, signs = number, set()
        signs.add(sign)
        last = number
        found[path] = f"signdigits IMG_{first}"
    return found


def photo_folder_credits(manifest: Path) -> dict[str, Credit]:
    """Read the manifest of the collected photographs: one licence and attribution a row."""
    rows = tables.rows(manifest)
    hands = students(r["original path"] for r in rows if r["path"].startswith("signdigits/"))
    return {
        row["path"]: Credit(
            hands.get(
                row["original path"],
                artist_of(row["path"], row["original path"], row["attribution"]),
            ),
            normal_licence(row["licence"]),
            row["attribution"],
            f"github.com/{row['source repo']}@{row['commit'][:12]} {row['original path']}",
        )
        for row in rows
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
                "danielbuechele (flickr)", "CC-BY-2.0", "danielbuechele (flickr)", source
            ),
            "sklearn/datasets/images/flower.jpg": Credit(
                "vultilion (flickr)", "CC-BY-2.0", "vultilion (flickr)", source
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
        f"skimage/data/{file}": Credit(author, licence, author, source)
        for file, (licence, author) in rows.items()
    }
