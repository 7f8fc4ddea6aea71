"""Networks that know nothing, as controls: the same every time, and with every block at work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from synesthete.errors import SynestheteError, one_of
from synesthete.models.architectures import STAGES

KINDS = ("random_twin", "random_he", "permuted")
SMALL = 1e-2  # a constant gain at most this large switches its branch off
CALIBRATION = 32  # images


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the caller's random numbers as they were.

    Only the CPU's generator is touched: networks are built on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def fresh_network(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with random weights that is no control of a trained one (`MODEL/random`): those of `random_he`."""
    with seeded(seed):
        network = build()
        if (visual := getattr(network, "visual", None)) is not None:
            _draw_he(visual)
            _wake(visual)
    return network


def twin_of(
    kind: str, network: nn.Module, build: Callable[[], nn.Module], *, seed: int, side: int
) -> nn.Module:
    """A network of the same architecture that knows nothing of what the given one has learned.

    `random_twin` has the library's initial weights. `random_he` has convolutions and linear maps drawn to keep the size of a signal
    (He et al. 2015, arXiv 1502.01852, eq. 10). `permuted` has the trained weights, each tensor's own values in random order: the
    right distribution of every layer's weights, and none of their arrangement.

    Libraries start the residual branches of many architectures switched off, by a last gain of 0 (ModifiedResNet, timm's ResNet) or
    layer scales of 1e-6 to 1e-5 (ConvNeXt, FastViT and MobileCLIP, vit_medium_gap). This is good for training, but an untrained tower
    then passes its input through. So the gains of `n` such branches are set to 1/√n in the first two, with which all of them together
    count as much as what passes by (Zhang et al. 2019, arXiv 1901.09321).

    Batch normalisation is meant to run with the statistics of what it sees. `random_twin` and `permuted` take them from
    `calibration_images`; in `random_he`, which needs none, they stay 0 and 1.

    Parameters
    ----------
    kind
        One of `KINDS`.
    network
        The trained network; it is not changed.
    build
        Makes the network with the library's initial weights.
    seed
        Same seed, same weights.
    side
        Of the images, in pixels.

    Raises
    ------
    SynestheteError
        When there is no such kind.
    """
    if kind not in KINDS:
        raise SynestheteError(f"no twin {kind!r} of a model", hint=one_of(kind, KINDS))
    if kind == "random_he":
        return fresh_network(build, seed)
    with seeded(seed):
        twin = copy.deepcopy(network).cpu() if kind == "permuted" else build()
        visual = twin.visual
        assert isinstance(visual, nn.Module)
        if kind == "permuted":
            _permute(twin, visual)
        else:
            _wake(visual)
    _calibrate(visual, calibration_images(side))
    return twin.eval()


def _permute(network: nn.Module, visual: nn.Module) -> None:
    """Permute the values of every tensor of either tower; vectors of one module and length (gain, bias, mean, variance) stay together."""
    seen = dict.fromkeys([*visual.modules(), *network.modules()])
    for module in seen:
        orders: dict[int, torch.Tensor] = {}
        # Buffers that are not saved are no weights: the mask of a text tower is one.
        kept = [
            buffer
            for name, buffer in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set
        ]
        for tensor in [*module.parameters(recurse=False), *kept]:
            if tensor.ndim == 0 or not tensor.is_floating_point():
                continue
            flat = tensor.data.flatten()
            order = torch.randperm(len(flat)) if tensor.ndim > 1 else orders.get(len(flat))
            if order is None:
                order = orders[len(flat)] = torch.randperm(len(flat))
            tensor.data = flat[order].reshape(tensor.shape)


def _draw_he(visual: nn.Module) -> None:
    """Convolutions and linear maps but those of a pooling head: normal, variance 2 / fan-in, 1 / fan-in where no ReLU follows."""
    pooling = set() if (pool := getattr(visual, "attnpool", None)) is None else {*pool.modules()}
    for module in visual.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module not in pooling:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            nn.init.kaiming_normal_(module.in_proj_weight, nonlinearity="linear")
    if pooling:
        for stage in STAGES:
            for block in getattr(visual, stage):
                # No ReLU follows these before the sum, so nothing halves their variance.
                nn.init.kaiming_normal_(block.conv3.weight, nonlinearity="linear")
                if block.downsample is not None:
                    nn.init.kaiming_normal_(block.downsample[1].weight, nonlinearity="linear")


def _wake(visual: nn.Module) -> None:
    """Give every gain that switches a residual branch off the value 1/√n."""
    gains = []
    for name, parameter in visual.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if last != "weight" and "gamma" not in last and "scale" not in last:
            continue
        low, high = parameter.detach().aminmax()
        if parameter.numel() > 1 and low == high and abs(float(low)) <= SMALL:
            gains.append(parameter)
    for gain in gains:
        nn.init.constant_(gain, len(gains) ** -0.5)


def calibration_images(side: int) -> torch.Tensor:
    """Noise with the spectrum of natural images, each frequency octave with the same power, `[32, 3, side, side]`.

    Made here and not taken from a probe set, so that a twin depends on the model and the seed alone. Each image has a mean and a
    contrast of its own, the size of which is that of normalised images.
    """
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(CALIBRATION, 3, 1, 1, generator=generator).expand(-1, -1, side, side)
    cells = 2
    while cells < side:
        # Colours of a place are alike.
        grey, colour = (
            torch.randn(CALIBRATION, channels, cells, cells, generator=generator)
            for channels in (1, 3)
        )
        found = found + F.interpolate(grey + colour / 2, size=(side, side), mode="bilinear") / 2
        cells *= 2
    return found


def _calibrate(visual: nn.Module, images: torch.Tensor) -> None:
    """Set the statistics of every batch normalisation to those of these images, in one pass."""
    norms = [module for module in visual.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    visual.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        visual(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    visual.eval()
