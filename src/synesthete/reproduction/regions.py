"""Region maps: what a unit answers to crops of a world map without names, to names of countries, and to names of cities."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy.stats import rankdata

from synesthete._core.arrays import Float64, Int64
from synesthete.published import Regions, regions, world
from synesthete.report import svg
from synesthete.reproduction.section import Found, Row, Subject, mean_row

GRID = (40, 80)  # rows from the north, columns from 180° W
UNITS = 20
SHOWN = 4
MAP = (2048, 1024)
SIDES = (0.12, 0.25)  # of a crop, by the width of the map
BATCH = 32
GROUND, LAND, BORDER = (214, 232, 244), (246, 242, 226), (120, 120, 120)
FEWEST_CITIES = 20  # on the crops, for a correlation over them
PUBLISHED_MODEL = "contrastive_4x"  # as the article's files call RN50x4


def draw_map(size: tuple[int, int] = MAP) -> Image.Image:
    """The world's countries without their names, longitude across and latitude down.

    Parameters
    ----------
    size
        Width and height in pixels.
    """
    image = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(image)
    for polygons in world().outlines:
        for rings in polygons:
            points = [_pixel(lon, lat, size) for lon, lat in rings[0]]
            pen.polygon(points, fill=LAND, outline=BORDER)
    return image


def _pixel(lon: float, lat: float, size: tuple[int, int]) -> tuple[float, float]:
    return (lon + 180) / 360 * size[0], (90 - lat) / 180 * size[1]


def cells(positions: Float64) -> tuple[Int64, Int64]:
    """Row and column in the grid of places `[places, 2]` of longitude and latitude.

    Examples
    --------
    >>> row, column = cells(np.array([[-180.0, 90.0], [0.0, 0.0]]))
    >>> row.tolist(), column.tolist()
    ([0, 20], [0, 40])
    """
    row = ((90 - positions[:, 1]) / 180 * GRID[0]).astype(np.int64).clip(0, GRID[0] - 1)
    column = ((positions[:, 0] + 180) / 360 * GRID[1]).astype(np.int64).clip(0, GRID[1] - 1)
    return row, column


def spatial_response(subject: Subject) -> Float64:
    """Mean response to the crops that show a place, `[units, rows, columns]`; NaN where no crop lay."""
    import torch

    image = draw_map()
    rng = np.random.default_rng(subject.seed)
    boxes = []
    for _ in range(subject.settings.crops):
        side = int(MAP[0] * rng.uniform(*SIDES))
        left, top = (int(rng.integers(0, length - side + 1)) for length in MAP)
        boxes.append((left, top, left + side, top + side))
    layer, reduction = subject.readable, str(subject.atlas.manifest["reduction"])
    total: Float64 | None = None
    count = np.zeros(GRID)
    for start in range(0, len(boxes), BATCH):
        some = boxes[start : start + BATCH]
        pixels = torch.stack([subject.model.preprocess(image.crop(box)) for box in some])
        values = subject.model.read(pixels, [layer], reduction).activations[layer]
        if total is None:
            total = np.zeros((values.shape[1], *GRID))
        for box, row in zip(some, np.asarray(values, np.float64), strict=True):
            rows = slice(box[1] * GRID[0] // MAP[1], -(-box[3] * GRID[0] // MAP[1]))
            columns = slice(box[0] * GRID[1] // MAP[0], -(-box[2] * GRID[1] // MAP[0]))
            total[:, rows, columns] += row[:, None, None]
            count[rows, columns] += 1
    if total is None:
        return np.full((0, *GRID), np.nan)
    with np.errstate(invalid="ignore"):
        found: Float64 = np.where(count > 0, total / count, np.nan)
    return found


def agreement(spatial: Float64, names: Float64, positions: Float64) -> tuple[Float64, int]:
    """Spearman correlation of each map with each list of responses to names, `[maps, lists]`, and over how many places it is.

    Parameters
    ----------
    spatial
        `[maps, rows, columns]`.
    names
        `[lists, places]`.
    positions
        `[places, 2]`.
    """
    row, column = cells(positions)
    at = spatial[:, row, column]
    seen = np.isfinite(at).all(axis=0) & np.isfinite(names).all(axis=0)
    left, right = (_ranked(values[:, seen]) for values in (at, names))
    return np.asarray(left @ right.T, np.float64), int(seen.sum())


def _ranked(values: Float64) -> Float64:
    ranks = rankdata(values, axis=1) if values.shape[1] else values
    ranks = ranks - ranks.mean(axis=1, keepdims=True) if values.shape[1] else values
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.asarray(np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0))


def _published_agreement(read: Regions) -> tuple[float, float]:
    """The article's own maps and city names of RN50x4: units with themselves, and with each other."""
    own = [i for i, model in enumerate(read.model) if model == PUBLISHED_MODEL]
    found, _ = agreement(read.spatial[own], read.city[own], world().positions)
    same = np.diag(found)
    return float(same.mean()), float(found[~np.eye(len(found), dtype=bool)].mean())


