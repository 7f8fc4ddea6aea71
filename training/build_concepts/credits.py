"""Write the page that credits every image of the built-in probe set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from .sources import Package

LINKS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-2.0": "https://creativecommons.org/licenses/by-sa/2.0/",
    "CC-BY-SA-2.5": "https://creativecommons.org/licenses/by-sa/2.5/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "ISC": "text below",
    "MIT": "text below",
    "OFL-1.1": "https://openfontlicense.org",
    "Public domain": "",
}

_INTRODUCTION = """# Licences of this probe set

Every image keeps the licence that its author gave it; `manifest.parquet` names licence, author and
source image by image. Changes made to all of them: drawn or cropped to 128 × 128 pixels on white and
encoded again as WebP mosaics (icons that follow the text colour are drawn black).

Images under a share-alike licence (CC-BY-SA) stay under it, as single tiles that can be taken out;
they are collected beside the others, not merged with them. The fonts have their licence texts next
to them.
"""

_TEXTS = """
## Licence texts

**MIT** (for the sets marked MIT; copyright by the author named there)

> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
> associated documentation files (the "Software"), to deal in the Software without restriction,
> including without limitation the rights to use, copy, modify, merge, publish, distribute,
> sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
> furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or
> substantial portions of the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
> NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
> NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
> DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
> OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

**ISC** (for the sets marked ISC; copyright by the author named there)

> Permission to use, copy, modify, and/or distribute this software for any purpose with or without
> fee is hereby granted, provided that the above copyright notice and this permission notice appear
> in all copies.
>
> THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS
> SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE
> AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
> WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT,
> NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE
> OF THIS SOFTWARE.
"""


def licence_page(rows: Iterable[Mapping[str, str]], packages: Mapping[str, Package]) -> str:
    """Return the page in Markdown.

    Parameters
    ----------
    rows
        The rows of the manifest, each with key, concept, modality, artist, licence, author, source.
    packages
        The table of packages, by set.
    """
    rows = list(rows)
    by_set = Counter(row["key"].split(":")[1] for row in rows if row["modality"] != "photo")
    lines = [_INTRODUCTION, "## Drawings and symbols", ""]
    lines += ["| set | kind | images | author | licence | from |", "|---|---|---|---|---|---|"]
    for name, package in packages.items():
        if by_set[name]:
            lines.append(
                f"| {package.package} {package.version} | {package.modality} | {by_set[name]} "
                f"| {package.author} | {_linked(package.licence)} | {package.url} |"
            )
    photos = [row for row in rows if row["modality"] == "photo"]
    if photos:
        lines += ["", f"## Photographs ({len(photos)})", ""]
        lines += ["| concept | author | licence | source |", "|---|---|---|---|"]
    for row in photos:
        cells = (row["concept"], row["author"], _linked(row["licence"]), row["source"])
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n" + _TEXTS


def _linked(licence: str) -> str:
    link = LINKS[licence]
    return f"[{licence}]({link})" if link.startswith("http") else licence
