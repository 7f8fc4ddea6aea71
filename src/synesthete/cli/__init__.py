"""The command line: parse, call the API, print. One file per command group."""

from synesthete.cli.app import app, main

__all__ = ["app", "main"]
