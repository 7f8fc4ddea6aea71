"""Malformed tables and JSON files at every door: each is taken, set aside or refused in one line, never a traceback."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.doors import DOORS, counted, spoilt, try_door

SHOWN = 20


def run(count: int, seed: int) -> dict[str, Any]:
    """Try `count` malformed files over all doors in turn.

    Returns
    -------
    dict
        `files`, `accepted`, `refused`, `quarantined`, `tracebacks`; `doors`: the same by door; `first`: the first
        tracebacks, a line each.
    """
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in DOORS}
    first: list[str] = []
    names = list(DOORS)
    for place in range(count):
        name = names[place % len(names)]
        data = spoilt(DOORS[name], Random(f"{seed} {place}"))
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes[name][try_door(name, data, Path(folder))] += 1
            except Exception as error:  # noqa: BLE001
                outcomes[name]["tracebacks"] += 1
                if len(first) < SHOWN:
                    frame = traceback.extract_tb(error.__traceback__)[-1]
                    where = f"{Path(frame.filename).name}:{frame.lineno}"
                    first.append(
                        f"{name} ({place}): {type(error).__name__} at {where}: {str(error)[:100]!r}"
                    )
    total: Counter[str] = sum(outcomes.values(), Counter())
    return {
        "files": count,
        **counted({"all": total})["all"],
        "doors": counted(outcomes),
        "first": first,
    }


if __name__ == "__main__":
    found = run(int(sys.argv[1]), int(sys.argv[2]))
    for door, counts in found["doors"].items():
        print(f"{door:32}", *(f"{kind} {number:4}" for kind, number in counts.items()))
    print("\n".join(found["first"]))
    print(
        {
            kind: found[kind]
            for kind in ("files", "accepted", "refused", "quarantined", "tracebacks")
        }
    )
