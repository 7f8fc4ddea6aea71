"""Addresses of pages: one place that knows them, so that a static export can write others."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode


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
        told = {key: "1" if value is True else value for key, value in kept.items()}
        return f"{self.prefix}{path}" + (f"?{urlencode(told, doseq=True)}" if told else "")

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
        """The picture of a neuron: its strongest image of each modality."""
        return self.at(f"/neuron/{_part(address)}.webp")

    def made(self, address: str, name: str) -> str:
        """A picture that was made of a neuron."""
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

    def audit_picture(self, name: str, number: int) -> str:
        """An example picture of an audit report."""
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

    def picture(self, key: str) -> str:
        """The page of an image; empty where it has none."""
        return self.at(f"/image/{_part(key)}") if self.live else ""

    def static(self, name: str) -> str:
        """A file of the microscope itself."""
        return f"/static/{name}"


def _part(name: str) -> str:
    return quote(name, safe=":@,")
