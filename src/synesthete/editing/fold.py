"""Edits as changes of weights, exact or refused.

Residual networks: a channel of a block's output is read by the next block's first convolution and, past it, by the sum at
that block's end. Where the next block projects its shortcut (at the end of a stage) both readers are convolutions, and any edit
goes into their columns. Elsewhere a channel can be shifted (the sum's batch norm takes the shift) and switched off (its own
batch norm holds it below zero, where the ReLU makes it 0), but not scaled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from synesthete.editing.block_ends import takes_at_end
from synesthete.editing.edits import Edit, Edits
from synesthete.errors import SynestheteError
from synesthete.models.adapter import Network
from synesthete.models.architectures import ACTIVATIONS, STAGES, Site
from synesthete.models.heads import Heads
from synesthete.models.hooks import Tap
from synesthete.models.text import parameter_name

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel

_BLOCK = re.compile(r"(visual(?:\.trunk)?)\.(layer[1-4])\.(\d+)(?:\.(act[12]))?$")
# Blocks that end in `x + mlp(norm(x))`, as far as evaluation goes.
PLAIN_BLOCKS = ("ResidualAttentionBlock", "Block", "EvaBlock")
# A batch norm that gives this, and nothing else, keeps the sum with any shortcut below zero. Half precision can hold it.
BELOW = -32768.0


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
    ends_in_map
        The network is of another library: its embedding is what the classifier reads, mostly the average of the last map.
    """

    def __init__(self, network: nn.Module) -> None:
        self._given = network.state_dict()
        self.ends_in_map = isinstance(network, Network)
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
    site_of = cache(lambda layer: _proved(model, layer))
    with torch.no_grad():
        for edit in sorted(changes.values(), key=_stream_order):
            if edit.address in changes:
                _fold(model, weights, edit, changes, site_of(edit.layer))
    return weights.folded()


def _proved(model: ImageTextModel, layer: str) -> Site:
    """A layer, without its writer where what is added to that does not come out of the block as it is."""
    site = model.site(layer)
    if isinstance(site, Heads) or site.kind == "mlp" or not site.writer:
        return site
    tower: Literal["image", "text"] = "text" if layer.startswith("text.") else "image"
    with model.changed([]):  # nobody else's passes meanwhile
        proved = takes_at_end(model.network, site, lambda: model.blank_pass(tower))
    return site if proved else replace(site, writer="", whole=False)


def _stream_order(edit: Edit) -> tuple[str, int, bool]:
    """What lies before a non-linearity is folded before what lies after it."""
    return edit.layer.removesuffix(":pre"), edit.unit, not edit.layer.endswith(":pre")


def _fold(
    model: ImageTextModel, weights: Weights, edit: Edit, changes: dict[str, Edit], site: Site
) -> None:
    network = model.network
    scale, add = edit.affine
    device = next(network.parameters()).device
    affine = Affine(edit.address, edit.unit, scale, torch.tensor(add, device=device))
    if isinstance(site, Heads) and site.writes == "class":
        raise affine.refuse(
            "the output projection writes into all tokens, not into the class token alone",
            f"edit {site.layer.removesuffix(':cls')}:{edit.unit}, at all tokens",
        )
    path, before = edit.layer.removesuffix(":pre"), edit.layer.endswith(":pre")
    path = parameter_name(network, path)
    if isinstance(site, Heads):
        fold_head(weights, path, site, affine)
        return
    if site.dictionary is not None:
        raise affine.refuse(
            "a latent of a sparse dictionary is computed beside the network, and no weight is its own",
            "edit the neurons that write along its direction",
        )
    seen = isinstance(network, Network) or bool(site.writer or site.reader)
    if seen and (site.kind in ("mlp", "residual") or site.writer):
        fold_seen(weights, site, affine, before=before)
    elif site.kind == "mlp":
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
        block = network.get_submodule(path)
        kind = type(block).__name__
        if any(isinstance(one, nn.BatchNorm2d) for one in block.modules()):
            # Of these norms each reads one channel, and only what is written last could take an edit.
            raise edit.refuse(
                f"its {kind} ends neither in a batch norm nor in a plain sum with one"
            )
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
    """Fold an edit of what a linear layer gives, or a norm with its gains: `s (W x + b) + t`."""
    if edit.shifts and f"{path}.bias" not in weights:
        raise edit.refuse(f"{path} has no bias that could take what is added")
    weights[f"{path}.weight"][edit.unit] *= edit.scale
    if f"{path}.bias" in weights:
        bias = weights[f"{path}.bias"]
        bias[edit.unit] = bias[edit.unit] * edit.scale + float(edit.add)


