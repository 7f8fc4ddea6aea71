"""Adding to a finished atlas: tables of an analysis and notes in the manifest, safe at any kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from synesthete.atlas.arrays import parquet_bytes
from synesthete.atlas.files import inside, write_file
from synesthete.atlas.manifest import layer_folder, read_manifest, sealed, write_manifest
from synesthete.atlas.mirror import Mirror, mirror_at
from synesthete.atlas.neurons import COLUMNS
from synesthete.errors import SynestheteError, near

# Of a manifest elsewhere while files are written: whose turn it is. What a killed process left of it counts for nothing.
WRITING = "writing"
ANALYSIS_FILES = ("/neurons.parquet", "/selectivity.parquet")
LAYER_COUNTS = (
    "units",
    "live_units",
    "multimodal",
    "multimodal_random_twin",
    "multimodal_permuted",
    "multimodal_rotation",
    "multimodal_shuffled",
)


def add_files(
    path: Path,
    contents: Mapping[str, bytes],
    *,
    meanwhile: Mapping[str, Any] = MappingProxyType({}),
    notes: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write files into an atlas and list them in its manifest, with what is said of them there.

    The old entries leave the manifest first, then the files change, then the new entries come in:
    killed at any point, the manifest never lists a file that is not as it says. Of an atlas elsewhere the first manifest
    differs in any case (`writing`): of two machines that start from the same one, one writes, and the other changes no file.

    Parameters
    ----------
    path
        The atlas.
    contents
        Name inside the atlas → content.
    meanwhile
        Sections of the manifest as they are until every file is written; None for one that is not there.
    notes
        Sections as they are from then on.
    """
    with _turn(path):
        _add_files(path, contents, meanwhile, notes)


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait until nobody else changes the manifest from what it was: of two at once the first one's changes would be lost."""
    with contextlib.ExitStack() as stack:
        # What cannot be opened is for the reader of the manifest to say; some file systems have no locks.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _add_files(
    path: Path,
    contents: Mapping[str, bytes],
    meanwhile: Mapping[str, Any],
    notes: Mapping[str, Any],
) -> None:
    manifest = read_manifest(path)
    gone = {key for key, section in meanwhile.items() if section is None} | {WRITING}
    files = {name: entry for name, entry in manifest["files"].items() if name not in contents}
    sections = {**manifest, **meanwhile, "files": dict(files)}
    before = {key: section for key, section in sections.items() if key not in gone}
    mirror = mirror_at(path)
    if mirror is not None:
        _manifest_into(path, {**before, WRITING: uuid.uuid4().hex}, mirror)
    elif before != manifest:
        _manifest_into(path, before)
    for name, content in contents.items():
        files[name] = write_file(inside(path, name), content).as_dict()
        if mirror is not None:
            mirror.push(name)
    _manifest_into(path, {**before, **notes, "files": files}, mirror)


def _manifest_into(path: Path, manifest: Mapping[str, Any], mirror: Mirror | None = None) -> None:
    """Write a manifest; of an atlas elsewhere there first, unless somebody else has changed it since."""
    if mirror is not None:
        mirror.push_manifest(sealed(manifest))
    write_manifest(path, manifest)


def write_layer(
    path: str | Path,
    entry: Mapping[str, Any],
    contents: Mapping[str, bytes],
    *,
    tables: tuple[pa.Table, pa.Table] | None,
    counts: Mapping[str, Any] | None,
    notes: Mapping[str, Any],
) -> None:
    """Add a layer to a finished atlas in one step: killed before its end, the atlas is as it was.

    Parameters
    ----------
    path
        The atlas.
    entry
        `name`, `units` and `kind`, and what else the manifest is to say of the layer.
    contents
        Name inside the atlas → content: `activations.npy`, `statistics.npz`, `exemplars.npz` of the layer's folder, and what comes
        with it.
    tables, counts
        `neurons` and `selectivity`, and its counts in the analysis; None of either for an atlas that is not analysed.
    notes
        Sections of the manifest.

    Raises
    ------
    SynestheteError
        There is such a layer already, or the tables or counts are not those of an analysis.
    """
    path = Path(path)
    manifest = read_manifest(path)
    name, units = str(entry["name"]), int(entry["units"])
    if name in (known["name"] for known in manifest["layers"]):
        raise SynestheteError(f"{path} has a layer {name!r} already")
    files, sections = dict(contents), dict(notes)
    if manifest["analysis"] is not None:
        if tables is None or counts is None:
            raise SynestheteError(
                f"{path} is analysed, and a layer without analysis cannot be added"
            )
        neurons, selectivity = (
            f"layers/{layer_folder(name)}/{table}.parquet" for table in ("neurons", "selectivity")
        )
        files[neurons] = parquet_bytes(_neurons_checked(tables[0], name, units))
        files[selectivity] = parquet_bytes(_selectivity_checked(tables[1], name, units))
        layers = {**manifest["analysis"]["layers"], name: dict(counts)}
        sections["analysis"] = {**manifest["analysis"], "layers": layers}
    described = {"folder": layer_folder(name), "grid": None, **entry}
    sections["layers"] = [*manifest["layers"], described]
    add_files(path, files, notes=sections)


