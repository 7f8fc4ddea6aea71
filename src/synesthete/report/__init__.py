"""What is known of a neuron, a layer and a concept, gathered once, and the one chart kit that draws it.

Imported on first use: a command that prints counts draws no card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name in ("CardFiles", "neuron_card", "write_card"):
        from synesthete.report import card as module
    elif name in ("ConceptReport", "concept_report"):
        from synesthete.report import concept as module  # type: ignore[no-redef]
    elif name in ("LayerReport", "layer_report"):
        from synesthete.report import layer as module  # type: ignore[no-redef]
    elif name in ("NeuronReport", "neuron_report"):
        from synesthete.report import neuron as module  # type: ignore[no-redef]
    elif name in ("Source", "source_of"):
        from synesthete.report import source as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
