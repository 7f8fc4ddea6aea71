"""Data inside a page: JSON that cannot end the `script` element it stands in."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from markupsafe import Markup


def json_data(values: Any) -> Markup:
    """Values (dataclasses too) as JSON that may stand inside a `script` element."""
    text = json.dumps(values, default=asdict, ensure_ascii=False, allow_nan=False)
    for letter, safe in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(letter, safe)
    return Markup(text)
