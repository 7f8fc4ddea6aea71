"""All pages of the microscope; a new page is a module here and a line below."""

from synesthete.server.pages.audits import AUDIT, AUDITS
from synesthete.server.pages.compare import COMPARE
from synesthete.server.pages.concept import CONCEPT
from synesthete.server.pages.concepts import CONCEPTS
from synesthete.server.pages.families import FAMILIES
from synesthete.server.pages.family import FAMILY
from synesthete.server.pages.label import LABEL
from synesthete.server.pages.layer import LAYER
from synesthete.server.pages.licences import LICENCES
from synesthete.server.pages.map import MAP
from synesthete.server.pages.model_card import MODEL_CARD
from synesthete.server.pages.neuron import NEURON
from synesthete.server.pages.neurons import NEURONS
from synesthete.server.pages.probe import PROBE
from synesthete.server.pages.reviews import REVIEWS
from synesthete.server.pages.search import SEARCH

PAGES = [
    MODEL_CARD, NEURONS, LAYER, NEURON, CONCEPTS, CONCEPT, FAMILIES, FAMILY, MAP, COMPARE, SEARCH, PROBE,
    REVIEWS, LABEL, AUDITS, AUDIT, LICENCES,
]  # fmt: skip

__all__ = ["PAGES"]
