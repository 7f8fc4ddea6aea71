"""What it costs to keep the rate of a caller, per request: in one process, in a shared file, and with four processes that do nothing else.

python benchmarks/rate_limits.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synesthete.catalog.server.state import SharedState

REQUESTS, PROCESSES = 20_000, 4


def measure(state: SharedState) -> str:
    """Microseconds a request: elapsed, and of the processor."""
    start, before = time.perf_counter(), time.process_time()
    for _ in range(REQUESTS):
        state.take("a program", 10**6)
    elapsed, used = time.perf_counter() - start, time.process_time() - before
    return f"{elapsed / REQUESTS * 1e6:.0f} µs, {used / REQUESTS * 1e6:.0f} µs of the processor"


def main() -> None:
    """Print the three of them."""
    if len(sys.argv) > 1:
        print(measure(SharedState(Path(sys.argv[1]))))
        return
    print("in memory:", measure(SharedState()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.sqlite"
        print("in a file:", measure(SharedState(file)))
        command = [sys.executable, __file__, str(file)]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
        ]
        for process in processes:
            print(f"one of {PROCESSES} processes:", process.communicate()[0].strip())


if __name__ == "__main__":
    main()
