"""A Parquet file that is written in pieces is the one that Arrow writes at once."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.atlas import arrays

ROWS = st.lists(st.tuples(st.text(max_size=4), st.lists(st.integers(0, 9), max_size=3)))


@settings(deadline=None)
@given(rows=ROWS, group=st.integers(1, 5))
def test_pieces_are_the_file(rows: list[tuple[str, list[int]]], group: int) -> None:
    table = pa.table(
        {
            "text": pa.array([text for text, _ in rows], pa.string()),
            "places": pa.array([places for _, places in rows], pa.list_(pa.int32())),
        }
    )
    whole = io.BytesIO()
    pq.write_table(table, whole, compression="zstd", row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "ROW_GROUP", group)
        starts = range(0, max(len(rows), 1), group)
        pieces = list(arrays.parquet_pieces(table.slice(start, group) for start in starts))
        assert b"".join(pieces) == arrays.parquet_bytes(table) == whole.getvalue()
    assert len(pieces) == len(starts) + 1
