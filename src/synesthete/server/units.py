"""Finding a unit by its address, and what was perhaps meant where there is none."""

from __future__ import annotations

from synesthete.errors import near
from synesthete.server.columns import Columns
from synesthete.server.errors import Missing, Near
from synesthete.server.library import Site


def find_unit(site: Site, address: str) -> tuple[Columns, int]:
    """The columns of a layer, and the unit of them, at an address.

    Raises
    ------
    Missing
        When there is no such neuron.
    """
    layer, colon, text = address.rpartition(":")
    if not colon or not (text.isascii() and text.isdigit()) or len(text) > 9:
        example = f"{site.atlas.layers[0]}:0"
        raise Missing(
            f"{address[:200]!r} is no address of a neuron",
            hint=f"write layer:unit, for example {example}",
            near=_near(site, address),
        )
    if layer not in site.atlas.layers:
        raise Missing(
            f"there is no layer {layer[:200]!r}",
            hint=near(layer[:200], site.atlas.layers),
            near=_near(site, address),
        )
    columns, unit = site.opened.columns(layer), int(text)
    if unit >= columns.units or text != str(unit):
        raise Missing(
            f"there is no unit {text} in {layer}: its units are 0 to {columns.units - 1}",
            near=_near(site, address),
        )
    return columns, unit


def can_label(site: Site, columns: Columns, unit: int) -> bool:
    """Whether a unit's images can be labelled blind: its activations differ, and were kept."""
    return bool(site.atlas.manifest["dense"] and columns.std[unit] > 0)


def _near(site: Site, address: str) -> list[Near]:
    """Neurons of the nearest layers: the same number where they have it, else the last."""
    import difflib

    layer, _, text = address[:200].rpartition(":")
    layers = site.atlas.layers
    close = difflib.get_close_matches(layer or address[:200], layers, n=3, cutoff=0.4) or layers[:1]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    found = []
    for name in close:
        unit = min(number, int(site.atlas.layer(name)["units"]) - 1)
        found.append(Near(f"{name}:{unit}", site.links.neuron(f"{name}:{unit}")))
    return found
