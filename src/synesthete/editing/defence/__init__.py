"""Defence: the few units whose switching off lowers a harm most for the least that is lost."""

from synesthete.editing.defence.against import defend, objectives
from synesthete.editing.defence.axis import Axis, load_axis
from synesthete.editing.defence.driver import Defence, Point, Series, find_defence
from synesthete.editing.defence.objective import Association, Judged, Measured, Typographic

__all__ = [
    "Association",
    "Axis",
    "Defence",
    "Judged",
    "Measured",
    "Point",
    "Series",
    "Typographic",
    "defend",
    "find_defence",
    "load_axis",
    "objectives",
]
