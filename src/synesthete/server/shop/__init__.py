"""A catalogue over HTTP: a REST API with keys, and pages to try each part by hand."""

from synesthete.server.shop.app import create_shop

__all__ = ["create_shop"]
