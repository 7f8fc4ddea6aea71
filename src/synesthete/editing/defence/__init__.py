"""Defence: the few units whose switching off lowers a harm most for the least that is lost."""

from synesthete.editing.defence.association import Association, Axis, load_axis
from synesthete.editing.defence.find import (
    Carriers,
    Defence,
    Frontier,
    Point,
    Series,
    defend,
    find_defence,
    objectives,
)
from synesthete.editing.defence.heads import Looking
from synesthete.editing.defence.objective import Evaluation, Measured
from synesthete.editing.defence.typographic import Typographic

__all__ = [
    "Association",
    "Axis",
    "Carriers",
    "Defence",
    "Evaluation",
    "Frontier",
    "Looking",
    "Measured",
    "Point",
    "Series",
    "Typographic",
    "defend",
    "find_defence",
    "load_axis",
    "objectives",
]
