"""Reports as files: one JSON of a documented schema, and a page beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.files import write_together
from synesthete.audits.report.measures import details
from synesthete.errors import SynestheteError

SCHEMA = "synesthete.audit"
VERSION = 1
KINDS = ("typographic", "adversarial", "bias")
JSON_NAME, HTML_NAME, CARD_NAME = "report.json", "report.html", "MODEL_CARD_SECTION.md"


def plain(value: Any) -> Any:
    """`value` as JSON can hold it; what is not a number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_report(report: Mapping[str, Any], folder: str | Path) -> dict[str, Path]:
    """`report.json`, `report.html` and `MODEL_CARD_SECTION.md` in a folder, which is made.

    `report.json` comes last: where it is, the others are of the same report.

    Raises
    ------
    SynestheteError
        The folder is a file.
    """
    from synesthete.audits.report.card import card_section
    from synesthete.audits.report.page import report_page

    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise SynestheteError(f"{place} is a file; the report needs a folder")
    told = plain(report)
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {HTML_NAME: report_page(told), CARD_NAME: card_section(told), JSON_NAME: text}
    write_together(place, {name: content.encode() for name, content in files.items()})
    return {"json": place / JSON_NAME, "html": place / HTML_NAME, "card": place / CARD_NAME}


def read_report(path: str | Path) -> dict[str, Any]:
    """A report of this version of the schema.

    Parameters
    ----------
    path
        The JSON file, or the folder it lies in.

    Raises
    ------
    SynestheteError
        No such file, no JSON, no report, or one of another version.
    """
    place = Path(path)
    place = place / JSON_NAME if place.is_dir() else place
    try:
        told = read_json(place)
    except UnusableFile as error:
        raise SynestheteError(
            f"{place} cannot be read: {error.reason}",
            hint="synesthete audit all MODEL --out DIR writes DIR/report.json",
        ) from None
    except InvalidJson as error:
        raise SynestheteError(f"{place} is no JSON: {error.reason}") from None
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise SynestheteError(
            f"{place} is no audit report", hint=f'a report says "schema": "{SCHEMA}"'
        )
    if told.get("version") != VERSION:
        raise SynestheteError(
            f"{place} is a report of version {told.get('version')!r} of the schema, and {VERSION} is read",
            hint="run the audit again with this version of synesthete",
        )
    missing = [key for key in ("kind", "model", "settings", "verdicts") if key not in told]
    if missing or not any(kind in told for kind in KINDS):
        raise SynestheteError(f"{place} is damaged: it lacks {', '.join(missing or KINDS)}")
    try:
        details(told)
        _check(told)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SynestheteError(
            f"{place} is damaged: {type(error).__name__} {error}", hint="run the audit again"
        ) from error
    return told


def _check(told: Mapping[str, Any]) -> None:
    """What every reader of reports takes for granted; raises what Python raises."""
    for key in ("model", "settings"):
        if not isinstance(told[key], dict):
            raise TypeError(f"{key} is no table")
    for row in told["verdicts"]:
        if not (isinstance(row["verdict"], str) and isinstance(row["metric"], str)):
            raise TypeError("a verdict is no text")
    for kind in KINDS:
        if not isinstance(told.get(kind, {}), dict):
            raise TypeError(f"{kind} is no table")
