"""SVG in small pieces: escaped text, rectangles, pictures as data URIs, in the card's few colours."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

from PIL import Image, ImageFont

STACK = "Inter, 'Helvetica Neue', 'Segoe UI', Roboto, Arial, sans-serif"
DISPLAY = "'Inter Display', Inter, 'Helvetica Neue', 'Segoe UI', Roboto, Arial, sans-serif"
FONTS = ("Inter-Regular", "Inter-SemiBold", "InterDisplay-SemiBold")

# One ground, four greys and one colour. Each is a class as well, so that a page can turn them dark.
LIGHT: Mapping[str, str] = {
    "ground": "#ffffff",
    "ink": "#1b1b1f",
    "soft": "#55565e",
    "faint": "#75767e",
    "line": "#dcdce0",
    "track": "#eeeef1",
    "accent": "#0b6e75",
    "other": "#b9bac1",
}
DARK: Mapping[str, str] = {
    "ground": "#16171a",
    "ink": "#ececf0",
    "soft": "#a9aab3",
    "faint": "#8e8f99",
    "line": "#3a3b42",
    "track": "#292a30",
    "accent": "#4fc3c7",
    "other": "#5a5b65",
}

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


def escape(text: object) -> str:
    r"""`text` as it can stand in SVG and HTML, in content and in quoted attributes.

    Characters that XML cannot hold at all are replaced by U+FFFD.

    Examples
    --------
    >>> escape('<b title="x">') + escape("a\x00b")
    '&lt;b title=&quot;x&quot;&gt;a�b'
    """
    return _NOT_XML.sub("\ufffd", str(text)).translate(_ESCAPES)


def number(value: float) -> str:
    """A coordinate with two decimals and no needless zeros.

    Examples
    --------
    >>> number(3.0), number(1 / 3)
    ('3', '0.33')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")


def amount(value: float) -> str:
    """An activation with the places that matter, and a real minus sign.

    Examples
    --------
    >>> amount(-2.5), amount(1234.5), amount(0.00123), amount(float("nan"))
    ('−2.50', '1234', '0.0012', '–')
    """
    if math.isnan(value):
        return "–"
    size = abs(value)
    told = (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.2f}"
        if size >= 0.1 or not size
        else f"{value:.2g}"
    )
    return told.replace("-", "\u2212")


def small(value: float) -> str:
    """A q or p value: three places, then the nearest power of ten, as people write it.

    Examples
    --------
    >>> small(0.0123), small(3e-7), small(1.0), small(float("nan"))
    ('0.012', '3 × 10⁻⁷', '1', '–')
    """
    if math.isnan(value):
        return "–"
    if value >= 0.001 or value == 0:
        return f"{value:.2g}"
    digit, power = f"{value:.0e}".split("e")
    return f"{digit} × 10" + str(int(power)).translate(_RAISED)


def attributes(**values: object) -> str:
    """Attributes as text: `stroke_width=2` becomes `stroke-width="2"`; None leaves one out."""
    told = (
        (name.rstrip("_").replace("_", "-"), number(value) if isinstance(value, float) else value)
        for name, value in values.items()
        if value is not None
    )
    return "".join(f' {name}="{escape(value)}"' for name, value in told)


def element(name: str, *inside: str, **values: object) -> str:
    """One SVG element around pieces that are SVG already."""
    content = "".join(inside)
    return f"<{name}{attributes(**values)}>{content}</{name}>"


def group(pieces: Iterable[str], **values: object) -> str:
    """Pieces held together."""
    return element("g", *pieces, **values)


def text(
    x: float,
    y: float,
    content: object,
    *,
    size: float = 13.0,
    colour: str = "ink",
    weight: int | None = None,
    anchor: str | None = None,
    title: str | None = None,
) -> str:
    """A line of text with its baseline at (x, y)."""
    hover = element("title", escape(title)) if title else ""
    return element(
        "text",
        hover,
        escape(content),
        x=float(x),
        y=float(y),
        class_=colour,
        fill=LIGHT[colour],
        font_size=float(size),
        font_weight=weight,
        text_anchor=anchor,
    )


def rectangle(
    x: float, y: float, width: float, height: float, colour: str, *, radius: float = 0.0
) -> str:
    """A filled rectangle."""
    return element(
        "rect",
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        rx=float(radius) if radius else None,
        class_=colour,
        fill=LIGHT[colour],
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
    """An outline. `raw` takes `colour` as it is, for lines over pictures that no theme changes."""
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


def line(x1: float, y1: float, x2: float, y2: float, colour: str, *, stroke: float = 1.0) -> str:
    """A straight line."""
    return element(
        "line",
        x1=float(x1),
        y1=float(y1),
        x2=float(x2),
        y2=float(y2),
        class_=f"{colour}-line",
        stroke=LIGHT[colour],
        stroke_width=float(stroke),
    )


def picture(x: float, y: float, size: float, uri: str, alt: str) -> str:
    """A square picture with its description for those who do not see it."""
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
    image.convert("RGB").save(stream, "WEBP", lossless=True, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def style(*, dark: bool) -> str:
    """The CSS rules that give every colour class its colour in the dark or the light theme."""
    palette = DARK if dark else LIGHT
    return "".join(
        f".{name}{{fill:{value}}}.{name}-line{{stroke:{value}}}" for name, value in palette.items()
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
    return ImageFont.truetype(io.BytesIO(font_bytes("Inter-Regular")), 100)


def font_bytes(name: str) -> bytes:
    """The file of one of `FONTS`."""
    return resources.files("synesthete.visualization").joinpath("fonts", f"{name}.otf").read_bytes()
