"""Which layers an image tower has: one finder per architecture family, all ending in taps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models.reading import Arranged, Arrangement
from synesthete.models.taps import Tap

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.Mish)
MAPS = Arranged("NCHW")
STAGES = ("layer1", "layer2", "layer3", "layer4")


def find_taps(visual: nn.Module) -> dict[str, Tap]:
    """Every layer of an image tower that can be read, in the order of the forward pass.

    Parameters
    ----------
    visual
        An open_clip image tower: ModifiedResNet, VisionTransformer or TimmModel.

    Raises
    ------
    SynestheteError
        If the tower is of a family that is not known.
    """
    for fits, find in _FAMILIES:
        if fits(visual):
            return {tap.layer: tap for tap in find(visual)}
    raise SynestheteError(
        f"an image tower of type {type(visual).__name__} cannot be read",
        hint="ModifiedResNet, VisionTransformer and the usual timm towers can",
    )


def default_layer(taps: dict[str, Tap]) -> str:
    """What is read when nobody names a layer: the last MLP, or the last block where there is none.

    Goh et al. (2021) read RN50x4 at its last block, before the ReLU.
    """
    names = [tap.layer for tap in taps.values() if not tap.layer.endswith(":pre")]
    neurons = [name for name in names if taps[name].kind == "mlp"]
    return (neurons or names)[-1]


def _residual_network(visual: Any, path: str = "visual") -> Iterator[Tap]:
    """ModifiedResNet, and timm's ResNets: blocks that end in an activation."""
    for stage_name in STAGES:
        stage = getattr(visual, stage_name)
        for index, block in enumerate(stage):
            name = f"{path}.{stage_name}.{index}"
            activations = [child for child in block.children() if isinstance(child, ACTIVATIONS)]
            if activations:
                # The last one defined is the last one called in every block known; `closing` proves it.
                last = activations[-1]
                yield Tap(f"{name}:pre", "block", block, last, "input", MAPS, closing=True)
            yield Tap(name, "block", block, block, "output", MAPS)


def _vision_transformer(visual: Any) -> Iterator[Tap]:
    """open_clip's own VisionTransformer, CoCa's included."""
    transformer = visual.transformer
    # Versions before the `batch_first` switch ran tokens first, as OpenAI's code does.
    arrangement: Arrangement = "NLC" if getattr(transformer, "batch_first", False) else "LNC"
    arranged = Arranged(arrangement, prefix=1, grid=_pair(visual.grid_size))
    for index, block in enumerate(transformer.resblocks):
        name = f"visual.transformer.resblocks.{index}"
        yield from _mlp(block.mlp, f"{name}.mlp", arranged, nonlinearity=block.mlp.gelu)
        yield Tap(name, "residual", block, block, "output", arranged)


def _timm_transformer(visual: Any) -> Iterator[Tap]:
    """Timm's VisionTransformer, Eva and kin: SigLIP, EVA-CLIP, PE-Core, ViTamin, MobileCLIP-B."""
    trunk = visual.trunk
    grid = _pair(trunk.patch_embed.grid_size)
    arranged = Arranged("NLC", prefix=int(trunk.num_prefix_tokens), grid=grid)
    for index, block in enumerate(trunk.blocks):
        name = f"visual.trunk.blocks.{index}"
        yield from _timm_mlp(block, name, arranged)
        yield Tap(name, "residual", block, block, "output", arranged)


def _timm_stages(visual: Any) -> Iterator[Tap]:
    """Timm towers of stages of blocks that keep maps: ConvNeXt, FastViT (MobileCLIP), Swin."""
    trunk = visual.trunk
    key = "stages" if hasattr(trunk, "stages") else "layers"
    arrangement: Arrangement = "NHWC" if getattr(trunk, "output_fmt", "") == "NHWC" else "NCHW"
    for stage_index, stage in enumerate(getattr(trunk, key)):
        for index, block in enumerate(stage.blocks):
            name = f"visual.trunk.{key}.{stage_index}.blocks.{index}"
            yield Tap(name, "block", block, block, "output", Arranged(arrangement))


def _timm_mlp(block: Any, name: str, arranged: Arranged) -> Iterator[Tap]:
    mlp = getattr(block, "mlp", None)
    if mlp is None:
        return
    if type(mlp).__name__ == "Mlp":
        yield from _mlp(mlp, f"{name}.mlp", arranged, nonlinearity=mlp.act)
        return
    linear = [child for child in mlp.children() if isinstance(child, nn.Linear)]
    if linear:
        # In a gated MLP (SwiGLU, GeGLU) a neuron is what the output projection reads.
        yield Tap(f"{name}.mlp", "mlp", mlp, linear[-1], "input", arranged)


def _mlp(
    mlp: nn.Module, name: str, arranged: Arranged, *, nonlinearity: nn.Module
) -> Iterator[Tap]:
    yield Tap(f"{name}:pre", "mlp", mlp, nonlinearity, "input", arranged)
    yield Tap(name, "mlp", mlp, nonlinearity, "output", arranged)


def _pair(grid: Any) -> tuple[int, int]:
    rows, columns = grid
    return int(rows), int(columns)


def _is_residual_network(visual: Any) -> bool:
    return all(isinstance(getattr(visual, stage, None), nn.Sequential) for stage in STAGES)


def _is_vision_transformer(visual: Any) -> bool:
    return hasattr(getattr(visual, "transformer", None), "resblocks")


def _is_timm_residual_network(visual: Any) -> bool:
    return hasattr(visual, "trunk") and _is_residual_network(visual.trunk)


def _is_timm_transformer(visual: Any) -> bool:
    trunk = getattr(visual, "trunk", None)
    return all(hasattr(trunk, part) for part in ("blocks", "num_prefix_tokens")) and hasattr(
        getattr(trunk, "patch_embed", None), "grid_size"
    )


def _is_timm_stages(visual: Any) -> bool:
    trunk = getattr(visual, "trunk", None)
    stages = getattr(trunk, "stages", None) or getattr(trunk, "layers", None) or []
    return len(stages) > 0 and all(hasattr(stage, "blocks") for stage in stages)


_FAMILIES: tuple[tuple[Callable[[Any], bool], Callable[[Any], Iterator[Tap]]], ...] = (
    (_is_residual_network, _residual_network),
    (_is_vision_transformer, _vision_transformer),
    (_is_timm_residual_network, lambda visual: _residual_network(visual.trunk, "visual.trunk")),
    (_is_timm_transformer, _timm_transformer),
    (_is_timm_stages, _timm_stages),
)
