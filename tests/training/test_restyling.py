"""The same image by another hand: what must change and what must stay."""

from __future__ import annotations

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from training import images, restyling, tiles, warping  # noqa: E402


def _tile() -> np.ndarray:
    """A light disc with a dark square in it, premultiplied RGBA."""
    tile = np.zeros((128, 128, 4), np.uint8)
    cv2.circle(tile, (64, 64), 40, (230, 190, 60, 255), -1)
    tile[50:78, 50:78, :3] = 30
    return tile


def test_bending_moves_no_part_further_than_the_limit() -> None:
    rows, columns = np.mgrid[0:128, 0:128].astype(np.float32)
    ramp = np.stack([rows, columns], axis=-1)
    inside = slice(12, -12)
    for seed in range(10):
        moved = restyling.bend(ramp, np.random.default_rng(seed), most=4.0) - ramp
        assert np.abs(moved[inside, inside]).max() < 4.0 * 1.6  # a cubic overshoots its knots
        assert np.abs(moved[inside, inside]).max() > 0.5


def test_an_outline_is_dark_and_leaves_what_it_surrounds() -> None:
    tile = _tile()
    drawn = restyling.outlined(tile, np.random.default_rng(0))
    whole = tile[..., 3] == 255
    assert (drawn[whole] == tile[whole]).all()
    new = (drawn[..., 3] > 0) & (tile[..., 3] == 0)
    assert 100 < new.sum() < 2000
    assert drawn[new, :3].max() <= 60


def test_one_ink_keeps_the_form_of_a_drawing() -> None:
    tile = _tile()
    for seed in range(20):
        drawn = restyling.one_ink(tile, np.random.default_rng(seed))
        assert drawn[..., :3].max() == 0
        assert drawn[40:88, 40:88, 3].max() == 255  # the square's edge or the square
        assert drawn[:15, :15, 3].max() == 0


def test_one_ink_of_a_drawing_too_faint_to_have_an_inside() -> None:
    faint = np.zeros((128, 128, 4), np.uint8)
    faint[60:64, :, 3] = 70
    for seed in range(20):
        drawn = restyling.one_ink(faint, np.random.default_rng(seed))
        assert drawn[:50, :, 3].max() == 0


def test_recolouring_leaves_greys_grey_and_numbers_in_range() -> None:
    grey = np.repeat(np.linspace(0, 255, 50, dtype=np.float32)[:, None], 3, axis=1)
    colours = np.random.default_rng(1).uniform(0, 255, (200, 3)).astype(np.float32)
    changed = []
    for seed in range(20):
        out = restyling.recoloured(grey, np.random.default_rng(seed))
        assert np.allclose(out, out[:, :1], atol=0.01)
        out = restyling.recoloured(colours, np.random.default_rng(seed))
        assert out.min() >= 0
        assert out.max() <= 255.001
        changed.append(np.abs(out - colours).mean())
    assert min(changed) > 1


def test_hiding_a_part_leaves_three_quarters() -> None:
    image = np.full((96, 96, 3), 300 % 256, np.uint8)
    for seed in range(30):
        out = restyling.covered(image, np.random.default_rng(seed))
        assert 0 < (out != image).any(-1).mean() <= 0.25
    assert (image == 44).all()


