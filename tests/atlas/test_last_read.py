"""A script may end with a read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from synesthete.atlas.arrays import parquet_bytes

# Threads of Arrow's that outlive the interpreter abort it: so there must be none more after a read than before.
SCRIPT = """
import os, sys
{imports}
before = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
print({read})
after = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
print(after - before)
"""


def _run(imports: str, read: str, *arguments: str) -> tuple[int, list[str], str]:
    script = SCRIPT.format(imports=imports, read=read)
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout.split(), ended.stderr


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no threads to leave behind")
def test_arrow_s_own_reader_would_leave_threads_behind(tmp_path: Path) -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("nobody counts threads here")
    _table(tmp_path / "table.parquet")
    _, lines, _ = _run(
        "import pyarrow.parquet as pq", "pq.read_table(sys.argv[1]).num_rows", str(tmp_path / "table.parquet")
    )  # fmt: skip
    assert int(lines[1]) > 0, "else the tests below could not fail"


def test_a_script_that_ends_with_a_read_ends_well(tmp_path: Path) -> None:
    _table(tmp_path / "table.parquet")
    for _ in range(4):
        assert _run(
            "from synesthete.atlas.arrays import read_parquet\ndata = open(sys.argv[1], 'rb').read()",
            "read_parquet(data, source='it').num_rows",
            str(tmp_path / "table.parquet"),
        ) == (0, ["500", "0"], "")


@pytest.mark.parametrize(
    ("imports", "read", "printed"),
    [
        ("from synesthete.probes.builtin import load_builtin", "len(load_builtin('concepts').table)", "26369"),
        ("from synesthete.analysis.families.definitions import nouns", "len(nouns(5))", "5"),
    ],
)  # fmt: skip
def test_a_script_that_ends_with_what_is_shipped_ends_well(
    imports: str, read: str, printed: str
) -> None:
    assert _run(imports, read) == (0, [printed, "0"], "")


def _table(path: Path) -> None:
    columns = {f"c{i}": [f"{i}/{row}" for row in range(500)] for i in range(16)}
    path.write_bytes(parquet_bytes(pa.table(columns)))