def write_neurons(path: str | Path, layer: str, table: pa.Table) -> None:
    """Write `neurons.parquet` of a layer.

    Parameters
    ----------
    path
        The atlas.
    layer
        Name of the layer.
    table
        A row per unit, in order of the units; the columns of `synesthete.atlas.neurons.COLUMNS`,
        and `auc_<modality>` and `p_<modality>` for each modality tested (null where untested).

    Raises
    ------
    SynestheteError
        When a column is missing, has a type that does not convert, or the rows are not the units.
    """
    table = _neurons_checked(table, layer, _units(Path(path), layer))
    add_files(Path(path), {f"layers/{layer_folder(layer)}/neurons.parquet": parquet_bytes(table)})


def write_selectivity(path: str | Path, layer: str, table: pa.Table) -> None:
    """Write `selectivity.parquet` of a layer: the unit × concept rows worth keeping.

    Parameters
    ----------
    path, layer
        The atlas and the layer.
    table
        Columns unit, concept, and `auc_<modality>` for each modality; more are kept as they are.
    """
    table = _selectivity_checked(table, layer, _units(Path(path), layer))
    name = f"layers/{layer_folder(layer)}/selectivity.parquet"
    add_files(Path(path), {name: parquet_bytes(table)})


def write_analysis(path: str | Path, analysis: Mapping[str, Any]) -> None:
    """Note in the manifest how the analysis was made and what it counted; the last step of one.

    Parameters
    ----------
    path
        The atlas.
    analysis
        `threshold`, `q`, `ap`, `cell`, `curve` (thresholds of average precision), `seed` and `layers`: layer → the counts `units`, `live_units`,
        `multimodal`, `multimodal_random_twin` and `multimodal_permuted` (None where not recorded), `multimodal_rotation`, `multimodal_shuffled`.
        More keys are kept as they are (JSON values).

    Raises
    ------
    SynestheteError
        When a key is missing: no count without its controls.
    """
    missing = [
        key
        for key in ("threshold", "q", "ap", "cell", "curve", "seed", "layers")
        if key not in analysis
    ]
    for layer, counts in analysis.get("layers", {}).items():
        missing += [f"{layer}.{key}" for key in LAYER_COUNTS if key not in counts]
    if missing:
        raise SynestheteError(f"the notes of the analysis lack {', '.join(missing)}")
    path = Path(path)
    with _turn(path):
        manifest = {**read_manifest(path), "analysis": dict(analysis)}
        _manifest_into(path, manifest, mirror_at(path))


def clear_analysis(path: str | Path) -> None:
    """Take an earlier analysis out of the manifest; the first step of a new one.

    Killed before its end, the new analysis leaves an atlas that says that it is not analysed
    instead of one with tables of two analyses.
    """
    path = Path(path)
    with _turn(path):
        manifest = read_manifest(path)
        files = {
            name: entry
            for name, entry in manifest["files"].items()
            if not name.endswith(ANALYSIS_FILES)
        }
        if manifest["analysis"] is not None or len(files) != len(manifest["files"]):
            changed = {**manifest, "files": files, "analysis": None}
            _manifest_into(path, changed, mirror_at(path))


def _units(path: Path, layer: str) -> int:
    known = {entry["name"]: entry["units"] for entry in read_manifest(path)["layers"]}
    if layer not in known:
        message = f"no layer {layer!r} in {path}; it has {', '.join(known)}"
        raise SynestheteError(message, hint=near(layer, known))
    return int(known[layer])


def _neurons_checked(table: pa.Table, layer: str, units: int) -> pa.Table:
    table = _with_columns(table, COLUMNS, "neurons.parquet")
    if table["unit"].to_pylist() != list(range(units)):
        raise SynestheteError(
            f"neurons.parquet of {layer} needs one row for each of the {units} units, in order"
        )
    return table


def _selectivity_checked(table: pa.Table, layer: str, units: int) -> pa.Table:
    known = {"unit": pa.int32(), "concept": pa.string()}
    table = _with_columns(table, known, "selectivity.parquet")
    if any(unit is None or not 0 <= unit < units for unit in table["unit"].to_pylist()):
        raise SynestheteError(f"selectivity.parquet of {layer} names a unit outside 0…{units - 1}")
    return table


