"""Adversarial audit: changes of pixels too small to see, and how many answers survive them."""

from synesthete.audits.adversarial.audit import audit_adversarial

__all__ = ["audit_adversarial"]
