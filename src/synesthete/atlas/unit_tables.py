"""Tables of what was concluded about units after the analysis: their names, families and places on a map."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from synesthete.atlas.arrays import parquet_bytes
from synesthete.atlas.manifest import layer_folder, read_manifest
from synesthete.atlas.writing import add_files
from synesthete.errors import SynestheteError, near

# Table -> its columns; a unit may have several rows, told apart by `rank` (0 is the best), or none.
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

# Tables that follow from another and do not count any more when that is written anew.
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
        Layer → the columns of `UNIT_TABLES`, sorted by unit and rank.
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
    columns = UNIT_TABLES[table]
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
