"""The command line: parse, call the API, print. One file per command group."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    # Imported here, since a group of commands may be imported before the command line that mounts it.
    from synesthete.cli.app import main

    main()
