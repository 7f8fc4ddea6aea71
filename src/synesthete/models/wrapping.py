"""Any torch module as a model: its layers read, its units edited and seen, its texts embedded if it can."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models.adapter import Network
from synesthete.models.architectures import Tower
from synesthete.models.hub import explained, one_line
from synesthete.models.image_text_model import ImageTextModel, TextEncoder
from synesthete.models.names import WRAPPED
from synesthete.models.places import BATCH, find_places
from synesthete.models.preprocessing import (
    Preprocessing,
    Preprocessor,
    TransformPreprocessor,
    measure,
)
from synesthete.models.vision_libraries import WEIGHTS, plain_features, save_weights


def wrap(
    module: nn.Module,
    preprocess: Preprocessing | Callable[[Image.Image], torch.Tensor],
    *,
    name: str = "module",
    layers: Sequence[str] | None = None,
    encode_image: Callable[[Any, torch.Tensor], torch.Tensor] | None = None,
    encode_text: TextEncoder | None = None,
    build: Callable[[], nn.Module] | None = None,
    device: str = "cpu",
) -> ImageTextModel:
    """A torch module as a model.

    Parameters
    ----------
    module
        Takes images `[batch, 3, side, side]` and gives embeddings `[batch, dimension]` (of a tuple, its first element). It is
        copied, and left as it is.
    preprocess
        From an RGB image to a tensor `[3, side, side]`: a transform of torchvision or timm, or any function that scales, crops and
        then shifts and scales each channel; or a `Preprocessing`.
    name
        What to call it; atlases say `wrap:NAME`.
    layers
        Names of modules to be read at their output, a map `[batch, units, rows, columns]` or a sequence
        `[batch, positions, units]`. By default the blocks of the network, and the neurons of the MLPs in them.
    encode_image
        `encode_image(module, pixels)` gives the embeddings, where calling the module does not. It must use the module that it is given.
    encode_text
        From a list of texts to embeddings `[texts, dimension]` in the same space. Without it, what needs a text tower says so.
    build
        Makes the module with its initial weights, for the random twin. By default a copy whose parts are reset by their
        `reset_parameters`, and whose other matrices are drawn from a normal distribution of standard deviation 0.02.
    device
        Where it runs.

    Raises
    ------
    SynestheteError
        A module that does not take what `preprocess` gives, a layer that cannot be read, or a preprocessing that is not as above.

    Examples
    --------
    >>> from torch import nn
    >>> from torchvision.transforms import Compose, Resize, ToTensor
    >>> block = lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 4, 4), block(), block(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> model = wrap(net, Compose([Resize((32, 32)), ToTensor()]), layers=["1", "2"])
    >>> [(layer.name, layer.units, layer.grid) for layer in model.layers()]
    [('visual.trunk.1', 8, (8, 8)), ('visual.trunk.2', 8, (8, 8)), ('joint', 8, None)]
    """
    spec = WRAPPED + name
    if isinstance(preprocess, Preprocessing):
        preprocessor: Preprocessor | TransformPreprocessor = Preprocessor(preprocess)
    else:
        preprocessor = TransformPreprocessor(preprocess, measure(preprocess, spec, {}))
    side = preprocessor.settings.image_size
    see = encode_image or plain_features
    trunk = copy.deepcopy(module).eval().cpu().float()
    blank = torch.zeros(BATCH, 3, side, side)
    try:
        with torch.no_grad():
            found = see(trunk, blank)
    except Exception as error:
        raise SynestheteError(f"{spec} cannot see images: {one_line(error)}") from error
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != BATCH:
        raise SynestheteError(
            f"{spec} gives {shape} for {BATCH} images, expected embeddings ({BATCH}, dimension)",
            hint="encode_image=lambda module, pixels: ... may pool it",
        )
    places = find_places(trunk, lambda: see(trunk, blank), named=layers)

    def untrained() -> nn.Module:
        fresh = build() if build is not None else _reset(copy.deepcopy(trunk).cpu())
        return Network(Tower(fresh.eval().cpu().float(), see, places))

    return ImageTextModel(
        spec,
        Network(Tower(trunk, see, places)),
        preprocessing=preprocessor.settings,
        preprocessor=preprocessor,
        embedding_dim=int(shape[1]),
        tokenize=None,
        encode=encode_text,
        build=untrained,
        description={
            "architecture": type(module).__name__,
            "pretrained": name,
            "image_tower": type(module).__name__,
            "parameters": sum(weight.numel() for weight in trunk.parameters()),
            "torch": str(torch.__version__),
        },
        device=device,
    )


def save_wrapped(
    model: ImageTextModel, weights: Mapping[str, torch.Tensor], folder: Path
) -> nn.Module:
    """Write the state dict of a wrapped module with other weights, and give a module of its class that has loaded it.

    Parameters
    ----------
    model
        From `wrap`.
    weights
        By the names that the model gives them.
    folder
        An empty folder.
    """
    from safetensors.torch import load_file

    own: Any = model.network.visual.trunk
    kind = f"{type(own).__module__}.{type(own).__qualname__}"
    with explained(model.name, "be exported", hint="its state dict must hold tensors only"):
        trunk = copy.deepcopy(own)
        trunk.load_state_dict({n.removeprefix("visual.trunk."): w for n, w in weights.items()})
        about = {"library": "torch", "class": kind}
        save_weights(trunk, folder, about, f"network = ...  # your {kind}")
        plain: nn.Module = copy.deepcopy(own)
        plain.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    return plain


def _reset(network: nn.Module) -> nn.Module:
    """Initial weights as far as the parts of a network know theirs."""
    for module in network.modules():
        again = getattr(module, "reset_parameters", None)
        if callable(again):
            again()
            continue
        for weight in module.parameters(recurse=False):
            if weight.ndim > 1:
                nn.init.normal_(weight, std=0.02)
    return network