def region_maps(subject: Subject) -> Found:
    """Whether the units that answer to names of countries answer to their place on a map."""
    known = world()
    words = subject.words
    units = np.array([one.unit for one in subject.neurons], np.int64)
    countries, cities = words.rows(known.countries), words.rows(known.cities)
    others = words.activations[words.capitalised][:, units]
    country = _padded(words.activations[:, units], countries)
    city = _padded(words.activations[:, units], cities)
    with np.errstate(invalid="ignore", divide="ignore"):
        lead = (np.nanmean(country, axis=1) - others.mean(axis=0)) / others.std(axis=0)
    chosen = np.argsort(-np.nan_to_num(lead, nan=-np.inf), kind="stable")[:UNITS]
    subject.say(f"shows {subject.settings.crops} crops of the world map")
    spatial = spatial_response(subject)[units[chosen]]
    found, seen = agreement(spatial, city[chosen], known.positions)
    off = ~np.eye(len(found), dtype=bool)
    same, other = _published_agreement(regions())
    rows = [
        mean_row(
            "regions",
            "correlation of the map's and the city names' response, of the units that answer most to names of countries",
            np.diag(found) if seen >= FEWEST_CITIES else [],
            seed=subject.seed,
            published=same,
            control=float(found[off].mean()) if off.any() and seen >= FEWEST_CITIES else None,
            note=f"mean over units (Spearman, {seen} cities that a crop shows; no value for fewer than {FEWEST_CITIES}); units by their mean response to "
            f"{int((countries >= 0).sum())} names of countries, less that to {int(words.capitalised.sum())} other words with a capital; control: the map of one unit with the names of another "
            f"(the article's: {other:.2f}); published: computed from the article's data of 19 region units of RN50x4",
        )
    ]
    rows += _same_units(subject, chosen, units, spatial)
    titles = {one.unit: one.heading or one.address for one in subject.neurons}
    figures = {
        f"{titles[int(units[i])]} ({subject.layer}:{units[i]})": _figure(
            spatial[k], country[i], city[i], titles[int(units[i])]
        )
        for k, i in enumerate(chosen[:SHOWN])
    }
    return Found(rows, figures)


def _padded(activations: Any, rows: Int64) -> Float64:
    """`[units, places]`, NaN where the name was not drawn."""
    values = np.asarray(activations[np.maximum(rows, 0)], np.float64)
    values[rows < 0] = np.nan
    return values.T


def _same_units(subject: Subject, chosen: Int64, units: Int64, spatial: Float64) -> list[Row]:
    """For the article's own model: the very units' maps beside those that were published."""
    if not subject.is_published:
        return []
    read = regions()
    theirs = {
        unit: read.spatial[i]
        for i, (model, unit) in enumerate(zip(read.model, read.unit, strict=True))
        if model == PUBLISHED_MODEL
    }
    pairs = [
        (spatial[k], theirs[int(units[i])]) for k, i in enumerate(chosen) if int(units[i]) in theirs
    ]
    if not pairs:
        return []
    ours, published = (np.array([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    seen = np.isfinite(ours).all(axis=0)
    found = _ranked(ours[:, seen]) @ _ranked(published[:, seen]).T
    off = ~np.eye(len(found), dtype=bool)
    return [
        mean_row(
            "regions",
            "correlation of our map and the published map of the same unit",
            np.diag(found),
            seed=subject.seed,
            control=float(found[off].mean()) if off.any() else None,
            note="control: the published map of another unit",
        )
    ]


def _figure(spatial: Float64, country: Float64, city: Float64, title: str) -> str:
    """The crops' response as squares, countries filled by their name's, cities as dots by theirs."""
    wide, high = 720.0, 300.0
    size = (int(wide), int(wide / 2))
    step = wide / GRID[1]
    pieces = []
    heat = _unit_range(spatial.ravel()).reshape(GRID)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            if heat[row, column] > 0.05:
                pieces.append(
                    svg.element(
                        "rect",
                        x=round(column * step),
                        y=round(row * step),
                        width=round(step),
                        height=round(step),
                        class_="where",
                        fill_opacity=round(float(heat[row, column]) * 0.6, 2),
                    )
                )
    for polygons, strength in zip(world().outlines, _unit_range(country), strict=True):
        path = "".join(_path(rings[0], size) for rings in polygons)
        pieces.append(
            svg.element(
                "path",
                d=path,
                class_="accent line-line",
                fill_opacity=round(float(strength) * 0.8, 2),
                stroke_width=0.5,
            )
        )
    for (lon, lat), strength in zip(world().positions, _unit_range(city), strict=True):
        if strength > 0.25:
            x, y = _pixel(lon, lat, size)
            pieces.append(
                svg.element(
                    "circle",
                    cx=round(x),
                    cy=round(y),
                    r=round(1 + 3 * float(strength), 1),
                    class_="against",
                    fill_opacity=0.8,
                )
            )
    description = f"{title}: response to crops of a map (squares), names of countries (filled) and of cities (dots)"
    return str(svg.inline(wide, high, description, pieces, "map"))


def _path(ring: Any, size: tuple[int, int]) -> str:
    points = dict.fromkeys(
        (round(x), round(y)) for x, y in (_pixel(lon, lat, size) for lon, lat in ring)
    )
    return "M" + "L".join(f"{x} {y}" for x, y in points) + "Z"


def _unit_range(values: Float64) -> Float64:
    """Scaled to 0 … 1, by the range from the median to the largest."""
    clean = np.nan_to_num(values, nan=float(np.nanmin(values)) if np.isfinite(values).any() else 0)
    middle, top = float(np.median(clean)), float(clean.max())
    found: Float64 = np.clip((clean - middle) / (top - middle), 0, 1) if top > middle else clean * 0
    return found
