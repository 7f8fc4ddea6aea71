"""`atlas.json`: canonical JSON, the fingerprint of a recipe, parsing that says what differs."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.text import first_of
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.files import FileEntry, difference, write_file
from synesthete.errors import SynestheteError

FORMAT = "synesthete-atlas"
VERSION = 2
# Of what a recording holds: part of the fingerprint, and raised only when the recorded bytes themselves change.
RECORDING_VERSION = 2
MANIFEST = "atlas.json"
# Networks of the model's architecture that know nothing, recorded as controls; what they are says `synesthete.models`.
TWINS = ("random_twin", "random_he", "permuted")
# The model itself, shown each text with its words in random order; recorded as a twin is, of layers that read texts.
WORD_ORDER = "word_order"
# Beside the latents of a sparse dictionary, those of one of random directions.
RANDOM_DICTIONARY = "random_dictionary"
# What people and later steps may add at any time; not part of the hashed content.
UNLISTED = ("reviews.sqlite", "reviews.sqlite-wal", "reviews.sqlite-shm")
# An atlas in the atlas: images of which every activation is kept, where that is not done of all.
SAMPLE = "sample"
UNLISTED_FOLDERS = ("visualizations", ".recording", SAMPLE)
WORK = ".pieces-"  # what folders of work that is under way, or was killed, start with
_KEYS: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "version": int,
    "fingerprint": str,
    "recipe": dict,
    "model": dict,
    "probes": dict,
    "layers": list,
    "reduction": str,
    "dense": bool,
    "thumbnails": dict,
    "versions": dict,
    "controls": dict,
    "analysis": (dict, type(None)),
    "files": dict,
    "checksum": str,
}


_PARTS: tuple[tuple[str, str, type], ...] = (
    ("model", "name", str),
    ("model", "weights_sha256", str),
    ("model", "embedding_dim", int),
    ("probes", "name", str),
    ("probes", "fingerprint", str),
    ("probes", "images", int),
    ("probes", "groups", list),
)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, so that equal values have equal bytes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def fingerprint_of(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of a recipe: everything an atlas was made of.

    Examples
    --------
    >>> fingerprint_of({"b": 1, "a": 2}) == fingerprint_of({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(canonical(dict(recipe))).hexdigest()


def layer_folder(layer: str) -> str:
    """Folder name of a layer: its name, with everything but letters, digits, `._-` escaped.

    Examples
    --------
    >>> layer_folder("visual.layer4.2:pre")
    'visual.layer4.2%3Apre'
    """
    name = urllib.parse.quote(layer, safe="").replace("~", "%7E")
    if not name.strip("."):
        raise SynestheteError(f"{layer!r} cannot be the name of a layer")
    return name


def recipe_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs between two recipes, one line each: `key: ours here, theirs there`.

    Examples
    --------
    >>> recipe_differences({"reduction": "max"}, {"reduction": "mean"})
    ["reduction is 'max' instead of 'mean'"]
    """
    lines = []
    for key in sorted(set(ours) | set(theirs)):
        here, there = ours.get(key), theirs.get(key)
        if here == there:
            continue
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            lines += [f"{key}.{line}" for line in recipe_differences(here, there)]
        else:
            lines.append(f"{key} is {_short(here)} instead of {_short(there)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:
        return value[:12] + "…"
    return repr(value)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Seal a manifest with its checksum and write `atlas.json` in one step."""
    write_file(path / MANIFEST, sealed(manifest))


def sealed(content: Mapping[str, Any]) -> bytes:
    """JSON of a content with its own checksum inside."""
    plain = {key: value for key, value in content.items() if key != "checksum"}
    plain["checksum"] = hashlib.sha256(canonical(plain)).hexdigest()
    return json.dumps(plain, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def is_intact(content: Mapping[str, Any]) -> bool:
    """Whether a content still gives the checksum that it was sealed with.

    Examples
    --------
    >>> content = json.loads(sealed({"images": 3}))
    >>> is_intact(content), is_intact({**content, "images": 4})
    (True, False)
    """
    plain = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(canonical(plain)).hexdigest() == content.get("checksum")


def read_manifest(path: Path, *, version: int = VERSION) -> dict[str, Any]:
    """Read and check `atlas.json`, not the other files.

    Parameters
    ----------
    path
        The atlas.
    version
        The format that it must have; another one than this program's is read only to migrate it.

    Raises
    ------
    SynestheteError
        When it is missing, foreign, of another version, or altered; the message says which.
    """
    manifest = _parse(path)
    found = manifest.get("version")
    if isinstance(found, int) and found > version:
        raise SynestheteError(
            f"{path} has atlas format {found}, newer than the {version} that this program reads",
            hint="update synesthete",
        )
    if isinstance(found, int) and 0 < found < version:
        raise SynestheteError(
            f"{path} has atlas format {found}, older than the {version} that this program reads",
            hint=f"run: synesthete migrate {path}",
        )
    _check_content(path, manifest, version)
    return manifest


def version_of(path: Path) -> int:
    """The format's version that an atlas says it has, unchecked otherwise; 0 where it says none."""
    found = _parse(path).get("version")
    return found if isinstance(found, int) else 0


def _parse(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path / MANIFEST, root=path)
    except InvalidJson as error:
        raise damaged(path, [f"{MANIFEST} is no valid JSON: {error.reason}"]) from None
    except UnusableFile as error:
        if (path / MANIFEST).exists():
            raise SynestheteError(f"{path} is no atlas: {error}") from None
        raise _no_manifest(path) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise SynestheteError(f"{path} is no atlas: its {MANIFEST} does not say {FORMAT!r}")
    return manifest


def _no_manifest(path: Path) -> SynestheteError:
    if not path.exists():
        return SynestheteError(f"there is no atlas at {path}")
    if not path.is_dir():
        return SynestheteError(f"{path} is a file; an atlas is a folder")
    if (path / ".recording").is_dir():
        return SynestheteError(
            f"the recording of {path} is not finished",
            hint="run the same record command again to go on where it stopped",
        )
    return SynestheteError(f"{path} is no atlas: it holds no {MANIFEST}")


def _check_content(path: Path, manifest: dict[str, Any], version: int) -> None:
    problems = [
        f"{MANIFEST} lacks a valid {key!r}"
        for key, kind in _KEYS.items()
        if key not in manifest or not isinstance(manifest[key], kind)
    ] + [
        f"{MANIFEST} lacks a valid {part}.{key}"
        for part, key, kind in _PARTS
        if isinstance(manifest.get(part), dict) and not isinstance(manifest[part].get(key), kind)
    ]
    if problems:
        raise damaged(path, problems)
    if any(not _is_entry(entry) for entry in manifest["files"].values()):
        raise damaged(path, [f"{MANIFEST} lists a file without its bytes and sha256"])
    if not manifest["layers"] or any(not _is_layer(layer) for layer in manifest["layers"]):
        raise damaged(path, [f"{MANIFEST} describes its layers wrongly"])
    if manifest["version"] != version:
        raise damaged(path, [f"{MANIFEST} has the impossible version {manifest['version']}"])
    if fingerprint_of(manifest["recipe"]) != manifest["fingerprint"]:
        raise damaged(path, [f"the recipe in {MANIFEST} does not give its fingerprint"])
    if not is_intact(manifest):
        raise damaged(path, [f"{MANIFEST} was altered: its content does not give its checksum"])


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
    )


