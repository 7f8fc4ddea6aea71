"""A catalogue: items with pictures and words, to be searched, recommended from and compared, with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.catalog.types import (
    Alignment,
    Evaluation,
    Hit,
    Item,
    Picture,
    Quarantined,
    ReviewQueue,
    Signal,
    Suggestion,
    Written,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from synesthete.models.image_text_model import ImageTextModel


class Catalog:
    """Opened with `Catalog.open`, made with `Catalog.create`. Safe for threads; several processes may write."""

    path: Path

    @classmethod
    def create(
        cls, path: str | Path, model: str = "mini", *, atlas: str | Path | None = None
    ) -> Catalog:
        """A new, empty catalogue for the embeddings of `model`; units are named by `atlas` where given."""
        raise NotImplementedError

    @classmethod
    def open(cls, path: str | Path) -> Catalog:
        """An existing catalogue. Loads no model; what needs one loads it at first use and checks it."""
        raise NotImplementedError

    @property
    def model(self) -> ImageTextModel:
        """The model that the catalogue was built with; refused with what differs when it is another now."""
        raise NotImplementedError

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Model, layer, format: what `catalog.json` says."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __contains__(self, item_id: object) -> bool:
        raise NotImplementedError

    def upsert(self, items: Iterable[Item]) -> Written:
        """Add items, or replace those whose id is there; committed batch by batch, so it may be killed."""
        raise NotImplementedError

    def delete(self, ids: Iterable[str]) -> Written:
        """Take items out; unknown ids are passed over."""
        raise NotImplementedError

    def items(self, ids: Sequence[str] | None = None) -> Iterator[Item]:
        """The items as they were given, by id; all of them, or those asked for in that order."""
        raise NotImplementedError

    def thumbnail(self, item_id: str) -> bytes | None:
        """WebP of an item's first picture; None where it has none."""
        raise NotImplementedError

    def vectors(self, ids: Sequence[str] | None = None) -> npt.NDArray[np.float32]:
        """The items' fused unit vectors `[items, dim]`, in the order of `items`."""
        raise NotImplementedError

    def units(self, ids: Sequence[str] | None = None) -> npt.NDArray[np.float32]:
        """Mean activation of every unit for the items' pictures `[items, units]`; NaN without a picture."""
        raise NotImplementedError

    def quarantine(self) -> list[Quarantined]:
        """What could not be used so far, with the reasons."""
        raise NotImplementedError

    def search(
        self,
        text: str | None = None,
        picture: Picture | None = None,
        *,
        without: Sequence[str | Picture] = (),
        where: Mapping[str, Sequence[str]] | Sequence[str] = (),
        k: int = 10,
        cut: float = 0.9,
        only_relevant: bool = False,
        group: bool = True,
        reasons: int = 3,
    ) -> list[Hit]:
        """Items nearest to a text, a picture or both, away from `without`, among those that pass `where`.

        `where`: `["colour=red", "price<5", "category=mug"]`, or a mapping of names to allowed values.
        """
        raise NotImplementedError

    def recommend(
        self,
        signals: Sequence[Signal],
        *,
        mute: Sequence[str] = (),
        where: Mapping[str, Sequence[str]] | Sequence[str] = (),
        k: int = 10,
        diversity: float = 0.3,
        half_life_days: float = 30.0,
        cut: float = 0.9,
        reasons: int = 3,
    ) -> list[Hit]:
        """Items for a taste; those liked and disliked are left out."""
        raise NotImplementedError

    def align(
        self,
        copies: Sequence[str],
        pictures: Sequence[Picture],
        *,
        reasons: int = 5,
    ) -> list[Alignment]:
        """Every copy against every picture, the best match first."""
        raise NotImplementedError

    def suggest(
        self,
        picture: Picture | None = None,
        brief: str | None = None,
        *,
        k: int = 5,
        threshold: float = 0.6,
        queue: ReviewQueue | None = None,
    ) -> Suggestion:
        """Items, categories, attributes and next questions for a picture with a brief description."""
        raise NotImplementedError

    def evaluate(self, queries: str | Path, *, k: int = 10, seed: int = 0) -> list[Evaluation]:
        """Recall and NDCG on a table of queries with known answers, fused and by each control."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of files and connections."""
        raise NotImplementedError
