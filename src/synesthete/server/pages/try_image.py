"""`/try-image`: show the model an image or a word: what it takes it for, which neurons fire, where, and which decided."""

from __future__ import annotations

import hashlib
import io
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.responses import Response

from synesthete._core.arrays import Float32, Int64
from synesthete._core.cache import Bounded
from synesthete.analysis.provenance import can_show
from synesthete.errors import SynestheteError
from synesthete.report.images import Box
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.report.source import Missing
from synesthete.server.errors import Refused
from synesthete.server.library import Site
from synesthete.server.page import Page, Post

if TYPE_CHECKING:
    from PIL import Image

FIRED, LABELS, SIDE, WORD_LENGTH = 24, 5, 384, 60
EXAMPLES, TEXTS, MOST_HELD = 12, 4, 64
SAMPLED = 2_000  # photos and sentences that examples are chosen from, about
RESULT, OF_ATLAS = "/try-image/result", "an image of the atlas"
# Images that were sent last with their names, by hash, in memory only.
HELD: Bounded[Any] = Bounded(MOST_HELD)
KEPT = Bounded[bytes](32)  # images that were shown last, in memory only

# Not `UploadFile | None`: a form has no null, so OpenAPI must not offer it.
Upload = Annotated[UploadFile, File(description="An image file.")]
Word = Annotated[
    str, Form(max_length=WORD_LENGTH, description="A word to draw, instead of a file.")
]
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class ImageExample:
    """An image of the atlas: the path of the model's answer for it, its thumbnail, what it shows."""

    path: str
    image: str
    concept: str


@dataclass(frozen=True)
class TextExample:
    """A word or a sentence, and the path of the model's answer for it."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TryImagePage:
    """The model, its layers, the number of concepts that it chooses from, and what to start with.

    Attributes
    ----------
    images_right, sentences_right
        How many of how many images and sentences of the atlas are nearest to their own concept's name; null where it has not
        the embedding of every name.
    """

    model: str
    layers: list[str]
    concepts: int
    examples: list[ImageExample]
    words: list[TextExample]
    sentences: list[TextExample]
    images_right: tuple[int, int] | None
    sentences_right: tuple[int, int] | None


@dataclass(frozen=True)
class Guess:
    """A concept, and the cosine of its name with the image or text."""

    concept: str
    path: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Fired:
    """A neuron that the image excites.

    Attributes
    ----------
    activation
        Its activation.
    z
        In standard deviations from its mean over the atlas's images.
    share
        Of the atlas's images, those that excite it at least as much; null without the dense matrix.
    box
        Where in the image, as the model crops it.
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
    heading: str
    path: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Which neurons decided between the first label and the second; null where the path is not linear."""

    label: str
    other: str
    difference: float
    without: float
    without_random: float
    parts: list[Part]


@dataclass(frozen=True, kw_only=True)
class TryImageResult:
    """The model's answer for an image.

    Attributes
    ----------
    shown
        The word that was drawn, or the name of the file.
    image
        Path of the image as the model sees it; it is kept in memory, for a while.
    path
        Of this answer: permanent for an image of the atlas and a drawn word, for a file while the last `kept` images are in memory.
    kept
        0 where the path is permanent.
    """

    shown: str
    image: str
    path: str
    kept: int
    layer: str
    model: str
    guesses: list[Guess]
    fired: list[Fired]
    decision: Decision | None


def show_model(
    site: Site, image: Image.Image, shown: str, *, path: str, kept: int = 0
) -> TryImageResult:
    """Show the model an image (RGB). Loads the model on first use."""
    from synesthete.analysis.provenance import own_model

    model, layer = own_model(site.atlas), site.atlas.layers[0]
    pixels = model.preprocess(image)[None]
    reading = model.read(pixels, [layer], site.atlas.manifest["reduction"])
    values, positions = reading.activations[layer][0], reading.positions[layer][0]
    return TryImageResult(
        shown=shown,
        path=path,
        kept=kept,
        image=keep_image(site, model.geometry(image)),
        layer=layer,
        model=model.name,
        guesses=guesses(site, reading.embeddings[0]),
        fired=_fired(site, layer, values, positions, reading.grids[layer]),
        decision=decision(site, layer, pixels),
    )


def guesses(site: Site, embedding: Float32) -> list[Guess]:
    """The concepts whose names are nearest to an image's or a text's embedding `[dimensions]`, best first."""
    from synesthete.analysis.provenance import own_model

    names = site.atlas.concepts
    if not names or not own_model(site.atlas).reads_texts:
        return []
    cosines = text_directions(site) @ embedding
    return [
        Guess(names[i], site.links.concept(names[i]), float(cosines[i]))
        for i in np.argsort(-cosines, kind="stable")[:LABELS]
    ]


def text_directions(site: Site) -> Float32:
    """`[concepts, dimensions]`: text embeddings of the atlas's concepts, computed once."""
    from synesthete.analysis.provenance import own_model
    from synesthete.analysis.zero_shot import class_embeddings

    def embed() -> Float32:
        return class_embeddings(own_model(site.atlas), site.atlas.concepts)

    return site.opened.computed("directions", embed)


