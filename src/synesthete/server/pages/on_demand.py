"""What a neuron's page lacks and can compute in the background: drawn words, and an image of what the neuron sees."""

from __future__ import annotations

import os
import shlex
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Form

from synesthete._core.progress import Progress
from synesthete.analysis.design import tower_of
from synesthete.analysis.provenance import can_show
from synesthete.analysis.rendered_words import QUICK, draw_words, word_layers
from synesthete.atlas.mirror import mirror_at
from synesthete.atlas.words import activations_file
from synesthete.models.dictionaries import split_layer
from synesthete.models.names import TIMM, TORCHVISION, WRAPPED
from synesthete.models.sources import weights_here
from synesthete.report.columns import Columns
from synesthete.report.images import visualization_rows
from synesthete.report.source import find_unit
from synesthete.server.errors import Refused
from synesthete.server.jobs import Job, Jobs, Work
from synesthete.server.library import Site

Kind = Literal["words", "image"]
KINDS: tuple[Kind, ...] = ("words", "image")


@dataclass(frozen=True, kw_only=True)
class Started(Job):
    """What was started or joined, or is there already (`done`), of a neuron."""

    address: str
    kind: Kind


def offers(site: Site, columns: Columns, unit: int) -> dict[Kind, Job]:
    """What is missing of a neuron and can be computed here, each with how far that is."""
    return {
        kind: _jobs(site).of(_key(site, kind, columns.address(unit)))
        for kind in KINDS
        if not (_is_there(site, kind, columns, unit) or _why_not(site, kind, columns, unit))
    }


def compute(
    site: Site,
    address: Annotated[str, Form(min_length=1, max_length=400, description="Of the neuron.")],
    kind: Annotated[Kind, Form(description="What is missing.")],
) -> Started:
    """Compute what a neuron's page lacks, in the background: `words` (of all neurons) or an `image` of what it sees.

    It is written into the atlas as `synesthete words` and `synesthete visualize` write it. One computation runs at a time; one that runs
    or waits already is joined. How far it is stands under `on_demand` of the neuron's page. Loads the model on first use.
    """
    columns, unit = find_unit(site, address)
    found = columns.address(unit)
    if _is_there(site, kind, columns, unit):
        return Started(address=found, kind=kind, state="done")
    if why := _why_not(site, kind, columns, unit):
        raise Refused(409, why)
    job = _jobs(site).start(_key(site, kind, found), _work(site, kind, found))
    return Started(address=found, kind=kind, **vars(job))


def with_texts(site: Site, layer: str) -> str:
    """The command that records texts beside a layer of images; empty where the atlas has texts, or its model reads none.

    They are no job: every number of an atlas is of all that was recorded, and people's words are about these numbers.
    """
    atlas = site.atlas
    model, probes = (str(atlas.manifest[part]["name"]) for part in ("model", "probes"))
    images = [one for one in atlas.layers if tower_of(atlas, one) == "image"]
    if "texts" in atlas.manifest["probes"] or layer not in images or split_layer(layer)[1]:
        return ""
    without = "text_tower" in (atlas.manifest["model"].get("description") or {})
    if without or model.startswith((TIMM, TORCHVISION, WRAPPED)):
        return ""
    layers = (word for one in images if not split_layer(one)[1] for word in ("--layer", one))
    words = ("synesthete", "record", model, "--probes", probes, *layers)
    how = [
        word
        for option, default in (("reduction", "max"), ("precision", "fp32"))
        if (given := str(atlas.manifest["recipe"].get(option, default))) != default
        for word in (f"--{option}", given)
    ]
    return shlex.join((*words, *how, "--texts", "--out", f"{site.opened.name}-texts.atlas"))


def _key(site: Site, kind: Kind, address: str) -> Hashable:
    # Words are drawn once for all neurons.
    return kind, site.opened.name, address if kind == "image" else ""


def _jobs(site: Site) -> Jobs:
    assert site.library is not None  # or nothing is offered
    return site.library.jobs


def _is_there(site: Site, kind: Kind, columns: Columns, unit: int) -> bool:
    if kind == "words":
        return activations_file(columns.layer) in site.atlas.manifest["files"]
    return unit in visualization_rows(site, columns.layer)


def _why_not(site: Site, kind: Kind, columns: Columns, unit: int) -> str:
    """Why it cannot be computed here; empty where it can."""
    atlas, layer = site.atlas, columns.layer
    if site.library is None or not site.links.live:
        return "a site of files computes nothing"
    if mirror_at(atlas.path) is not None or not os.access(atlas.path, os.W_OK):
        return "this server cannot write into the atlas"
    if kind == "words" and layer not in word_layers(atlas):
        return f"{layer} reads no images, so no words can be drawn for it"
    if kind == "image" and tower_of(atlas, layer) != "image":
        return f"there is no image of what a unit of {layer} sees: it does not read images alone"
    if kind == "image" and not columns.std[unit] > 0:
        return "the unit gives the same value for every image, so there is nothing to see"
    probes = str(atlas.manifest["probes"]["name"])
    if kind == "image" and not (can_show(atlas) or Path(probes).exists()):
        return f"the probe set {probes!r} of the atlas was not found"
    model = str(atlas.manifest["model"]["name"])
    return "" if _weights_here(site, model) else f"the weights of {model} are not on this machine"


def _weights_here(site: Site, model: str) -> bool:
    """Whether they are there, which is kept; what is not there yet is looked for each time."""

    def found() -> bool:
        if not weights_here(model):
            raise _Absent
        return True

    try:
        return site.opened.computed("weights", found)
    except _Absent:
        return False


class _Absent(Exception):
    """The weights are not there."""


def _work(site: Site, kind: Kind, address: str) -> Work:
    library, name, path = site.library, site.opened.name, site.atlas.path

    def words(progress: Progress) -> None:
        draw_words(path, rendered=QUICK, replace=False, progress=progress)

    def image(progress: Progress) -> None:
        from synesthete.visualization.features import visualize

        found = visualize(path, [address], facets="none", progress=progress)
        for why in found.failed.values():
            raise Refused(409, why)

    def work(progress: Progress) -> None:
        (words if kind == "words" else image)(progress)
        assert library is not None
        library.changed(name)

    return work
