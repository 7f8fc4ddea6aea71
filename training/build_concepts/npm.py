"""The npm packages that the probe set is made of."""

from __future__ import annotations

from .fonts import read_fonts
from .sources import read_packages


def npm_packages() -> list[str]:
    """Icon sets and fonts, each in the version of its table."""
    sets = [f"{p.package}@{p.version}" for p in read_packages().values() if p.manager == "npm"]
    return [*sets, *[f"{row['package']}@{row['version']}" for row in read_fonts()]]
