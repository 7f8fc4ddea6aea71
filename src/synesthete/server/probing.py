"""Showing the model a picture or a word: what it takes it for, which neurons fire, where, and which of them decided."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from synesthete._core.cache import Bounded
from synesthete.errors import SynestheteError
from synesthete.report.images import Box
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.server.answers import wants_json
from synesthete.server.errors import ERRORS, Missing, Refused
from synesthete.server.library import Site
from synesthete.server.own_images import own_image
from synesthete.server.page import HTML, JSON, PREFIXES, Here, Page, answer, operation_id
from synesthete.server.render import render
from synesthete.server.sending import check_form

if TYPE_CHECKING:
    from PIL import Image

router = APIRouter()
FIRED, LABELS, SIDE, WORD = 24, 5, 384, 60
KEPT = Bounded[bytes](32)  # pictures that were shown last, in memory only


@dataclass(frozen=True)
class Guess:
    """A concept, and the cosine of picture and text."""

    concept: str
    path: str
    cosine: float


@dataclass(frozen=True)
class Fired:
    """A neuron that a picture excites.

    Attributes
    ----------
    activation
        Its activation.
    z
        In standard deviations from its mean over the atlas's images.
    share
        Of the atlas's images, those that excite it at least as much; null without the dense matrix.
    box
        Where in the picture, as the model crops it.
    """

    neuron: NeuronRow
    activation: float
    z: float
    share: float | None
    box: Box | None


@dataclass(frozen=True)
class Part:
    """What a neuron adds to the difference of the cosines of two labels."""

    address: str
    called: str
    path: str
    weight: float


@dataclass(frozen=True)
class Decision:
    """Which neurons decided between the first label and the second; null where the path is not linear."""

    label: str
    other: str
    difference: float
    without: float
    without_random: float
    parts: list[Part]


@dataclass(frozen=True)
class Probed:
    """What the model makes of a picture.

    Attributes
    ----------
    shown
        The word that was drawn, or the name of the file.
    picture
        Path of the picture as the model sees it; it is kept in memory, for a while.
    """

    shown: str
    picture: str
    layer: str
    model: str
    guesses: list[Guess]
    fired: list[Fired]
    decision: Decision | None


def probe_image(site: Site, image: Image.Image, shown: str) -> Probed:
    """Show the model a picture (RGB). Loads the model on first use."""
    from synesthete.analysis.provenance import own_model

    model, layer = own_model(site.atlas), site.atlas.layers[0]
    names = site.atlas.concepts
    directions = site.opened.computed("directions", lambda: _directions(site))
    pixels = model.preprocess(image)[None]
    reading = model.read(pixels, [layer], site.atlas.manifest["reduction"])
    values, positions = reading.activations[layer][0], reading.positions[layer][0]
    guesses = []
    if len(names):
        cosines = directions @ reading.embeddings[0]
        guesses = [
            Guess(names[i], site.links.concept(names[i]), float(cosines[i]))
            for i in np.argsort(-cosines, kind="stable")[:LABELS]
        ]
    return Probed(
        shown, _keep(site, model.geometry(image)), layer, model.name, guesses,
        _fired(site, layer, values, positions, reading.grids[layer]),
        _decision(site, layer, pixels) if len(names) > 1 else None,
    )  # fmt: skip


def _directions(site: Site) -> Any:
    from synesthete.analysis.provenance import own_model
    from synesthete.analysis.zero_shot import class_embeddings

    return class_embeddings(own_model(site.atlas), site.atlas.concepts)


def _fired(
    site: Site, layer: str, values: Any, positions: Any, grid: tuple[int, int]
) -> list[Fired]:
    columns = site.opened.columns(layer)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (values - columns.mean) / columns.std
    z[~np.isfinite(z) | columns.dead] = -np.inf
    dense = site.atlas.activations(layer) if site.atlas.manifest["dense"] else None
    readable = site.opened.probes.readable
    found = []
    for unit in np.argsort(-z, kind="stable")[:FIRED]:
        if not np.isfinite(z[unit]) or z[unit] <= 0:
            break
        share = None
        if dense is not None:
            share = float((np.asarray(dense[:, unit])[readable] >= values[unit]).mean())
        row, column = divmod(int(positions[unit]), grid[1])
        there = positions[unit] >= 0 and grid != (1, 1)
        box = Box(row, column, *grid) if there else None
        neuron = neuron_row(site, columns, int(unit))
        found.append(Fired(neuron, float(values[unit]), float(z[unit]), share, box))
    return found


def _decision(site: Site, layer: str, pixels: Any) -> Decision | None:
    from synesthete.analysis.decomposition.explain import explain_pixels
    from synesthete.analysis.provenance import own_model

    directions = site.opened.computed("directions", lambda: _directions(site))
    try:
        told = explain_pixels(
            site.atlas, own_model(site.atlas), pixels, site.atlas.concepts, directions,
            layer=layer, limit=8,
        )  # fmt: skip
    except SynestheteError:  # no linear path from this layer
        return None
    columns = site.opened.columns(layer)
    parts = []
    for term in told.units:
        unit = int(term.address.rpartition(":")[2])
        path = site.links.neuron(term.address)
        parts.append(Part(term.address, columns.called(unit), path, term.weight))
    difference = told.cosines[0] - told.cosines[1]
    return Decision(told.label, told.other, difference, told.without, told.without_random, parts)


def _keep(site: Site, image: Image.Image) -> str:
    stream, key = io.BytesIO(), secrets.token_hex(12)
    image.resize((SIDE, SIDE)).save(stream, "WEBP", quality=90)
    KEPT.get(key, stream.getvalue)
    return site.links.at(f"/shown/{key}.webp")


def picture_of(site: Site, data: bytes | None, word: str, key: str) -> Image.Image:
    """The picture that was sent, as the model sees it; the word drawn; or the atlas's own image.

    Raises
    ------
    Refused
        None of them or several, bytes that are no picture, a word that cannot be drawn.
    Missing
        No such image in the atlas.
    """
    from synesthete.analysis.provenance import own_model
    from synesthete.probes.decoding import TooLarge, UnreadableImage
    from synesthete.probes.request_images import see

    word = " ".join(word.split())
    if bool(data) + bool(word) + bool(key) != 1:
        hint = "choose a file, or type a word"
        raise Refused(409, "send either a picture or a word, or name an image", hint=hint)
    if key:
        number = site.opened.ids.number(key)
        if number is None:
            raise Missing("there is no such image")
        return own_image(site.atlas, number)
    if data:
        try:
            return see(data, own_model(site.atlas).geometry)
        except TooLarge:
            raise
        except UnreadableImage as error:
            raise Refused(409, f"that picture cannot be read: {error.reason}") from error
    return _drawn(word)


def _drawn(word: str) -> Image.Image:
    from synesthete.probes.words import has_letters, load_fonts, render_word

    font = next((one for one in load_fonts() if has_letters(word, one)), None)
    if font is None:
        raise Refused(409, "that word cannot be drawn: no font here has all its letters")
    try:
        return render_word(word, font, size_px=256)
    except SynestheteError as error:
        raise Refused(409, f"that word cannot be drawn: {error.message}") from error


# Not `UploadFile | None`: a form has no null, so OpenAPI must not offer it.
Sent = Annotated[UploadFile, File(description="An image file.")]
Word = Annotated[str, Form(max_length=WORD, description="A word to draw, instead of an image.")]
RESULT = Page("/probe", "probed.html", probe_image)


async def send(
    request: Request,
    site: Here,
    picture: Sent = None,  # type: ignore[assignment]
    word: Word = "",
    image: Annotated[
        str, Form(max_length=64, description="Opaque id of an image of the atlas, instead of both.")
    ] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Show the model a picture or a drawn word: labels, neurons that fire and where, neurons that decided."""
    check_form(request, csrf)
    data = await picture.read() if picture is not None else None
    name = (picture.filename or "picture")[:100] if data and picture is not None else word

    def work() -> Probed:
        shown = picture_of(site, data, word, image)
        return probe_image(site, shown, " ".join(name.split()) or "an image of the atlas")

    found = await run_in_threadpool(work)
    if wants_json(request):
        return answer(request, TypeAdapter(Probed).dump_json(found), JSON)
    body = render(RESULT, site, found, csrf=request.app.state.gate.csrf)
    return answer(request, body.encode("utf-8", "replace"), HTML)


def shown(site: Here, key: str) -> Response:
    """A picture that was shown lately, as the model sees it."""
    if key not in KEPT:
        raise Missing("that picture is not kept any more")
    return Response(KEPT.get(key, bytes), media_type="image/webp")


for prefix, dependencies in PREFIXES:
    router.add_api_route(
        f"{prefix}/probe.json", send, methods=["POST"], dependencies=dependencies,
        name="show the model", operation_id=operation_id("show the model", prefix),
        responses={200: {"model": Probed}, **ERRORS},
    )  # fmt: skip
    router.add_api_route(f"{prefix}/probe", send, methods=["POST"], include_in_schema=False)
    router.add_api_route(f"{prefix}/shown/{{key}}.webp", shown, include_in_schema=False)
