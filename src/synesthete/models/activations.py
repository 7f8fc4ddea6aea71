"""What a layer is, what a reading holds, and how the responses of a unit become one number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch

from synesthete.errors import SynestheteError

Reduction = Literal["max", "mean", "cls"]
TextReduction = Literal["end", "max", "mean"]
Tower = Literal["image", "text", "joint"]
Precision = Literal["fp32", "bf16"]
JOINT = "joint"
DICTIONARY = "dictionary"
Arrangement = Literal["NCHW", "NHWC", "NLC", "LNC"]


@dataclass(frozen=True)
class Layer:
    """A place where a model is read.

    Attributes
    ----------
    name
        Its module path, such as `visual.layer4.2`, `visual.transformer.resblocks.11.mlp` or
        `text.transformer.resblocks.11.mlp`; `:pre` at the end means before the non-linearity. `joint` is the
        shared space of embeddings, whose units are its dimensions.
    units
        How many channels or MLP neurons it has.
    kind
        `"block"` (output of a convolutional block), `"residual"` (the residual stream after a
        transformer block), `"mlp"` (the hidden neurons of an MLP), `"embedding"`, or `"dictionary"` (the latents of a sparse
        dictionary). Places that are changed but
        not listed as layers: `"inner"` (channels inside a block), `"heads"` (attention heads) and `"class heads"` (what heads
        write into the class token, or into the pooled token of an attention pool).
    grid
        Rows and columns of its response map; None where it has none.
    tower
        What it answers to: an `"image"`, a `"text"`, or (`"joint"`) either.
    """

    name: str
    units: int
    kind: str
    grid: tuple[int, int] | None
    tower: Tower = "image"

    def reads(self, tower: Tower) -> bool:
        """Whether it has an activation for an `"image"`, or for a `"text"`."""
        return self.tower in (tower, "joint")


@dataclass
class Reading:
    """What one batch of images excites.

    Attributes
    ----------
    embeddings
        L2-normalised image embeddings `[batch, dimension]`, float32.
    activations
        Layer name to `[batch, units]`, float32.
    positions
        Layer name to `[batch, units]`, int16: where in the flattened grid the maximum lies, the
        first such place when several tie; -1 where the reduction knows no place.
    grids
        Layer name to the (rows, columns) that the positions count in.
    """

    embeddings: npt.NDArray[np.float32]
    activations: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    positions: dict[str, npt.NDArray[np.int16]] = field(default_factory=dict)
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class TextReading(Reading):
    """What some texts excite: as `Reading`, with these differences.

    Attributes
    ----------
    positions
        Token positions, as `ImageTextModel.tokens` lists them. For `end` the position of the text's strongest token:
        the value is read at the end, and there the unit answered most on the way. -1 where there is none.
    truncated
        `[texts]`: whether a text has more tokens than the model reads, so that its end was cut off.
    """

    truncated: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))


class Responses(NamedTuple):
    """A layer's responses in one arrangement for every architecture."""

    patches: torch.Tensor  # [batch, rows * columns, units]
    cls: torch.Tensor | None  # [batch, units]
    grid: tuple[int, int]


@dataclass(frozen=True)
class Arranged:
    """How a tower lays out what it computes.

    Attributes
    ----------
    arrangement
        `NCHW` or `NHWC` for maps; `NLC` (batch first) or `LNC` (tokens first) for tokens.
    prefix
        Tokens before the patches; the first of them is the class token.
    grid
        Rows and columns of the patches; None for maps, which carry their own, and for texts, which have one row of
        any length.
    """

    arrangement: Arrangement
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def responses(self, raw: torch.Tensor, layer: str) -> Responses:
        """Bring the tensor of one forward pass into `[batch, positions, units]`, as a view.

        Raises
        ------
        SynestheteError
            If the tensor has not the shape that this arrangement promises.
        """
        if self.arrangement in ("NCHW", "NHWC"):
            if raw.ndim != 4:
                raise SynestheteError(
                    f"{layer} gives a tensor of shape {tuple(raw.shape)}, not a response map"
                )
            channels_last = raw.permute(0, 2, 3, 1) if self.arrangement == "NCHW" else raw
            grid = (int(channels_last.shape[1]), int(channels_last.shape[2]))
            return Responses(channels_last.flatten(1, 2), None, grid)
        tokens = raw.transpose(0, 1) if self.arrangement == "LNC" else raw
        rows, columns = self.grid or (1, tokens.shape[1] if tokens.ndim == 3 else 0)
        if tokens.ndim != 3 or tokens.shape[1] != self.prefix + rows * columns:
            raise SynestheteError(
                f"{layer} gives a tensor of shape {tuple(raw.shape)},"
                f" not {self.prefix} + {rows} × {columns} tokens"
            )
        cls = tokens[:, 0] if self.prefix else None
        return Responses(tokens[:, self.prefix :], cls, (rows, columns))


def check_reduction(reduction: str) -> Reduction:
    """Return `reduction`, or say which ones there are."""
    return _one_of(reduction, get_args(Reduction))  # type: ignore[return-value]


def check_text_reduction(reduction: str) -> TextReduction:
    """Return `reduction`, or say which ones there are for texts."""
    return _one_of(reduction, get_args(TextReduction))  # type: ignore[return-value]


def _one_of(reduction: str, known: tuple[str, ...]) -> str:
    if reduction not in known:
        raise SynestheteError(
            f"no such reduction {reduction!r}", hint="expected " + ", ".join(known)
        )
    return reduction


def reduce(
    responses: Responses, reduction: Reduction, layer: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """One activation per image and unit, and where it lies.

    Parameters
    ----------
    responses
        A layer's responses `[batch, positions, units]`.
    reduction
        `max` or `mean` over the patches (the class token never counts), or `cls`, the class token.
    layer
        The layer's name, for the error message.

    Returns
    -------
    activations, positions
        `[batch, units]` each; the position of the first maximum, or -1.

    Raises
    ------
    SynestheteError
        If `cls` is asked of a layer without a class token.

    Examples
    --------
    >>> two_by_two = torch.tensor([[[1.0], [5.0], [5.0], [2.0]]])
    >>> reduce(Responses(two_by_two, None, (2, 2)), "max", "visual.layer4.1")
    (tensor([[5.]]), tensor([[1]]))
    """
    if reduction == "max":
        # torch documents the index of the *first* maximum for both max and argmax.
        values, positions = responses.patches.max(dim=1)
        return values, positions
    if reduction == "mean":
        values = responses.patches.mean(dim=1)
    elif responses.cls is None:
        raise SynestheteError(
            f"{layer} has no class token to read", hint="use the reduction max or mean"
        )
    else:
        values = responses.cls.clone()
    return values, torch.full_like(values, -1, dtype=torch.int64)
