"""SVG in small pieces (escaped text, shapes, images as data URIs), one palette, and numbers as people read them.

Every shape names its colour twice: as an attribute, so that a drawing stands alone, and as a class, so that the style sheet
of a page can turn it dark. A fill has the colour's name as its class, a stroke the name with `-line`.
"""

from __future__ import annotations

import base64
import io
import math
import re
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError
from synesthete.visualization import FONTS, font_bytes

if TYPE_CHECKING:
    from PIL import Image, ImageFont

STACK = "Inter, 'Helvetica Neue', 'Segoe UI', Roboto, Arial, sans-serif"
DISPLAY = "'Inter Display', Inter, 'Helvetica Neue', 'Segoe UI', Roboto, Arial, sans-serif"

# The one palette: of drawings, and of the pages that they stand in (server/static/style.css is tested against it).
LIGHT: Mapping[str, str] = {
    "ground": "#fdfcfa",
    "raised": "#ffffff",
    "ink": "#1b1b1f",
    "soft": "#55565e",
    "faint": "#686973",
    "line": "#e2e0db",
    "track": "#efede8",
    "accent": "#0b6e75",
    "other": "#b9bac1",
    "against": "#b5532f",
    "where": "#e0532f",
}
DARK: Mapping[str, str] = {
    "ground": "#141518",
    "raised": "#1c1d21",
    "ink": "#ececf0",
    "soft": "#b0b1ba",
    "faint": "#9b9ca6",
    "line": "#33343b",
    "track": "#26272c",
    "accent": "#4fc3c7",
    "other": "#5a5b65",
    "against": "#e58a63",
    "where": "#ff7a52",
}

ZOOM = 2
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
# The shipped fonts hold Latin letters; for anything beyond, the system's fonts are used.
_BEYOND = re.compile("[^\u0000-\u017f\u2010-\u2265\u25cf]")


def escape(text: object) -> str:
    r"""`text` as it can stand in SVG and HTML, in content and in quoted attributes.

    Characters that XML cannot hold at all are replaced by U+FFFD.

    Examples
    --------
    >>> escape('<b title="x">') + escape("a\x00b")
    '&lt;b title=&quot;x&quot;&gt;a�b'
    """
    return _NOT_XML.sub("\ufffd", str(text)).translate(_ESCAPES)


