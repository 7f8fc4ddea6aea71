"""`/concept/NAME`: one concept in all its guises, and the neurons that know it."""

from __future__ import annotations

from synesthete.report.concept import ConceptReport, concept_report
from synesthete.server.library import Site
from synesthete.server.page import Page


def concept_page(site: Site, concept: str) -> ConceptReport:
    """One concept: its images by modality, and the neurons that answer to it best."""
    return concept_report(site, concept)


CONCEPT = Page("/concept/{concept:path}", "concept.html", concept_page)
