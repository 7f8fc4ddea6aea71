"""Which layers a tower has: one finder per architecture family, all ending in taps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models.activations import DICTIONARY, Arranged, Arrangement
from synesthete.models.dictionaries import SparseDictionary
from synesthete.models.heads import Heads, heads_of
from synesthete.models.hooks import Tap
from synesthete.models.places import Place

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.Mish)
MAPS = Arranged("NCHW")
STAGES = ("layer1", "layer2", "layer3", "layer4")


class Tower(nn.Module):
    """A network of another library as a tower of open_clip's kind: pixels or tokens in, embeddings out.

    Parameters
    ----------
    trunk
        The network as its library made it; layers are called `visual.trunk.` or `text.trunk.` and the name of the module in it.
    call
        Runs it on a batch and gives embeddings `[batch, dimension]`. A function without state of its own, as a copy of the
        tower runs its own copy of the trunk.
    places
        The layers of the trunk, from `find_places`.
    """

    def __init__(
        self,
        trunk: nn.Module,
        call: Callable[[Any, torch.Tensor], torch.Tensor],
        places: Sequence[Place] = (),
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.call = call
        self.places = tuple(places)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Embeddings, not normalised."""
        return self.call(self.trunk, given)

    def taps(self, tower: str) -> Iterator[Tap]:
        """Its layers."""
        for place in self.places:
            yield place.tap(self.trunk, f"{tower}.trunk")


def find_taps(visual: nn.Module) -> dict[str, Tap]:
    """Every layer of an image tower that can be read, in the order of the forward pass.

    Parameters
    ----------
    visual
        An open_clip image tower (ModifiedResNet, VisionTransformer or TimmModel), or a `Tower` with a network of another library.

    Raises
    ------
    SynestheteError
        If the tower is of a family that is not known.
    """
    if isinstance(visual, Tower):
        return {tap.layer: tap for tap in visual.taps("visual")}
    for fits, find in _FAMILIES:
        if fits(visual):
            return {tap.layer: tap for tap in find(visual)}
    raise SynestheteError(
        f"an image tower of type {type(visual).__name__} cannot be read",
        hint="ModifiedResNet, VisionTransformer and the usual timm towers can",
    )


def find_text_taps(tower: Any | None) -> dict[str, Tap]:
    """Every layer of a text tower that can be read, in the order of the forward pass.

    They are called `text.transformer.resblocks.K…` wherever the network keeps its text tower.

    Parameters
    ----------
    tower
        From `synesthete.models.text.text_tower`; of None no layer can be read.
    """
    if tower is None:
        return {}
    if hasattr(tower, "taps"):
        return {tap.layer: tap for tap in tower.taps("text")}
    transformer: Any = tower.transformer
    arranged = Arranged(_order(transformer))
    return {t.layer: t for t in _residual_blocks(transformer, "text.transformer", arranged)}


def with_dictionary(
    taps: Mapping[str, Tap], layer: str, name: str, dictionary: SparseDictionary
) -> dict[str, Tap]:
    """The layers with one more behind `layer`: `layer@name`, the latents of a sparse dictionary of it."""
    found: dict[str, Tap] = {}
    for key, tap in taps.items():
        found[key] = tap
        if key == layer:
            full = f"{layer}@{name}"
            found[full] = replace(tap, layer=full, kind=DICTIONARY, dictionary=dictionary)
    return found


def find_text_sites(taps: Mapping[str, Tap]) -> dict[str, Site]:
    """The layers of a text tower and its attention heads: where units can be changed, in order."""
    sites: dict[str, Site] = {}
    for name, tap in taps.items():
        if tap.kind == "residual":
            sites |= {heads.layer: heads for heads in _heads(name, tap.window)}
        sites[name] = tap
    return sites


def _order(transformer: Any) -> Arrangement:
    # Versions before the `batch_first` switch ran tokens first, as OpenAI's code does.
    return "NLC" if getattr(transformer, "batch_first", False) else "LNC"


def default_layer(taps: dict[str, Tap]) -> str:
    """What is read when nobody names a layer: the last MLP, or the last block where there is none.

    Goh et al. (2021) read RN50x4 at its last block, before the ReLU.
    """
    names = [
        tap.layer
        for tap in taps.values()
        if not tap.layer.endswith(":pre") and tap.dictionary is None
    ]
    neurons = [name for name in names if taps[name].kind == "mlp"]
    return (neurons or names)[-1]


def _output_of(block: nn.Module, name: str, kind: str, arranged: Arranged) -> Tap:
    """A layer that is what a block gives."""
    return Tap(layer=name, kind=kind, window=block, source=block, side="output", arranged=arranged)


def _both_sides(
    window: nn.Module, name: str, kind: str, nonlinearity: nn.Module, arranged: Arranged
) -> Iterator[Tap]:
    """What goes into a non-linearity, and what comes out."""
    before = Tap(
        layer=f"{name}:pre",
        kind=kind,
        window=window,
        source=nonlinearity,
        side="input",
        arranged=arranged,
    )
    yield before
    yield replace(before, layer=name, side="output")


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
                yield Tap(
                    layer=f"{name}:pre",
                    kind="block",
                    window=block,
                    source=last,
                    side="input",
                    arranged=MAPS,
                    closing=True,
                )
            yield _output_of(block, name, "block", MAPS)


def _vision_transformer(visual: Any) -> Iterator[Tap]:
    """open_clip's own VisionTransformer, CoCa's included."""
    transformer = visual.transformer
    arranged = Arranged(_order(transformer), prefix=1, grid=_pair(visual.grid_size))
    yield from _residual_blocks(transformer, "visual.transformer", arranged)


