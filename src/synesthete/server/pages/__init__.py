"""All pages of the microscope, in the order of the navigation; a new page is a module here and a line below."""

from synesthete.server.pages.audits import AUDIT, AUDITS
from synesthete.server.pages.bench import BENCH
from synesthete.server.pages.compare import COMPARE
from synesthete.server.pages.concept import CONCEPT
from synesthete.server.pages.concepts import CONCEPTS
from synesthete.server.pages.families import FAMILIES
from synesthete.server.pages.family import FAMILY
from synesthete.server.pages.image import IMAGE
from synesthete.server.pages.label import LABEL
from synesthete.server.pages.layer import LAYER
from synesthete.server.pages.licences import LICENCES
from synesthete.server.pages.map import MAP
from synesthete.server.pages.model_card import MODEL_CARD
from synesthete.server.pages.models import MODELS
from synesthete.server.pages.neuron import NEURON
from synesthete.server.pages.neurons import NEURONS
from synesthete.server.pages.probe import PROBE
from synesthete.server.pages.reviews import REVIEWS
from synesthete.server.pages.search import SEARCH

PAGES = (
    MODEL_CARD,
    NEURONS,
    LAYER,
    NEURON,
    CONCEPTS,
    CONCEPT,
    FAMILIES,
    FAMILY,
    IMAGE,
    MAP,
    COMPARE,
    MODELS,
    PROBE,
    BENCH,
    REVIEWS,
    LABEL,
    AUDITS,
    AUDIT,
    SEARCH,
    LICENCES,
)

__all__ = ["PAGES"]
