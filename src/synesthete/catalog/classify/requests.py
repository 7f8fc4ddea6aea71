"""The request to classify records: for REST, the client and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from synesthete.catalog.classify.classifier import Classification
from synesthete.catalog.fields import CHECKED, Flag, Image, Text
from synesthete.catalog.requests import Request


@dataclass(frozen=True)
class Classifications:
    """Records with their labels, in the order in which they came."""

    records: list[Classification]


@dataclass(frozen=True)
class NewRecord:
    """A record to classify; it is not kept."""

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED

    image: Image | None = None
    text: Text = ""


@dataclass(frozen=True)
class Classify(Request[Classifications]):
    """Classify records of image and text; those that it abstains from go to people.

    Attributes
    ----------
    classifier
        Its name, of those in the catalogue's folder `classifiers`.
    records
        What to classify.
    reasons
        Whether to say which units and words speak for a label.
    """

    classifier: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
    records: Annotated[Sequence[NewRecord], Field(min_length=1, max_length=50)]
    _: KW_ONLY
    reasons: Flag = True
