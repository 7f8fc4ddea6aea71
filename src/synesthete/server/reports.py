"""Audit reports that lie beside an atlas: folders `NAME.audit` with a `report.json`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synesthete.audits.report import read_report, report_body
from synesthete.audits.report.report import JSON_NAME
from synesthete.errors import SynestheteError, near
from synesthete.server.errors import Missing, Near
from synesthete.server.library import Site

ENDING = ".audit"
EMBEDDED = "data:image/webp;base64,"


@dataclass(frozen=True)
class Found:
    """A report, or why it cannot be read."""

    name: str
    report: dict[str, Any] | None
    problem: str = ""


def reports(site: Site) -> list[Found]:
    """Every report beside the atlas, by name."""
    folders = sorted(site.atlas.path.resolve().parent.glob(f"*{ENDING}"))
    return [_read(folder) for folder in folders if (folder / JSON_NAME).is_file()]


def report(site: Site, name: str) -> dict[str, Any]:
    """One report, its pictures as paths.

    Raises
    ------
    Missing
        There is none of this name.
    SynestheteError
        It is damaged.
    """
    found = _one(site, name)
    told = found.report
    if told is None:
        raise SynestheteError(found.problem)
    report_body(told)
    part = told.get("typographic")
    if part and part.get("examples"):
        examples = [
            one | {"picture": site.links.audit_picture(name, number)}
            for number, one in enumerate(part["examples"])
        ]
        told = told | {"typographic": part | {"examples": examples}}
    return told


def example(site: Site, name: str, number: int) -> bytes:
    """An example picture of a report, WebP.

    Raises
    ------
    Missing
        There is none.
    """
    told = _one(site, name).report or {}
    examples = (told.get("typographic") or {}).get("examples") or []
    if not 0 <= number < len(examples):
        raise Missing("there is no such picture")
    uri = str(examples[number].get("picture", ""))
    try:
        data = base64.b64decode(uri.removeprefix(EMBEDDED), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    # Only what is a picture is sent as one, whatever stands in the file.
    if not uri.startswith(EMBEDDED) or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Missing("there is no such picture")
    return data


def _one(site: Site, name: str) -> Found:
    found = {one.name: one for one in reports(site)}
    if name not in found:
        raise Missing(
            f"there is no audit {name!r} beside this atlas",
            hint=near(name, found),
            near=[Near(one, site.links.audit(one)) for one in found],
        )
    return found[name]


def _read(folder: Path) -> Found:
    name = folder.name.removesuffix(ENDING)
    try:
        return Found(name, read_report(folder))
    except SynestheteError as error:
        return Found(name, None, str(error))