def _fired(
    site: Site, layer: str, values: Any, positions: Any, grid: tuple[int, int]
) -> list[Fired]:
    columns = site.opened.columns(layer)
    z = columns.z_scores(values)
    dense = site.atlas.activations(layer) if site.atlas.manifest["dense"] else None
    readable = site.opened.probes.read_by(site.atlas.layer(layer))
    found = []
    for unit in np.argsort(-z, kind="stable")[:FIRED]:
        if z[unit] <= 0:
            break
        share = None
        if dense is not None:
            share = float((np.asarray(dense[:, unit])[readable] >= values[unit]).mean())
        row, column = divmod(int(positions[unit]), grid[1])
        there = positions[unit] >= 0 and grid != (1, 1)
        box = Box(row, column, *grid) if there else None
        neuron = neuron_row(site, columns, int(unit))
        one = Fired(
            neuron=neuron,
            activation=float(values[unit]),
            z=float(z[unit]),
            share=share,
            box=box,
        )
        found.append(one)
    return found


def decision(site: Site, layer: str, pixels: Any) -> Decision | None:
    """What decided between the first concept and the second; None with fewer, or where the path is not linear."""
    from synesthete.analysis.decomposition.explain import explain_pixels, has_linear_path
    from synesthete.analysis.provenance import own_model

    model, names = own_model(site.atlas), site.atlas.concepts
    if len(names) < 2 or not model.reads_texts or not has_linear_path(model, layer):
        return None
    found = explain_pixels(
        site.atlas, model, pixels, names, text_directions(site), layer=layer, limit=8
    )
    columns = site.opened.columns(layer)
    parts = []
    for term in found.units:
        unit = int(term.address.rpartition(":")[2])
        path = site.links.neuron(term.address)
        parts.append(Part(term.address, columns.heading[unit], path, term.weight))
    return Decision(
        label=found.label,
        other=found.other,
        difference=found.cosines[0] - found.cosines[1],
        without=found.without,
        without_random=found.without_random,
        parts=parts,
    )


def keep_image(site: Site, image: Image.Image) -> str:
    """Keep an image in memory, for a while; its path."""
    stream, key = io.BytesIO(), secrets.token_hex(12)
    image.resize((SIDE, SIDE)).save(stream, "WEBP", quality=90)
    KEPT.get(key, stream.getvalue)
    return site.links.at(f"/shown/{key}.webp")


def image_of(site: Site, data: bytes, word: str, key: str) -> Image.Image:
    """The image that was sent, as the model sees it; the word drawn; or an image of the atlas.

    Raises
    ------
    Refused
        None of them or several, bytes that are not an image, a word that cannot be drawn.
    Missing
        No such image in the atlas.
    """
    from synesthete.analysis.provenance import own_image, own_model
    from synesthete.probes.decoding import TooLarge, UnreadableImage
    from synesthete.probes.request_images import see

    word = " ".join(word.split())
    if bool(data) + bool(word) + bool(key) != 1:
        hint = "choose a file, or type a word"
        raise Refused(409, "send either a file or a word, or name an image", hint=hint)
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
            raise Refused(409, f"the image cannot be read: {error.reason}") from error
    return _drawn(word)


def _drawn(word: str) -> Image.Image:
    from synesthete.probes.words import has_letters, load_fonts, render_word

    font = next((one for one in load_fonts() if has_letters(word, one)), None)
    if font is None:
        raise Refused(409, "the word cannot be drawn: no font here has all its letters")
    try:
        return render_word(word, font, size_px=256)
    except SynestheteError as error:
        raise Refused(409, f"the word cannot be drawn: {error.message}") from error


def try_image_page(site: Site) -> TryImagePage:
    """The form that shows the model an image or a word, with examples. POST it here, or to `/try-image.json`."""
    return site.opened.computed(("to try", site.links), lambda: _to_try(site))


def _to_try(site: Site) -> TryImagePage:
    """Examples of different concepts, of those that the model is surest of: photos first, names to draw, sentences."""
    probes, atlas, links = site.opened.probes, site.atlas, site.links
    texts = np.flatnonzero(probes.readable & probes.of_text)
    sentences = [i for i in texts.tolist() if (atlas.text(i) or "").count(" ") > 3]
    photos, seen_right = _surest(site, probes.photos, EXAMPLES)
    read, read_right = _surest(site, np.asarray(sentences, np.int64), TEXTS)
    concepts = [probes.concept[number] for number in photos]
    keys = [site.opened.ids.key(number) for number in photos] if can_show(atlas) else []
    return TryImagePage(
        model=str(atlas.manifest["model"]["name"]),
        layers=atlas.layers,
        concepts=len(atlas.concepts),
        examples=[
            ImageExample(links.at(RESULT, image=key), links.image(key), concept)
            for key, concept in zip(keys, concepts, strict=False)
        ],
        words=[TextExample(links.at(RESULT, word=one), one) for one in concepts[:TEXTS]],
        sentences=[
            TextExample(links.at("/try-text", text=one), one)
            for one in map(atlas.text, read)
            if one
        ],
        images_right=seen_right,
        sentences_right=read_right,
    )


