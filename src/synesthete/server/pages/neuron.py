"""`/neuron/ADDRESS`: one neuron, from what it looks at to how sure that is."""

from __future__ import annotations

from synesthete.report.neuron import NeuronReport, neuron_report
from synesthete.server.library import Site
from synesthete.server.page import Page


def neuron_page(site: Site, address: str) -> NeuronReport:
    """One neuron: name, multimodality by modality, images at every level, what is like it, the controls."""
    return neuron_report(site, address)


NEURON = Page("/neuron/{address:path}", "neuron.html", neuron_page)
