"""An atlas for assistants: search, neuron, concept and explain as read-only tools of the Model Context Protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

from pydantic import Field

from synesthete import __version__
from synesthete._core.user_files import UnusableFile, read_named
from synesthete.errors import SynestheteError
from synesthete.report.concept import concept_report
from synesthete.report.counts import all_counts, counts_in_words, rule_of, why_not_counted
from synesthete.report.neuron import NeuronRow, neuron_report
from synesthete.report.source import Links, Missing
from synesthete.server.library import Library, Site
from synesthete.server.middleware import UPLOAD_LIMIT
from synesthete.server.pages.search import search_page

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from PIL import Image

    from synesthete.atlas import Atlas

Given = ParamSpec("Given")
Facts = dict[str, Any]
Text = Annotated[str, Field(max_length=200)]
Result = TypeVar("Result")

INSTRUCTIONS = """\
The neurons of one image-text model, measured: what each answers to, in which modalities (photo, drawing, symbol, written
word), and how sure that is. A count of multimodal neurons means little without the two controls that every answer carries.
A neuron's `heading` is its name or its concept, whichever predicts its held-out activation better; `also` is the other. Its `name` was tested on images that had no part in choosing it; without one, `concept` is only what it answers to
best among the concepts of the probe set. Addresses are `layer:unit`."""


def require_mcp() -> None:
    """Refuse to go on without the package `mcp`.

    Raises
    ------
    SynestheteError
        It is not installed.
    """
    if find_spec("mcp") is None:
        raise SynestheteError(
            "the Model Context Protocol needs the package `mcp`",
            hint="pip install 'synesthete[mcp]'",
        )


def create_mcp(atlas_path: str | Path) -> MCPServer[Any]:
    """The server of one atlas.

    Raises
    ------
    SynestheteError
        The atlas cannot be opened, or the package `mcp` is not installed.
    """
    require_mcp()
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations

    library = Library([atlas_path])

    def site() -> Site:
        return Site(library.get(library.first), Links())

    server: MCPServer[Any] = MCPServer(
        "synesthete", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING"
    )
    reading = ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    for tool in _tools(site):
        server.add_tool(_plain(tool), annotations=reading, structured_output=True)
    return server


def _plain(tool: Callable[Given, Result]) -> Callable[Given, Result]:
    """A tool whose errors are messages in plain words."""
    from mcp.server.mcpserver.exceptions import ToolError

    from synesthete.probes.request_images import request_limits

    @wraps(tool)
    def checked(*args: Given.args, **given: Given.kwargs) -> Result:
        try:
            with request_limits():
                return tool(*args, **given)
        except SynestheteError as error:
            near = error.near if isinstance(error, Missing) else []
            meant = f" There is: {', '.join(one.name for one in near[:8])}." if near else ""
            raise ToolError(f"{error}.{meant}") from error

    return checked


def _tools(site: Callable[[], Site]) -> list[Callable[..., Facts]]:
    def search(query: Text, limit: Annotated[int, Field(ge=1, le=48)] = 12) -> Facts:
        """Find neurons, concepts and families by name (or one neuron by its address, layer:unit)."""
        found = search_page(site(), query)
        return {
            "neurons": [_row(one) for one in found.neurons[:limit]],
            "total": found.total,
            "concepts": [one.name for one in found.concepts],
            "families": [one.name for one in found.families],
            "perhaps": [one.name for one in found.near],
            "control": _control(site()),
        }

    def neuron(address: Text) -> Facts:
        """What is known of one neuron (address layer:unit, or a concept or name that only it has): name, AUC by modality, strongest images, words, the controls."""
        found = neuron_report(site(), address)
        return _row(found.neuron) | {
            "summary": found.sentence,
            "confidence_interval": [found.low, found.high],
            "modalities": {
                part.modality: {
                    "auc": part.auc,
                    "images_of_the_concept": part.positives,
                    "images": part.images,
                    "strongest": [_image(one) for one in part.exemplars[:5]],
                }
                for part in found.modalities
            },
            "answers_to": [
                {"concept": one.concept, "auc": one.auc, "passes": one.passes}
                for one in found.answers
            ],
            "words": None if found.words is None else [one.word for one in found.words],
            "most_like_it": [
                {"address": one.neuron.address, "heading": one.neuron.heading, "r": one.correlation}
                for one in (found.neighbours.neurons[:5] if found.neighbours else [])
            ],
            "people_say": found.review,
            "control": found.control,
        }

    def concept(name: Text) -> Facts:
        """One concept of the probe set: its images and texts by modality with the units that answer to each, and the neurons that answer to it best."""
        found = concept_report(site(), name)
        return {
            "concept": found.concept,
            "family": found.family,
            "modalities": [
                {
                    "modality": one.modality,
                    "count": one.count,
                    "texts": [shown.text for shown in one.exemplars[:4] if shown.text],
                    "units": [
                        {
                            "address": unit.address,
                            "auc": unit.auc,
                            "ap": unit.ap,
                            "passes": unit.passes,
                        }
                        for unit in one.units
                    ],
                }
                for one in found.modalities
            ],
            "multimodal_neurons": found.multimodal,
            "neurons": [_row(one) for one in found.neurons[:12]],
            "others": [_row(one) for one in found.others[:6]],
            "control": _control(site()),
        }

    def explain(
        image: Annotated[
            str, Field(max_length=4000, description="Path of an image file on this machine.")
        ],
        against: Annotated[
            str, Field(max_length=200, description="Compare with this label, not the runner-up.")
        ] = "",
    ) -> Facts:
        """Why the model gives an image its label: what each neuron adds to it, exactly. Loads the model."""
        from dataclasses import asdict

        from synesthete.analysis.decomposition import explain as ask

        here = site()
        found = ask(here.atlas, _read_image(here.atlas, Path(image)), against=against or None)
        terms = [asdict(term) | {"heading": _heading(here, term.address)} for term in found.units]
        return {**asdict(found), "cosines": list(found.cosines), "units": terms}

    def atlas() -> Facts:
        """What this atlas is of: model, images, layers, and how many neurons are multimodal, beside the controls."""
        here = site()
        rule = rule_of(here.atlas)
        return {
            **here.atlas.summary(),
            "layer_names": here.atlas.layers,
            "rule": rule.sentence if rule else None,
            "control": _control(here),
        }

    return [search, neuron, concept, explain, atlas]


def _read_image(atlas: Atlas, path: Path) -> Image.Image:
    """An image file as the model sees it."""
    from synesthete.analysis.provenance import own_model
    from synesthete.probes.request_images import see

    try:
        return see(read_named(path, max_bytes=UPLOAD_LIMIT), own_model(atlas).geometry)
    except UnusableFile as error:
        raise SynestheteError(f"cannot read the image: {error.message}", hint=error.hint) from None


def _heading(site: Site, address: str) -> str:
    layer, _, unit = address.rpartition(":")
    return site.opened.columns(layer).heading[int(unit)]


def _control(site: Site) -> str:
    counts = all_counts(site)
    return (
        why_not_counted(site) if counts is None else f"{counts_in_words(counts)}; of {counts.units}"
    )


def _row(one: NeuronRow) -> Facts:
    return {
        "address": one.address,
        "heading": one.heading,
        "also": one.also,
        "name": one.name,
        "confidence": one.confidence,
        "concept": one.concept,
        "family": one.family,
        "multimodal": one.multimodal,
        "multimodality": one.multimodality,
        "q": one.q,
        "auc": one.auc,
    }


def _image(one: Any) -> Facts:
    return {"shows": one.concept, "caption": one.caption, "by": one.artist, "activation": one.value}
