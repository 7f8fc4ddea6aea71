"""Icon sets beyond the probe set's, for training only: the same concepts drawn by more hands.

An icon belongs to a concept when its name, without the words that tell styles apart, is the concept's or one that the table's
own icons of that concept have (`find`). `more_artists.tsv` is what that found. Of 24 names that mean something else among icons
(a *log* of events, a *seal* on a letter) it keeps only the icons for which the fifth version of mini had the concept among its first
120 answers of 689. `more_sets.tsv` says whose the sets are.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from training import tables
from training.iconify import icons

DRAWN = (
    "flat-color-icons", "icon-park", "marketeq", "meteocons", "streamline-color", "streamline-cyber-color",
    "streamline-flex-color", "streamline-freehand-color", "streamline-kameleon-color", "streamline-plump-color",
    "streamline-sharp-color", "streamline-stickies-color", "streamline-ultimate-color", "fluent-color",
)  # fmt: skip
SYMBOLS = (
    "arcticons", "bi", "bx", "bxs", "carbon", "entypo", "fa7-solid", "famicons", "fluent", "fontisto", "foundation",
    "guidance", "hugeicons", "icon-park-outline", "icon-park-solid", "iconoir", "ion", "la", "lets-icons", "mage", "maki",
    "majesticons", "material-symbols", "memory", "mingcute", "mynaui", "pepicons-pencil", "pepicons-pop", "pixelarticons",
    "proicons", "ri", "solar", "streamline", "streamline-cyber", "streamline-flex", "streamline-freehand", "streamline-pixel",
    "streamline-plump", "streamline-sharp", "streamline-ultimate", "subway", "tdesign", "temaki", "typcn", "uil", "vaadin",
    "wi", "zondicons",
)  # fmt: skip
MOST = 4
"""Icons of one concept from one set."""
LIST = Path(__file__).with_suffix(".tsv")
SETS = LIST.with_name("more_sets.tsv")
_STYLE = re.compile(
    r"\b(outline[ds]?|fill(ed)?|solid|line|linear|bold|broken|duotone|twotone|rounded|round|sharp|thin|light|regular|color"
    r"|alt|icon|variant|duo|flat|remix|block|stroke|freehand|s|o|(?<!^)\d+(px)?)\b"
)


@dataclass(frozen=True)
class Row:
    """One icon that belongs to a concept."""

    concept: str
    modality: str
    set: str
    icon: str

    @property
    def key(self) -> str:
        """As images are named everywhere: `npm:SET:ICON`."""
        return f"npm:{self.set}:{self.icon}"


def listed() -> list[Row]:
    """Every row of `more_artists.tsv`."""
    return [Row(**row) for row in tables.rows(LIST)]


def sets() -> list[dict[str, str]]:
    """Every row of `more_sets.tsv`: set, version, images, licence, author, url."""
    return tables.rows(SETS)


def npm_packages() -> list[str]:
    """The npm packages of `sets`, each in its version."""
    return [f"@iconify-json/{row['set']}@{row['version']}" for row in sets()]


def plain(icon: str) -> str:
    """An icon's name as words, without style and size.

    Examples
    --------
    >>> plain("food-apple-24-regular"), plain("bx-cycling"), plain("fried-egg-fill")
    ('food apple', 'bx cycling', 'fried egg')
    """
    return " ".join(_STYLE.sub(" ", re.sub(r"[-_]+", " ", icon.lower())).split())


def find(packages: Path, table: Path) -> list[Row]:
    """Every icon in `packages` whose name belongs to one concept of `table`, `MOST` of a concept and a set."""
    called: dict[str, set[str]] = defaultdict(set)
    for row in tables.rows(table):
        called[row["concept"].lower()].add(row["concept"])
        kind, _, icon = row["item"].partition(":")
        if kind == "npm" and row["modality"] == "symbol":
            called[plain(icon.rpartition(":")[2])].add(row["concept"])
    found: list[Row] = []
    taken: Counter[tuple[str, str]] = Counter()
    for name in (*DRAWN, *SYMBOLS):
        modality = "drawing" if name in DRAWN else "symbol"
        for icon, _ in icons(packages, name):
            owners = called.get(plain(icon), set())
            if len(owners) == 1 and taken[(*owners, name)] < MOST:
                taken[(*owners, name)] += 1
                found.append(Row(*owners, modality, name, icon))
    return found
