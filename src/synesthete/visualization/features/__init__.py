"""Feature visualization: images optimised to excite a unit, a layer's direction or a text, plainly and by facets."""

from synesthete.visualization.features.run import Visualized, visualize
from synesthete.visualization.features.targets import (
    Target,
    class_target,
    direction_target,
    sum_target,
    text_target,
    unit_target,
)
from synesthete.visualization.settings import Settings

__all__ = [
    "Settings",
    "Target",
    "Visualized",
    "class_target",
    "direction_target",
    "sum_target",
    "text_target",
    "unit_target",
    "visualize",
]
