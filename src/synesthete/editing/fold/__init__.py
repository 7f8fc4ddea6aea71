"""Edits as changes of weights, exact or refused: one file per family of towers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from synesthete.editing.edits import Edit, Edits
from synesthete.editing.fold.residual import fold_before, fold_block, fold_inner
from synesthete.editing.fold.transformer import fold_head, fold_mlp, fold_stream
from synesthete.editing.fold.weights import Affine, Unfoldable, Weights
from synesthete.models.heads import Heads

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel

__all__ = ["Unfoldable", "fold"]

_BLOCK = re.compile(r"(visual(?:\.trunk)?)\.(layer[1-4])\.(\d+)(?:\.(act[12]))?$")


def fold(model: ImageTextModel, edits: Edits) -> dict[str, torch.Tensor]:
    """The weights of a model that does without hooks what `edits` make of it.

    Returns
    -------
    dict
        Name to tensor, a whole state dict; the model itself stays as it is.

    Raises
    ------
    Unfoldable
        An edit that no change of the weights can make, with the reason.
    SynestheteError
        Edits of another model, or of units that it does not have.
    """
    edits.check(model)
    weights = Weights(model.network)
    changes = {edit.address: edit for edit in edits.edits if edit.affine != (1.0, 0.0)}
    with torch.no_grad():
        for edit in sorted(changes.values(), key=_stream_order):
            if edit.address in changes:
                _fold(model, weights, edit, changes)
    return weights.folded()


def _stream_order(edit: Edit) -> tuple[str, int, bool]:
    """What lies before a non-linearity is folded before what lies after it."""
    return edit.layer.removesuffix(":pre"), edit.unit, not edit.layer.endswith(":pre")


def _fold(model: ImageTextModel, weights: Weights, edit: Edit, changes: dict[str, Edit]) -> None:
    site, network = model.site(edit.layer), model.network
    scale, add = edit.affine
    device = next(network.parameters()).device
    affine = Affine(edit.address, edit.unit, scale, torch.tensor(add, device=device))
    if isinstance(site, Heads):
        fold_head(weights, site, affine)
        return
    path, before = edit.layer.removesuffix(":pre"), edit.layer.endswith(":pre")
    if site.kind == "mlp":
        fold_mlp(weights, path, site.window, affine, before=before)
    elif site.kind == "residual":
        fold_stream(weights, path, site.window, affine)
    else:
        _fold_in_network(network, weights, path, affine, changes, before=before)


def _fold_in_network(
    network: Any,
    weights: Weights,
    path: str,
    edit: Affine,
    changes: dict[str, Edit],
    *,
    before: bool,
) -> None:
    found = _BLOCK.match(path)
    if found is None:
        kind = type(network.get_submodule(path)).__name__
        raise edit.refuse(
            f"after a {kind} every later block reads the sum of its channels through norms"
        )
    tower, stage, index, inner = found.groups()
    visual = network.get_submodule(tower)
    if inner:
        block = f"{tower}.{stage}.{index}"
        fold_inner(weights, block, network.get_submodule(block), inner, edit, before=before)
    elif before:
        # Of a channel that is a constant before the ReLU, what is done behind it changes that constant.
        behind = changes.pop(f"{path}:{edit.unit}", None) if edit.scale == 0.0 else None
        then = behind.affine if behind else (1.0, 0.0)
        fold_before(weights, tower, visual, stage, int(index), edit, then)
    else:
        fold_block(weights, tower, visual, stage, int(index), edit)
