"""What people do on the edit bench: neurons ticked, a picture named before and after."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from synesthete._core.cache import Bounded
from synesthete.errors import SynestheteError
from synesthete.report.neuron import NeuronRow, neuron_rows
from synesthete.report.source import find_unit
from synesthete.server.answers import wants_json
from synesthete.server.errors import ERRORS, Missing, Refused
from synesthete.server.library import Site
from synesthete.server.page import HTML, JSON, PREFIXES, Here, answer, operation_id
from synesthete.server.pages.bench import BENCH, MOST, Answer, Bench, Deed, Leaning, lay_out
from synesthete.server.picture_routes import tile
from synesthete.server.probing import WORD, Sent, Word, _decision, _directions, _keep, picture_of
from synesthete.server.render import render
from synesthete.server.sending import check_form

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.editing import Edit

router = APIRouter()
ANSWERS, CONTROLS, LEANING = 6, 3, 6
HELD: Bounded[Any] = Bounded(16)  # pictures on the bench, in memory only


def work_on(site: Site, bench: Bench, image: Image.Image | None, held: str) -> Bench:
    """Name a picture before and after the ticked neurons are changed. Loads the model on first use.

    Parameters
    ----------
    bench
        As it is laid out.
    image, held
        A new picture, or the key of the one that is on the bench.

    Raises
    ------
    Missing
        The picture is not kept any more.
    """
    from synesthete.analysis.provenance import own_model

    if image is None:
        image = HELD.get(held, _gone)
    else:
        held, picked = secrets.token_hex(12), image
        HELD.get(held, lambda: picked)
    model, names = own_model(site.atlas), site.atlas.concepts
    seen = model.geometry(image)
    if bench.label:
        seen = _labelled(seen, bench.label)
    pixels = model.preprocess(seen)[None]
    texts = site.opened.computed("directions", lambda: _directions(site))
    scale = float(model.network.logit_scale.exp())
    ticked = [one.neuron.address for one in bench.units if one.edited]

    def chances(addresses: list[str], do: Deed = bench.do) -> Any:
        from synesthete.editing import Edits

        edits = tuple(_edit(site, one, do) for one in addresses)
        with model.edited(Edits(edits, model.name, model.weights_sha256)):
            scores = scale * (texts @ model.encode_images(pixels)[0])
        raised = np.exp(scores - scores.max())
        return raised / raised.sum()

    before = chances([])
    after = chances(ticked) if ticked else before
    best = np.argsort(-np.maximum(before, after), kind="stable")[:ANSWERS].tolist()
    answers = [
        Answer(names[i], site.links.concept(names[i]), float(before[i]), float(after[i]))
        for i in sorted(best, key=lambda i: -after[i])
    ]
    control = None
    if ticked:
        others = [chances(_others(site, ticked, seed)) for seed in range(CONTROLS)]
        control = float(np.mean([one[before.argmax()] for one in others]))
    laid = {one.neuron.address for one in bench.units}
    leaning = [
        Leaning(neuron, float(chances([neuron.address], "ablate")[before.argmax()]))
        for neuron in _leaning(site, pixels)
        if neuron.address not in laid
    ]
    return replace(
        bench, held=held, picture=_keep(site, seen), answers=answers, leaning=leaning, control=control
    )  # fmt: skip


def _leaning(site: Site, pixels: Any) -> list[NeuronRow]:
    """The neurons that speak most for the first answer against the second."""
    layer = site.atlas.layers[0]
    found = _decision(site, layer, pixels) if len(site.atlas.concepts) > 1 else None
    units = [
        find_unit(site, one.address)[1] for one in (found.parts if found else []) if one.weight > 0
    ]
    return neuron_rows(site, site.opened.columns(layer), units[:LEANING])


def _gone() -> Any:
    raise Missing("that picture is not kept any more", hint="choose it again")


def _edit(site: Site, address: str, do: Deed) -> Edit:
    from synesthete.editing import Edit

    if do == "ablate":
        return Edit(address, "ablate")
    if do == "double":
        return Edit(address, "scale", 2.0)
    columns, unit = find_unit(site, address)
    return Edit(address, "steer", max(float(columns.maximum[unit]), 0.0))


def _others(site: Site, ticked: list[str], seed: int) -> list[str]:
    """As many other live neurons of the same layers."""
    rng = np.random.default_rng(seed)
    found: list[str] = []
    for one in ticked:
        columns, _ = find_unit(site, one)
        taken = {*ticked, *found}
        free = [
            u for u in np.flatnonzero(~columns.dead).tolist() if columns.address(u) not in taken
        ]
        if free:
            found.append(columns.address(int(rng.choice(free))))
    return found


def _labelled(image: Image.Image, word: str) -> Image.Image:
    from synesthete.audits.labels import Style, can_write, write_label
    from synesthete.editing.defence.attack import SHARE
    from synesthete.probes.words import load_fonts

    styles = (Style(share=SHARE, font=font.family) for font in load_fonts())
    style = next((one for one in styles if can_write(word, one)), None)
    if style is None:
        raise Refused(409, "that word cannot be written: no font here has all its letters")
    try:
        return write_label(image, word, style, np.random.default_rng(0))
    except SynestheteError as error:
        raise Refused(409, f"that word cannot be written: {error.message}") from error


async def send(
    request: Request,
    site: Here,
    picture: Sent = None,  # type: ignore[assignment]
    word: Word = "",
    image: Annotated[str, Form(max_length=64, description="Opaque id of an image of the atlas, instead.")] = "",
    held: Annotated[str, Form(max_length=64, description="Key of the picture that is on the bench.")] = "",
    label: Annotated[str, Form(max_length=WORD, description="A word to write on the picture.")] = "",
    unit: Annotated[list[str] | None, Form(max_length=MOST, description="Ticked neurons.")] = None,
    listed: Annotated[list[str] | None, Form(max_length=MOST, description="Neurons on the bench.")] = None,
    more: Annotated[str, Form(max_length=400, description="The address of one more.")] = "",
    do: Annotated[Deed, Form(description="Switch off, double, or raise by the largest activation.")] = "ablate",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:  # fmt: skip
    """Name a picture before and after neurons are switched off, doubled or raised."""
    check_form(request, csrf)
    data = await picture.read() if picture is not None else None

    def work() -> Bench:
        shown = [*(listed or []), *([more] if more.strip() else [])]
        bench = lay_out(site, shown, unit or [], do=do, label=" ".join(label.split()))
        chosen = None
        if image:
            chosen = picture_of(site, tile(site, image).data, "", "")
        elif data or word.strip():
            chosen = picture_of(site, data, word, "")
        elif not held:
            raise Refused(
                409, "there is no picture on the bench", hint="choose one, or draw a word"
            )
        return work_on(site, bench, chosen, held)

    found = await run_in_threadpool(work)
    if wants_json(request):
        return answer(request, TypeAdapter(Bench).dump_json(found), JSON)
    body = render(BENCH, site, found, csrf=request.app.state.gate.csrf)
    return answer(request, body.encode("utf-8", "replace"), HTML)


for prefix, dependencies in PREFIXES:
    router.add_api_route(
        f"{prefix}/bench.json", send, methods=["POST"], dependencies=dependencies,
        name="edit on the bench", operation_id=operation_id("edit on the bench", prefix),
        responses={200: {"model": Bench}, **ERRORS},
    )  # fmt: skip
    router.add_api_route(f"{prefix}/bench", send, methods=["POST"], include_in_schema=False)