def _is_layer(layer: Any) -> bool:
    return (
        isinstance(layer, dict)
        and isinstance(layer.get("name"), str)
        and isinstance(layer.get("units"), int)
        and layer["units"] > 0
        and layer.get("folder") == layer_folder(layer["name"])
    )


def damaged(path: Path, differences: list[str]) -> SynestheteError:
    """The error for an atlas that is not as it was written."""
    message = first_of(differences, 3, between="; ")
    return SynestheteError(f"damaged atlas {path}: {message}", hint="delete it and record it again")


def listed_files(manifest: Mapping[str, Any]) -> dict[str, FileEntry]:
    """Every file the manifest lists, by its name inside the atlas."""
    return {
        name: FileEntry(int(entry["bytes"]), str(entry["sha256"]))
        for name, entry in sorted(manifest["files"].items())
    }


def file_differences(path: Path, manifest: Mapping[str, Any], *, hashes: bool) -> list[str]:
    """What differs between the files on disk and the manifest, one line per file."""
    listed = listed_files(manifest)
    lines = [difference(path, name, entry, hashes=hashes) for name, entry in listed.items()]
    if hashes:
        lines += [f"{name} is not listed in {MANIFEST}" for name in _strangers(path, listed)]
    return [line for line in lines if line]


def _strangers(path: Path, listed: Mapping[str, FileEntry]) -> list[str]:
    known = {MANIFEST, *UNLISTED, *listed}
    found = (
        file.relative_to(path)
        for file in path.rglob("*")
        if file.is_file()
        and (top := file.relative_to(path).parts[0]) not in UNLISTED_FOLDERS
        and not top.startswith(WORK)
    )
    return sorted(name for name in (file.as_posix() for file in found) if name not in known)