def test_coarser_images_keep_their_size_and_brightness() -> None:
    image = np.random.default_rng(2).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    for seed in range(20):
        out = restyling.coarser(image, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.std() < image.std()
        assert abs(out.mean() - image.mean()) < 3


def test_what_has_sides_is_never_mirrored() -> None:
    one_sided = np.zeros((128, 128, 4), np.uint8)
    one_sided[30:98, 20:60, 3] = 255
    rng = np.random.default_rng(3)
    left = []
    for mirrored in (False, True):
        shown = [images.image(one_sided, "symbol", 64, rng, mirrored=mirrored) for _ in range(200)]
        ink = np.stack([np.abs(s.astype(float) - s[0, 0]).sum(-1) for s in shown])
        left.append((ink[:, :, :32].sum((1, 2)) > ink[:, :, 32:].sum((1, 2))).mean())
    assert left[0] > 0.9
    assert 0.35 < left[1] < 0.7
    assert not restyling.mirrors("pointing left")
    assert restyling.mirrors("horse")


def test_a_drawing_may_stand_before_a_photograph() -> None:
    rng = np.random.default_rng(4)
    behind = rng.integers(0, 255, (128, 128, 4), dtype=np.uint8)
    behind[..., 3] = 255
    busy = [
        np.unique(
            images.image(_tile(), "drawing", 64, rng, behind=behind)[:6].reshape(-1, 3), axis=0
        ).shape[0]
        > 60
        for _ in range(120)
    ]
    assert 0.04 < np.mean(busy) < 0.4


def test_sharper_images_have_steeper_edges_and_keep_their_brightness() -> None:
    image = np.full((96, 96, 3), 90, np.uint8)
    image[:, 48:] = 160
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    for seed in range(20):
        out = restyling.sharper(image, np.random.default_rng(seed))
        assert (
            np.abs(np.diff(out.astype(int), axis=1)).max()
            > np.abs(np.diff(image.astype(int), axis=1)).max()
        )
        assert abs(out.mean() - image.mean()) < 1
    flat = np.full((96, 96, 3), 90, np.uint8)
    assert (restyling.sharper(flat, np.random.default_rng(0)) == 90).all()


def test_what_was_drawn_sharp_stays_sharper_than_between_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sharp = np.random.default_rng(0).integers(0, 2, (128, 128, 1), np.uint8).repeat(3, 2) * 255
    contrast = {}
    for crisp in (0.0, 1.0):
        monkeypatch.setattr(warping, "CRISP", crisp)
        drawn = [warping.warp(sharp, 128, np.random.default_rng(seed), 1.0) for seed in range(20)]
        contrast[crisp] = np.mean([one[32:96, 32:96].std() for one in drawn])
    assert contrast[0.0] < 0.7 * sharp.std()
    assert contrast[1.0] > 1.1 * contrast[0.0]


def test_a_hybrid_is_the_one_from_afar_and_the_other_at_its_edges() -> None:
    rng = np.random.default_rng(3)
    large = np.full((96, 96, 3), 200, np.uint8)
    large[:, :48] = 60
    fine = np.full((96, 96, 3), 128, np.uint8)
    fine[20:76:4] = 60
    for seed in range(20):
        out = restyling.hybrid(large, fine, np.random.default_rng(seed)).astype(float)
        assert abs(out[:, :40].mean() - 60) < 6
        assert abs(out[:, 56:].mean() - 200) < 6
        lines = out[18:78, 60:90].mean((1, 2)) - out[18:78, 60:90].mean()
        theirs = fine[18:78, 0, 0] - fine[18:78, 0, 0].mean()
        assert np.corrcoef(lines, theirs)[0, 1] > 0.8
    alone = restyling.hybrid(large, np.full_like(large, 90), rng).astype(float)
    assert abs(alone - cv2.GaussianBlur(large.astype(np.float32), (0, 0), 1.2)).mean() < 2


def test_a_tile_on_white_hides_no_colour() -> None:
    tile = np.zeros((1, 2, 4), np.uint8)
    tile[0, 0] = (10, 20, 30, 255)
    tile[0, 1] = (10, 20, 30, 55)
    assert tiles.premultiplied_on_white(tile)[0].tolist() == [[10, 20, 30], [210, 220, 230]]


def test_a_compressed_image_is_the_same_to_the_eye_and_not_to_the_pixel() -> None:
    image = np.full((96, 96, 3), 255, np.uint8)
    cv2.circle(image, (48, 48), 30, (220, 40, 10), -1)
    changed = []
    for seed in range(20):
        out = restyling.compressed(image, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.flags.c_contiguous
        assert np.abs(out[40:56, 40:56].astype(int) - (220, 40, 10)).mean() < 8, "red stays red"
        assert 0 < np.abs(out.astype(int) - image).mean() < 8
        changed.append((out[:10] != 255).any() or (out != image).mean())
    assert min(changed) > 0.02
