"""The layers of a network of any library, found by watching one forward pass of it.

open_clip's towers have a finder each (`synesthete.models.architectures`). Here nothing is known beforehand: which modules are
blocks is read off the containers they lie in, and what they compute off the tensors that pass between modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, TypeAlias

import torch
from torch import nn

from synesthete.errors import SynestheteError, near
from synesthete.models.activations import Arranged
from synesthete.models.hooks import Tap

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# Names of the lists of blocks that some libraries keep in an `nn.Sequential`.
STACKS = ("layers", "blocks", "stages")
# A class token and the registers of DINOv2 and its successors.
MOST_PREFIX = 16
BATCH = 2
Grid: TypeAlias = tuple[int, int] | None
NO_GRID = (0, 0)  # of texts


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer by the names of the modules that it is read at, so that it is found again in a copy of the network.

    Attributes
    ----------
    name, kind, side, arranged, closing
        As in `Tap`.
    window, source
        Names of the modules.
    writer, reader
        Of MLP neurons, the linear layers before and after them, of a block the linear layer or norm that may add to it last;
        empty where there is none, as before the product of a gated MLP.
    whole
        A block is all that its writer, a norm, gives, and no sum: BERT's blocks, and those of EfficientNet that begin a stage.
    """

    name: str
    kind: str
    window: str
    source: str
    side: Any
    arranged: Arranged
    closing: bool = False
    writer: str = ""
    reader: str = ""
    whole: bool = False

    def tap(self, trunk: nn.Module, prefix: str) -> Tap:
        """Where to read it in a network whose name is `prefix`."""
        return Tap(
            layer=f"{prefix}.{self.name}",
            kind=self.kind,
            window=trunk.get_submodule(self.window),
            source=trunk.get_submodule(self.source),
            side=self.side,
            arranged=self.arranged,
            closing=self.closing,
            writer=self.writer and f"{prefix}.{self.writer}",
            reader=self.reader and f"{prefix}.{self.reader}",
            whole=self.whole,
        )


@dataclass(frozen=True)
class _Call:
    """One call of a module: what it was given and what it gave, each the first tensor among it."""

    name: str
    module: nn.Module
    given: torch.Tensor | None
    gave: torch.Tensor | None


def find_places(
    trunk: nn.Module,
    run: Callable[[], object],
    *,
    named: Sequence[str] | None = None,
    texts: bool = False,
) -> tuple[Place, ...]:
    """Every layer of a network that can be read, in the order of the forward pass.

    Parameters
    ----------
    trunk
        The network.
    run
        One forward pass of a batch of two.
    named
        Names of modules, each to be read at its output; by default the blocks, the neurons of the MLPs within them, and the
        values before a block's last non-linearity.
    texts
        The batch is one of texts, whose positions lie in no grid.

    Raises
    ------
    SynestheteError
        A module that is not there, is not called exactly once, or gives no map or sequence; or nothing was found.
    """
    calls = _watch(trunk, run)
    grid = NO_GRID if texts else _patches(calls)
    if named is not None:
        return tuple(_named(trunk, name, calls, grid) for name in dict.fromkeys(named))
    once = _called_once(calls)
    for names in _choices(trunk, once):
        found = [one for name in names for one in _of_block(name, calls, once[name], grid)]
        if found:
            order = {call.name: place for place, call in enumerate(calls)}
            return tuple(sorted(found, key=lambda one: (order[one.source], one.side != "input")))
    raise SynestheteError(
        f"no layer of a {type(trunk).__name__} was found", hint="name them: layers=[...]"
    )


def _watch(trunk: nn.Module, run: Callable[[], object]) -> list[_Call]:
    """All calls of modules in one pass, in the order in which they end."""
    calls: list[_Call] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in trunk.named_modules():
            if not name:
                continue

            def seen(module: nn.Module, args: Any, kwargs: Any, out: Any, name: str = name) -> None:
                calls.append(_Call(name, module, _first([*args, *kwargs.values()]), _first([out])))

            hooks.callback(module.register_forward_hook(seen, with_kwargs=True).remove)
        run()
    return calls


def _first(values: Sequence[object]) -> torch.Tensor | None:
    for value in values:
        one = value[0] if isinstance(value, tuple) and value else value
        if isinstance(one, torch.Tensor):
            return one
    return None


def _called_once(calls: Sequence[_Call]) -> dict[str, _Call]:
    counts: dict[str, int] = {}
    for call in calls:
        counts[call.name] = counts.get(call.name, 0) + 1
    return {call.name: call for call in calls if counts[call.name] == 1}


