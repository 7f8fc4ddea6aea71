"""Weights that are changed without touching the network they come from, and why an edit cannot be folded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from synesthete.errors import SynestheteError


class Unfoldable(SynestheteError):
    """An edit that no change of the weights can make."""


@dataclass(frozen=True)
class Affine:
    """One unit's response `a` becomes `scale · a + add`; for a head `add` is `[width]`."""

    address: str
    unit: int
    scale: float
    add: torch.Tensor

    @property
    def shifts(self) -> bool:
        """Whether something is added."""
        return bool((self.add != 0).any())

    def refuse(self, reason: str, hint: str = "") -> Unfoldable:
        """The error that says why not."""
        return Unfoldable(
            f"the edit of {self.address} cannot be folded into weights: {reason}", hint=hint
        )


class Weights:
    """A network's weights by name; each is copied when it is first asked for, and changed in place.

    Attributes
    ----------
    changed
        The copies, by name.
    """

    def __init__(self, network: nn.Module) -> None:
        self._given = network.state_dict()
        self.changed: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        """A copy to change."""
        if name not in self.changed:
            self.changed[name] = self._given[name].detach().clone()
        return self.changed[name]

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def folded(self) -> dict[str, torch.Tensor]:
        """All weights, with the changed ones in place."""
        return {**self._given, **self.changed}


def read_by_linear(weights: Weights, path: str, columns: slice, edit: Affine) -> None:
    """Fold an edit of what a linear layer reads: `W (s·a + t) + b = (W s) a + (W t + b)`.

    Parameters
    ----------
    path
        Name of the linear layer.
    columns
        What it reads the unit by; as many columns as `edit.add` has values.
    """
    if edit.shifts:
        if f"{path}.bias" not in weights:
            raise edit.refuse(f"{path} has no bias that could take what is added")
        add = edit.add.expand(columns.stop - columns.start)
        weights[f"{path}.bias"].add_(weights[f"{path}.weight"][:, columns] @ add)
    weights[f"{path}.weight"][:, columns] *= edit.scale


def written_by_linear(weights: Weights, path: str, edit: Affine) -> None:
    """Fold an edit of what a linear layer gives: `s (W x + b) + t`."""
    if edit.shifts and f"{path}.bias" not in weights:
        raise edit.refuse(f"{path} has no bias that could take what is added")
    weights[f"{path}.weight"][edit.unit] *= edit.scale
    if f"{path}.bias" in weights:
        bias = weights[f"{path}.bias"]
        bias[edit.unit] = bias[edit.unit] * edit.scale + float(edit.add)
