"""Pages as HTML: Jinja2 with everything escaped, and the few helpers that templates use."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request

from synesthete.audits.report import report_body
from synesthete.report import charts, svg
from synesthete.report.counts import counts_in_words
from synesthete.report.links import Links
from synesthete.server.errors import ErrorFacts
from synesthete.server.inline import json_data
from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.pages import PAGES
from synesthete.server.sending import asked_from

NAVIGATION = tuple((page.label, page.path) for page in PAGES if page.label)
STATIC_NAVIGATION = (
    *((page.label, page.path) for page in PAGES if page.label and page.exported),
    ("Search", "/search"),
)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates."""
    made = Environment(
        loader=PackageLoader("synesthete.server"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=svg.percent,
        number=svg.number,
        auc=svg.auc,
        thousands=thousands,
        activation=svg.amount,
        percentile=percentile,
        sentence=sentence,
        tojson_points=json_data,
    )
    made.globals.update(
        audit_body=report_body,
        charts=charts,
        counts_in_words=counts_in_words,
        synesthete_version=version("synesthete"),
    )
    return made


def render(page: Page, site: Site, facts: Any, **more: Any) -> str:
    """A page as HTML."""
    twin = f"{site.path.rstrip('/') or '/index'}.json"
    twin = site.links.prefix + twin + (f"?{site.query}" if site.query else "")
    own = {"facts": facts, "twin": "" if page.name == "probed" else twin}
    return render_template(page.template, site, **(own | more))


def render_template(name: str, site: Site | None, **more: Any) -> str:
    """A page that is no `Page`, of one atlas or of none."""
    common: dict[str, Any] = {
        "site": site,
        "links": site.links if site else Links(),
        "navigation": NAVIGATION if site else (),
        "here": site.path if site else "",
        "twin": "",
        "others": site.others if site else (),
        "static": False,
        "csrf": "",
    }
    return environment().get_template(name).render(common | more)


def render_error(request: Request, facts: ErrorFacts) -> str:
    """What went wrong, and where to go from there."""
    return _error_page(facts, asked_from(request))


# Who has no token gets these two pages, however often they are requested: they are cached, so that drawing them does not
# take the time of those who have one.
@lru_cache(maxsize=32)
def _error_page(facts: ErrorFacts, back: str) -> str:
    navigation = () if facts.status == 401 else NAVIGATION
    return render_template("error.html", None, facts=facts, navigation=navigation, back=back)


@lru_cache(maxsize=1)
def render_entrance() -> str:
    """The form that asks for the token."""
    return render_template("enter.html", None)


def sentence(text: str) -> str:
    """A message as a sentence: it begins with a capital and ends with a stop.

    Examples
    --------
    >>> sentence("there is no such page"), sentence("did you mean 'a'?")
    ('There is no such page.', "Did you mean 'a'?")
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def percentile(value: float | None) -> str:
    """A percentile, cut off so that 100 is never claimed too early.

    Examples
    --------
    >>> percentile(99.9951), percentile(100.0), percentile(54.27), percentile(None)
    ('99.99', '100', '54.2', '–')
    """
    if value is None:
        return "–"
    digits = 100 if value >= 99 else 10
    return f"{int(value * digits + 1e-9) / digits:g}"


def thousands(value: int | None) -> str:
    """A count with its thousands set apart."""
    return "–" if value is None else f"{value:,}"
