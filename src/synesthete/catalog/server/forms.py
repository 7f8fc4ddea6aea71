"""Forms of the pages, read into the same requests as the JSON of the API."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, QueryParams, UploadFile

from synesthete.catalog.fields import IMAGE_LIMIT
from synesthete.server.auth import check_form
from synesthete.server.errors import Refused

T = TypeVar("T")


async def _sent(request: Request) -> FormData | QueryParams:
    """What a form sent, if it is one of ours; the query of a link."""
    if request.method != "POST":
        return request.query_params
    form = await request.form(max_files=4, max_fields=200)
    check_form(request, str(form.get("csrf", "")))
    return form


Sent = Annotated[FormData | QueryParams, Depends(_sent)]


def uploaded(sent: FormData | QueryParams, name: str = "image") -> bytes | None:
    """The bytes of an image that a form sent; None where it sent none.

    Raises
    ------
    Refused
        413 when it is too large.
    """
    image = sent.get(name)
    data = image.file.read(IMAGE_LIMIT + 1) if isinstance(image, UploadFile) else b""
    if len(data) > IMAGE_LIMIT:
        raise Refused(413, f"an image has at most {IMAGE_LIMIT // 2**20} MB")
    return data or None


def split(text: str, separator: str = ";") -> list[str]:
    """The parts of a text that are not blank."""
    return [part.strip() for part in text.split(separator) if part.strip()]


def read_form(kind: type[T], sent: FormData | QueryParams, separator: str = ";", **more: Any) -> T:
    """A request, of the fields of a form that have its fields' names; blank ones have their defaults.

    Parameters
    ----------
    separator
        Of the texts in a field with several.
    more
        Fields that come from elsewhere, as JSON has them.

    Raises
    ------
    RequestValidationError
        They violate the request's limits.
    """
    values: dict[str, Any] = dict(more)
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in values:
            continue
        several = any(
            get_origin(one) is Sequence for one in (hints[field.name], *get_args(hints[field.name]))
        )
        if data := uploaded(sent, field.name):
            image = base64.b64encode(data).decode()
            values[field.name] = [image] if several else image
        elif isinstance(text := sent.get(field.name), str) and (text := text.strip()):
            whole = hints[field.name] is int and text.isdecimal()
            values[field.name] = split(text, separator) if several else int(text) if whole else text
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        raise RequestValidationError(
            [{**one, "loc": ("form", *one["loc"])} for one in errors]
        ) from None
