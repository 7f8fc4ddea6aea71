"""Attribution: where in a picture a unit finds what it answers to."""

from synesthete.visualization.attribution.boxes import Box, box_of
from synesthete.visualization.attribution.driver import Attributed, attribute
from synesthete.visualization.attribution.maps import METHODS, attribution_maps

__all__ = ["METHODS", "Attributed", "Box", "attribute", "attribution_maps", "box_of"]
