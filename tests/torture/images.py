"""Mutated images: each is decoded or quarantined with a reason, and nothing else happens."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

from synesthete.probes.decoding import UnreadableImage
from synesthete.probes.request_images import Gate, request_limits, see
from tests.probes.image_corpus import cases

LONGEST = 30.0  # seconds for one image: more counts as a crash


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Mutate `count` images of the corpus and decode each as one of a request.

    Returns
    -------
    dict
        `images`; `decoded`; `quarantined` (in all) and `reasons` (how many of each class); `crashes` (other exceptions,
        images that are no RGB or too slow) with the first ten in `crashed`; `slowest` in seconds.
    """
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[str]] = {}
    for name in sorted(cases()):
        kinds.setdefault(name.split()[0], []).append(name)
    decoded, slowest, crashed = 0, 0.0, []
    reasons: Counter[str] = Counter()
    gate = Gate()
    for number in range(count):
        some = list(kinds.values())[int(rng.integers(len(kinds)))]
        name = some[int(rng.integers(len(some)))]
        data = mutate(cases()[name].data, rng)
        start = time.perf_counter()
        try:
            with request_limits(gate):
                mode = see(data, lambda image: image.mode)
            decoded += 1
            if mode != "RGB":
                crashed.append(f"{number} {name}: mode {mode}")
        except UnreadableImage as error:
            reasons[_class(error)] += 1
        except Exception as error:  # noqa: BLE001
            crashed.append(f"{number} {name}: {type(error).__name__}: {error}")
        took = time.perf_counter() - start
        slowest = max(slowest, took)
        if took > LONGEST:
            crashed.append(f"{number} {name}: {took:.0f} s")
    return {
        "images": count, "decoded": decoded, "quarantined": sum(reasons.values()),
        "reasons": dict(reasons.most_common()), "crashes": len(crashed), "crashed": crashed[:10],
        "slowest": round(slowest, 3),
    }  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One file changed: bytes flipped, cut short, a piece moved or of another file, or a field of its head overwritten."""
    changed = bytearray(data)
    kind = int(rng.integers(5))
    if kind == 0:
        for place in rng.integers(len(changed), size=int(rng.integers(1, 9))):
            changed[int(place)] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del changed[int(rng.integers(len(changed))) :]
    elif kind == 2:
        start, end = sorted(int(one) for one in rng.integers(len(changed), size=2))
        place = int(rng.integers(len(changed)))
        changed[place:place] = changed[start:end]
    elif kind == 3:
        names = sorted(cases())
        other = cases()[names[int(rng.integers(len(names)))]].data
        start = int(rng.integers(len(other)))
        changed[int(rng.integers(len(changed))) :] = other[start:]
    else:
        # A directory may lie at the end, as TIFF's often does.
        head = int(rng.integers(min(len(changed), 160)))
        place = head if rng.integers(2) else len(changed) - 1 - head
        extreme = (0, 1, 0x7F, 0x80, 0xFF)
        size = int(rng.choice((1, 2, 4, 8)))
        changed[place : place + size] = bytes([extreme[int(rng.integers(5))]]) * size
    return bytes(changed)


def _class(error: UnreadableImage) -> str:
    """The first words of a reason, without what differs from file to file."""
    words = error.message.split("(")[0].split(",")[0].split()
    return " ".join("N" if any(letter.isdigit() for letter in word) else word for word in words)[
        :60
    ]


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000), indent=1))
