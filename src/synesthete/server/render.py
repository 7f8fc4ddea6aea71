"""Templates to HTML: Jinja2 with everything escaped, and the few helpers that templates use."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from starlette.requests import Request

from synesthete.atlas.visualizations import percentile
from synesthete.audits.report import report_body
from synesthete.report import charts, svg
from synesthete.report.card import file_name
from synesthete.report.counts import counts_in_words
from synesthete.report.source import Links
from synesthete.report.templates import templates_of
from synesthete.server.errors import ErrorFacts, form_page
from synesthete.server.library import Site

Navigation = tuple[tuple[str, str], ...]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates."""
    templates = templates_of("synesthete.server")
    templates.filters.update(
        auc=svg.auc,
        thousands=thousands,
        activation=svg.amount,
        percentile=percentile,
        sentence=sentence,
        file_name=file_name,
        tojson_points=json_data,
    )
    templates.globals.update(
        audit_body=report_body,
        charts=charts,
        counts_in_words=counts_in_words,
        synesthete_version=version("synesthete"),
    )
    return templates


def render(name: str, site: Site | None, *, navigation: Navigation = (), **facts: Any) -> str:
    """A template as HTML.

    Parameters
    ----------
    name
        Of the template.
    site
        The atlas that the page is of; None for pages of no atlas.
    navigation
        Labels and paths of the pages that the header leads to; empty for no navigation.
    facts
        Further variables of the template.
    """
    common: dict[str, Any] = {
        "site": site,
        "links": site.links if site else Links(),
        "navigation": navigation,
        "here": site.path if site else "",
        "json_path": "",
        "others": site.others if site else (),
        "static": False,
        "csrf": "",
        "base": "",
    }
    return environment().get_template(name).render(common | facts)


def render_error(request: Request, facts: ErrorFacts) -> str:
    """What went wrong, and where to go from there."""
    navigation = () if facts.status == 401 else request.app.state.navigation
    return _error_page(facts, form_page(request), navigation)


# These two pages need no token, however often they are requested: they are cached, so that rendering them takes no time from
# authenticated requests.
@lru_cache(maxsize=32)
def _error_page(facts: ErrorFacts, back: str, navigation: Navigation) -> str:
    return render("error.html", None, facts=facts, navigation=navigation, back=back)


@lru_cache(maxsize=1)
def render_sign_in() -> str:
    """The form that takes the token."""
    return render("enter.html", None)


def json_data(values: Any) -> Markup:
    """Values (dataclasses too) as JSON that cannot end the `script` element it stands in."""
    text = json.dumps(values, default=asdict, ensure_ascii=False, allow_nan=False)
    for letter, safe in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(letter, safe)
    return Markup(text)


def sentence(text: str) -> str:
    """A message as a sentence: it begins with a capital and ends with a stop.

    Examples
    --------
    >>> sentence("there is no such page"), sentence("did you mean 'a'?")
    ('There is no such page.', "Did you mean 'a'?")
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def thousands(value: int | None) -> str:
    """A count with its thousands set apart."""
    return "–" if value is None else f"{value:,}"
