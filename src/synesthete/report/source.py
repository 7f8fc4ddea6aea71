"""Where reports read: an atlas with what is kept of it, the addresses of its pages, and the unit at an address."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from synesthete._core.cache import Bounded, file_stamp
from synesthete.atlas.mirror import people_folder
from synesthete.atlas.neurons import CANDIDATES
from synesthete.errors import SynestheteError, near
from synesthete.report.columns import Columns, ProbeColumns, read_columns, read_probe_columns
from synesthete.report.images import OpaqueIds, Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import pyarrow as pa

    from synesthete.atlas import Atlas
    from synesthete.reviews import State

COMPUTED = 2_000
MATRICES = 2  # layers whose activations are kept ready to be compared, 24 MB each
Value = TypeVar("Value")


@dataclass(frozen=True)
class Links:
    """Paths of the pages of one atlas.

    Attributes
    ----------
    prefix
        `/a/NAME`, or empty for the first atlas.
    live
        Whether there is a server; a static site has no page for each image.
    """

    prefix: str = ""
    live: bool = True

    def at(self, path: str, **query: object) -> str:
        """Path of a page of this atlas, with its query; empty and absent values are left out.

        Examples
        --------
        >>> Links("/a/mini").at("/layer/visual.layer4", page=2, family="")
        '/a/mini/layer/visual.layer4?page=2'
        """
        kept = {key: value for key, value in query.items() if value not in (None, "", False)}
        given = {key: "1" if value is True else value for key, value in kept.items()}
        return f"{self.prefix}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")

    def home(self) -> str:
        """The model card."""
        return self.at("/")

    def layer(self, name: str, **query: object) -> str:
        """The grid of a layer."""
        return self.at(f"/layer/{_part(name)}", **query)

    def neuron(self, address: str) -> str:
        """The page of a neuron."""
        return self.at(f"/neuron/{_part(address)}")

    def mosaic(self, address: str) -> str:
        """A neuron's strongest image of each modality, as one image."""
        return self.at(f"/neuron/{_part(address)}.webp")

    def card(self, address: str) -> str:
        """A neuron's card, as one HTML file."""
        return self.at(f"/neuron/{_part(address)}.card.html")

    def visualization(self, address: str, name: str) -> str:
        """A feature visualization of a neuron."""
        return self.at(f"/visualization/{_part(address)}/{_part(name)}.webp")

    def concept(self, name: str) -> str:
        """The page of a concept."""
        return self.at(f"/concept/{_part(name)}")

    def families(self) -> str:
        """The list of families."""
        return self.at("/families")

    def family(self, name: str, **query: object) -> str:
        """The page of a family."""
        return self.at(f"/family/{_part(name)}", **query)

    def audit(self, name: str) -> str:
        """The page of an audit report."""
        return self.at(f"/audits/{_part(name)}")

    def audit_image(self, name: str, number: int) -> str:
        """An example image of an audit report."""
        return self.at(f"/audits/{_part(name)}/{number}.webp")

    def search(self, q: str = "") -> str:
        """The search."""
        return self.at("/search", q=q)

    def licences(self, **query: object) -> str:
        """Licences and authors of the images."""
        return self.at("/licences", **query)

    def image(self, key: str) -> str:
        """The thumbnail of an image, by its opaque id."""
        return self.at(f"/image/{_part(key)}.webp")

    def image_page(self, key: str) -> str:
        """The page of an image; empty where it has none."""
        return self.at(f"/image/{_part(key)}") if self.live else ""

    def static(self, name: str) -> str:
        """A file of the microscope itself."""
        return f"/static/{name}"


def _part(name: str) -> str:
    return quote(name, safe=":@,")


@dataclass(frozen=True)
class Near:
    """Something that exists and may have been meant: what it is called, and the page's path."""

    name: str
    path: str


