"""Bring an atlas of an older format to this program's, in place, with everything that people said in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synesthete._core.user_files import leads_out
from synesthete.atlas.files import inside
from synesthete.atlas.manifest import VERSION, read_manifest, version_of, write_manifest
from synesthete.atlas.writing import ANALYSIS_FILES
from synesthete.errors import SynestheteError

Manifest = dict[str, Any]


def migrate_atlas(path: str | Path) -> tuple[int, int]:
    """Bring an atlas to the current format.

    Recorded arrays are not touched, the fingerprint stays, and so do `reviews.sqlite`, names, families, feature visualizations and
    whatever refers to the atlas. An analysis of format 1 goes, as it lacks average precision: analyze again. The manifest is written last: killed in between, the atlas is still of its old format, and the same call finishes the work.

    Parameters
    ----------
    path
        Folder of the atlas.

    Returns
    -------
    tuple of int
        Its format before and after; equal when there was nothing to do.

    Raises
    ------
    SynestheteError
        When there is no atlas, its manifest is damaged, or it is of a format that is not known here.
    """
    path = Path(path)
    before = version_of(path)
    if before not in _STEPS:
        return before, int(read_manifest(path)["version"])
    manifest = read_manifest(path, version=before)
    for version in range(before, VERSION):
        manifest = {**_STEPS[version](path, manifest), "version": version + 1}
    write_manifest(path, manifest)
    return before, VERSION


def _from_1(path: Path, manifest: Manifest) -> Manifest:
    """The tables of visualizations are called `images.parquet`; the analysis lacks average precision and has to be made again."""
    for old in sorted(path.glob("visualizations/*/pictures.parquet")):
        if leads_out(path, old):
            raise SynestheteError(f"{old} is a link that leads out of the atlas", hint="delete it")
        old.replace(old.with_name("images.parquet"))
    gone = [name for name in manifest["files"] if name.endswith(ANALYSIS_FILES)]
    for name in gone:
        inside(path, name).unlink(missing_ok=True)
    files = {name: entry for name, entry in manifest["files"].items() if name not in gone}
    return {**manifest, "files": files, "analysis": None}


# Format → what makes an atlas of the next one of it: the files renamed or rewritten, and the manifest that fits them.
_STEPS: Mapping[int, Callable[[Path, Manifest], Manifest]] = {1: _from_1}
