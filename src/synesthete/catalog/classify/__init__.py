"""Records of picture and text, told apart by a calibrated probe that knows when to ask a person."""

from synesthete.catalog.classify.classifier import Classifier, Judged
from synesthete.catalog.classify.records import (
    TEMPLATES,
    Record,
    Records,
    Template,
    make_record,
    read_records,
)
from synesthete.catalog.classify.train import fit

__all__ = [
    "TEMPLATES",
    "Classifier",
    "Judged",
    "Record",
    "Records",
    "Template",
    "fit",
    "make_record",
    "read_records",
]
