"""A damaged, foreign or hostile atlas is reported as such, in one line, and never trusted."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.arrays import map_npy, npy_header, read_npz
from synesthete.atlas.files import entry_of, inside
from synesthete.atlas.manifest import fingerprint_of, sealed
from synesthete.errors import SynestheteError

LAYER = "visual.layer4.1"
FILES = {
    "statistics.npz": lambda atlas: atlas.statistics(LAYER),
    "exemplars.npz": lambda atlas: atlas.exemplars(LAYER),
    "neurons.parquet": lambda atlas: atlas.neurons(),
    "selectivity.parquet": lambda atlas: atlas.selectivity(LAYER),
    "activations.npy": lambda atlas: atlas.activations(LAYER),
}


def read_everything(atlas: Atlas) -> None:
    for ask in FILES.values():
        ask(atlas)
    atlas.probes, atlas.thumbnail(0), atlas.embeddings(), atlas.summary()
    atlas.control_activations("random_twin", LAYER)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_missing_shows_at_once(analysed: Path, name: str) -> None:
    victim = analysed / "layers" / LAYER / name
    data = victim.read_bytes()
    victim.write_bytes(data[:-10])
    message = f"layers/{LAYER}/{name} has {len(data) - 10:,} bytes instead of {len(data):,}"
    with pytest.raises(SynestheteError, match=message):
        open_atlas(analysed)
    victim.unlink()
    with pytest.raises(SynestheteError, match=f"layers/{LAYER}/{name} is missing"):
        open_atlas(analysed)


@pytest.mark.parametrize("name", [name for name in FILES if name != "activations.npy"])
def test_a_changed_byte_shows_when_it_is_read(analysed: Path, name: str) -> None:
    victim = analysed / "layers" / LAYER / name
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    atlas = open_atlas(analysed)
    with pytest.raises(SynestheteError, match=f"{name} has other content than when it was written"):
        FILES[name](atlas)


def test_verify_names_every_file_that_differs(analysed: Path) -> None:
    names = sorted(json.loads((analysed / "atlas.json").read_bytes())["files"])
    for name in names:
        data = bytearray((analysed / name).read_bytes())
        data[-1] ^= 1
        (analysed / name).write_bytes(data)
    (analysed / "layers" / "notes.txt").write_text("a stranger")
    (analysed / "reviews.sqlite").write_text("people's words are their own")
    problems = open_atlas(analysed).verify()
    assert [line.split()[0] for line in problems] == [*names, "layers/notes.txt"]


@pytest.mark.parametrize("offset", range(0, 4000, 157))
def test_any_changed_byte_of_the_manifest_shows(analysed_once: Path, offset: int) -> None:
    data = bytearray((analysed_once / "atlas.json").read_bytes())
    data[offset % len(data)] ^= 1
    aside = analysed_once.parent / "changed"
    aside.mkdir(exist_ok=True)
    (aside / "atlas.json").write_bytes(data)
    with pytest.raises(SynestheteError) as error:
        open_atlas(aside)
    assert "\n" not in str(error.value)


def with_manifest(path: Path, **changes: Any) -> Path:
    """Alter a manifest and seal it again, as somebody hostile would."""
    manifest = {**json.loads((path / "atlas.json").read_bytes()), **changes}
    (path / "atlas.json").write_bytes(sealed(manifest))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "format 3, newer than the 2 .*update synesthete"),
        ({"version": 1}, "format 1, older than the 2 .*run: synesthete migrate"),
        ({"version": 0}, "impossible version 0"),
        ({"format": "other"}, "is no atlas"),
        ({"files": []}, "lacks a valid 'files'"),
        ({"files": {"x": 3}}, "lists a file without its bytes and sha256"),
        ({"layers": []}, "describes its layers wrongly"),
        ({"layers": [{"name": "a", "folder": "../a", "units": 1}]}, "describes its layers wrongly"),
        ({"recipe": {}}, "does not give its fingerprint"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}}, "leads out of"),
        ({"files": {"../../secret": {"bytes": 1, "sha256": ""}}}, "leads out of"),
        ({"files": {"a/../../secret": {"bytes": 1, "sha256": ""}}}, "leads out of"),
        ({"files": {"..\\secret": {"bytes": 1, "sha256": ""}}}, "leads out of"),
    ],
)
def test_foreign_and_hostile_manifests(
    analysed: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SynestheteError, match=message):
        open_atlas(with_manifest(analysed, **changes))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": NaN}', "[" * 100_000, "\xff"])
def test_a_manifest_that_is_no_manifest(analysed: Path, content: str) -> None:
    (analysed / "atlas.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(SynestheteError, match=r"atlas\.json"):
        open_atlas(analysed)


def test_a_link_does_not_lead_out(analysed: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")
    (analysed / "link").symlink_to(secret)
    with pytest.raises(SynestheteError, match="leads out of"):
        inside(analysed, "link")


def test_another_recipe_shows_even_when_sealed(analysed: Path) -> None:
    recipe = json.loads((analysed / "atlas.json").read_bytes())["recipe"] | {"reduction": "mean"}
    opened = open_atlas(with_manifest(analysed, recipe=recipe, fingerprint=fingerprint_of(recipe)))
    assert opened.fingerprint == fingerprint_of(recipe)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/synesthete-was-unpickled",)


def test_nothing_is_ever_unpickled(analysed: Path, tmp_path: Path) -> None:
    bomb = io.BytesIO()
    np.save(bomb, np.array([Bomb()], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("count.npy", bomb.getvalue())
        members.writestr("mean.npy", pickle.dumps(Bomb()))
    for name in ("count", "mean"):
        with pytest.raises(SynestheteError, match="cannot be read"):
            read_npz(archive.getvalue(), {name: (np.int64, (1,))}, source="x.npz")
    (tmp_path / "x.npy").write_bytes(bomb.getvalue())
    with pytest.raises(SynestheteError, match="cannot be read"):
        map_npy(tmp_path / "x.npy", np.float16, (1, 1), source="x.npy")
    for name in FILES:
        file = analysed / "layers" / LAYER / name
        file.write_bytes(bomb.getvalue())
        files = json.loads((analysed / "atlas.json").read_bytes())["files"]
        files[f"layers/{LAYER}/{name}"] = entry_of(bomb.getvalue()).as_dict()
        atlas = open_atlas(with_manifest(analysed, files=files))
        with pytest.raises(SynestheteError):
            FILES[name](atlas)
    assert not Path("/tmp/synesthete-was-unpickled").exists()


def test_an_array_that_announces_more_than_it_holds() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("count.npy", npy_header((10**15,), np.int64) + bytes(24))
    with pytest.raises(SynestheteError, match="does not hold the 8,000,000,000,000,000 bytes"):
        read_npz(archive.getvalue(), {"count": (np.int64, (None,))}, source="x.npz")
    # A shape that is known is compared before anything is unpacked.
    with pytest.raises(SynestheteError, match=r"int64 \[1000000000000000\] instead of int64 \[3\]"):
        read_npz(archive.getvalue(), {"count": (np.int64, (3,))}, source="x.npz")


def test_everything_reads_when_nothing_is_wrong(analysed: Path) -> None:
    read_everything(open_atlas(analysed))
