"""Whatever the bytes: an RGB image within the limit or `UnreadableImage`, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.probes.decoding import UnreadableImage, decode
from tests.probes.samples import corpus
from tests.torture import images

# pytest puts its own warning filters above those that decoding sets.
pytestmark = pytest.mark.filterwarnings("ignore")
CORPUS = corpus()
FILES = st.sampled_from(sorted(CORPUS))
LIMIT = 1_000_000
FUZZ = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def survives(data: bytes) -> None:
    try:
        image = decode(data, max_pixels=LIMIT)
    except UnreadableImage as error:
        reason = error.reason
    else:
        reason = "none"
        assert image.mode == "RGB"
        assert 1 <= image.width * image.height <= LIMIT
        assert len(image.tobytes()) == image.width * image.height * 3
    assert reason
    assert "\n" not in reason
    assert len(reason) < 400


@FUZZ
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    survives(data)


@FUZZ
@given(FILES, st.binary(max_size=200))
def test_random_bytes_behind_a_true_signature(kind: str, tail: bytes) -> None:
    survives(CORPUS[kind][:16] + tail)


@FUZZ
@given(FILES, st.floats(0, 1, exclude_max=True))
def test_truncations(kind: str, part: float) -> None:
    data = CORPUS[kind]
    survives(data[: int(part * len(data))])


@FUZZ
@given(FILES, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=8))
def test_flipped_bits(kind: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray(CORPUS[kind])
    for place, bit in flips:
        data[int(place * len(data))] ^= 1 << bit
    survives(bytes(data))


@FUZZ
@given(FILES, st.integers(0, 120), st.binary(min_size=1, max_size=8))
def test_overwritten_headers(kind: str, start: int, patch: bytes) -> None:
    data = bytearray(CORPUS[kind])
    data[start : start + len(patch)] = patch
    survives(bytes(data))


def test_mutants_of_every_kind_of_file() -> None:
    found = images.run(1500, seed=1)
    assert found["crashed"] == []
    assert found["decoded"] + found["quarantined"] == 1500
    assert (
        min(found["decoded"], found["quarantined"]) > 300
    )  # they are neither whole nor all broken
