"""The command `synesthete`: its groups of commands, and how it ends when something goes wrong."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from synesthete import __version__
from synesthete.catalog.cli import app as catalog
from synesthete.cli import (
    analyze,
    atlas,
    audit,
    compare,
    edit,
    joint,
    models,
    record,
    reproduce,
    reviews,
    sae,
    serve,
    visualize,
)
from synesthete.cli.console import fail
from synesthete.errors import SynestheteError

app = typer.Typer(
    name="synesthete",
    help=(
        "A microscope for the multimodal neurons of CLIP.\n\n"
        "Find the neurons of an image-text model that answer to a concept however it is shown: "
        "as a photo, a drawing, a symbol or a written word.\n\n"
        "Start with **synesthete demo**."
    ),
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"synesthete {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


for topic in (record, atlas, compare, analyze, joint, visualize, edit, reproduce, serve):
    app.add_typer(topic.app)
app.add_typer(audit.app, name="audit", rich_help_panel=audit.PANEL)
app.add_typer(sae.app, name="sae", rich_help_panel=sae.PANEL)
app.add_typer(reviews.app, name="reviews", rich_help_panel=analyze.PANEL)
app.add_typer(catalog.app, name="catalog", rich_help_panel=catalog.PANEL)
app.add_typer(models.probes, name="probes", rich_help_panel="Probe sets and models")
app.add_typer(models.models, name="models", rich_help_panel="Probe sets and models")


def main() -> None:
    """Run the command line; a user's mistake ends in one red line and exit code 2.

    An interrupt ends with exit code 130, and a reader that goes away (`| head`) ends it quietly.
    """
    try:
        app()
    except SynestheteError as error:
        fail(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno == errno.EPIPE:
            sys.exit(1)
        if error.errno == errno.ENOSPC:
            fail(f"the disk is full{_where(error)} (make room and run the same command again)")
        else:
            fail(f"{error.strerror or error}{_where(error)}")
        sys.exit(2)


def _where(error: OSError) -> str:
    return f": {error.filename}" if error.filename and error.strerror else ""
