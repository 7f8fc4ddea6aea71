"""Where a tower can be changed: its layers, and two places that are not read by default, inner channels and heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from torch import nn

from synesthete.models.heads import Heads, heads_of
from synesthete.models.taps import Tap
from synesthete.models.towers import MAPS

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
        (`….resblocks.K.attn`, `….blocks.K.attn`, a head being a unit).
    """
    sites: dict[str, Site] = {}
    for name, tap in taps.items():
        if tap.kind in ("block", "residual") and not name.endswith(":pre"):
            before = (
                _heads(name, tap.window) if tap.kind == "residual" else _inner(name, tap.window)
            )
            sites |= {site.layer: site for site in before}
        sites[name] = tap
    if not hasattr(visual, "attnpool"):
        return {name: site for name, site in sites.items() if getattr(site, "kind", "") != "inner"}
    return sites


def _inner(name: str, block: Any) -> Iterator[Tap]:
    """The two non-linearities within a bottleneck."""
    for inner in ("act1", "act2"):
        act = getattr(block, inner, None)
        if isinstance(act, nn.ReLU) and hasattr(block, "conv3"):
            yield Tap(f"{name}.{inner}:pre", "inner", block, act, "input", MAPS)
            yield Tap(f"{name}.{inner}", "inner", block, act, "output", MAPS)


def _heads(name: str, block: Any) -> Iterator[Heads]:
    found = heads_of(f"{name}.attn", getattr(block, "attn", None))
    if found is not None:
        yield found
