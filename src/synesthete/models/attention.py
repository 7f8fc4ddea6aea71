"""What the class token attends to: the weights of attention heads, as any library computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from synesthete.errors import SynestheteError
from synesthete.models.heads import Heads

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

SOFTMAX = (F.softmax, torch.softmax, torch.Tensor.softmax)


class _Watch(TorchFunctionMode):
    """Keeps the first query's attention weights `[batch, heads, keys]` of the module that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.running: Heads | None = None
        self.kept: dict[str, torch.Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.running is None:
            return func(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            whole = {**kwargs, "need_weights": True, "average_attn_weights": False}
            output, weights = func(*args, **whole)
            self.keep(weights)
            return output, None
        if func is F.scaled_dot_product_attention:
            self.keep(_weights(*args, **kwargs))
        output = func(*args, **kwargs)
        if func in SOFTMAX:
            self.keep(output)
        return output

    def keep(self, weights: torch.Tensor) -> None:
        """Of weights `[batch, heads, queries, keys]`, or with batch and heads on one axis."""
        heads = self.running
        assert heads is not None
        by_head = weights.reshape(-1, heads.count, *weights.shape[-2:])
        self.kept[heads.layer] = by_head[:, :, 0].float()

    def before(self, heads: Heads, module: nn.Module, args: Any) -> None:
        """A hook."""
        self.running = heads

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """A hook."""
        self.running = None


def _weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """The first query's weights, with the parameters of torch's function."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = (query[..., :1, :] @ key.mT) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        mask = attn_mask[..., :1, :]
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
    return scores.softmax(-1)


def class_attention(
    model: ImageTextModel, layers: Sequence[str], pixels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Attention of the class token, or of a pool's query, to the positions of the image.

    Parameters
    ----------
    layers
        Sites of kind `"class heads"`.
    pixels
        Images `[n, 3, height, width]`.

    Returns
    -------
    dict
        Layer to `[n, heads, rows, columns]`, float32. A head's weights add up to 1 with those of the tokens that have no
        position (the class token, registers, the pool's mean).

    Raises
    ------
    SynestheteError
        An attention that does not compute weights, or not of these positions.

    Examples
    --------
    >>> import torch
    >>> from synesthete.models import load_model
    >>> found = class_attention(load_model("mini"), ["visual.attnpool"], torch.zeros(1, 3, 128, 128))
    >>> found["visual.attnpool"].shape
    torch.Size([1, 16, 4, 4])
    """
    sites = {layer: model.site(layer) for layer in layers}
    watch = _Watch()
    handles: list[RemovableHandle] = []
    with model.rewritten([]):  # other threads wait
        try:
            for heads in sites.values():
                assert isinstance(heads, Heads)
                module = heads.attention
                handles.append(module.register_forward_pre_hook(partial(watch.before, heads)))
                handles.append(module.register_forward_hook(watch.after))
            with watch:
                model.encode_images(pixels)
        finally:
            for handle in handles:
                handle.remove()
    found = {}
    for layer in layers:
        rows, columns = grid_of(model, layer)
        weights = watch.kept.get(layer)
        if weights is None or weights.shape[-1] < rows * columns:
            raise SynestheteError(f"the attention weights of {layer} cannot be read")
        found[layer] = (
            weights[..., -rows * columns :].reshape(*weights.shape[:2], rows, columns).cpu()
        )
    return found


def grid_of(model: ImageTextModel, layer: str) -> tuple[int, int]:
    """Rows and columns of the positions that the heads of a site attend to: its block's, or of a pool the last layer's."""
    known = [one for one in model.layers("image") if one.grid is not None]
    own = [one for one in known if layer.startswith(f"{one.name}.")]
    grid = (own or known)[-1].grid
    assert grid is not None
    return grid
