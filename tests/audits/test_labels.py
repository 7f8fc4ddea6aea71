"""Labels cover what they should, the control is the same paper, and what cannot be written is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from synesthete._core.intervals import Rate
from synesthete.audits.labels import PLACES, Style, can_write, write_label
from synesthete.audits.typographic.protocol import eightfold, published_rows
from synesthete.errors import SynestheteError
from tests.audits.fakes import COLOURS, SIDE


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def grey(size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.new("RGB", size, (128, 90, 60))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("word", ["ox", "hippopotamus"])
def test_a_label_covers_its_share(share: float, word: str) -> None:
    before = np.asarray(grey((240, 240)))
    style = Style(share=share)
    blank = np.asarray(write_label(grey((240, 240)), word, style, rng(), blank=True))
    changed = (blank != before).any(-1)
    # A long word's strip is as wide as the image before it has a large share.
    assert changed.mean() == pytest.approx(share, rel=0.12)
    assert (blank[changed] > 250).all()
    written = np.asarray(write_label(grey((240, 240)), word, style, rng()))
    assert ((written != before).any(-1) <= changed).all()
    ink = (written < 100).all(-1) & changed
    assert 0.02 * share < ink.mean() < 0.6 * share


def test_the_same_seed_puts_word_and_control_at_the_same_place() -> None:
    style = Style()
    one, other = (
        np.asarray(write_label(grey(), "panda", style, np.random.default_rng(8), blank=b))
        for b in (False, True)
    )
    outside = (other == np.asarray(grey())).all(-1)
    assert (one[outside] == other[outside]).all()
    moved = np.asarray(write_label(grey(), "panda", style, np.random.default_rng(9)))
    assert (moved != one).any()


@pytest.mark.parametrize("place", PLACES)
def test_places(place: str) -> None:
    blank = write_label(grey(), "ox", Style(share=0.05, place=place), rng(), blank=True)
    rows, columns = np.nonzero((np.asarray(blank) > 250).all(-1))
    across, down = PLACES[place]
    assert np.mean(columns) / SIDE == pytest.approx(0.5 + (across - 0.5) * 0.75, abs=0.12)
    assert np.mean(rows) / SIDE == pytest.approx(0.5 + (down - 0.5) * 0.75, abs=0.14)


def test_without_paper_the_control_is_the_image_itself() -> None:
    style = Style(paper=None, ink=(255, 255, 255))
    assert write_label(grey(), "ox", style, rng(), blank=True).tobytes() == grey().tobytes()
    written = np.asarray(write_label(grey(), "ox", style, rng()))
    changed = (written != np.asarray(grey())).any(-1)
    assert 0.005 < changed.mean() < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"share": 0.0}, "0 to 1"), ({"place": "left"}, "no such place"), ({"font": "Caveatt"}, "did you mean 'Caveat'")],
)  # fmt: skip
def test_styles_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        replace(Style(), **change)  # type: ignore[arg-type]


def test_words_without_letters() -> None:
    assert can_write("apple", Style())
    assert not can_write("寿司", Style())
    assert not can_write("  ", Style())


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: row.text)
def test_the_papers_text_changes_the_published_share_of_pixels(row: object) -> None:
    image = Image.new("RGB", (224, 224), COLOURS["ox"])
    drawn, share = eightfold(image, row.text, row.share)  # type: ignore[attr-defined]
    changed = (np.asarray(drawn) != np.asarray(image)).any(-1).mean()
    assert share == pytest.approx(row.share, rel=0.12)  # type: ignore[attr-defined]
    assert changed == pytest.approx(share, rel=0.05)


def test_rates_of_nothing() -> None:
    assert Rate.of([]).as_dict() == {"rate": None, "interval": [0.0, 1.0], "successes": 0, "n": 0}
