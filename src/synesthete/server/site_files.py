"""Where a page lies in a static site, and the rewriting of its addresses to relative files."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_SAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ATTRIBUTE = re.compile(r'\b(href|src|action)="(/[^"]*)"')
_VALUE = re.compile(r'"(path|picture)": "(/[^"]*)"')


class Files:
    """Gives every path of the microscope one file, and remembers which paths pages lead to.

    Attributes
    ----------
    wanted
        Path → file, in the order in which they were first asked for.
    """

    def __init__(self) -> None:
        self.wanted: dict[str, str] = {}
        self._taken: set[str] = set()

    def file(self, path: str) -> str:
        """The file of a path (with its query).

        Examples
        --------
        >>> files = Files()
        >>> [files.file(p) for p in ("/", "/concept/hot%20dog", "/neuron/l:1", "/neuron/l:1.webp", "/concepts?page=2")]
        ['index.html', 'concept/hot-dog.html', 'neuron/l-1.html', 'neuron/l-1.webp', 'concepts-page-2.html']
        >>> files.file("/concept/hot-dog")
        'concept/hot-dog-2.html'
        """
        if path not in self.wanted:
            self.wanted[path] = self._free(path)
        return self.wanted[path]

    def _free(self, path: str) -> str:
        parts = urlsplit(path)
        pieces = [_plain(unquote(piece)) for piece in parts.path.strip("/").split("/") if piece]
        stem, dot, end = "/".join(pieces).rpartition(".")
        if not (dot and end in ("webp", "css", "js", "svg")):
            stem, end = "/".join(pieces) or "index", "html"
        stem += "".join(f"-{_plain(key)}-{_plain(value)}" for key, value in parse_qsl(parts.query))
        free, number = f"{stem}.{end}", 2
        # Two names may differ in letter case alone, and not every disk tells those apart.
        while free.casefold() in self._taken:
            free, number = f"{stem}-{number}.{end}", number + 1
        self._taken.add(free.casefold())
        return free

    def rewrite(self, html: str, here: str) -> str:
        """A page with every address made relative to its file `here`."""

        def attribute(found: re.Match[str]) -> str:
            return f'{found[1]}="{self._relative(_unescaped(found[2]), here)}"'

        def value(found: re.Match[str]) -> str:
            return f'"{found[1]}": "{self._relative(found[2], here)}"'

        return _VALUE.sub(value, _ATTRIBUTE.sub(attribute, html))

    def _relative(self, path: str, here: str) -> str:
        base, hash_, place = path.partition("#")
        there = posixpath.relpath(self.file(base), posixpath.dirname(here) or ".")
        return quote(there) + hash_ + place


def _unescaped(text: str) -> str:
    return text.replace("&amp;", "&").replace("&#39;", "'")


def _plain(piece: str) -> str:
    return _SAFE.sub("-", piece).strip("-.") or "x"
