"""All pages of the microscope, in the order of the navigation; a new page is a module here and a line below."""

from synesthete.server.pages import audits, bench, images, neurons, try_image
from synesthete.server.pages.audits import AUDIT, AUDITS
from synesthete.server.pages.bench import BENCH
from synesthete.server.pages.compare import COMPARE, MODELS
from synesthete.server.pages.concepts import CONCEPT, CONCEPTS
from synesthete.server.pages.edit import EDIT
from synesthete.server.pages.families import FAMILIES, FAMILY
from synesthete.server.pages.images import IMAGE, LICENCES
from synesthete.server.pages.map import MAP
from synesthete.server.pages.map import router as map_router
from synesthete.server.pages.model_card import MODEL_CARD
from synesthete.server.pages.neurons import LAYER, NEURON, NEURONS
from synesthete.server.pages.reviews import LABEL, REVIEWS
from synesthete.server.pages.search import SEARCH
from synesthete.server.pages.try_image import TRY_IMAGE, TRY_IMAGE_AGAIN
from synesthete.server.pages.try_text import TRY_TEXT

PAGES = (
    MODEL_CARD,
    BENCH,
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
    TRY_IMAGE,
    TRY_IMAGE_AGAIN,
    TRY_TEXT,
    EDIT,
    REVIEWS,
    LABEL,
    AUDITS,
    AUDIT,
    SEARCH,
    LICENCES,
)
# Routes of images, which come before those of pages: `/neuron/{address}.webp` is a page's path too.
IMAGES = (
    images.router,
    bench.router,
    neurons.router,
    audits.router,
    try_image.router,
    map_router,
)

__all__ = ["IMAGES", "PAGES"]