def fold_mlp(weights: Weights, path: str, mlp: Any, edit: Affine, *, before: bool) -> None:
    """An MLP neuron: after the non-linearity a column of the second layer, before it a row of the first."""
    children = dict(mlp.named_children())
    linear = [name for name, child in children.items() if isinstance(child, nn.Linear)]
    if before:
        if not linear:
            raise edit.refuse("its MLP is no pair of linear layers")
        written_by_linear(weights, f"{path}.{linear[0]}", edit)
        return
    if not _gated(mlp):
        names = list(children)
        act = next(name for name in ("gelu", "act") if name in children)
        between = names[names.index(act) + 1 : names.index(linear[-1])] if linear else names
        for name in between:
            if not isinstance(children[name], nn.Identity | nn.Dropout):
                raise edit.refuse(f"{path}.{name} stands between it and the layer that reads it")
    read_by_linear(weights, f"{path}.{linear[-1]}", slice(edit.unit, edit.unit + 1), edit)


def fold_seen(weights: Weights, site: Tap, edit: Affine, *, before: bool) -> None:
    """In a network of another library: the layers that were seen before and after a layer take its edit."""
    if site.kind != "mlp":
        if site.whole:
            written_by_linear(weights, site.writer, edit)
            return
        if site.kind == "residual":
            _check_stream(edit)
        elif edit.scale != 1.0:
            raise edit.refuse(
                "its block adds a batch norm to the channel as it came in, so that nothing can scale the sum",
                "steer it, or edit a channel of a block that adds nothing, as the first of a stage",
            )
        if f"{site.writer}.bias" not in weights:
            raise edit.refuse(
                "its block does not end in the sum of the stream and a linear layer or norm with a bias"
            )
        weights[f"{site.writer}.bias"][edit.unit] += float(edit.add)
    elif before:
        written_by_linear(weights, site.writer, edit)
    else:
        read_by_linear(weights, site.reader, slice(edit.unit, edit.unit + 1), edit)


def _check_stream(edit: Affine) -> None:
    if edit.scale != 1.0:
        raise edit.refuse(
            "the residual stream goes on past every later block, and layer norms read all of it at once",
            "steer it, or edit the MLP neurons and heads that write it",
        )


def _gated(mlp: Any) -> bool:
    """Whether a neuron is by definition what the last layer reads."""
    return type(mlp).__name__ not in ("Mlp", "Sequential")


def fold_head(weights: Weights, path: str, heads: Heads, edit: Affine) -> None:
    """An attention head: its columns of the output projection."""
    first = edit.unit * heads.width
    read_by_linear(weights, f"{path}.{heads.projection}", slice(first, first + heads.width), edit)


def fold_stream(weights: Weights, path: str, block: Any, edit: Affine) -> None:
    """The residual stream: what is added to it goes into the bias that is added last."""
    _check_stream(edit)
    if type(block).__name__ not in PLAIN_BLOCKS:
        raise edit.refuse(f"a {type(block).__name__} does not end in a plain sum")
    linear = [name for name, child in block.mlp.named_children() if isinstance(child, nn.Linear)]
    gain = 1.0
    for name in ("ls_2.gamma", "ls2.gamma", "gamma_2"):
        if f"{path}.{name}" in weights:
            gain = float(weights[f"{path}.{name}"][edit.unit])
    bias = f"{path}.mlp.{linear[-1]}.bias" if linear else ""
    if bias not in weights or gain == 0.0:
        raise edit.refuse("the block has no bias that could take what is added")
    weights[bias][edit.unit] += float(edit.add) / gain


