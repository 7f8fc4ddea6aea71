"""A widget that goes through the neurons of an atlas in a notebook. Importing it needs anywidget (extra `[notebook]`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from synesthete.errors import SynestheteError
from synesthete.report.card import card_of
from synesthete.report.source import source_of

if TYPE_CHECKING:
    from synesthete.atlas import Atlas

LIMIT = 12  # neurons in the list


class NeuronWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """A search over an atlas, and the card of the neuron that is chosen.

    Attributes
    ----------
    address
        Of the neuron that is shown, such as `visual.layer4.1:12`; set it, or click on another. One that the atlas lacks changes nothing but `message`.
    query
        What is searched for among concepts and names; the most multimodal neurons where it is empty. The first neuron that it finds is shown.
    found
        The first `LIMIT` neurons that it finds, each with `address` and `heading`.
    card, title
        The card as the address of an image, and what it shows in words.
    message
        What is wrong with the last query or address, or how many neurons were found; empty without a query.

    Raises
    ------
    SynestheteError
        The atlas is not analysed, or has no such neuron.
    """

    _esm = Path(__file__).parent / "widget.js"
    _css = Path(__file__).parent / "widget.css"
    address = traitlets.Unicode().tag(sync=True)
    query = traitlets.Unicode().tag(sync=True)
    found: traitlets.List[dict[str, str]] = traitlets.List().tag(sync=True)
    card = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)

    def __init__(self, atlas: Atlas, address: str | None = None) -> None:
        super().__init__()
        self._atlas, self._source = atlas, source_of(atlas)
        self._search()
        if address is None and not self.found:
            raise SynestheteError(f"{atlas.path} has no neurons to show")
        self.address = atlas.neuron(address or self.found[0]["address"]).address
        if not self.address:
            raise SynestheteError(self.message)

    @traitlets.validate("address")
    def _known(self, proposal: dict[str, Any]) -> str:
        try:
            found = self._atlas.neuron(proposal["value"]).address
            if found != self.address:
                self.card, self.title = card_of(self._source, found)
        except SynestheteError as error:
            self.message = str(error)
            return str(self.address)
        self.message = ""
        return found

    @traitlets.observe("query")
    def _search(self, change: object = None) -> None:
        atlas, query = self._atlas, self.query.strip()
        try:
            hits = (
                atlas.find(query)
                if query
                else atlas.neurons(multimodal=True, limit=LIMIT) or atlas.neurons(limit=LIMIT)
            )
        except SynestheteError as error:
            if change is None:
                raise
            self.message = str(error)
            return
        self.found = [{"address": one.address, "heading": one.heading or one.concept} for one in hits[:LIMIT]]  # fmt: skip
        if change is not None and self.found:
            self.address = self.found[0]["address"]
        self.message = f"{len(hits):,} found" if query else ""
