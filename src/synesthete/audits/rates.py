"""Rates with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.intervals import wilson_interval

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rate:
    """How many of how many.

    Attributes
    ----------
    successes, n
        Counts.
    """

    successes: int
    n: int

    @classmethod
    def of(cls, outcomes: npt.ArrayLike) -> Rate:
        """The rate of what is true.

        Examples
        --------
        >>> Rate.of([True, True, False, True])
        Rate(successes=3, n=4)
        """
        told = np.asarray(outcomes, bool)
        return cls(int(told.sum()), int(told.size))

    @property
    def rate(self) -> float | None:
        """The share; None where nothing was counted."""
        return self.successes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson_interval(self.successes, self.n)

    def as_dict(self) -> dict[str, Any]:
        """`rate`, `interval`, `successes` and `n`, as reports have them.

        Examples
        --------
        >>> Rate(3, 4).as_dict()
        {'rate': 0.75, 'interval': [0.3006, 0.9544], 'successes': 3, 'n': 4}
        """
        share = self.rate
        return {
            "rate": None if share is None else round(share, 4),
            "interval": [round(bound, 4) for bound in self.interval],
            "successes": self.successes,
            "n": self.n,
        }
