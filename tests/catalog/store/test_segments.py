"""A segment's files are read by many at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synesthete.catalog.store.segments import ROW_GROUP, _File


def test_many_threads_read_one_file(tmp_path: Path) -> None:
    columns = {f"c{i}": [f"{i}/{row}" for row in range(2 * ROW_GROUP)] for i in range(10)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=ROW_GROUP)
    file = _File(tmp_path / "a.parquet")
    wrong: list[str] = []

    def look(group: int) -> None:
        wanted = [f"3/{row}" for row in range(group * ROW_GROUP, (group + 1) * ROW_GROUP)]
        try:
            for _ in range(300):
                if file.group(group)["c3"].to_pylist() != wanted:
                    wrong.append("others")
        except pa.ArrowException as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=look, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (file.rows, file.groups) == (2 * ROW_GROUP, 2)
    assert not wrong
