"""`/audits` and `/audits/NAME`: audit reports beside an atlas (folders `NAME.audit` with a `report.json`), and one of them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synesthete.audits.report import read_report, report_body
from synesthete.audits.report.report import JSON_NAME
from synesthete.errors import SynestheteError, near
from synesthete.report.images import WebP
from synesthete.report.source import Missing, Near
from synesthete.server.library import Site
from synesthete.server.page import Page, image_routes

ENDING = ".audit"
EMBEDDED = "data:image/webp;base64,"


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """A report of the list; `same_model` says whether it is of the model that the atlas is of."""

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
    """One report, as its file has it; example images are paths."""

    name: str
    report: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """A report, or why it cannot be read."""

    name: str
    report: dict[str, Any] | None
    problem: str = ""


def reports(site: Site) -> list[Report]:
    """Every report beside the atlas, by name."""
    folders = sorted(site.atlas.path.resolve().parent.glob(f"*{ENDING}"))
    return [_read(folder) for folder in folders if (folder / JSON_NAME).is_file()]


def report(site: Site, name: str) -> dict[str, Any]:
    """One report, its images as paths.

    Raises
    ------
    Missing
        There is none of this name.
    SynestheteError
        It is damaged.
    """
    content = _content(site, name)
    report_body(content)
    part = content.get("typographic")
    if part and part.get("examples"):
        examples = [
            one | {"image": site.links.audit_image(name, number)}
            for number, one in enumerate(part["examples"])
        ]
        content = content | {"typographic": part | {"examples": examples}}
    return content


def example(site: Site, name: str, number: int) -> WebP:
    """An example image of an audit report (WebP)."""
    examples = (_content(site, name).get("typographic") or {}).get("examples") or []
    if not 0 <= number < len(examples):
        raise Missing("there is no such image")
    uri = str(examples[number].get("image", ""))
    try:
        data = base64.b64decode(uri.removeprefix(EMBEDDED), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    # Only what is an image is sent as one, whatever stands in the file.
    if not uri.startswith(EMBEDDED) or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Missing("there is no such image")
    return WebP.of(data)


def _content(site: Site, name: str) -> dict[str, Any]:
    found = {one.name: one for one in reports(site)}
    if name not in found:
        raise Missing(
            f"there is no audit {name!r} beside this atlas",
            hint=near(name, found),
            near=[Near(one, site.links.audit(one)) for one in found],
        )
    content = found[name].report
    if content is None:
        raise SynestheteError(found[name].problem)
    return content


def _read(folder: Path) -> Report:
    name = folder.name.removesuffix(ENDING)
    try:
        return Report(name, read_report(folder))
    except SynestheteError as error:
        return Report(name, None, str(error))


def audits_page(site: Site) -> AuditsPage:
    """Every audit report that lies beside the atlas."""
    described = site.atlas.manifest["model"]
    rows = []
    for found in reports(site):
        content = found.report or {}
        model = content.get("model") or {}
        counts = dict.fromkeys(("pass", "undecided", "fail"), 0)
        for verdict in content.get("verdicts") or []:
            counts[verdict["verdict"]] = counts.get(verdict["verdict"], 0) + 1
        row = AuditRow(
            name=found.name,
            path=site.links.audit(found.name),
            kind=str(content.get("kind", "")),
            model=str(model.get("name", "")),
            same_model=model.get("weights_sha256") == described["weights_sha256"],
            verdicts=counts,
            problem=found.problem,
        )
        rows.append(row)
    return AuditsPage(str(described["name"]), rows)


def audit_page(site: Site, name: str) -> AuditPage:
    """One audit report."""
    return AuditPage(name, report(site, name))


AUDITS = Page(
    path="/audits", template="audits.html", view=audits_page, label="Audits", exported=False
)
AUDIT = Page(path="/audits/{name}", template="audit.html", view=audit_page, exported=False)
router = image_routes(("/audits/{name}/{number}.webp", example, "audit example"))