def _with_columns(table: pa.Table, columns: Mapping[str, pa.DataType], what: str) -> pa.Table:
    missing = [name for name in columns if name not in table.column_names]
    if not any(name.startswith("auc_") for name in table.column_names):
        missing.append("auc_<modality>")
    if missing:
        raise SynestheteError(f"{what} lacks the columns {', '.join(missing)}")
    for name, kind in columns.items():
        index = table.column_names.index(name)
        try:
            table = table.set_column(index, name, table[name].cast(kind))
        except pa.ArrowException as error:
            message = f"the column {name} of {what} is {table[name].type} instead of {kind}"
            raise SynestheteError(message) from error
    return table


# Table -> its columns; a unit may have several rows, distinguished by `rank` (0 is the best), or none.
UNIT_TABLES: dict[str, dict[str, pa.DataType]] = {
    "names": {
        "unit": pa.int32(),
        "rank": pa.int16(),
        "name": pa.string(),
        "method": pa.string(),
        "score": pa.float64(),
        "confidence": pa.float64(),
        "confidence_low": pa.float64(),
        "confidence_high": pa.float64(),
    },
    "families": {
        "unit": pa.int32(),
        "rank": pa.int16(),
        "family": pa.string(),
        "confidence": pa.float64(),
        "evidence": pa.string(),
    },
    "layout": {"unit": pa.int32(), "rank": pa.int16(), "x": pa.float64(), "y": pa.float64()},
}

# Tables that follow from another and do not count any more when that is rewritten.
FOLLOWING = {"names": ("families",)}


def unit_table_file(layer: str, table: str) -> str:
    """Name of a table's file inside the atlas.

    Raises
    ------
    SynestheteError
        When there is no such kind of table.

    Examples
    --------
    >>> unit_table_file("visual.layer4.1", "names")
    'layers/visual.layer4.1/names.parquet'
    """
    if table not in UNIT_TABLES:
        raise SynestheteError(f"no table {table!r} of units", hint=near(table, UNIT_TABLES))
    return f"layers/{layer_folder(layer)}/{table}.parquet"


def write_unit_tables(
    path: str | Path, table: str, rows: Mapping[str, pa.Table], notes: Mapping[str, Any]
) -> None:
    """Write one kind of table for some layers, and in the manifest how it was made.

    Replaces the table of these layers; the notes of all earlier ones are replaced too. Families follow from
    names: after new names there are none until they are assigned again.

    Parameters
    ----------
    path
        The atlas.
    table
        `names`, `families` or `layout`.
    rows
        Layer → the columns of `UNIT_TABLES`, sorted by unit and rank; names also with `ap_` and a modality.
    notes
        Kept under the table's name in the manifest (JSON values): settings and counts.

    Raises
    ------
    SynestheteError
        When there is no such table or layer, a column is missing or of another type, a unit does not
        exist, or (unit, rank) is not rising.
    """
    path = Path(path)
    manifest = read_manifest(path)
    units = {entry["name"]: int(entry["units"]) for entry in manifest["layers"]}
    contents = {}
    for layer, one in rows.items():
        if layer not in units:
            message = f"no layer {layer!r} in {path}; it has {', '.join(units)}"
            raise SynestheteError(message, hint=near(layer, units))
        file = unit_table_file(layer, table)
        contents[file] = parquet_bytes(_checked(one, table, layer, units[layer]))
    # A run that is killed and repeated still has to find what was said of the other layers.
    earlier = manifest.get(table, {})
    others = {name: one for name, one in earlier.get("layers", {}).items() if name not in rows}
    meanwhile = {table: {**earlier, "layers": others} if others else None}
    meanwhile |= dict.fromkeys(FOLLOWING.get(table, ()))
    add_files(path, contents, meanwhile=meanwhile, notes={table: dict(notes)})


def _checked(rows: pa.Table, table: str, layer: str, units: int) -> pa.Table:
    columns = dict(UNIT_TABLES[table])
    if table == "names":
        columns |= {name: pa.float64() for name in rows.column_names if name.startswith("ap_")}
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise SynestheteError(f"{table} of {layer} lacks the columns {', '.join(missing)}")
    try:
        rows = rows.select(list(columns)).cast(pa.schema(list(columns.items())))
    except (pa.ArrowException, ValueError) as error:
        raise SynestheteError(f"{table} of {layer}: {error}") from error
    keys = list(zip(rows["unit"].to_pylist(), rows["rank"].to_pylist(), strict=True))
    if any(None in key or not 0 <= key[0] < units for key in keys):
        raise SynestheteError(f"{table} of {layer} names a unit outside 0…{units - 1}")
    if any(before >= after for before, after in pairwise(keys)):
        raise SynestheteError(f"{table} of {layer} is not sorted by unit and rank")
    return rows
