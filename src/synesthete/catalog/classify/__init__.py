"""Records of image and text, classified by a calibrated linear probe that abstains where it is not sure."""

from synesthete.catalog.classify.classifier import Classification, Classifier
from synesthete.catalog.classify.records import (
    TEMPLATES,
    Record,
    Records,
    Template,
    make_record,
    read_records,
)
from synesthete.catalog.classify.requests import Classifications, Classify, NewRecord
from synesthete.catalog.classify.train import fit

__all__ = [
    "TEMPLATES",
    "Classification",
    "Classifications",
    "Classifier",
    "Classify",
    "NewRecord",
    "Record",
    "Records",
    "Template",
    "fit",
    "make_record",
    "read_records",
]
