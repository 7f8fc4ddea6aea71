"""The atlas: the store on disk of what was recorded and found; FORMAT.md is its specification."""

from synesthete.atlas.exemplars import ExemplarList, Exemplars
from synesthete.atlas.migration import migrate_atlas
from synesthete.atlas.neurons import Neuron
from synesthete.atlas.statistics import Statistics
from synesthete.atlas.store import Atlas, open_atlas
from synesthete.atlas.summary import curves, multimodal_counts, not_tested, other_counts
from synesthete.atlas.thumbnails import ThumbnailPosition
from synesthete.atlas.visualizations import Visualization
from synesthete.atlas.words import write_words
from synesthete.atlas.writing import (
    clear_analysis,
    write_analysis,
    write_layer,
    write_neurons,
    write_selectivity,
    write_unit_tables,
)

__all__ = [
    "Atlas",
    "ExemplarList",
    "Exemplars",
    "Neuron",
    "Statistics",
    "ThumbnailPosition",
    "Visualization",
    "clear_analysis",
    "curves",
    "migrate_atlas",
    "multimodal_counts",
    "not_tested",
    "open_atlas",
    "other_counts",
    "write_analysis",
    "write_layer",
    "write_neurons",
    "write_selectivity",
    "write_unit_tables",
    "write_words",
]