def _choices(trunk: nn.Module, once: dict[str, _Call]) -> Iterator[list[str]]:
    """What may count as the blocks, best first."""

    def maps(names: Iterator[str]) -> list[str]:
        return [name for name in names if name in once and _is_layer(once[name].gave)]

    yield maps(_blocks(trunk, ""))
    # GoogLeNet's blocks are attributes of the network itself.
    yield maps(name for name, child in trunk.named_children() if _compound(child))
    # Plain stacks of convolutions, as VGG's: after every non-linearity, or else after every module with weights.
    leaves = [(name, one) for name, one in trunk.named_modules() if not any(one.children())]
    yield maps(n for n, one in leaves if not any(True for _ in one.parameters()) and _acts(one))
    yield maps(n for n, one in leaves if any(True for _ in one.parameters()))


def _blocks(module: nn.Module, path: str) -> Iterator[str]:
    """Names of the modules in containers that have more than one part with weights, stages opened."""
    contained = isinstance(module, CONTAINERS)
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        if isinstance(child, CONTAINERS) or _opens(child):
            yield from _blocks(child, inner)
        elif contained and _compound(child):
            yield inner


def _opens(module: nn.Module) -> bool:
    """Whether a module is a stage or an encoder, with blocks in it, and not a block itself."""
    return any(
        isinstance(child, nn.ModuleList) or (isinstance(child, nn.Sequential) and _stacks(name))
        for name, child in module.named_modules()
        if name and any(_compound(one) or isinstance(one, CONTAINERS) for one in child.children())
    )


def _stacks(name: str) -> bool:
    return name.rpartition(".")[2] in STACKS


def _compound(module: nn.Module) -> bool:
    """More than one part with weights of its own."""
    parts = [one for one in module.modules() if any(True for _ in one.parameters(recurse=False))]
    return len(parts) > 1 and not isinstance(module, CONTAINERS)


def _acts(module: nn.Module) -> bool:
    """Whether a module without weights may be a non-linearity."""
    passes = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Flatten)
    pools = type(module).__name__.endswith(("Pool1d", "Pool2d", "Pad2d", "DropPath"))
    return not isinstance(module, passes) and not pools


def _is_layer(gave: torch.Tensor | None) -> bool:
    return gave is not None and gave.is_floating_point() and gave.ndim in (3, 4)


def _of_block(name: str, calls: Sequence[_Call], block: _Call, grid: Grid) -> Iterator[Place]:
    assert block.gave is not None
    arranged = _arranged(block.gave, None, grid)
    if arranged is None:
        return
    inside = [call for call in calls if call.name.startswith(name + ".")]
    neurons = list(_mlps(name, inside, grid))
    yield from neurons
    maps = block.gave.ndim == 4
    if maps and len(set(block.gave.shape[1:])) == 1:
        # A cube tells nothing; convolutions have their channels first, and layer norms last.
        convolves = any(isinstance(call.module, nn.Conv2d) for call in inside)
        arranged = Arranged("NCHW" if convolves else "NHWC")
    last = _leaves(inside)[-1] if inside else None
    closing = last is not None and last.gave is block.gave and not _weights(last.module)
    if maps and last is not None and closing and _acts(last.module):
        yield Place(
            name=f"{name}:pre",
            kind="block",
            window=name,
            source=last.name,
            side="input",
            arranged=arranged,
            closing=True,
        )
    writer, whole = _written_last(block, inside)
    yield Place(
        name=name,
        kind="block" if maps else "residual",
        window=name,
        source=name,
        side="output",
        arranged=arranged,
        writer=writer,
        whole=whole,
    )


def _weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _leaves(inside: Sequence[_Call]) -> list[_Call]:
    return [call for call in inside if not any(call.module.children())]


def _written_last(block: _Call, inside: Sequence[_Call]) -> tuple[str, bool]:
    """What a block's last sum may add, or the norm that the block may end in; and whether it is that; an export tries it."""
    for call in reversed(_leaves(inside)):
        if _is_norm(call.module):
            return call.name, call.gave is block.gave
        if isinstance(call.module, nn.Linear):
            return call.name, False
        if _weights(call.module) or _acts(call.module):
            break
    return "", False


def _is_norm(module: nn.Module) -> bool:
    """Whether it ends in a gain and a bias of each unit; subclasses may do more, such as a non-linearity."""
    plain = type(module).forward in (nn.LayerNorm.forward, nn.BatchNorm2d.forward)
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    return plain and weight is not None and weight.ndim == 1 and bias is not None


def _mlps(block: str, inside: Sequence[_Call], grid: Grid) -> Iterator[Place]:
    """The hidden neurons of a block's MLPs: linear, non-linearity, linear, each given the very tensor the one before gave."""
    leaves, found = _leaves(inside), False
    for at, act in enumerate(leaves):
        if _weights(act.module) or not _acts(act.module) or act.gave is None:
            continue
        writer = next((c for c in leaves[:at] if c.gave is act.given and _linear(c)), None)
        reader = _reading(act.gave, leaves[at + 1 :])
        if writer is None or reader is None:
            continue
        units = reader.module.in_features
        arranged = _arranged(act.gave, units, grid)  # type: ignore[arg-type]
        if writer.module.out_features != units or arranged is None:
            continue
        name, window = _name_of_mlp(block, writer.name, act.name, reader.name)
        common = {
            "kind": "mlp",
            "window": window,
            "source": act.name,
            "arranged": arranged,
            "writer": writer.name,
            "reader": reader.name,
        }
        yield Place(name=f"{name}:pre", side="input", **common)  # type: ignore[arg-type]
        yield Place(name=name, side="output", **common)  # type: ignore[arg-type]
        found = True
    if not found:
        yield from _gated(block, leaves, grid)


