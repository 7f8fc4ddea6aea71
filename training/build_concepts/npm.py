"""The npm packages that the probe set is made of."""

from __future__ import annotations

from pathlib import Path

from .fonts import read_fonts
from .sources import HERE, read_packages


def npm_packages(folder: Path = HERE) -> list[str]:
    """Icon sets and fonts, each in the version of its table in `folder`."""
    packages = read_packages(folder).values()
    sets = [f"{p.package}@{p.version}" for p in packages if p.manager == "npm"]
    return [*sets, *[f"{row['package']}@{row['version']}" for row in read_fonts(folder)]]
