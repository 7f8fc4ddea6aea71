"""Pictographs of fonts: whose they are, what is drawn of them, and that nobody writes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cv2")

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from training import pictographs, sources, tables, words

ANT, NOTHING = 0x1F41C, 0x1F41D


def _font(path: Path) -> None:
    """A font whose ant is a bar of a tenth of its height, and whose bee is nothing."""
    pen = TTGlyphPen(None)
    corners = [(0, 0), (0, 1000), (100, 1000), (100, 0)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "ant", "bee"])
    builder.setupCharacterMap({ANT: "ant", NOTHING: "bee"})
    empty = TTGlyphPen(None).glyph()
    builder.setupGlyf({".notdef": empty, "ant": pen.glyph(), "bee": empty})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "ant", "bee"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupPost()
    builder.save(path)


def test_an_installed_font_s_pictographs_are_drawn_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _font(tmp_path / "one.ttf")
    fonts = (
        pictographs.Font(
            key="deb:one",
            artist="one",
            files=str(tmp_path / "*.ttf"),
            author="me",
            licence="OFL-1.1",
        ),
        pictographs.Font(
            key="npm:none",
            artist="none",
            files="@fontsource/none/files/*.woff2",
            author="me",
            licence="OFL-1.1",
        ),
    )
    monkeypatch.setattr(pictographs, "FONTS", fonts)
    ((image, svg),) = sources._pictographs(tmp_path)
    assert image == sources.SourceImage("deb:one:1F41C", "symbol", "one", "ant")
    tile = sources.render((image, svg))
    assert tile is not None
    assert tile[..., 3].mean() / 255 == pytest.approx(0.1, abs=0.02)


def test_the_other_fonts_are_neither_the_probe_set_s_nor_held_out() -> None:
    curated = tables.rows(pictographs.CURATED)
    sets = {row["item"].split(":")[1] for row in curated}
    own = {font.key.split(":")[1] for font in pictographs.FONTS}
    assert own & sets == {"noto-emoji"}
    assert not own & set(sources.HELD_OUT_SETS)
    coded = pictographs.coded()
    assert len(coded) > 500
    emoji = [row for row in curated if row["item"].startswith(pictographs.EMOJI)]
    assert all(row["concept"] == coded[row["item"].rpartition(":")[2]] for row in emoji)


def test_nothing_is_written_in_pictographs(tmp_path: Path) -> None:
    assert {"noto-emoji", "noto-sans-symbols-2"} == pictographs.FAMILIES
    for family in ("noto-sans-symbols-2", "roboto"):
        (tmp_path / family / "files").mkdir(parents=True)
        (tmp_path / family / "files" / f"{family}-latin-400-normal.woff2").touch()
    found = [Path(path).name for path in words.font_files(tmp_path, held_out=frozenset())]
    assert [name for name in found if name.endswith(".woff2")] == ["roboto-latin-400-normal.woff2"]
