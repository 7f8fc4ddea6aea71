"""The group `synesthete catalog`."""

from __future__ import annotations

import typer

from synesthete.catalog.cli import items, metrics, reviews, search, service

PANEL = "Put a model to work"
app = typer.Typer(
    help="A catalogue of items with images and words: index, search, recommend, align, suggest.",
    no_args_is_help=True,
)
for module in (items, search, metrics, reviews, service):
    app.add_typer(module.app)
