"""The text of HTML as a reader sees it: without tags, scripts and styles, entities decoded, a line for each block.

Python's `html.parser` is not used: until 3.11.14 and 3.13.6 it took quadratic time and more for unfinished tags
(CVE-2025-6069), minutes for 50 kB. This reads every character once.
"""

from __future__ import annotations

import html
import re

LENGTH = 1_000_000  # characters; a description's first half million are read
_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*+)(?:[^>"']|"[^"]*"|'[^']*')*+>""")
_TAG_START = re.compile(r"</?[a-zA-Z]")
_UNSEEN = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg"})
_INLINE = frozenset(
    re.findall(r"\w+", "a abbr b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span strike "
               "strong sub sup time tt u var wbr")
)  # fmt: skip
_LONG_NUMBER = re.compile(r"&#x?[0-9a-f]{8,};?", re.IGNORECASE)


def text_of_html(source: str) -> str:
    r"""The text of a piece of HTML, or of plain text, where line ends stay.

    What is unfinished at the end (a tag, a comment, a script) is left out, as browsers do.

    Examples
    --------
    >>> text_of_html("<p>Holds <b>tea</b> &amp; coffee.</p><script>alert(1)</script><ul><li>blue<li>red</ul>")
    'Holds tea & coffee.\nblue\nred'
    >>> text_of_html("a < b &lt;i&gt;")
    'a < b <i>'
    """
    source = source[:LENGTH]
    if "<" not in source:
        return _lines(decoded(source))
    pieces, at = [], 0
    while (start := source.find("<", at)) >= 0:
        pieces.append(decoded(" ".join(source[at:start].split("\n"))))
        at = start + 1
        if source.startswith("<!--", start):
            at = _after(source, "-->", start)
        elif source.startswith(("<!", "<?"), start):
            at = _after(source, ">", start)
        elif _TAG_START.match(source, start):
            tag = _TAG.match(source, start)
            name = tag[2].lower() if tag else ""
            at = tag.end() if tag else len(source)
            if name in _UNSEEN and not (tag and tag[1]):
                end = re.compile(rf"</{name}\b", re.IGNORECASE).search(source, at)
                at = _after(source, ">", end.end() if end else len(source))
            if name not in _INLINE:
                pieces.append("\n")
        else:
            pieces.append("<")
    pieces.append(decoded(" ".join(source[at:].split("\n"))))
    return _lines("".join(pieces))


def _after(source: str, mark: str, start: int) -> int:
    end = source.find(mark, start)
    return len(source) if end < 0 else end + len(mark)


def decoded(text: str) -> str:
    """Text without entities; a number that is no character's becomes the replacement character."""
    # Python refuses numbers of thousands of digits; no character has one of eight.
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text)) if "&" in text else text


def _lines(text: str) -> str:
    """Lines without runs of spaces, the empty ones left out."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