class Missing(SynestheteError):
    """There is no such neuron, layer or concept.

    Parameters
    ----------
    message, hint
        As of every error.
    near
        Pages of what exists and was perhaps meant.
    """

    def __init__(self, message: str, *, hint: str = "", near: list[Near] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.near = near or []


class Opened:
    """One atlas and what reports keep of it.

    Parameters
    ----------
    name
        What it is called in addresses.
    atlas
        The atlas.
    """

    def __init__(self, name: str, atlas: Atlas) -> None:
        self.name = name
        self.atlas = atlas
        self.thumbnails = Thumbnails(atlas)
        self.ids = OpaqueIds(atlas.fingerprint, int(atlas.manifest["probes"]["images"]))
        self._columns: dict[str, Columns] = {}
        self.matrices = Bounded[Any](MATRICES)
        self._computed = Bounded[Any](COMPUTED)
        self._reviews: tuple[object, dict[str, State]] = (None, {})
        self._lock = threading.RLock()

    @cached_property
    def probes(self) -> ProbeColumns:
        """The images as columns."""
        return read_probe_columns(self.atlas)

    def columns(self, layer: str) -> Columns:
        """The units of a layer as columns.

        Raises
        ------
        Missing
            No such layer.
        """
        if layer not in self.atlas.layers:
            found = self.atlas.layers
            raise Missing(
                f"there is no layer {layer!r} in {self.name}",
                hint=near(layer, found),
                near=[Near(name, Links().layer(name)) for name in found[:8]],
            )
        with self._lock:
            if layer not in self._columns:
                self._columns[layer] = read_columns(self.atlas, layer)
            return self._columns[layer]

    def selectivity(self, layer: str) -> pa.Table:
        """The rows unit × concept that the analysis kept; read once."""
        return self.computed(("selectivity", layer), lambda: self.atlas.selectivity(layer))

    def unit_table(self, layer: str, kind: str) -> pa.Table | None:
        """`Atlas.unit_table`; read once."""
        return self.computed((kind, layer), lambda: self.atlas.unit_table(layer, kind))

    def computed(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What was computed for a report, kept within bounds."""
        value: Value = self._computed.get(key, make)
        return value

    def reviews(self) -> dict[str, State]:
        """What people say of units, by address; read again when somebody wrote a review."""
        from synesthete.reviews import current

        folder = people_folder(self.atlas.path)
        stamp = tuple(file_stamp(folder / f"reviews.sqlite{end}") for end in ("", "-wal"))
        with self._lock:
            if self._reviews[0] != stamp:
                self._reviews = (stamp, current(self.atlas) if any(stamp) else {})
            return self._reviews[1]


@dataclass(frozen=True)
class Source:
    """What a report is gathered from.

    Attributes
    ----------
    opened
        The atlas, with what is kept of it.
    links
        Addresses of its pages, which a report gives with everything that has one.
    """

    opened: Opened
    links: Links = field(default_factory=Links)

    @property
    def atlas(self) -> Atlas:
        """The atlas."""
        return self.opened.atlas


def source_of(atlas: Atlas) -> Source:
    """An atlas on its own, outside of a server."""
    return Source(Opened(atlas.path.name, atlas))


def find_unit(source: Source, address: str) -> tuple[Columns, int]:
    """The columns of a layer, and the unit of them: by address, by number where there is one layer, by concept or name.

    Raises
    ------
    Missing
        When there is no such neuron; or several, and then they are listed.
    """
    layer, colon, text = address.rpartition(":")
    if not colon or not (text.isascii() and text.isdigit()) or len(text) > 9:
        layer, _, text = _by_name(source, address).rpartition(":")
    if layer not in source.atlas.layers:
        raise Missing(
            f"there is no layer {layer[:200]!r}",
            hint=near(layer[:200], source.atlas.layers),
            near=_near(source, address),
        )
    columns, unit = source.opened.columns(layer), int(text)
    if unit >= columns.units or text != str(unit):
        raise Missing(
            f"there is no unit {text} in {layer}: its units are 0 to {columns.units - 1}",
            near=_near(source, address),
        )
    return columns, unit


def can_label(source: Source, columns: Columns, unit: int) -> bool:
    """Whether a unit's images can be labelled blind: its activations differ, and were kept, of all images or of a sample."""
    return bool(source.atlas.sampled.manifest["dense"] and columns.std[unit] > 0)


def _by_name(source: Source, text: str) -> str:
    try:
        return source.atlas.address(text)
    except SynestheteError as error:
        found = source.atlas.called(text)[:CANDIDATES] if source.atlas.analysed else []
        others = [Near(n.address, source.links.neuron(n.address)) for n in found]
        raise Missing(error.message, hint=error.hint, near=others or _near(source, text)) from None


def _near(source: Source, address: str) -> list[Near]:
    """Neurons of the nearest layers: the same number where they have it, else the last."""
    import difflib

    layer, _, text = address[:200].rpartition(":")
    layers = source.atlas.layers
    close = difflib.get_close_matches(layer or address[:200], layers, n=3, cutoff=0.4) or layers[:1]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    found = []
    for name in close:
        unit = min(number, int(source.atlas.layer(name)["units"]) - 1)
        found.append(Near(f"{name}:{unit}", source.links.neuron(f"{name}:{unit}")))
    return found
