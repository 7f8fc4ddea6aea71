"""Which neuron of another model is most like one: by correlation over the images that both were shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.report.columns import Unit
from synesthete.report.neuron import standardised
from synesthete.server.library import Site

IMAGES = 4_000  # of more shared images, so many at equal distances are looked at
BLOCK = 4_096


@dataclass(frozen=True)
class Match:
    """A neuron of the first, its nearest of the second, and their Pearson correlation."""

    first: Unit
    second: Unit
    correlation: float


@dataclass(frozen=True)
class Matches:
    """The nearest neuron of each multimodal neuron, the most alike first.

    Attributes
    ----------
    images
        Shared images that it was measured on; None where an atlas keeps no activations of single images.
    median
        Of all correlations; None without any.
    """

    images: int | None
    pairs: list[Match]
    median: float | None


def matches(site: Site, second: Site) -> Matches:
    """Match the multimodal neurons of one atlas with the neurons of another."""
    atlases = (site.atlas, second.atlas)
    if not all(one.analysed and one.manifest["dense"] for one in atlases):
        return Matches(None, [], None)
    # The first atlas forgets what was computed when it is replaced; the second is named by its content.
    key = ("matches", second.opened.name, second.atlas.manifest["checksum"])
    return site.opened.computed(key, lambda: _matches(site, second))


def _matches(site: Site, second: Site) -> Matches:
    here, there = shared_rows(_hashes(site), _hashes(second))
    step = max(1, -(-len(here) // IMAGES))
    here, there = here[::step], there[::step]
    best: dict[Unit, tuple[float, Unit]] = {}
    for layer in site.atlas.layers:
        columns = site.opened.columns(layer)
        wanted = np.flatnonzero(columns.multimodal & (columns.std > 0))
        own = standardised(np.asarray(site.atlas.activations(layer)[here][:, wanted]))
        for other in second.atlas.layers:
            units = int(second.atlas.layer(other)["units"])
            for start in range(0, units, BLOCK):
                block = second.atlas.activations(other)[there, start : start + BLOCK]
                r = own.T @ standardised(np.asarray(block))
                for place, unit in enumerate(wanted if r.size else ()):
                    column = int(np.argmax(r[place]))
                    score = float(r[place, column])
                    key = (layer, int(unit))
                    if score > best.get(key, (-2.0, key))[0]:
                        best[key] = (score, (other, start + column))
    pairs = [Match(unit, found, min(score, 1.0)) for unit, (score, found) in best.items()]
    pairs.sort(key=lambda one: (-one.correlation, one.first))
    middle = float(np.median([one.correlation for one in pairs])) if pairs else None
    return Matches(len(here), pairs if len(here) > 1 else [], middle if len(here) > 1 else None)


def _hashes(site: Site) -> list[str]:
    """SHA-256 of each readable image; empty for the others."""
    kept = site.opened.probes
    column = kept.table["sha256"].to_pylist()
    return [str(one or "") if ok else "" for one, ok in zip(column, kept.readable, strict=True)]


def shared_rows(
    first: list[str], second: list[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of two lists that hold the same text, in the order of the first.

    Examples
    --------
    >>> [rows.tolist() for rows in shared_rows(["a", "", "b", "c"], ["c", "", "a"])]
    [[0, 3], [2, 0]]
    """
    place = {text: row for row, text in enumerate(second) if text}
    pairs = [(row, place[text]) for row, text in enumerate(first) if text in place]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]
