"""Words come out as large as they fit, whole, centred and the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from synesthete.errors import SynestheteError
from synesthete.probes.words import (
    LINE_SPACING,
    MARGIN,
    MAX_LETTERS,
    _largest,
    has_letters,
    load_fonts,
    render_word,
    set_case,
)
from tests.oracles.word_setting import largest_size
from tests.probes.samples import font_file, font_folder

ROOM = round(128 * (1 - 2 * MARGIN))


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return font_file(tmp_path_factory.mktemp("font") / "Face.ttf")


def ink_box(image: Image.Image) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(np.asarray(image.convert("L")) < 250)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    "text", ["ox", "apple", "hot dog", "united states of america", "x-ray", "W" * 60, "a b c d e"]
)
@pytest.mark.parametrize("case", ["lower", "title", "upper"])
def test_ink_lies_within_the_margin_and_in_the_middle(font: Path, text: str, case: str) -> None:
    left, top, right, bottom = ink_box(render_word(text, font, case=case))
    edge = round(128 * MARGIN) - 1
    assert min(left, top) >= edge
    assert max(right, bottom) <= 128 - edge
    assert abs((left + right) / 2 - 64) <= 1.5
    assert abs((top + bottom) / 2 - 64) <= 1.5
    assert max(right - left, bottom - top) >= ROOM - 12


@pytest.mark.parametrize(
    "text", ["ox", "apple", "hot dog", "star and crescent", "man in a suit", "i"]
)
def test_letters_are_as_large_as_trying_everything_finds(font: Path, text: str) -> None:
    _, size, _ = _largest(text.split(), str(font), ROOM, 128)
    assert size == largest_size(text, font, ROOM, 256, LINE_SPACING)


def test_long_names_run_over_lines(font: Path) -> None:
    lines, _, _ = _largest(["united", "states", "of", "america"], str(font), ROOM, 128)
    assert len(lines) > 1
    assert " ".join(lines) == "united states of america"


def test_a_name_breaks_at_its_hyphen_but_not_into_stubs(font: Path) -> None:
    assert _largest(["merry-go-round"], str(font), ROOM, 128)[0] == ["merry-go-", "round"]
    assert _largest(["t-shirt"], str(font), ROOM, 128)[0] == ["t-shirt"]


def test_an_endless_word_is_broken_with_hyphens(font: Path) -> None:
    word = "abcdefgh" * 8
    lines, size, _ = _largest([word], str(font), ROOM, 128)
    assert "".join(line.removesuffix("-") for line in lines) == word
    assert size >= 11


def test_same_arguments_same_pixels(font: Path) -> None:
    first = render_word(
        "zebra", font, size_px=96, case="upper", ink=(9, 9, 200), ground=(250, 240, 0)
    )
    again = render_word(
        "zebra", font, size_px=96, case="upper", ink=(9, 9, 200), ground=(250, 240, 0)
    )
    assert first.tobytes() == again.tobytes()
    assert first.size == (96, 96)
    assert first.getpixel((0, 0)) == (250, 240, 0)
    assert (9, 9, 200) in {colour for _, colour in first.getcolors(10_000) or []}


def test_cases_look_different(font: Path) -> None:
    images = {render_word("zebra", font, case=c).tobytes() for c in ("lower", "title", "upper")}
    assert len(images) == 3


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text(min_size=1, max_size=MAX_LETTERS), st.sampled_from(["lower", "title", "upper"]))
def test_any_text_gives_an_image_or_an_error_in_one_line(font: Path, text: str, case: str) -> None:
    try:
        assert render_word(text, font, case=case).size == (128, 128)
    except SynestheteError:
        assert not text.split() or len(text.split()) > 8


@pytest.mark.parametrize(
    ("text", "case", "words"),
    [
        ("", "lower", "no text"),
        (" \n\t", "lower", "no text"),
        ("a" * 121, "lower", "at most 120"),
        ("apple", "uper", "upper"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(font: Path, text: str, case: str, words: str) -> None:
    with pytest.raises(SynestheteError, match=words):
        render_word(text, font, case=case)


def test_a_font_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "Bad.ttf").write_bytes(b"no font")
    with pytest.raises(SynestheteError, match="cannot read the font"):
        render_word("apple", tmp_path / "Bad.ttf")
    with pytest.raises(SynestheteError, match="cannot read the font"):
        render_word("apple", tmp_path / "Missing.ttf")


def test_letters_that_a_font_lacks(font: Path) -> None:
    assert has_letters("Jack-o'-lantern", font)
    assert not has_letters("苹果", font)


def test_title_case_leaves_apostrophes_alone() -> None:
    assert set_case("driver's LICENCE", "title") == "Driver's Licence"


def test_fonts_are_listed_with_their_origin(tmp_path: Path) -> None:
    fonts = load_fonts(font_folder(tmp_path))
    assert [f.name for f in fonts] == ["Face-0", "Face-1", "Face-2", "Face-3"]
    assert fonts[0].family == "Face 0"
    assert fonts[0].licence == "OFL-1.1"
    assert [f.held_out for f in fonts] == [False, False, False, True]


@pytest.mark.parametrize("listed", ["", "{}", '[{"file": "x.ttf"}]', '["x.ttf"]'])
def test_a_damaged_list_of_fonts(tmp_path: Path, listed: str) -> None:
    (tmp_path / "fonts.json").write_text(listed)
    if listed == "{}":
        assert load_fonts(tmp_path) == []
        return
    with pytest.raises(SynestheteError, match="install the package again"):
        load_fonts(tmp_path)


def test_a_font_missing_from_its_folder(tmp_path: Path) -> None:
    folder = font_folder(tmp_path)
    (folder / "Face-2.ttf").unlink()
    with pytest.raises(SynestheteError, match=r"Face-2\.ttf"):
        load_fonts(folder)
