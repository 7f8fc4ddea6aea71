"""`/edit`: tick neurons, and see what the model takes an image for before and after they are edited."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import Form, Query

from synesthete._core.cache import Bounded
from synesthete.analysis.zero_shot import probabilities, temperature
from synesthete.errors import SynestheteError
from synesthete.report.neuron import NeuronRow, neuron_row, neuron_rows
from synesthete.report.source import Missing, find_unit
from synesthete.server.errors import Refused
from synesthete.server.library import Site
from synesthete.server.page import Page, Post
from synesthete.server.pages.images import tile
from synesthete.server.pages.try_image import (
    WORD_LENGTH,
    Upload,
    Word,
    decision,
    image_of,
    keep_image,
    read_upload,
    text_directions,
)

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.editing import Edit

MOST, BUILT_IN, SUGGESTED = 64, 12, 12
ANSWERS, CONTROLS, SUPPORT = 6, 3, 6
HELD: Bounded[Any] = Bounded(16)  # images that were sent last, in memory only
EditKind = Literal["ablate", "double", "steer"]
Unit = Annotated[list[str] | None, Query(max_length=MOST, description="Addresses of neurons.")]
Addresses = list[str] | None


@dataclass(frozen=True)
class EditedAnswer:
    """A concept with its probability before and after, at the model's own temperature."""

    concept: str
    path: str
    before: float
    after: float


@dataclass(frozen=True)
class EditedNeuron:
    """A neuron of the list; whether it is edited."""

    neuron: NeuronRow
    edited: bool


@dataclass(frozen=True)
class Support:
    """A neuron with a large positive attribution to the first answer; the answer's probability when it alone is ablated."""

    neuron: NeuronRow
    without: float


@dataclass(frozen=True)
class BuiltIn:
    """An image of the atlas to try: its opaque id, and what it shows."""

    key: str
    path: str
    concept: str


@dataclass(frozen=True, kw_only=True)
class Edited:
    """An image, the edited neurons, and the answers before and after.

    Attributes
    ----------
    held
        Key of the image, to send again; empty for none.
    image
        Path of it as the model sees it.
    label
        The word that is written on it.
    op
        How the ticked neurons are edited.
    answers
        The best concepts, before or after; empty without an image.
    support
        Neurons with the largest positive attribution to the first answer, before, against the second, that are not in `units`;
        empty without an image, and where the layer's path to the embedding is not linear.
    control
        Probability of the first answer after the same edit of as many random neurons; null when nothing is ticked.
    """

    model: str
    held: str
    image: str
    label: str
    op: EditKind
    units: list[EditedNeuron]
    built_in: list[BuiltIn]
    answers: list[EditedAnswer]
    support: list[Support]
    control: float | None


def edit_page(site: Site, unit: Unit = None) -> Edited:
    """Neurons to edit: those named in the address, or those that read words best. POST it here, or to `/edit.json`."""
    return lay_out(site, list(unit or ()), [])


def lay_out(
    site: Site, listed: list[str], ticked: list[str], *, op: EditKind = "ablate", label: str = ""
) -> Edited:
    """The neurons, without an image.

    Raises
    ------
    Missing
        An address without a neuron.
    """
    own = [_address(site, one) for one in ticked]
    rows = list(dict.fromkeys([*own, *(_address(site, one) for one in listed)])) or _suggested(site)
    units = []
    for one in rows[:MOST]:
        columns, number = find_unit(site, one)
        units.append(EditedNeuron(neuron_row(site, columns, number), one in own))
    return Edited(
        model=str(site.atlas.manifest["model"]["name"]),
        held="",
        image="",
        label=label,
        op=op,
        units=units,
        built_in=_built_in(site),
        answers=[],
        support=[],
        control=None,
    )


def _address(site: Site, text: str) -> str:
    columns, unit = find_unit(site, text.strip())
    return columns.address(unit)


def _suggested(site: Site) -> list[str]:
    """The live neurons that words excite most selectively, of the first layer."""
    columns = site.opened.columns(site.atlas.layers[0])
    score = np.zeros(columns.units)
    if "word" in columns.modalities:
        score = np.nan_to_num(columns.auc[columns.modalities.index("word")], nan=-1.0)
    order = np.argsort(-np.where(columns.dead, -2.0, score), kind="stable")
    return [columns.address(int(unit)) for unit in order[:SUGGESTED]]


