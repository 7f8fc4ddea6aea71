"""Pictures that were made of neurons, as pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from synesthete.atlas import Visualization
from synesthete.atlas.visualizations import PLAIN, TABLE, folder_of
from synesthete.errors import SynestheteError
from synesthete.server.errors import Missing
from synesthete.server.library import Site
from synesthete.server.pictures import Picture
from synesthete.server.rows import finite
from synesthete.server.units import find_unit


@dataclass(frozen=True)
class MadePicture:
    """A picture made from the model alone.

    Attributes
    ----------
    facet
        `plain`, or what it was steered towards.
    goal
        `most` or `least`.
    activation, percentile
        What it reaches on the unmodified model, and the share of real images below that.
    excites
        Whether that surpasses all but one in a thousand real images.
    strength
        Of the facet.
    """

    path: str
    facet: str
    goal: str
    activation: float | None
    percentile: float | None
    excites: bool
    strength: float


def made_pictures(site: Site, layer: str, unit: int) -> list[MadePicture]:
    """All that were made of a unit, the plain one first; a damaged table counts as none."""
    return [
        MadePicture(
            path=_path(site, row), facet=row.facet, goal=row.goal, activation=finite(row.activation),
            percentile=finite(row.percentile), excites=row.excites, strength=row.strength,
        )
        for row in _by_unit(site, layer).get(unit, [])
    ]  # fmt: skip


def plain_pictures(site: Site, layer: str) -> dict[int, str]:
    """Unit → path of its plain picture, of those that excite their unit."""
    return {
        unit: _path(site, rows[0])
        for unit, rows in _by_unit(site, layer).items()
        if rows[0].facet == PLAIN and rows[0].goal == "most" and rows[0].excites
    }


def made_file(site: Site, address: str, name: str) -> Picture:
    """The file of a picture, by its neuron and name."""
    columns, unit = find_unit(site, address)
    for row in _by_unit(site, columns.layer).get(unit, []):
        if PurePosixPath(row.file).stem == name:
            try:
                return Picture(site.atlas.visualization(row), f'"{row.sha256[:24]}"')
            except SynestheteError as error:
                raise Missing(str(error)) from error
    raise Missing(f"no picture {name!r} was made of {address}")


def _path(site: Site, row: Visualization) -> str:
    return site.links.made(row.target, PurePosixPath(row.file).stem)


def _by_unit(site: Site, layer: str) -> dict[int, list[Visualization]]:
    """The table, read again when it was written anew."""
    file = site.atlas.path / folder_of(layer, 0) / TABLE
    try:
        found = file.stat()
    except OSError:
        return {}

    def read() -> dict[int, list[Visualization]]:
        try:
            rows = site.atlas.visualizations(layer)
        except SynestheteError:
            return {}
        units: dict[int, list[Visualization]] = {}
        for row in rows:
            units.setdefault(row.unit, []).append(row)
        return units

    stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
    return site.opened.computed(("made", layer, stamp), read)
