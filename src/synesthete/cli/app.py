"""The command `synesthete`: its groups of commands, and how it ends when something goes wrong.

Each call imports only the module of its own command: all of them, the catalogue's above all, take longer than most commands that read an atlas.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from synesthete import __version__
from synesthete.cli.console import fail
from synesthete.errors import SynestheteError

# The commands and groups of each module, in the order of the help.
TOPICS = {
    "record": ("demo", "record", "analyze"),
    "look": ("look",),
    "atlas": ("summary", "stability", "neurons", "show", "concept", "migrate", "verify"),
    "compare": ("compare",),
    "analyze": ("name", "families", "words", "conditional", "decompose", "explain", "causal", "texts", "emotions"),
    "joint": ("joint",),
    "visualize": ("visualize", "attribute"),
    "edit": ("edit", "stickers", "defend"),
    "reproduce": ("reproduce",),
    "serve": ("serve", "export", "map", "mcp"),
    "audit": ("audit",),
    "sae": ("sae",),
    "reviews": ("reviews",),
    "catalog": ("catalog",),
    "models": ("probes", "models"),
}  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"synesthete {__version__}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def make_app(command: str | None = None) -> typer.Typer:
    """The command line.

    Parameters
    ----------
    command
        The command or group that will be called: the rest of `TOPICS` is then not imported. All are there without it, and where no topic has it.
    """
    app = typer.Typer(
        name="synesthete",
        help=(
            "A microscope for the multimodal neurons of CLIP.\n\n"
            "Find the neurons of an image-text model that answer to a concept however it is shown: "
            "as a photo, a drawing, a symbol or a written word.\n\n"
            "Start with **synesthete demo**, or with your own photos: **synesthete look PHOTOS**."
        ),
        rich_markup_mode="markdown",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_options)
    wanted = {topic for topic, names in TOPICS.items() if command in names} or set(TOPICS)
    if "record" in wanted:
        from synesthete.cli import record

        app.add_typer(record.app)
    if "look" in wanted:
        from synesthete.cli import look

        app.add_typer(look.app)
    if "atlas" in wanted:
        from synesthete.cli import atlas

        app.add_typer(atlas.app)
    if "compare" in wanted:
        from synesthete.cli import compare

        app.add_typer(compare.app)
    if "analyze" in wanted:
        from synesthete.cli import analyze

        app.add_typer(analyze.app)
    if "joint" in wanted:
        from synesthete.cli import joint

        app.add_typer(joint.app)
    if "visualize" in wanted:
        from synesthete.cli import visualize

        app.add_typer(visualize.app)
    if "edit" in wanted:
        from synesthete.cli import edit

        app.add_typer(edit.app)
    if "reproduce" in wanted:
        from synesthete.cli import reproduce

        app.add_typer(reproduce.app)
    if "serve" in wanted:
        from synesthete.cli import serve

        app.add_typer(serve.app)
    if "audit" in wanted:
        from synesthete.cli import audit

        app.add_typer(audit.app, name="audit", rich_help_panel=audit.PANEL)
    if "sae" in wanted:
        from synesthete.cli import sae

        app.add_typer(sae.app, name="sae", rich_help_panel=sae.PANEL)
    if "reviews" in wanted:
        from synesthete.cli import reviews

        app.add_typer(reviews.app, name="reviews", rich_help_panel=reviews.PANEL)
    if "catalog" in wanted:
        from synesthete.catalog.cli import app as catalog

        app.add_typer(catalog.app, name="catalog", rich_help_panel=catalog.PANEL)
    if "models" in wanted:
        from synesthete.cli import models

        app.add_typer(models.probes, name="probes", rich_help_panel=models.PANEL)
        app.add_typer(models.models, name="models", rich_help_panel=models.PANEL)
    return app


def main() -> None:
    """Run the command line; a user's mistake ends in one red line and exit code 2.

    An interrupt ends with exit code 130, and a reader that goes away (`| head`) ends it quietly.
    """
    try:
        make_app(next(iter(sys.argv[1:]), None))()
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
