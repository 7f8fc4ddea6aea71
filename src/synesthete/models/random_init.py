"""Random weights that make an honest control: the same every time, and with every block at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from synesthete.models.architectures import STAGES


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the caller's random numbers as they were.

    Only the CPU's generator is touched: networks are built on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def fresh_network(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network with random weights.

    open_clip starts a ModifiedResNet with the last gain of every residual block at zero, which is good
    for training but leaves an untrained tower that passes its input through: as a control it would be a
    few layers deep. And it draws convolutions so that activations shrink with depth, until half
    precision cannot tell them apart. So convolutions are drawn to keep the size of a signal (He et al.
    2015, arXiv 1502.01852, eq. 10), and the residual branches of `n` blocks get the gain 1/√n, with which
    all of them together count as much as what passes by (Zhang et al. 2019, arXiv 1901.09321).

    Parameters
    ----------
    build
        Makes the network with the library's own initial weights.
    seed
        Same seed, same weights.
    """
    with seeded(seed):
        network = build()
        visual = getattr(network, "visual", None)
        if visual is not None and hasattr(visual, "attnpool"):
            _wake_residual_network(visual)
    return network


def _wake_residual_network(visual: nn.Module) -> None:
    for module in visual.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    blocks = [block for stage in STAGES for block in getattr(visual, stage)]
    for block in blocks:
        # No ReLU follows these before the sum, so nothing halves their variance.
        nn.init.kaiming_normal_(block.conv3.weight, nonlinearity="linear")
        if block.downsample is not None:
            nn.init.kaiming_normal_(block.downsample[1].weight, nonlinearity="linear")
        nn.init.constant_(block.bn3.weight, len(blocks) ** -0.5)
