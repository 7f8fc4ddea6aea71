"""A campaign: a folder of pictures and the copies that shall go with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synesthete._core.user_files import FileInside, read_inside
from synesthete.catalog.sources import PICTURES, TEXT_BYTES
from synesthete.catalog.table_files import read_rows
from synesthete.catalog.tables import as_text, inside
from synesthete.errors import SynestheteError

TABLES = ("campaign.csv", "campaign.jsonl", "campaign.parquet")


@dataclass(frozen=True)
class Part:
    """Copies that are variants of one another, for pictures that are, too."""

    name: str
    copies: tuple[str, ...]
    pictures: tuple[Path, ...]


def read_campaign(folder: Path) -> Iterator[Part]:
    """Parts of a campaign.

    With a `campaign.csv` (or `.jsonl`, `.parquet`; columns `picture` and `copy`), every row is a part, and rows of one
    picture are variants of its copy. Otherwise a text file goes with the pictures whose name begins with its own:
    `summer.txt` with `summer.jpg` and `summer-2.jpg`; every non-empty line of it is a variant.

    Raises
    ------
    SynestheteError
        No such folder, nothing in it that belongs together, a picture outside it.
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
        missing = [key for key in ("picture", "copy") if not as_text(row.get(key)).strip()]
        if missing:
            raise SynestheteError(f"{path.name}, line {line}: no {missing[0]}")
        found = inside(path.parent.resolve(), as_text(row["picture"]).strip())
        if isinstance(found, str):
            raise SynestheteError(f"{path.name}, line {line}: {found}")
        copies.setdefault(found, []).append(as_text(row["copy"]).strip())
    if not copies:
        raise SynestheteError(f"'{path}' has no rows")
    return [Part(one.name, tuple(texts), (one,)) for one, texts in copies.items()]


def _from_files(folder: Path) -> list[Part]:
    files = sorted(one for one in folder.iterdir() if one.is_file())
    pictures = [FileInside.of(folder, one) for one in files if one.suffix.lower() in PICTURES]
    texts = sorted(
        (one for one in files if one.suffix.lower() == ".txt"), key=lambda f: -len(f.stem)
    )
    taken: set[Path] = set()
    parts = []
    for text in texts:
        own = [p for p in pictures if p not in taken and p.stem.startswith(text.stem)]
        taken.update(own)
        data = read_inside(folder, text, max_bytes=TEXT_BYTES)
        lines = data.decode("utf-8-sig", errors="replace").splitlines()
        variants = tuple(line.strip() for line in lines if line.strip())
        if own and variants:
            parts.append(Part(text.stem, variants, tuple(own)))
    if not parts:
        raise SynestheteError(
            f"'{folder}' has no text with a picture of its name",
            hint="put summer.txt beside summer.jpg, or a campaign.csv with picture and copy",
        )
    return sorted(parts, key=lambda part: part.name)
