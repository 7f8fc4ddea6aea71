"""The templates of a room: what is put into them is escaped, and a name that is missing is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from synesthete.report import svg


def templates_of(package: str) -> Environment:
    """The folder `templates` of a package, with the filters that every page has."""
    templates = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(percent=svg.percent, number=svg.number)
    return templates