def coordinate(value: float) -> str:
    """A coordinate with two decimals and no needless zeros.

    Examples
    --------
    >>> coordinate(3.0), coordinate(1 / 3)
    ('3', '0.33')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")


def amount(value: float | None) -> str:
    """An activation with the places that matter, and a real minus sign.

    Examples
    --------
    >>> amount(-2.5), amount(1234.5), amount(0.00123), amount(float("nan"))
    ('−2.50', '1234', '0.0012', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    places = ".0f" if size >= 100 else ".2f" if size >= 0.1 or not size else ".2g"
    return minus(f"{value:{places}}")


def small(value: float | None) -> str:
    """A q or p value: three places, then the nearest power of ten, as people write it.

    Examples
    --------
    >>> small(0.0123), small(3e-7), small(1.0), small(float("nan"))
    ('0.012', '3 × 10⁻⁷', '1', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if value >= 0.001 or value == 0:
        return f"{value:.2g}"
    digit, power = f"{value:.0e}".split("e")
    return f"{digit} × 10" + str(int(power)).translate(_RAISED)


def auc(value: float | None, digits: int = 3) -> str:
    """An AUC, rounded down so that 0.9 is never claimed too early.

    Examples
    --------
    >>> auc(0.8999), auc(1.0), auc(0.8999, 2), auc(None)
    ('0.899', '1.000', '0.89', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{math.floor(value * 10**digits + 1e-9) / 10**digits:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.0654), percent(None)
    ('6.5 %', '–')
    """
    return "–" if share is None else f"{share * 100:.{digits}f} %"


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with so many decimals and a real minus sign.

    Examples
    --------
    >>> number(-1.084), number(0.5, sign=True), number(None)
    ('−1.08', '+0.50', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return minus(f"{value:{'+' if sign else ''}.{digits}f}")


def minus(text: str) -> str:
    """A number's text with a real minus sign.

    Examples
    --------
    >>> minus(f"{-0.5:+.3f}")
    '−0.500'
    """
    return text.replace("-", "−")


def attributes(**values: object) -> str:
    """Attributes as text: `stroke_width=2` becomes `stroke-width="2"`; None leaves one out."""
    written = (
        (
            name.rstrip("_").replace("_", "-"),
            coordinate(value) if isinstance(value, float) else value,
        )
        for name, value in values.items()
        if value is not None
    )
    return "".join(f' {name}="{escape(value)}"' for name, value in written)


def element(name: str, *inside: str, **values: object) -> str:
    """One SVG element around pieces that are SVG already."""
    content = "".join(inside)
    return f"<{name}{attributes(**values)}>{content}</{name}>"


def group(pieces: Iterable[str], **values: object) -> str:
    """Pieces held together."""
    return element("g", *pieces, **values)


def link(path: str, *pieces: str) -> str:
    """Pieces that lead to another page."""
    return element("a", *pieces, href=path)


def text(
    x: float,
    y: float,
    content: object,
    *,
    size: float | None = 13.0,
    colour: str = "ink",
    weight: int | None = None,
    anchor: str | None = None,
) -> str:
    """A line of text with its baseline at (x, y); without a size it has that of the style sheet."""
    return element(
        "text",
        escape(content),
        x=float(x),
        y=float(y),
        class_=colour,
        fill=LIGHT[colour],
        font_size=None if size is None else float(size),
        font_weight=weight,
        text_anchor=anchor,
    )


def rectangle(
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    *,
    radius: float = 0.0,
    opacity: float | None = None,
) -> str:
    """A filled rectangle."""
    return element(
        "rect",
        x=float(x),
        y=float(y),
        width=float(max(width, 0)),
        height=float(max(height, 0)),
        rx=float(radius) if radius else None,
        class_=colour,
        fill=LIGHT[colour],
        fill_opacity=opacity,
    )


def frame(
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    *,
    stroke: float = 1.0,
    radius: float = 0.0,
    raw: bool = False,
) -> str:
    """An outline. `raw` takes `colour` as it is, for lines over images that no theme changes."""
    return element(
        "rect",
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        rx=float(radius) if radius else None,
        class_=None if raw else f"{colour}-line",
        fill="none",
        stroke=colour if raw else LIGHT[colour],
        stroke_width=float(stroke),
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, stroke: float = 1.0, **more: object
) -> str:
    """A straight line; `more` are attributes."""
    return element(
        "line",
        x1=float(x1),
        y1=float(y1),
        x2=float(x2),
        y2=float(y2),
        class_=f"{colour}-line",
        stroke=LIGHT[colour],
        stroke_width=float(stroke),
        **more,
    )


def whisker(
    low: float, high: float, y: float, *, cap: float = 4.0, vector_effect: str | None = None
) -> str:
    """An interval from `low` to `high` at height `y`, with caps."""
    ends = [(low, y, high, y), *((x, y - cap, x, y + cap) for x in (low, high) if cap)]
    return "".join(
        line(*end, "ink", stroke=1.2, stroke_opacity=0.85, vector_effect=vector_effect)
        for end in ends
    )


def polyline(
    points: Iterable[tuple[float, float]], colour: str, *, stroke: float, dashed: bool = False
) -> str:
    """A line through points."""
    return element(
        "polyline",
        points=_points(points),
        class_=f"{colour}-line",
        fill="none",
        stroke=LIGHT[colour],
        stroke_width=float(stroke),
        stroke_dasharray="5 4" if dashed else None,
    )


def band(
    lower: Iterable[tuple[float, float]], upper: Iterable[tuple[float, float]], colour: str
) -> str:
    """The surface between two lines."""
    return element(
        "polygon",
        points=_points([*upper, *reversed([*lower])]),
        class_=colour,
        fill=LIGHT[colour],
        fill_opacity=0.16,
    )


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def dot(x: float, y: float, radius: float, colour: str) -> str:
    """A filled circle."""
    return element(
        "circle",
        cx=float(x),
        cy=float(y),
        r=float(radius),
        class_=colour,
        fill=LIGHT[colour],
    )


def embedded_image(x: float, y: float, size: float, uri: str, alt: str) -> str:
    """A square image with its description for those who do not see it."""
    return element(
        "image",
        element("title", escape(alt)),
        x=float(x),
        y=float(y),
        width=float(size),
        height=float(size),
        href=uri,
        role="img",
        aria_label=alt,
        preserveAspectRatio="xMidYMid meet",
    )


def data_uri(image: Image.Image) -> str:
    """`image` inside an address of its own, as lossless WebP."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "WEBP", lossless=True, method=1)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def inline(
    width: float, height: float, description: str, pieces: Iterable[str], kind: str = ""
) -> Markup:
    """A chart inside a page, whose style sheet gives it its size and its letters."""
    body = "".join(pieces)
    return Markup(
        element(
            "svg",
            element("title", escape(description)),
            body,
            class_=f"chart {kind}".rstrip(),
            viewBox=f"0 0 {width:g} {height:g}",
            # An image has no parts; a chart with links in it is a group.
            role="group" if "<a " in body else "img",
            aria_label=description,
        )
    )


def document(width: float, height: float, description: str, pieces: Iterable[str]) -> str:
    """A drawing that stands alone, on its own ground."""
    return element(
        "svg",
        element("title", escape(description)),
        rectangle(0, 0, width, height, "ground"),
        *pieces,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        font_family=STACK,
        role="img",
    )


def style(*, dark: bool) -> str:
    """The CSS rules that give every colour class its colour in the dark or the light theme."""
    palette = DARK if dark else LIGHT
    return "".join(
        f".{name}{{fill:{value}}}.{name}-line{{stroke:{value}}}" for name, value in palette.items()
    )


def palette_css() -> str:
    """The palette as CSS variables in both themes, and the rules by which charts in a page take their colours from them."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in palette.items())
        for palette in (LIGHT, DARK)
    )
    return (
        f":root {{ {light} color-scheme: light dark; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{chart_css()}\n"
    )


def chart_css() -> str:
    """The rules by which charts in a page take their colours from its variables."""
    return " ".join(
        f"svg .{name} {{ fill: var(--{name}); }} svg .{name}-line {{ stroke: var(--{name}); }}"
        for name in LIGHT
    )


def shorten(content: str, width: float, size: float) -> str:
    """`content` cut with an ellipsis so that it fits `width` pixels at font size `size`.

    Examples
    --------
    >>> shorten("apple", 200, 12), shorten("a very long caption indeed", 60, 12)[-1]
    ('apple', '…')
    """
    if text_width(content, size) <= width:
        return content
    while content and text_width(content + "…", size) > width:
        content = content[:-1]
    return content.rstrip() + "…"


def text_width(content: str, size: float) -> float:
    """How wide a line of text is in the regular weight, in pixels."""
    return float(_regular().getlength(content)) * size / 100


@cache
def _regular() -> ImageFont.FreeTypeFont:
    from PIL import ImageFont  # takes long to import

    return ImageFont.truetype(io.BytesIO(font_bytes("Inter-Regular")), 100)


def render(svg: str, *, zoom: int = ZOOM) -> bytes:
    """SVG as PNG, `zoom` pixels for each of its units, in the package's own fonts."""
    import resvg_py

    with tempfile.TemporaryDirectory() as folder:
        for name in FONTS:
            Path(folder, f"{name}.otf").write_bytes(font_bytes(name))
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                zoom=zoom,
                skip_system_fonts=_BEYOND.search(svg) is None,
                font_dirs=[folder],
                font_family="Inter",
                sans_serif_family="Inter",
            )
        )


def write_drawing(svg: str, path: str | Path) -> Path:
    """Write a drawing, completely or not at all, as `.svg`, or as an image where the path ends in `.png`.

    Raises
    ------
    SynestheteError
        When the path ends in neither, or its folder does not exist.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise SynestheteError(f"{path} must end in .svg or .png")
    if not path.parent.is_dir():
        raise SynestheteError(f"there is no folder {path.parent}")
    write_file(path, render(svg) if path.suffix == ".png" else svg.encode())
    return path
