"""`/audits`: reports that lie beside the atlas, and `/audits/NAME`: one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synesthete.server.library import Site
from synesthete.server.page import Page
from synesthete.server.reports import report, reports


@dataclass(frozen=True)
class AuditRow:
    """A report of the list; `same_model` tells whether it is of the model that the atlas is of."""

    name: str
    path: str
    kind: str
    model: str
    same_model: bool
    verdicts: dict[str, int]
    problem: str


@dataclass(frozen=True)
class AuditsPage:
    """Reports beside the atlas."""

    model: str
    audits: list[AuditRow]


@dataclass(frozen=True)
class AuditPage:
    """One report, as its file has it; example pictures are paths."""

    name: str
    report: dict[str, Any]


def audits_page(site: Site) -> AuditsPage:
    """Every audit report that lies beside the atlas."""
    described = site.atlas.manifest["model"]
    rows = []
    for found in reports(site):
        told = found.report or {}
        model = told.get("model") or {}
        counts = dict.fromkeys(("pass", "undecided", "fail"), 0)
        for row in told.get("verdicts") or []:
            counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
        rows.append(
            AuditRow(
                name=found.name,
                path=site.links.audit(found.name),
                kind=str(told.get("kind", "")),
                model=str(model.get("name", "")),
                same_model=model.get("weights_sha256") == described["weights_sha256"],
                verdicts=counts,
                problem=found.problem,
            )
        )
    return AuditsPage(str(described["name"]), rows)


def audit_page(site: Site, name: str) -> AuditPage:
    """One audit report."""
    return AuditPage(name, report(site, name))


AUDITS = Page("/audits", "audits.html", audits_page, label="Audits", exported=False)
AUDIT = Page("/audits/{name}", "audit.html", audit_page, exported=False)
