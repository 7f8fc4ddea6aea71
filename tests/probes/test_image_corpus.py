"""Every image of the corpus decodes to the pixels that it should, or is quarantined; none is silently wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from synesthete.probes.decoding import TooLarge, UnreadableImage, decode
from tests.probes.image_corpus import Case, cases
from tests.torture.bombs import tiff_of_one_tile
from tests.torture.images import mutate

pytestmark = pytest.mark.filterwarnings("ignore")


def verdict(case: Case) -> str:
    """`right`, `quarantined` (where that will do), or what is wrong."""
    try:
        image = decode(case.data)
    except UnreadableImage as error:
        if case.expected is None or case.may_refuse:
            return "quarantined"
        return f"refused: {error.reason}"
    if case.expected is None:
        return "read, and should have been refused"
    values = np.asarray(image).astype(float)
    if values.shape != case.expected.shape:
        return f"shape {values.shape}, expected {case.expected.shape}"
    apart = float(np.abs(values - case.expected).max())
    return "right" if apart <= case.tolerance + 1e-6 else f"off by {apart:.1f} of 255"


@pytest.mark.parametrize("name", sorted(cases()))
def test_no_image_is_silently_wrong(name: str) -> None:
    assert verdict(cases()[name]) in ("right", "quarantined")


def test_nothing_that_is_read_today_gets_quarantined() -> None:
    found = [verdict(case) for case in cases().values()]
    assert found.count("right") >= 394, table()


@pytest.mark.parametrize(
    "name", ["tiff float 64 zero is black little", "avif", "png rgb 8", "jpeg"]
)
def test_a_file_of_a_known_format_is_called_so(name: str) -> None:
    data = cases()[name].data
    if "float" not in name:
        data = data[:12] + b"\xee" * 80
    with pytest.raises(UnreadableImage, match=f"{name.split()[0].upper()} file|corrupt"):
        decode(data)


SCRIPT = """
import sys
from synesthete.probes.decoding import UnreadableImage, decode
for line in sys.stdin:
    try:
        decode(bytes.fromhex(line))
    except UnreadableImage:
        pass
"""


def test_the_c_librarys_messages_do_not_reach_standard_error() -> None:
    rng = np.random.default_rng(0)
    tiffs = [case.data for case in cases().values() if case.name.startswith("tiff")]
    damaged = [mutate(data, rng) for data in tiffs for _ in range(3)]
    sent = "\n".join(data.hex() for data in damaged)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=sent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_small_tiff_of_one_giant_tile_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooLarge, match="a tile of 30000"):
        decode(tiff_of_one_tile())


def table() -> str:
    """How many of how many are right, quarantined, wrong, by format; run this file to print it."""
    rows: dict[str, list[str]] = {}
    for case in cases().values():
        rows.setdefault(case.name.split()[0], []).append(verdict(case))
    lines = [f"{'format':10}{'images':>8}{'right':>8}{'quarantined':>13}{'wrong':>8}"]
    total = [0, 0, 0, 0]
    for kind, found in rows.items():
        right, aside = found.count("right"), found.count("quarantined")
        counts = [len(found), right, aside, len(found) - right - aside]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        lines.append("{:10}{:>8}{:>8}{:>13}{:>8}".format(kind, *counts))
    return "\n".join([*lines, "{:10}{:>8}{:>8}{:>13}{:>8}".format("all", *total)])


if __name__ == "__main__":
    for one in cases().values():
        outcome = verdict(one)
        if outcome not in ("right", "quarantined"):
            print(f"{one.name}: {outcome}")
    print(table())
