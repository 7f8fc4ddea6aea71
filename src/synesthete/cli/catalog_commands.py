"""The group `synesthete catalog`: a shop's items indexed, searched, recommended, aligned and suggested."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="A catalogue of items with pictures and words: index, search, recommend, align, suggest.",
    no_args_is_help=True,
)