def _residual_blocks(transformer: Any, path: str, arranged: Arranged) -> Iterator[Tap]:
    """The blocks of open_clip's own transformers, of images and of texts."""
    for index, block in enumerate(transformer.resblocks):
        name = f"{path}.resblocks.{index}"
        yield from _both_sides(block.mlp, f"{name}.mlp", "mlp", block.mlp.gelu, arranged)
        yield _output_of(block, name, "residual", arranged)


def _timm_transformer(visual: Any) -> Iterator[Tap]:
    """Timm's VisionTransformer, Eva and kin: SigLIP, EVA-CLIP, PE-Core, ViTamin, MobileCLIP-B."""
    trunk, embed = visual.trunk, visual.trunk.patch_embed
    grid = _pair(embed.grid_size)
    if getattr(trunk, "pos_embed", None) is None and hasattr(embed, "dynamic_feat_size"):
        # It takes images of any size; ViTamin-XL-384 is configured for others than it is built for.
        grid = _pair(embed.dynamic_feat_size(_pair(visual.image_size)))
    arranged = Arranged("NLC", prefix=int(trunk.num_prefix_tokens), grid=grid)
    for index, block in enumerate(trunk.blocks):
        name = f"visual.trunk.blocks.{index}"
        yield from _timm_mlp(block, name, arranged)
        yield _output_of(block, name, "residual", arranged)


def _timm_stages(visual: Any) -> Iterator[Tap]:
    """Timm towers of stages of blocks that keep maps: ConvNeXt, FastViT (MobileCLIP), Swin."""
    trunk = visual.trunk
    key = "stages" if hasattr(trunk, "stages") else "layers"
    arrangement: Arrangement = "NHWC" if getattr(trunk, "output_fmt", "") == "NHWC" else "NCHW"
    for stage_index, stage in enumerate(getattr(trunk, key)):
        for index, block in enumerate(stage.blocks):
            name = f"visual.trunk.{key}.{stage_index}.blocks.{index}"
            yield _output_of(block, name, "block", Arranged(arrangement))


def _timm_mlp(block: Any, name: str, arranged: Arranged) -> Iterator[Tap]:
    mlp = getattr(block, "mlp", None)
    if mlp is None:
        return
    if type(mlp).__name__ == "Mlp":
        yield from _both_sides(mlp, f"{name}.mlp", "mlp", mlp.act, arranged)
        return
    linear = [child for child in mlp.children() if isinstance(child, nn.Linear)]
    if linear:
        # In a gated MLP (SwiGLU, GeGLU) a neuron is what the output projection reads.
        yield Tap(
            layer=f"{name}.mlp",
            kind="mlp",
            window=mlp,
            source=linear[-1],
            side="input",
            arranged=arranged,
        )


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


Site: TypeAlias = Tap | Heads


def find_sites(visual: nn.Module, taps: Mapping[str, Tap]) -> dict[str, Site]:
    """Every place of an image tower where units can be changed, in the order of the forward pass.

    Parameters
    ----------
    visual
        The image tower.
    taps
        Its layers, from `find_taps`. Added to them: the channels inside the blocks of a ModifiedResNet
        (`visual.layerK.J.act1`, `act2`, and `:pre`), and the attention heads of transformer blocks
        (`….resblocks.K.attn`, `….blocks.K.attn`, a head being a unit), of these what they write into the class token
        (`….attn:cls`), and those of an attention pool.
    """
    sites: dict[str, Site] = {}
    for name, tap in taps.items():
        if tap.kind in ("block", "residual") and not name.endswith(":pre"):
            before = _inner(name, tap.window) if tap.kind == "block" else _image_heads(name, tap)
            sites |= {site.layer: site for site in before}
        sites[name] = tap
    sites |= {pool.layer: pool for pool in _pools(visual)}
    if not hasattr(visual, "attnpool"):
        return {name: site for name, site in sites.items() if getattr(site, "kind", "") != "inner"}
    return sites


def _inner(name: str, block: Any) -> Iterator[Tap]:
    """The two non-linearities within a bottleneck."""
    for inner in ("act1", "act2"):
        act = getattr(block, inner, None)
        if isinstance(act, nn.ReLU) and hasattr(block, "conv3"):
            yield from _both_sides(block, f"{name}.{inner}", "inner", act, MAPS)


def _image_heads(name: str, tap: Tap) -> Iterator[Heads]:
    """Those of a block, and what they write into the class token where there is one."""
    for heads in _heads(name, tap.window):
        yield heads
        if tap.arranged.prefix:
            yield replace(heads, layer=f"{heads.layer}:cls", writes="class")


def _pools(visual: Any) -> Iterator[Heads]:
    """The attention pool that makes the embedding: of a ModifiedResNet, of timm's SigLIPs, of transformers'."""
    places = {"visual.attnpool": getattr(visual, "attnpool", None)}
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        places["visual.trunk.attn_pool"] = getattr(trunk, "attn_pool", None)
        for name, module in trunk.named_modules():
            if hasattr(module, "probe"):
                places[f"visual.trunk.{name}.attention"] = getattr(module, "attention", None)
    for layer, module in places.items():
        found = heads_of(layer, module)
        if found is not None:
            yield replace(found, writes="pooled")


def _heads(name: str, block: Any) -> Iterator[Heads]:
    for part in ("attn", "self_attn", "attention", "self_attention", "SelfAttention"):
        found = heads_of(f"{name}.{part}", getattr(block, part, None))
        if found is not None:
            yield found