def fold_block(
    weights: Weights, tower: str, visual: Any, stage: str, index: int, edit: Affine
) -> None:
    """A channel after a block's last non-linearity."""
    blocks = getattr(visual, stage)
    if index + 1 < len(blocks):
        path, following = f"{tower}.{stage}.{index + 1}", blocks[index + 1]
    elif stage != STAGES[-1]:
        after = STAGES[STAGES.index(stage) + 1]
        path, following = f"{tower}.{after}.0", getattr(visual, after)[0]
    else:
        _fold_last(weights, tower, visual, blocks[index], f"{tower}.{stage}.{index}", edit)
        return
    if following.downsample is not None:
        _read_by_block(weights, path, following, edit)
        return
    if edit.scale == 0.0:
        _switch_off(weights, f"{tower}.{stage}.{index}", blocks[index], edit)
    elif edit.scale != 1.0:
        raise edit.refuse(
            "the next block's shortcut passes the channel on as it is, so that nothing can scale it",
            "ablate it, steer it, or scale a channel of a stage's last block",
        )
    if edit.shifts:
        _read_by_convolution(
            weights, f"{path}.conv1", following.conv1, f"{path}.bn1", following.bn1, _shift(edit)
        )
        name, norm = _last_norm(following, edit)
        _check_norm(norm, edit)
        weights[f"{path}.{name}.bias"][edit.unit] += float(edit.add)


def fold_before(
    weights: Weights,
    tower: str,
    visual: Any,
    stage: str,
    index: int,
    edit: Affine,
    then: tuple[float, Any],
) -> None:
    """A channel before a block's last non-linearity: the sum of a batch norm and the shortcut.

    Where `edit` makes it a constant, `then` is what is done to that behind the non-linearity, as scale and shift.
    """
    block, path = getattr(visual, stage)[index], f"{tower}.{stage}.{index}"
    if edit.scale == 0.0:
        # A constant goes through the non-linearity on its own; what is left is an edit after it.
        _check_relu(block, edit)
        fold_block(
            weights,
            tower,
            visual,
            stage,
            index,
            Affine(edit.address, edit.unit, 0.0, then[0] * edit.add.clamp(min=0) + then[1]),
        )
        return
    name, norm = _last_norm(block, edit)
    parts = [(f"{path}.{name}", norm)]
    if edit.scale != 1.0:
        if block.downsample is None:
            raise edit.refuse(
                "the block's shortcut adds the channel as it is, so that nothing can scale it"
            )
        place, shortcut = _shortcut_norm(block, edit)
        parts.append((f"{path}.downsample.{place}", shortcut))
    for at, one in parts:
        _check_norm(one, edit)
        weights[f"{at}.weight"][edit.unit] *= edit.scale
        weights[f"{at}.bias"][edit.unit] *= edit.scale
    weights[f"{path}.{name}.bias"][edit.unit] += float(edit.add)


def fold_inner(
    weights: Weights, path: str, block: Any, which: str, edit: Affine, *, before: bool
) -> None:
    """A channel inside a bottleneck, after or before `act1` or `act2`."""
    number = int(which[-1])
    if before:
        norm = f"{path}.bn{number}"
        _check_norm(getattr(block, f"bn{number}"), edit)
        weights[f"{norm}.weight"][edit.unit] *= edit.scale
        bias = weights[f"{norm}.bias"]
        bias[edit.unit] = bias[edit.unit] * edit.scale + float(edit.add)
        return
    conv, norm = f"conv{number + 1}", f"bn{number + 1}"
    _read_by_convolution(
        weights,
        f"{path}.{conv}",
        getattr(block, conv),
        f"{path}.{norm}",
        getattr(block, norm),
        edit,
    )


def _read_by_block(weights: Weights, path: str, block: Any, edit: Affine) -> None:
    """Both readers of a block that projects its shortcut."""
    _read_by_convolution(weights, f"{path}.conv1", block.conv1, f"{path}.bn1", block.bn1, edit)
    children = list(block.downsample.named_children())
    conv = next(((n, c) for n, c in children if isinstance(c, nn.Conv2d)), None)
    if conv is None:
        raise edit.refuse("the next block's shortcut is no convolution")
    name, norm = _shortcut_norm(block, edit)
    _read_by_convolution(
        weights, f"{path}.downsample.{conv[0]}", conv[1], f"{path}.downsample.{name}", norm, edit
    )


