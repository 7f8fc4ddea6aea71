"""The microscope: pages of an atlas and their JSON twins, for one's own browser. Reading them needs no model."""

from synesthete.server.app import create_app
from synesthete.server.security import Gate

__all__ = ["Gate", "create_app"]
