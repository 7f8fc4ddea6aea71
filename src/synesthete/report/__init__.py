"""What is known of a neuron, a layer and a concept, gathered once, and the one chart kit that draws it."""

from synesthete.report.card import CardFiles, neuron_card, write_card
from synesthete.report.concept import ConceptReport, concept_report
from synesthete.report.layer import LayerReport, layer_report
from synesthete.report.neuron import NeuronReport, neuron_report
from synesthete.report.source import Source, source_of

__all__ = [
    "CardFiles",
    "ConceptReport",
    "LayerReport",
    "NeuronReport",
    "Source",
    "concept_report",
    "layer_report",
    "neuron_card",
    "neuron_report",
    "source_of",
    "write_card",
]
