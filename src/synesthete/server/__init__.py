"""The microscope: pages of an atlas and their JSON representation, for your own browser. Reading them needs no model."""

from synesthete.server.app import create_app
from synesthete.server.auth import Gate

__all__ = ["Gate", "create_app"]
