"""Typographic audit: words written on pictures, and how often the word becomes the answer."""

from synesthete.audits.typographic.attack import Subject
from synesthete.audits.typographic.driver import audit_typographic, make_subject
from synesthete.audits.typographic.heads import LinearProbe, ZeroShot
from synesthete.audits.typographic.stroop import Stroop, stroop

__all__ = [
    "LinearProbe",
    "Stroop",
    "Subject",
    "ZeroShot",
    "audit_typographic",
    "make_subject",
    "stroop",
]
