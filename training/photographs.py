"""The photographs that training and the probe set take from public repositories: fetched, and made as small as they are used.

`photographs.tsv` names every file, `photograph_sources.tsv` the repository and commit each folder is from and its licence. A commit's
archive is read as it comes and only the files named are kept, so that nothing else is written to disk.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import urlopen

from PIL import Image

from training import tables

HERE = Path(__file__).parent
NEVER_TRAINED = HERE / "build_concepts"
"""The folder of two tables more: photographs that the probe set has and training does not read."""
ARCHIVE = "https://codeload.github.com/{repository}/tar.gz/{commit}"
SIDE = 160
"""The longer side of what is kept, in pixels: training and the probe set show 128."""
QUALITY = 80
LARGEST = 64 * 2**20
"""No photograph listed has as many bytes."""
COLUMNS = ("path", "label", "source repo", "commit", "original path", "licence", "attribution")


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """One listed file: where it is to lie, what it shows, where it is from, and the hash of what it becomes."""

    path: str
    label: str
    repository: str
    commit: str
    original: str
    licence: str
    attribution: str
    sha256: str

    @property
    def row(self) -> tuple[str, ...]:
        return (
            self.path, self.label, self.repository, self.commit, self.original, self.licence, self.attribution,
        )  # fmt: skip


def listed(folder: Path = HERE) -> dict[str, list[Photograph]]:
    """All photographs by source, from the two tables of `folder`."""
    sources = {row["source"]: row for row in tables.rows(folder / "photograph_sources.tsv")}
    found: dict[str, list[Photograph]] = {source: [] for source in sources}
    for row in tables.rows(folder / "photographs.tsv"):
        source = row["path"].split("/")[0]
        of = sources[source]
        found[source].append(
            Photograph(
                path=row["path"],
                label=row["label"],
                repository=of["repository"],
                commit=of["commit"],
                original=row["original"],
                # A source whose files have different authors says so file by file.
                licence=of["licence"] or row["licence"],
                attribution=of["attribution"] or row["attribution"],
                sha256=row["sha256"],
            )
        )
    return found


def small(data: bytes) -> bytes:
    """A photograph's file as a WebP of at most `SIDE` pixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY)
    return out.getvalue()


def _members(archive: IO[bytes], wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted files of a commit's archive, whose first folder is the repository's name and commit."""
    with tarfile.open(fileobj=archive, mode="r|gz") as members:
        for member in members:
            name = member.name.partition("/")[2]
            if name not in wanted or not member.isfile() or member.size > LARGEST:
                continue
            if (file := members.extractfile(member)) is not None:
                yield name, file.read()


def fetch(
    out: Path, photographs: list[Photograph], archive: str = ARCHIVE, timeout: float = 60
) -> Counter[str]:
    """Fetch the photographs of one source into `out`; those that lie there already are not asked for again.

    Returns how many are `there` already, `same` as listed, `other` (drawn from the same file, encoded by another version of
    the encoder), `broken` and `missing`.

    Raises
    ------
    OSError
        If the archive cannot be had or ends early; what came before it stays.
    ValueError
        If `archive` is no https address, or http on this machine.
    """
    counts: Counter[str] = Counter()
    wanted: dict[str, list[Photograph]] = {}
    for one in photographs:
        if (out / one.path).exists():
            counts["there"] += 1
        else:
            wanted.setdefault(one.original, []).append(one)
    if not wanted:
        return counts
    url = archive.format(repository=photographs[0].repository, commit=photographs[0].commit)
    address = urlsplit(url)
    if address.scheme != "https" and (address.scheme, address.hostname) != ("http", "127.0.0.1"):
        raise ValueError(f"photographs are fetched by https: {url}")
    with urlopen(url, timeout=timeout) as answer:
        try:
            for name, data in _members(answer, set(wanted)):
                for one in wanted.pop(name, ()):
                    counts[_keep(out, one, data)] += 1
        except (tarfile.TarError, EOFError) as error:
            raise OSError(f"{url} ended early or is no archive: {error}") from error
    counts["missing"] = sum(map(len, wanted.values()))
    return counts


def _keep(out: Path, one: Photograph, data: bytes) -> str:
    try:
        result = small(data)
    except (OSError, ValueError, Image.DecompressionBombError):
        return "broken"
    path = out / one.path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(result)
    part.rename(path)
    return "same" if hashlib.sha256(result).hexdigest().startswith(one.sha256) else "other"


def write_manifest(out: Path, photographs: list[Photograph]) -> int:
    """Write `manifest.csv` of those that lie in `out`, each with its licence; how many they are."""
    there = [one for one in photographs if (out / one.path).exists()]
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(one.row for one in there)
    return len(there)


def fetch_all(
    out: Path, sources: list[str], archive: str = ARCHIVE, folder: Path = HERE
) -> tuple[int, int]:
    """Fetch every photograph of `sources` (all, if none is named) and write the manifest; how many lie in `out` now, of
    how many listed.

    A source that cannot be had is reported and skipped: run again, and only what is missing is asked for.
    """
    every = listed(folder)
    if unknown := set(sources) - set(every):
        raise ValueError(f"no source {', '.join(sorted(unknown))}: there are {', '.join(every)}")
    out.mkdir(parents=True, exist_ok=True)
    for source in sources or every:
        try:
            counts = fetch(out, every[source], archive)
            found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)
        except OSError as error:
            found = f"could not be fetched ({error})"
        print(f"{source}: {found}", flush=True)
    photographs = [one for of_source in every.values() for one in of_source]
    return write_manifest(out, photographs), len(photographs)