def _read_by_convolution(
    weights: Weights, path: str, convolution: Any, norm_path: str, norm: Any, edit: Affine
) -> None:
    """Columns of a convolution; what is added goes into the running mean of the batch norm behind it."""
    if not isinstance(convolution, nn.Conv2d) or convolution.groups != 1:
        raise edit.refuse(f"{path} is no plain convolution")
    columns = weights[f"{path}.weight"][:, edit.unit]
    if edit.shifts:
        _check_norm(norm, edit)
        if any(convolution.padding):
            raise edit.refuse(
                f"{path} pads its input with zeros, so that a constant is none at the border",
                "ablate or scale it, or edit it before the non-linearity",
            )
        weights[f"{norm_path}.running_mean"].sub_(columns.sum((1, 2)) * float(edit.add))
    columns *= edit.scale


def _switch_off(weights: Weights, path: str, block: Any, edit: Affine) -> None:
    name, norm = _last_norm(block, edit)
    _check_norm(norm, edit)
    _check_relu(block, edit)
    weights[f"{path}.{name}.weight"][edit.unit] = 0.0
    weights[f"{path}.{name}.bias"][edit.unit] = BELOW


def _fold_last(
    weights: Weights, tower: str, visual: Any, block: Any, path: str, edit: Affine
) -> None:
    """A channel of the last map."""
    pool = getattr(visual, "attnpool", None)
    if pool is not None:
        _read_by_attention_pool(weights, f"{tower}.attnpool", path, block, edit)
        return
    if edit.scale == 0.0:
        _switch_off(weights, path, block, edit)
        edit = _shift(edit)
        if not edit.shifts:
            return
    if weights.ends_in_map:
        raise edit.refuse(
            "no weights are known to stand between the last map and the embedding", "ablate it"
        )
    pooling, own = getattr(visual, "global_pool", None), getattr(visual, "fc", None)
    averaged = type(pooling).__name__ == "SelectAdaptivePool2d" and pooling.pool_type == "avg"  # type: ignore[union-attr]
    head = (
        f"{tower}.fc" if isinstance(own, nn.Linear) else f"{tower.removesuffix('.trunk')}.head.proj"
    )
    if not averaged or f"{head}.weight" not in weights:
        raise edit.refuse("what follows the last block is not an average and a linear layer")
    read_by_linear(weights, head, slice(edit.unit, edit.unit + 1), edit)


def _read_by_attention_pool(
    weights: Weights, pool: str, path: str, block: Any, edit: Affine
) -> None:
    """The pool reads the map and, as a first token, its mean, each with a position added.

    Both become `s·x + t`, and `W (s·x + t + p) = (W s) (x + (p + t) / s)`: the unit's column of every
    projection is scaled, its positions take the rest. A unit that is off leaves its positions in place.
    """
    positions = weights[f"{pool}.positional_embedding"]
    if edit.scale == 0.0:
        _switch_off(weights, path, block, edit)
        positions[:, edit.unit] += float(edit.add)
        return
    for name in ("q_proj", "k_proj", "v_proj"):
        weights[f"{pool}.{name}.weight"][:, edit.unit] *= edit.scale
    positions[:, edit.unit] = (positions[:, edit.unit] + float(edit.add)) / edit.scale


def _check_relu(block: Any, edit: Affine) -> None:
    last = [child for child in block.children() if isinstance(child, ACTIVATIONS)]
    if not last or not isinstance(last[-1], nn.ReLU):
        raise edit.refuse("the block's non-linearity is no ReLU")


def _shift(edit: Affine) -> Affine:
    return Affine(edit.address, edit.unit, 1.0, edit.add)


def _last_norm(block: Any, edit: Affine) -> tuple[str, Any]:
    """The batch norm whose output is added to the shortcut, where nothing lies between."""
    if getattr(block, "se", None) is not None:
        raise edit.refuse("the block gates its channels (squeeze and excitation)")
    name = "bn3" if hasattr(block, "bn3") else "bn2"
    return name, getattr(block, name, None)


def _shortcut_norm(block: Any, edit: Affine) -> tuple[str, Any]:
    name, child = list(block.downsample.named_children())[-1]
    if not isinstance(child, nn.BatchNorm2d):
        raise edit.refuse("the shortcut does not end in a batch norm")
    return name, child


def _check_norm(norm: Any, edit: Affine) -> None:
    plain = isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats and norm.affine
    if not plain or type(norm).forward is not nn.BatchNorm2d.forward:
        raise edit.refuse(f"a {type(norm).__name__} is no plain batch norm")
