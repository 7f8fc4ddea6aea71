"""What ends a block is found where it takes an edit as it is, and not where anything stands between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from synesthete.editing.block_ends import takes_at_end
from synesthete.models.places import find_places

WIDTH = 6


class Block(nn.Module):
    """A convolution and a batch norm, and what is done with their sum."""

    def __init__(self, end: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.bn(self.conv(x)), x)


class Layer(nn.Module):
    """A linear layer and a layer norm, in one of the orders that transformers have."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.linear, self.norm, self.order = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), order
        self.gamma = nn.Parameter(torch.full((WIDTH,), 0.1)) if order == "scaled" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "after":
            return self.norm(x + self.linear(x))
        added = self.linear(self.norm(x))
        return x + (added if self.gamma is None else self.gamma * added)


def ends(block: Callable[[], nn.Module], shape: tuple[int, ...]) -> set[tuple[str, bool]]:
    torch.manual_seed(0)
    network = nn.Module()
    network.blocks = nn.ModuleList(block() for _ in range(2))
    network.forward = lambda x: network.blocks[1](network.blocks[0](x))  # type: ignore[method-assign]
    network.eval()
    with torch.no_grad():
        for one in network.parameters():
            one.add_(torch.randn(one.shape) * 0.1)
    places = find_places(network, lambda: network(torch.zeros(shape)), texts=len(shape) == 3)
    found = [one for one in places if one.side == "output" and one.kind != "mlp"]
    assert len(found) == 2
    whole = nn.Module()
    whole.visual = network
    proved = set()
    for one in found:
        tap = one.tap(network, "visual")
        takes = bool(one.writer) and takes_at_end(whole, tap, lambda: network(torch.zeros(shape)))
        proved.add((one.writer.rpartition(".")[2], one.whole) if takes else ("", False))
    return proved


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda new, x: new, ("bn", True)),
        (lambda new, x: new + x, ("bn", False)),
        (lambda new, x: new.add_(x), ("", False)),  # the very tensor that the norm gave, and a sum
        (lambda new, x: functional.relu(new, inplace=True), ("", False)),
        (lambda new, x: functional.relu(new + x), ("", False)),
        (lambda new, x: x + 0.5 * new, ("", False)),
        (lambda new, x: torch.cat([x, new], 1)[:, 3:9], ("", False)),
    ],
)
def test_a_batch_norm_at_the_end(
    end: Callable[[Tensor, Tensor], Tensor], expected: tuple[str, bool]
) -> None:
    assert ends(lambda: Block(end), (2, WIDTH, 8, 8)) == {expected}


@pytest.mark.parametrize(
    ("order", "expected"),
    [("before", ("linear", False)), ("after", ("norm", True)), ("scaled", ("", False))],
)
def test_a_layer_of_a_transformer(order: str, expected: tuple[str, bool]) -> None:
    assert ends(lambda: Layer(order), (2, 5, WIDTH)) == {expected}
