"""Typographic audit: words written on images, and how often the word becomes the answer."""

from synesthete.audits.typographic.attack import LinearProbe, Subject, ZeroShot
from synesthete.audits.typographic.audit import audit_typographic, make_subject
from synesthete.audits.typographic.protocol import Stroop, stroop

__all__ = [
    "LinearProbe",
    "Stroop",
    "Subject",
    "ZeroShot",
    "audit_typographic",
    "make_subject",
    "stroop",
]
