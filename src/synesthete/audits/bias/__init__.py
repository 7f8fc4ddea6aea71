"""Bias audit: what a model associates with groups of people, in texts, units, rankings and labels."""

from synesthete.audits.bias.audit import audit_bias
from synesthete.audits.bias.lists import Lists, load_lists

__all__ = ["Lists", "audit_bias", "load_lists"]
