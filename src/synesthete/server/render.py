"""Pages as HTML: Jinja2 with everything escaped, and the few helpers that templates use."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request

from synesthete.audits.report import report_body
from synesthete.server import charts
from synesthete.server.counts import counts_told
from synesthete.server.errors import ErrorFacts
from synesthete.server.inline import json_data
from synesthete.server.library import Site
from synesthete.server.links import Links
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
        percent=percent,
        number=number,
        auc=auc,
        thousands=thousands,
        activation=activation,
        percentile=percentile,
        sentence=sentence,
        tojson_points=json_data,
    )
    made.globals.update(
        audit_body=report_body,
        charts=charts,
        counts_told=counts_told,
        synesthete_version=version("synesthete"),
    )
    return made


def render(page: Page, site: Site, facts: Any, **more: Any) -> str:
    """A page as HTML."""
    twin = f"{site.path.rstrip('/') or '/index'}.json"
    twin = site.links.prefix + twin + (f"?{site.query}" if site.query else "")
    told: dict[str, Any] = {
        "facts": facts, "site": site, "links": site.links, "navigation": NAVIGATION, "here": site.path,
        "twin": "" if page.name == "probed" else twin, "others": site.others, "static": False, "csrf": "",
    }  # fmt: skip
    return environment().get_template(page.template).render(told | more)


def render_template(name: str, site: Site, **more: Any) -> str:
    """A page that is no `Page`, of one atlas."""
    told = {
        "site": site, "links": site.links, "navigation": NAVIGATION, "here": site.path, "twin": "",
        "others": site.others, "static": False, "csrf": "",
    }  # fmt: skip
    return environment().get_template(name).render(told | more)


def render_error(request: Request, facts: ErrorFacts) -> str:
    """What went wrong, and where to go from there."""
    return _error_page(facts, asked_from(request))


# Those who have no token get these two pages, as often as they ask: drawing one anew each time would take the
# time of those who have it.
@lru_cache(maxsize=32)
def _error_page(facts: ErrorFacts, back: str) -> str:
    return environment().get_template("error.html").render(
        facts=facts, links=Links(), navigation=() if facts.status == 401 else NAVIGATION, here="",
        twin="", others=(), static=False, csrf="", site=None, back=back,
    )  # fmt: skip


@lru_cache(maxsize=1)
def render_entrance() -> str:
    """The form that asks for the token."""
    return environment().get_template("enter.html").render(
        links=Links(), navigation=(), here="", twin="", others=(), static=False, csrf="", site=None
    )  # fmt: skip


def sentence(text: str) -> str:
    """A message as a sentence: it begins with a capital and ends with a stop.

    Examples
    --------
    >>> sentence("there is no such page"), sentence("did you mean 'a'?")
    ('There is no such page.', "Did you mean 'a'?")
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.0654), percent(None)
    ('6.5 %', '–')
    """
    return "–" if share is None else f"{share * 100:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def auc(value: float | None) -> str:
    """An AUC, rounded down so that 0.9 is never claimed too early.

    Examples
    --------
    >>> auc(0.8999), auc(1.0), auc(None)
    ('0.899', '1.000', '–')
    """
    return "–" if value is None else f"{int(value * 1000 + 1e-9) / 1000:.3f}"


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


def activation(value: float | None) -> str:
    """An activation, to three digits."""
    return "–" if value is None else f"{value:.3g}"
