"""`/probe`: the door for a picture or a word of one's own (the answer comes from `probing`)."""

from __future__ import annotations

from dataclasses import dataclass

from synesthete.server.library import Site
from synesthete.server.page import Page


@dataclass(frozen=True)
class ProbePage:
    """What the model can be asked here: its layers and its concepts."""

    model: str
    layers: list[str]
    concepts: int


def probe_page(site: Site) -> ProbePage:
    """Where to show the model a picture or a word. POST it here, or to `/probe.json`."""
    return ProbePage(
        str(site.atlas.manifest["model"]["name"]), site.atlas.layers, len(site.atlas.concepts)
    )


PROBE = Page("/probe", "probe.html", probe_page, label="Try a picture", exported=False)