def _surest(site: Site, rows: Int64, many: int) -> tuple[list[int], tuple[int, int] | None]:
    """Of some images or texts one a concept, surely recognised where any is, and how many of how many are recognised; None where the atlas cannot tell."""
    concept = site.opened.probes.concept
    rows = rows[:: max(1, len(rows) // SAMPLED)]
    margins = _margins(site, rows)
    right = None
    if margins is not None and len(rows):
        own = margins[margins > 0]
        right = (len(own), len(rows))
        # Near to another's name the answer may be that one, whose name the page looks at in five sentences and not alone.
        rows = rows[margins >= np.median(own if len(own) else margins)]
    first: dict[str, int] = {}
    for number in rows.tolist():
        first.setdefault(concept[number], number)
    return list(first.values())[:: max(1, len(first) // many)][:many], right


def _margins(site: Site, rows: Int64) -> Float32 | None:
    """`[rows]`: by how much each is nearer to its concept's name than to any other's; None where the atlas has no embedding of each name.

    The names are texts of the atlas, so that no model is loaded for what a page shows first.
    """
    probes, atlas = site.opened.probes, site.atlas
    names = {
        probes.concept[number]: number
        for number in np.flatnonzero(probes.readable & probes.of_text).tolist()
        if atlas.text(number) == probes.concept[number]
    }
    place = {concept: i for i, concept in enumerate(names)}
    own = [place.get(probes.concept[number]) for number in rows.tolist()]
    if len(names) < max(2, len(atlas.concepts)) or None in own:
        return None
    directions, shown = (
        np.asarray(atlas.embeddings()[some], np.float32) for some in (list(names.values()), rows)
    )
    cosines = shown @ directions.T
    at = np.arange(len(rows)), np.asarray(own, np.int64)
    mine = cosines[at]
    cosines[at] = -np.inf
    margins: Float32 = mine - cosines.max(axis=1)
    return margins


def try_image(
    site: Site,
    file: Upload = None,  # type: ignore[assignment]
    word: Word = "",
    image: Annotated[
        str, Form(max_length=64, description="Opaque id of an image of the atlas, instead of both.")
    ] = "",
) -> TryImageResult:
    """Show the model an image or a drawn word: labels, neurons that fire and where, neurons that decided."""
    data = read_upload(file)
    name = " ".join(((file.filename or "image")[:100] if data else word).split())
    shown = image_of(site, data, word, image)
    if not data:
        path = site.links.at(RESULT, image=image, word=" ".join(word.split()))
        return show_model(site, shown, name or OF_ATLAS, path=path)
    # By its content, so that the same image has the same address.
    held = hashlib.sha256(site.atlas.fingerprint.encode() + data).hexdigest()[:24]
    HELD.get(held, lambda: (shown, name))
    path = site.links.at(RESULT, held=held)
    return show_model(site, shown, name, path=path, kept=MOST_HELD)


def try_image_again(
    site: Site,
    image: Annotated[
        str, Query(max_length=64, description="Opaque id of an image of the atlas.")
    ] = "",
    word: Annotated[str, Query(max_length=WORD_LENGTH, description="A word to draw.")] = "",
    held: Annotated[
        str, Query(max_length=64, description="Key of an image that was sent before.")
    ] = "",
) -> TryImageResult:
    """The model's answer for an image of the atlas, a drawn word, or an image that was sent before and is still kept.

    Without any of them it is the name of the first concept, drawn.
    """
    word = " ".join(word.split())
    if not (image or word or held):
        word = next(iter(site.atlas.concepts), "")
    path = site.links.at(RESULT, image=image, word=word, held=held)
    if held and not (image or word):
        kept, name = HELD.get(held, _gone)
        return show_model(site, kept, name, path=path, kept=MOST_HELD)
    return show_model(site, image_of(site, b"", word, image), word or OF_ATLAS, path=path)


def _gone() -> Any:
    raise Missing("the image is not kept any more", hint="send it again")


def read_upload(file: UploadFile | None) -> bytes:
    """The bytes of an uploaded file; empty for none."""
    return b"" if file is None else file.file.read()


@router.get("/shown/{key}.webp")
@router.get("/a/{atlas}/shown/{key}.webp")
def kept_image(key: str) -> Response:
    """An image that was shown lately, as the model sees it."""
    if key not in KEPT:
        raise Missing("the image is not kept any more")
    return Response(KEPT.get(key, bytes), media_type="image/webp")


TRY_IMAGE = Page(
    path="/try-image",
    template="try_image.html",
    view=try_image_page,
    label="Try it",
    post=Post(submit=try_image, name="classify image", template="try_image_result.html"),
    exported=False,
)
TRY_IMAGE_AGAIN = Page(
    path=RESULT, template="try_image_result.html", view=try_image_again, exported=False
)
