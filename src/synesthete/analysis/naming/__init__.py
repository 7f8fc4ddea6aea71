"""What a unit is called: names proposed by several scorers on one half of the images, tested on the other."""

from synesthete.analysis.naming.name import name_neurons
from synesthete.analysis.naming.scorers import SCORERS, cos_cubed, rank_reorder, soft_wpmi, wpmi
from synesthete.analysis.vocabulary import load_vocabulary

__all__ = [
    "SCORERS",
    "cos_cubed",
    "load_vocabulary",
    "name_neurons",
    "rank_reorder",
    "soft_wpmi",
    "wpmi",
]
