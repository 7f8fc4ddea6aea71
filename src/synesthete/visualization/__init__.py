"""Pictures of what was found: the neuron card, drawn from an atlas without a model."""

from synesthete.visualization.card import neuron_card
from synesthete.visualization.files import CardFiles, write_card

__all__ = ["CardFiles", "neuron_card", "write_card"]