def _built_in(site: Site) -> list[BuiltIn]:
    """A few readable images of different concepts, without words."""
    images: dict[str, BuiltIn] = {}
    probes = site.opened.probes
    step = max(1, probes.readable.size // 400)
    for number in np.flatnonzero(probes.readable & ~probes.of_text)[::step].tolist():
        concept, modality = probes.concept[number], probes.modality[number]
        if concept and concept not in images and modality != "word":
            key = site.opened.ids.key(number)
            images[concept] = BuiltIn(key, site.links.image(key), concept)
        if len(images) == BUILT_IN:
            break
    return list(images.values())


def answer_edited(site: Site, edited: Edited, image: Image.Image | None, held: str) -> Edited:
    """Classify an image before and after the ticked neurons are edited. Loads the model on first use.

    Parameters
    ----------
    edited
        Without answers.
    image, held
        A new image, or the key of one that was sent before.

    Raises
    ------
    Missing
        The image is not kept any more.
    """
    from synesthete.analysis.provenance import own_model

    if image is None:
        image = HELD.get(held, _gone)
    else:
        held, new = secrets.token_hex(12), image
        HELD.get(held, lambda: new)
    model, names = own_model(site.atlas), site.atlas.concepts
    seen = model.geometry(image)
    if edited.label:
        seen = _labelled(seen, edited.label)
    pixels = model.preprocess(seen)[None]
    texts = text_directions(site)
    ticked = [one.neuron.address for one in edited.units if one.edited]

    def chances(addresses: list[str], op: EditKind = edited.op) -> Any:
        from synesthete.editing import Edits

        edits = tuple(_edit(site, one, op) for one in addresses)
        with model.edited(Edits(edits, model.name, model.weights_sha256)):
            return probabilities(model.encode_images(pixels), texts, temperature(model))[0]

    before = chances([])
    after = chances(ticked) if ticked else before
    best = np.argsort(-np.maximum(before, after), kind="stable")[:ANSWERS].tolist()
    answers = [
        EditedAnswer(names[i], site.links.concept(names[i]), float(before[i]), float(after[i]))
        for i in sorted(best, key=lambda i: -after[i])
    ]
    control = None
    if ticked:
        others = [chances(_others(site, ticked, seed)) for seed in range(CONTROLS)]
        control = float(np.mean([one[before.argmax()] for one in others]))
    listed = {one.neuron.address for one in edited.units}
    support = [
        Support(neuron, float(chances([neuron.address], "ablate")[before.argmax()]))
        for neuron in _support(site, pixels)
        if neuron.address not in listed
    ]
    return replace(
        edited,
        held=held,
        image=keep_image(site, seen),
        answers=answers,
        support=support,
        control=control,
    )


def _support(site: Site, pixels: Any) -> list[NeuronRow]:
    """The neurons with the largest positive attribution to the first answer against the second."""
    layer = site.atlas.layers[0]
    found = decision(site, layer, pixels)
    parts = found.parts if found else []
    units = [find_unit(site, one.address)[1] for one in parts if one.weight > 0]
    return neuron_rows(site, site.opened.columns(layer), units[:SUPPORT])


def _gone() -> Any:
    raise Missing("the image is not kept any more", hint="choose it again")


def _edit(site: Site, address: str, op: EditKind) -> Edit:
    from synesthete.editing import Edit

    if op == "ablate":
        return Edit(address, "ablate")
    if op == "double":
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
    from synesthete.audits.labels import legible, write_label
    from synesthete.editing.defence.typographic import SHARE

    try:
        style = legible(word, share=SHARE)
        return write_label(image, word, style, np.random.default_rng(0))
    except SynestheteError as error:
        raise Refused(409, f"the word cannot be written: {error.message}") from error


def edit_image(
    site: Site,
    file: Upload = None,  # type: ignore[assignment]
    word: Word = "",
    image: Annotated[
        str, Form(max_length=64, description="Opaque id of an image of the atlas, instead.")
    ] = "",
    held: Annotated[
        str, Form(max_length=64, description="Key of an image that was sent before.")
    ] = "",
    label: Annotated[
        str, Form(max_length=WORD_LENGTH, description="A word to write on the image.")
    ] = "",
    unit: Annotated[Addresses, Form(max_length=MOST, description="Ticked neurons.")] = None,
    listed: Annotated[Addresses, Form(max_length=MOST, description="Neurons of the list.")] = None,
    more: Annotated[str, Form(max_length=400, description="The address of one more.")] = "",
    op: Annotated[
        EditKind, Form(description="Switch off, double, or raise by the largest activation.")
    ] = "ablate",
) -> Edited:
    """Classify an image before and after neurons are switched off, doubled or raised."""
    data = read_upload(file)
    shown = [*(listed or []), *([more] if more.strip() else [])]
    edited = lay_out(site, shown, unit or [], op=op, label=" ".join(label.split()))
    chosen = None
    if image:
        chosen = image_of(site, tile(site, image).data, "", "")
    elif data or word.strip():
        chosen = image_of(site, data, word, "")
    elif not held:
        raise Refused(409, "there is no image to classify", hint="choose one, or draw a word")
    return answer_edited(site, edited, chosen, held)


EDIT = Page(
    path="/edit",
    template="edit.html",
    view=edit_page,
    label="Edit",
    post=Post(submit=edit_image, name="edit image", template="edit.html"),
    exported=False,
)
