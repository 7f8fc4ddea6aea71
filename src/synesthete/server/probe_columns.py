"""The probe images of an atlas as columns, and how many images of each concept there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.server.coded import Coded, coded
from synesthete.server.columns import in_order

if TYPE_CHECKING:
    from synesthete.atlas import Atlas


@dataclass(frozen=True)
class ProbeColumns:
    """A row per image.

    Attributes
    ----------
    table
        `Atlas.probes`.
    concept, modality, artist
        Its labels.
    readable
        Whether the image could be read.
    scoring
        Readable and labelled, and by an artist who had no part in choosing concepts, where that is known.
    held_out
        Whether it is known.
    """

    table: pa.Table
    concept: Coded
    modality: Coded
    artist: Coded
    readable: npt.NDArray[np.bool_]
    scoring: npt.NDArray[np.bool_]
    held_out: bool

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of readable images."""
        return in_order(list(self.modality.counts(self.readable)))

    def rows(self, images: list[int]) -> list[dict[str, Any]]:
        """All that is known of some images."""
        found: list[dict[str, Any]] = self.table.take(pa.array(images, pa.int64())).to_pylist()
        return found

    def tested(self, concept: str, modality: str) -> tuple[int, int]:
        """Images of a concept that an AUC was measured with, and all of that modality."""
        here = self.scoring & self.modality.rows(modality)
        return int((here & self.concept.rows(concept)).sum()) if concept else 0, int(here.sum())

    def of_concept(self, concept: str) -> dict[str, npt.NDArray[np.int64]]:
        """Modality → readable images of a concept."""
        own = self.readable & self.concept.rows(concept)
        return {name: np.flatnonzero(own & self.modality.rows(name)) for name in self.modalities}


def read_probe_columns(atlas: Atlas) -> ProbeColumns:
    """The columns of an atlas's images."""
    import pyarrow.compute as pc

    table = atlas.probes
    concept, artist = coded(table["concept"]), coded(table["artist"])
    readable = pc.equal(table["status"], "ok").to_numpy().astype(bool)
    halves = (atlas.manifest["analysis"] or {}).get("halves", {})
    # Images of unknown artist lie in either half, one by one, and the analysis keeps no list.
    held_out = bool(halves) and not halves.get("images_of_unknown_artist", 0)
    scoring = readable & (concept.codes > 0)
    if held_out:
        chosen = [
            code for code, name in enumerate(artist.texts) if name in set(halves["selection"])
        ]
        scoring &= ~np.isin(artist.codes, chosen)
    return ProbeColumns(
        table, concept, coded(table["modality"]), artist, readable, scoring, held_out
    )
