"""The image tower for gradients with respect to pixels: only as deep as asked, its normalisations folded in."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from synesthete.errors import SynestheteError
from synesthete.models.activations import Responses
from synesthete.models.architectures import Tower, find_taps, with_dictionary
from synesthete.models.dictionaries import split_layer
from synesthete.models.hooks import Tap, capture
from synesthete.models.image_text_model import ImageTextModel


@dataclass(frozen=True)
class Pass:
    """What one differentiable pass gave.

    Attributes
    ----------
    responses
        Layer → its responses `[batch, positions, units]`, with gradient.
    raw
        Layer → the very tensor that flows on from it, for gradients *at* that layer; only of layers that were
        asked for `at`.
    embedding
        `[batch, dim]`, length 1; None when the pass ended before.
    """

    responses: dict[str, Responses]
    raw: dict[str, torch.Tensor]
    embedding: torch.Tensor | None


class GradientTower:
    """A copy of a model's image tower that answers with gradients.

    Batch normalisations are folded into the convolutions before them, which changes the results only by rounding
    (tested) and makes a step a fifth faster; and a pass ends at the last layer asked for. The model itself is not
    touched, and there is no lock: a tower belongs to one thread.

    Parameters
    ----------
    model
        The model whose tower is copied.
    """

    def __init__(self, model: ImageTextModel) -> None:
        visual = model.network.visual
        assert isinstance(visual, nn.Module)
        with model.changed(()):  # hooks of another thread's pass would be copied, too
            self.visual = copy.deepcopy(visual).eval().requires_grad_(False)
        if not isinstance(visual, Tower):
            # Names tell what follows what in open_clip's towers only.
            _fold(self.visual)
        self.taps = find_taps(self.visual)
        self.convolutional = all(tap.kind == "block" for tap in self.taps.values())
        # Latents are driven before their activation function, where there is a slope even when they are silent.
        for full, dictionary in model.dictionaries.items():
            layer, name = split_layer(full)
            self.taps = with_dictionary(self.taps, layer, name, dictionary)
            if full in self.taps:
                self.taps[full] = replace(self.taps[full], slope=True)
        form = torch.channels_last if self.convolutional else torch.contiguous_format
        self.visual.to(memory_format=form)
        self.memory_format = form
        self.device = model.device
        chosen = model.preprocessing
        self.side = chosen.image_size
        self._mean = torch.tensor(chosen.mean, device=self.device)[:, None, None]
        self._std = torch.tensor(chosen.std, device=self.device)[:, None, None]

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Images `[batch, 3, height, width]` of values 0 to 1 as the tower wants them."""
        found = torch.addcmul(-self._mean / self._std, images, 1 / self._std)
        return found.contiguous(memory_format=self.memory_format)

    @cached_property
    def any_size(self) -> bool:
        """Whether it answers to images of another size than the model's, as convolutions do (tried once)."""
        half = torch.full((1, 3, self.side // 2, self.side // 2), 0.5, device=self.device)
        try:
            with torch.no_grad():
                self.run(self.normalised(half), [list(self.taps)[-1]])
        except (SynestheteError, RuntimeError, ValueError, AssertionError):
            return False
        return True

    def run(
        self,
        pixels: torch.Tensor,
        layers: Sequence[str],
        *,
        at: Sequence[str] = (),
        embed: bool = False,
    ) -> Pass:
        """One pass, as deep as needed.

        Parameters
        ----------
        pixels
            `[batch, 3, height, width]`, normalised. A convolutional tower takes any size while it is not asked
            for the embedding.
        layers
            Whose responses are wanted.
        at
            Layers where gradients will be taken; they must be the output of a whole block.
        embed
            Whether the embedding is wanted.

        Raises
        ------
        SynestheteError
            No such layer, or a layer in `at` that is no block's output.
        """
        taps = [self._tap(name) for name in dict.fromkeys(layers)]
        kept: dict[str, torch.Tensor] = {}

        def take(tap: Tap, responses: Responses) -> Responses:
            # Clones, since an in-place ReLU may overwrite what came before it.
            cls = None if responses.cls is None else responses.cls.clone()
            return Responses(responses.patches.clone(), cls, responses.grid)

        deepest = None if embed else self._deepest([*layers, *at])
        with self._keeping(at, kept):
            try:
                with capture(taps, take) as taken, _ending(deepest):
                    out = self.visual(pixels)
            except _Enough:
                out = None
        embedding = None
        if embed:
            found = out[0] if isinstance(out, tuple) else out
            embedding = nn.functional.normalize(found, dim=-1)
        return Pass(dict(taken), kept, embedding)

    def before(self, layer: str) -> str:
        """The block output that lies about a stage before a layer: where facet probes are trained.

        Goh et al. (2021) read the third of four stages for neurons of the last; for a transformer it is the block at two
        thirds of the depth of the layer's.

        Raises
        ------
        SynestheteError
            When nothing lies before it.
        """
        blocks = [
            n
            for n, tap in self.taps.items()
            if tap.source is tap.window and tap.side == "output" and tap.dictionary is None
        ]
        order = list(self.taps)
        limit = order.index(layer) if layer else len(order)
        mine = split_layer(layer or order[-1])[0].removesuffix(":pre")
        earlier = [n for n in blocks if order.index(n) < limit and n != mine]
        stage = mine.rpartition(".")[0]
        other = [n for n in earlier if n.rpartition(".")[0] != stage and self.convolutional]
        if other:
            return other[-1]
        if not earlier:
            raise SynestheteError(
                f"nothing lies before {layer}", hint="facets need an earlier layer for their probes"
            )
        return earlier[max(0, round(len(earlier) * 2 / 3) - 1)]

    def _tap(self, name: str) -> Tap:
        if name not in self.taps:
            raise SynestheteError(f"no layer {name!r}", hint=f"it has {', '.join(self.taps)}")
        return self.taps[name]

    def _deepest(self, names: Sequence[str]) -> Tap:
        order = list(self.taps)
        return self._tap(max(names, key=order.index))

    @contextmanager
    def _keeping(self, at: Sequence[str], kept: dict[str, torch.Tensor]) -> Iterator[None]:
        handles = []
        try:
            for name in at:
                tap = self._tap(name)
                if (
                    tap.source is not tap.window
                    or tap.side != "output"
                    or tap.dictionary is not None
                ):
                    raise SynestheteError(f"{name} is not the output of a whole block")

                def keep(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                    kept[name] = output[0] if isinstance(output, tuple) else output

                handles.append(tap.window.register_forward_hook(keep))
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Enough(Exception):
    """The deepest layer that was asked for has answered."""


@contextmanager
def _ending(tap: Tap | None) -> Iterator[None]:
    """End the pass once `tap` was read. Must be entered after `capture`, so that its hook runs last."""

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        raise _Enough

    handle = None if tap is None else tap.window.register_forward_hook(stop)
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _fold(module: nn.Module) -> None:
    """Fold each batch normalisation into the convolution right before it, where the names say that it is."""
    for first, second in _pairs(module):
        convolution, normalisation = getattr(module, first), getattr(module, second)
        if isinstance(convolution, nn.Conv2d) and type(normalisation) is nn.BatchNorm2d:
            setattr(
                module, first, fuse_conv_bn_eval(convolution, normalisation).requires_grad_(False)
            )
            setattr(module, second, nn.Identity())
    for name, child in module.named_children():
        if isinstance(child, nn.AvgPool2d) and child.kernel_size == 1:
            setattr(module, name, nn.Identity())  # A mean of one.
        _fold(child)


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and the normalisations that follow them in open_clip's residual networks."""
    names = set(module._modules)
    pairs = [(f"conv{i}", f"bn{i}") for i in range(1, 5)]
    if isinstance(module, nn.Sequential):
        pairs.append(("0", "1"))
    return [pair for pair in pairs if names.issuperset(pair)]
