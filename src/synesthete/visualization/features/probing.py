"""Linear probes that tell a facet's pictures from others, all facets solved at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synesthete.errors import SynestheteError

Float32 = npt.NDArray[np.float32]
PENALTY = 0.3
HELD_OUT = 3  # every third picture judges


@dataclass(frozen=True)
class Probe:
    """A linear probe on a layer's maps.

    Attributes
    ----------
    weights
        `[units, rows, columns]`, root mean square 1.
    threshold, spread
        A picture is taken for one of the facet when the product of weights and map exceeds the threshold; the spread is
        the standard deviation of that product over all pictures.
    accuracy
        Balanced accuracy on pictures it was not fitted on (0.5 is chance).
    pictures, others
        How many of the facet, and how many not, in all.
    """

    weights: Float32
    threshold: float
    spread: float
    accuracy: float
    pictures: int
    others: int

    def says(self, maps: Float32) -> npt.NDArray[np.float64]:
        """How far maps `[batch, units, rows, columns]` lie beyond the threshold, in standard deviations."""
        product = maps.reshape(len(maps), -1) @ self.weights.reshape(-1)
        return (product.astype(np.float64) - self.threshold) / self.spread


def fit_probes(maps: Float32, member: npt.NDArray[np.bool_]) -> list[Probe]:
    """Fit a probe per facet: ridge regression on membership, both classes weighing the same.

    Solved in the space of pictures, since these are fewer than weights: w = Xᵀ (K + λ S⁻¹)⁻¹ y. The accuracy is of
    probes fitted without every third picture; the weights returned are of all.

    Parameters
    ----------
    maps
        `[pictures, units, rows, columns]`.
    member
        `[facets, pictures]`: which are of a facet.

    Raises
    ------
    SynestheteError
        When a facet has fewer than six pictures, or all are of it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(60)[None] % 2 == 0
    >>> maps = rng.normal(size=(60, 3, 2, 2)).astype(np.float32)
    >>> maps[member[0], 1] += 2
    >>> (probe,) = fit_probes(maps, member)
    >>> probe.accuracy > 0.9, int(np.abs(probe.weights).sum((1, 2)).argmax())
    (True, 1)
    """
    if (member.sum(axis=1) < 6).any() or (~member).sum(axis=1).min() < 6:
        raise SynestheteError("a probe needs six pictures of its facet and six others")
    flat = maps.reshape(len(maps), -1).astype(np.float32)
    centre = flat.mean(axis=0)
    flat = flat - centre
    gram = flat @ flat.T
    found = []
    for mine in member:
        # Every third of each class, so that small facets are judged too.
        order = np.empty(len(mine), np.int64)
        order[mine], order[~mine] = np.arange(mine.sum()), np.arange((~mine).sum())
        held = order % HELD_OUT == 0
        some = _dual(gram, mine, ~held)
        product = gram @ some
        cut = _threshold(product[~held], mine[~held])
        right = (product[held] > cut) == mine[held]
        accuracy = 0.5 * (right[mine[held]].mean() + right[~mine[held]].mean())
        every = _dual(gram, mine, np.ones(len(mine), bool))
        weights = every @ flat
        scale = float(np.sqrt((weights**2).mean())) or 1.0
        product = gram @ every / scale
        cut = _threshold(product, mine) + float(centre @ weights) / scale
        found.append(
            Probe(
                weights=(weights / scale).reshape(maps.shape[1:]).astype(np.float32),
                threshold=cut,
                spread=float(product.std()) or 1.0,
                accuracy=float(accuracy),
                pictures=int(mine.sum()),
                others=int((~mine).sum()),
            )
        )
    return found


def _dual(gram: Float32, mine: npt.NDArray[np.bool_], used: npt.NDArray[np.bool_]) -> Float32:
    """Coefficients of the pictures, zero for those not used."""
    rows = np.flatnonzero(used)
    label = mine[rows]
    weight = np.where(label, 0.5 / label.sum(), 0.5 / (~label).sum()) * len(rows)
    inner = gram[np.ix_(rows, rows)].astype(np.float64)
    ridge = PENALTY * np.trace(inner) / len(rows)
    target = np.where(label, 1.0, -1.0)
    found = np.zeros(len(mine), np.float32)
    found[rows] = np.linalg.solve(inner + np.diag(ridge / weight), target)
    return found


def _threshold(product: npt.NDArray[np.floating], mine: npt.NDArray[np.bool_]) -> float:
    """Half-way between the means of the two classes."""
    return float((product[mine].mean() + product[~mine].mean()) / 2)
