"""`catalog.json`: which model built a catalogue, and what differs when another one would read it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.json_reader import parse_json, read_json
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

FILE, REFERENCE = "catalog.json", "reference.npz"
FORMAT, VERSION = "synesthete-catalog", 2
# What is of one model, beside the tables.
OF_A_MODEL = (REFERENCE, "table.json", "photos.npz", "confidence.json")
FOLDER = "model-"  # of what the second model made of the items, and the third


def describe(model: ImageTextModel, layer: str) -> dict[str, Any]:
    """What of a model decides the content of a catalogue."""
    wiring = ("architecture", "image_tower", "quick_gelu", "pretrained")
    return {
        "name": model.name,
        "weights_sha256": model.weights_sha256,
        "embedding_dim": model.embedding_dim,
        **{key: model.description[key] for key in wiring if key in model.description},
        # As JSON gives it back.
        "preprocessing": parse_json(json.dumps(model.preprocessing.as_dict()), "the preprocessing"),
        "layer": layer,
        "units": model.layer(layer).units,
    }


def differences(built_with: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """One line for each thing that differs between two models; names of models do not count.

    Examples
    --------
    >>> differences({"name": "a", "units": 4}, {"name": "b", "units": 8})
    ['units: 4 in the catalogue, 8 here']
    """
    lines = []
    for key in sorted({*built_with, *given} - {"name"}):
        old, new = built_with.get(key), given.get(key)
        if old == new:
            continue
        if key == "weights_sha256":
            old, new = str(old)[:12], str(new)[:12]
        lines.append(f"{key}: {old} in the catalogue, {new} here")
    return lines


def refuse_other(path: Path, built_with: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise when a catalogue was built by another model than the one given, saying what differs."""
    if lines := differences(built_with, given):
        raise SynestheteError(
            f"{path} was built with {built_with['name']}, and {given['name']} differs: {'; '.join(lines)}",
            hint="index the items into a new catalogue, or load the model it was built with",
        )


def read_manifest(path: Path, *, oldest: int = VERSION) -> dict[str, Any]:
    """The manifest of a catalogue, of this program's format or of an older one that is asked for.

    Raises
    ------
    SynestheteError
        No catalogue there, one of another format, a damaged one.
    """
    if not (path / FILE).exists():
        hint = f"make one: synesthete catalog index ITEMS --out {path}"
        raise SynestheteError(f"no catalogue at '{path}'", hint=hint)
    try:
        found = read_json(path / FILE, root=path)
    except SynestheteError as error:
        raise SynestheteError(f"{path / FILE} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SynestheteError(f"{path / FILE} is not the manifest of a catalogue")
    version = found.get("version")
    if isinstance(version, int) and version > VERSION:
        raise SynestheteError(
            f"{path} is of format {version}, newer than this program's {VERSION}",
            hint="update synesthete",
        )
    if isinstance(version, int) and version < oldest:
        raise SynestheteError(
            f"{path} is of format {version}, older than this program's {VERSION}",
            hint=f"run: synesthete catalog migrate {path}",
        )
    for part, key, kind in (
        ("", "version", int),
        ("model", "name", str),
        ("model", "weights_sha256", str),
        ("model", "layer", str),
        ("model", "units", int),
        ("model", "embedding_dim", int),
        ("reference", "sha256", str),
    ):
        values = found.get(part) if part else found
        if not isinstance(values, dict) or not isinstance(values.get(key), kind):
            where = f"{part}.{key}".strip(".")
            raise SynestheteError(f"{path / FILE} is damaged: it has no valid {where}")
    return found


def home_of(path: Path, manifest: Mapping[str, Any]) -> Path:
    """Where what the model made of the items is: in the catalogue's folder, or in one inside it after `reembed`.

    Raises
    ------
    SynestheteError
        The manifest names a folder that cannot be one.
    """
    name = manifest.get("folder")
    if name is None:
        return path
    if not isinstance(name, str) or not re.fullmatch(rf"{FOLDER}[1-9][0-9]{{0,8}}", name):
        raise SynestheteError(f"{path} is damaged: its manifest has no valid folder")
    return path / name


def store_of(manifest: Mapping[str, Any]) -> str | None:
    """The URL that was given for the items; what later models made of them is under it."""
    url, folder = manifest.get("store"), manifest.get("folder")
    return url.removesuffix(f"/{folder}") if isinstance(url, str) else None


def remove_other_homes(path: Path, home: Path) -> None:
    """Remove what models before made of the items; the turn to write is held.

    A folder with a higher number is complete and waits for the manifest that names it: `reembed` was killed in between.
    """
    numbers = {one: one.name.removeprefix(FOLDER) for one in path.glob(f"{FOLDER}*")}
    own = int(home.name.removeprefix(FOLDER))
    folders = [one for one, text in numbers.items() if text.isdecimal() and int(text) < own]
    for one in (*folders, *path.glob("*.lance")):
        shutil.rmtree(one, ignore_errors=True)
    for name in OF_A_MODEL:
        (path / name).unlink(missing_ok=True)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, last of all: a folder without it is no catalogue yet."""
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
    write_file(path / FILE, (text + "\n").encode())
