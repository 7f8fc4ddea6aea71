"""What a catalogue can be asked: the public signatures and their defaults; the work is done by one module each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.catalog.aligning import align
from synesthete.catalog.answers import (
    Alignment,
    Evaluation,
    Hit,
    Suggestion,
)
from synesthete.catalog.confidence import Confidence, read_confidence, write_confidence
from synesthete.catalog.evaluating import evaluate
from synesthete.catalog.filters import Where
from synesthete.catalog.queries import Asker
from synesthete.catalog.recommending import recommend
from synesthete.catalog.searching import search
from synesthete.catalog.snapshot import Snapshot
from synesthete.catalog.suggesting import calibrate, suggest
from synesthete.catalog.types import Picture, ReviewQueue, Signal

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel


class Asked(ABC):
    """The questions of a catalogue.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    @property
    @abstractmethod
    def model(self) -> ImageTextModel:
        """The model that the catalogue was built with."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """The catalogue as it is now."""

    def _asker(self) -> Asker:
        return Asker(self.snapshot(), lambda: self.model)

    def search(
        self,
        text: str | None = None,
        picture: Picture | None = None,
        *,
        without: Sequence[str | Picture] = (),
        where: Where = (),
        k: int = 10,
        cut: float = 0.9,
        only_relevant: bool = False,
        group: bool = True,
        reasons: int = 3,
    ) -> list[Hit]:
        """Items nearest to a text, a picture or both.

        Parameters
        ----------
        text, picture
            What is wanted; a picture as a `Path` or as encoded bytes.
        without
            What is not wanted: a `str` is a text, a `Path` or bytes a picture.
        where
            Filters, `["colour=red|white", "price<5"]`, or a mapping of names to allowed values.
        k
            How many at most.
        cut
            The relevance from which a hit counts as relevant: one unrelated query in ten reaches 0.9.
        only_relevant
            Leave out what does not reach the cut.
        group
            Put near-duplicates under the first of them.
        reasons
            How many at most for each.

        Raises
        ------
        SynestheteError
            Nothing to search for, a picture that cannot be read, an unknown filter, `k` below 1.
        """
        asker = self._asker()
        query = asker.query(text, picture, without)
        return search(
            asker.snapshot, query, where=where, k=k, cut=cut,
            only_relevant=only_relevant, group=group, reasons=reasons,
        )  # fmt: skip

    def recommend(
        self,
        signals: Sequence[Signal],
        *,
        mute: Sequence[str] = (),
        where: Where = (),
        k: int = 10,
        diversity: float = 0.3,
        half_life_days: float = 30.0,
        cut: float = 0.9,
        reasons: int = 3,
    ) -> list[Hit]:
        """Items for a taste; those that it was made of are left out.

        Parameters
        ----------
        signals
            Likes and dislikes: items, texts, pictures; one phrase is enough to begin with.
        mute
            Concepts that shall play no part: items about them are left out.
        where, k, cut, reasons
            As for `search`.
        diversity
            0: by score alone; 1: as different from one another as possible.
        half_life_days
            After so many days a signal counts half.

        Raises
        ------
        SynestheteError
            No like, an unknown item, a number out of range.
        """
        return recommend(
            self._asker(), signals, mute=mute, where=where, k=k,
            diversity=diversity, half_life_days=half_life_days, cut=cut, reasons=reasons,
        )  # fmt: skip

    def align(
        self,
        copies: Sequence[str],
        pictures: Sequence[Picture],
        *,
        reasons: int = 5,
    ) -> list[Alignment]:
        """Every copy against every picture, the best match first.

        Parameters
        ----------
        copies
            Texts.
        pictures
            Files or encoded bytes.
        reasons
            How many units and words on each side.

        Raises
        ------
        SynestheteError
            No copy or no picture, an empty copy, a picture that cannot be read.
        """
        return align(self._asker(), self.model, copies, pictures, reasons)

    def suggest(
        self,
        picture: Picture | None = None,
        brief: str | None = None,
        *,
        k: int = 5,
        threshold: float = 0.6,
        queue: ReviewQueue | None = None,
    ) -> Suggestion:
        """Items, categories, attributes and next questions for a picture with a brief description.

        Parameters
        ----------
        picture, brief
            One of them may be missing.
        threshold
            Of confidence: below it the machine abstains.
        queue
            Where a case goes when it does.

        Raises
        ------
        SynestheteError
            Neither a picture nor a brief, a picture that cannot be read, a number out of range.
        """
        return suggest(
            self._asker(),
            picture,
            brief,
            k=k,
            threshold=threshold,
            queue=queue,
            calibrated=self.confidence,
        )

    @property
    def confidence(self) -> Confidence | None:
        """How often suggestions of each strength are right, where that was measured (`calibrate`)."""
        return read_confidence(self.path)

    def calibrate(self, queries: str | Path | None = None, *, seed: int = 0) -> Confidence:
        """Measure how often suggestions are right by their strength; from then on `suggest` tells a probability.

        Parameters
        ----------
        queries
            A table as for `evaluate`, of what customers ask, with the answers. Without it the catalogue's own items
            are asked for with themselves left out, which tells of pictures like the catalogue's.
        seed
            Of the folds by which it is measured, and of the items where there are many.

        Raises
        ------
        SynestheteError
            Fewer than 50 cases, or all right, or all wrong; what `evaluate` raises.
        """
        asker = self._asker()
        found = calibrate(asker, None if queries is None else Path(queries), seed=seed)
        write_confidence(self.path, found)
        return found

    def evaluate(
        self,
        queries: str | Path,
        *,
        k: int = 10,
        seed: int = 0,
        columns: Mapping[str, str] | None = None,
    ) -> list[Evaluation]:
        """Recall, NDCG and MRR at `k` on a table of queries with known answers: fused, and by each control.

        Parameters
        ----------
        queries
            A `.csv`, `.jsonl` or `.parquet` with columns `text` or `picture` (or both) and `relevant`: ids of items,
            or `category`: then every item of that category is right.
        seed
            Of the random control and the bootstrap.
        columns
            Part to column, where the table has other names: `{"relevant": "class_id"}`.

        Raises
        ------
        SynestheteError
            A table that cannot be read, a query without a right answer in the catalogue.
        """
        return evaluate(
            self._asker(),
            Path(queries),
            k=k,
            seed=seed,
            columns=columns,
        )
