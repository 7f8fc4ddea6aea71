"""A script may end with a read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from synesthete.atlas.arrays import parquet_bytes

SCRIPT = """
import sys
from synesthete.atlas.arrays import read_parquet
data = open(sys.argv[1], "rb").read()
print(len(read_parquet(data, source="it").to_pylist()))
"""


def test_a_script_that_ends_with_a_read_ends_well(tmp_path: Path) -> None:
    columns = {f"c{i}": [f"{i}/{row}" for row in range(500)] for i in range(16)}
    file = tmp_path / "table.parquet"
    file.write_bytes(parquet_bytes(pa.table(columns)))
    # With threads of Arrow's that outlived the interpreter, half of such scripts were aborted.
    for _ in range(8):
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(file)], capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "500\n", "")
