"""Types of the fields of requests, with the limits that JSON from elsewhere is checked by.

A request is a dataclass: in Python it is made as it is, and pydantic makes it of JSON by these types.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from synesthete._core.docstrings import read_docstring
from synesthete._core.user_files import read_file

IMAGE_LIMIT = 8 * 2**20
ImageSource = Path | bytes
Where = Mapping[str, Sequence[str]] | Sequence[str]


def _decode(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("is not base64")
    text = value.partition(",")[2] if value.startswith("data:") else value
    if len(text) > -(-IMAGE_LIMIT // 3) * 4:
        raise ValueError(f"has more than {IMAGE_LIMIT // 2**20} MB")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is not base64") from None


def _encode(image: ImageSource) -> str:
    data = read_file(image) if isinstance(image, Path) else image
    return base64.b64encode(data).decode()


def _integer(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, StringConstraints(max_length=20_000)]
Value = Annotated[str, StringConstraints(max_length=2000)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Name = Annotated[str, StringConstraints(max_length=500)]
Image = Annotated[
    ImageSource,
    PlainValidator(_decode),
    PlainSerializer(_encode),
    WithJsonSchema(
        {
            "type": "string",
            "format": "byte",
            "description": "An encoded image (PNG, JPEG, WebP, …) in base64.",
        }
    ),
]
Filters = Annotated[
    Annotated[
        Mapping[Name, Annotated[Sequence[Value], Field(max_length=100)]],
        Field(max_length=50),
        Tag("names"),
    ]
    | Annotated[Sequence[Name], Field(max_length=50), Tag("list")],
    Discriminator(lambda value: "names" if isinstance(value, Mapping) else "list"),
]
_INTEGER = BeforeValidator(_integer)
Limit = Annotated[int, Strict(), Field(ge=1, le=200), _INTEGER]
Offset = Annotated[int, Strict(), Field(ge=0, le=10**9), _INTEGER]
Count = Annotated[int, Strict(), Field(ge=0, le=100), _INTEGER]
Few = Annotated[int, Strict(), Field(ge=0, le=20), _INTEGER]
# Whole numbers of JSON are read up to 64 bits.
Integer = Annotated[int, Strict(), Field(ge=-(2**53), le=2**53), _INTEGER]
Number = Annotated[float, Strict(), Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
Weight = Annotated[float, Strict(), Field(gt=0, le=1000, allow_inf_nan=False)]
Age = Annotated[float, Strict(), Field(ge=0, le=100_000, allow_inf_nan=False)]
Days = Annotated[float, Strict(), Field(gt=0, le=100_000, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
Flag = Annotated[bool, Strict()]


def _described(schema: dict[str, Any], kind: Any) -> None:
    """Put what a class's docstring says of its fields into its JSON schema."""
    help_ = read_docstring(kind.__doc__)
    schema["description"] = help_.text
    for name, described in schema["properties"].items():
        if name in help_.parameters:
            described["description"] = help_.parameters[name][1]


# Of a dataclass that JSON is read into: `__pydantic_config__ = CHECKED`.
CHECKED = ConfigDict(extra="forbid", json_schema_extra=_described)
