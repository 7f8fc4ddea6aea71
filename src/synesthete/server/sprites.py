"""Sprites of a static site: the images of a page as one SVG file with a view for each, so that a site has few files."""

from __future__ import annotations

import base64
import io
import posixpath
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from synesthete.report.images import QUALITY

if TYPE_CHECKING:
    from PIL import Image

OF_PAGES, SHARED = "sprites", "tiles"
# At most, of a sprite and of an image in it, in pixels; a larger image is made smaller.
WIDTH, SIDE = 1024, 128
SHARED_CELLS = 64


class Sprites:
    """Gives each image of a page a view of the page's own sprite, and images that scripts name one of sprites that all pages share.

    A view (`FILE.svg#t3`) is an address like any other: `img` needs no script and no style to show it.

    Examples
    --------
    >>> sprites = Sprites()
    >>> [sprites.of_page("neuron/a.html", one) for one in ("/image/1.webp", "/image/2.webp", "/image/1.webp")]
    ['sprites/neuron/a.svg#t0', 'sprites/neuron/a.svg#t1', 'sprites/neuron/a.svg#t0']
    >>> sprites.shared("/neuron/b.webp")
    'tiles/0.svg#t0'
    >>> dict(sprites.sheets())
    {'sprites/neuron/a.svg': ['/image/1.webp', '/image/2.webp'], 'tiles/0.svg': ['/neuron/b.webp']}
    """

    def __init__(self) -> None:
        self._pages: dict[str, dict[str, int]] = {}
        self._shared: dict[str, int] = {}

    def of_page(self, page: str, path: str) -> str:
        """Where an image of a page stands: a file of the site with a fragment."""
        own = self._pages.setdefault(page, {})
        return f"{_file(page)}#t{own.setdefault(path, len(own))}"

    def shared(self, path: str) -> str:
        """Where an image that a script shows stands."""
        sheet, cell = divmod(self._shared.setdefault(path, len(self._shared)), SHARED_CELLS)
        return f"{SHARED}/{sheet}.svg#t{cell}"

    def first(self, page: str) -> str:
        """The first image of a page; empty where it has none."""
        return next(iter(self._pages.get(page, ())), "")

    def sheets(self) -> Iterator[tuple[str, list[str]]]:
        """Each file, and the paths of its images in their order."""
        for page, images in self._pages.items():
            yield _file(page), list(images)
        shared = list(self._shared)
        for number, first in enumerate(range(0, len(shared), SHARED_CELLS)):
            yield f"{SHARED}/{number}.svg", shared[first : first + SHARED_CELLS]


def _file(page: str) -> str:
    return f"{OF_PAGES}/{posixpath.splitext(page)[0]}.svg"


def draw(images: Sequence[Image.Image]) -> bytes:
    """A sprite: images of at most `SIDE` pixels, each under a view `t0`, `t1`, ..."""
    from PIL import Image

    small = [_small(image) for image in images]
    places, size = _packed([max(image.size) for image in small])
    clear = any(image.mode == "RGBA" for image in small)
    sheet = Image.new("RGBA" if clear else "RGB", size, (0, 0, 0, 0) if clear else "white")
    views = []
    for number, (image, (left, top)) in enumerate(zip(small, places, strict=True)):
        sheet.paste(image, (left, top))
        views.append(f'<view id="t{number}" viewBox="{left} {top} {image.width} {image.height}"/>')
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=QUALITY, method=2)
    data = base64.b64encode(stream.getvalue()).decode()
    first = small[0]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{first.width}" height="{first.height}" viewBox="0 0 {first.width} {first.height}">'
        f'{"".join(views)}<image width="{size[0]}" height="{size[1]}" href="data:image/webp;base64,{data}"/></svg>\n'
    ).encode()


def _packed(sides: Sequence[int]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Upper left corners of squares in rows, those of one size together, and the size of the sheet.

    Examples
    --------
    >>> _packed([96, 128, 96])
    ([(0, 0), (0, 96), (96, 0)], (192, 224))
    """
    places = [(0, 0)] * len(sides)
    left = top = row = wide = 0
    for number in sorted(range(len(sides)), key=lambda one: sides[one]):
        side = sides[number]
        if side != row or left + side > WIDTH:
            left, top, row = 0, top + row, side
        places[number] = (left, top)
        left += side
        wide = max(wide, left)
    return places, (wide, top + row)


def _small(image: Image.Image) -> Image.Image:
    from PIL import Image

    if max(image.size) <= SIDE:
        return image
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