def _linear(call: _Call) -> bool:
    return isinstance(call.module, nn.Linear)


def _reading(gave: torch.Tensor, after: Sequence[_Call]) -> _Call | None:
    """The linear layer that is given a tensor, perhaps by way of dropout."""
    for call in after:
        if call.given is not gave:
            continue
        if _linear(call):
            return call
        if _weights(call.module) or _acts(call.module) or call.gave is None:
            return None
        gave = call.gave
    return None


def _gated(block: str, leaves: Sequence[_Call], grid: Grid) -> Iterator[Place]:
    """In a gated MLP (SwiGLU, GeGLU) a neuron is what the output projection reads, and so where a function is the non-linearity."""
    linear = [call for call in leaves if _linear(call)]
    last = linear[-1] if linear else None
    if last is None or last.given is None:
        return
    module: Any = last.module
    if module.in_features <= module.out_features:
        return
    arranged = _arranged(last.given, int(module.in_features), grid)
    if arranged is None or any(call.gave is last.given and _linear(call) for call in leaves):
        return
    parent = last.name.rpartition(".")[0]
    name = parent if parent != block else f"{block}.mlp"
    yield Place(
        name=name,
        kind="mlp",
        window=parent,
        source=last.name,
        side="input",
        arranged=arranged,
        reader=last.name,
    )


def _name_of_mlp(block: str, writer: str, act: str, reader: str) -> tuple[str, str]:
    """Of an MLP, the name and the module that it runs in: its own, or BERT's `intermediate`, or the block."""
    parts = [one.split(".") for one in (writer, act, reader)]
    shared = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    common = ".".join(shared)
    if common != block:
        return common, common
    parent = act.rpartition(".")[0]
    return (parent if parent != block else act), block


def _named(trunk: nn.Module, name: str, calls: Sequence[_Call], grid: Grid) -> Place:
    modules = [one for one, _ in trunk.named_modules() if one]
    if name not in modules:
        hint = near(name, modules) or f"it has {', '.join(modules[:20])}"
        raise SynestheteError(f"a {type(trunk).__name__} has no module {name!r}", hint=hint)
    mine = [call for call in calls if call.name == name]
    if len(mine) != 1:
        raise SynestheteError(
            f"{name} is called {len(mine)} times in a pass, and a layer is read at one call",
            hint="name the block around it",
        )
    gave = mine[0].gave
    arranged = _arranged(gave, None, grid) if gave is not None and _is_layer(gave) else None
    if gave is None or arranged is None:
        shape = "nothing" if gave is None else f"a tensor of shape {tuple(gave.shape)}"
        raise SynestheteError(
            f"{name} gives {shape} for {BATCH} images, not a map [batch, units, rows, columns] or a"
            " sequence [batch, positions, units]"
        )
    kind = "block" if gave.ndim == 4 else "residual"
    return Place(name=name, kind=kind, window=name, source=name, side="output", arranged=arranged)


def _patches(calls: Sequence[_Call]) -> Grid:
    """Rows and columns of what the first convolution gives: the patches of a transformer."""
    for call in calls:
        if isinstance(call.module, nn.Conv2d) and call.gave is not None and call.gave.ndim == 4:
            return int(call.gave.shape[2]), int(call.gave.shape[3])
    return None


def _arranged(gave: torch.Tensor, units: int | None, grid: Grid) -> Arranged | None:
    """How a tensor of a batch of two lies; None where it is not one response per image, position and unit."""
    shape = tuple(gave.shape)
    if gave.ndim == 4:
        if shape[0] != BATCH:
            return None
        first = shape[2] == shape[3] and units in (None, shape[1])
        if units not in (None, shape[1] if first else shape[3]):
            return None
        return Arranged("NCHW" if first else "NHWC")
    if gave.ndim != 3 or BATCH not in shape[:2] or units not in (None, shape[2]):
        return None
    batch_first = shape[0] == BATCH
    arranged = Arranged("NLC" if batch_first else "LNC")
    if grid == NO_GRID:
        return arranged
    length = shape[1 if batch_first else 0]
    if grid is not None and 0 <= length - grid[0] * grid[1] <= MOST_PREFIX:
        return replace(arranged, prefix=length - grid[0] * grid[1], grid=grid)
    for prefix in range(MOST_PREFIX + 1):
        edge = isqrt(max(length - prefix, 0))
        if edge and edge * edge == length - prefix:
            return replace(arranged, prefix=prefix, grid=(edge, edge))
    return None
