"""`/bench`, and the first screen of `/`: a word on a photo, the answer that it turns, and the units that turn it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import Query

from synesthete._core.cache import Bounded
from synesthete.analysis.provenance import can_show, photo_of
from synesthete.analysis.zero_shot import probabilities, temperature
from synesthete.editing.sticker import State, carried, square, with_sticker, without_word
from synesthete.editing.sticker_survey import Survey, bench_layer, read_survey
from synesthete.errors import SynestheteError
from synesthete.models.names import TIMM, TORCHVISION
from synesthete.report.images import WebP, encoded, images
from synesthete.report.neuron import NeuronRow, neuron_row
from synesthete.report.source import Missing, find_unit
from synesthete.report.sticker_card import CardRow, CardUnit, sticker_card
from synesthete.report.svg import percent, render
from synesthete.server.errors import Refused
from synesthete.server.library import Site
from synesthete.server.page import Page, image_routes
from synesthete.server.pages.images import in_mosaic
from synesthete.server.pages.try_image import WORD_LENGTH, text_directions

if TYPE_CHECKING:
    from PIL import Image

    from synesthete._core.arrays import Float32

EXAMPLES = 12
# Images that were shown last, in memory only: many of them would fill it.
PHOTOS, CARDS = Bounded[Any](32), Bounded[WebP](32)
Key = Annotated[str, Query(max_length=64, description="Opaque id of a photo of the atlas.")]
Word = Annotated[
    str, Query(max_length=WORD_LENGTH, description="What is written on it; empty for nothing.")
]
Off = Annotated[
    list[str] | None,
    Query(
        max_length=8,
        description="Addresses of units that are switched off, of those that carry the word.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A label with its probabilities.

    Attributes
    ----------
    plain
        Without the word.
    without
        With the word, for every set of units that is off: bit i of the place says whether unit i is.
    """

    label: str
    plain: float
    without: list[float]


@dataclass(frozen=True)
class Carrier:
    """A unit that carries the word; whether it is off; the probability of the photo's answer without it alone."""

    neuron: NeuronRow
    off: bool
    alone: float


@dataclass(frozen=True)
class Example:
    """A photo to start from: the path of its page, its thumbnail, what it shows, and the word."""

    path: str
    image: str
    concept: str
    word: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Rare:
    """How often this happens, over the photos of the atlas.

    Attributes
    ----------
    pairs
        Photos that are classified correctly, each with another concept's name on it.
    turned, repaired, by_chance
        Count, and the 95 % interval of its share: of pairs where the word became the answer; of these, where it is the photo's again
        without three units at most, and without as many random ones.
    """

    photos: int
    pairs: int
    turned: tuple[int, float, float]
    repaired: tuple[int, float, float]
    by_chance: tuple[int, float, float]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A photo, a word on it, and the answer with and without the units that carry the word.

    Attributes
    ----------
    title
        What happens, in one line.
    key, word
        Of the photo, and what is written on it: with `off` the state that the address holds.
    path, photo, card
        Paths of this state's page, of the photo with the word, and of a drawing of it all to share (PNG).
    link
        The page of the photo without a word.
    bars
        Labels that come first in some state, the photo's own answer first; empty while nothing was computed.
    answers
        The first of all labels, for every set of units that is off.
    mask
        The set that is off now.
    control
        Mean probability of the photo's answer with 1, 2, ... random units off that are active on this image.
    draws
        Of the control.
    labels
        How many concepts the model chooses from, and the word beside them.
    computed
        `before`: kept in the atlas; `now`: by the model; empty for a photo without a word that nothing was computed of.
    small
        Whether only a thumbnail of the photo is at hand.
    """

    model: str
    title: str
    key: str
    word: str
    concept: str
    path: str
    photo: str
    card: str
    alt: str
    bars: list[Bar]
    answers: list[str]
    mask: int
    units: list[Carrier]
    control: list[float]
    draws: int
    labels: int
    computed: str
    small: bool
    examples: list[Example]
    rare: Rare | None

    @property
    def off(self) -> int:
        """How many units are off."""
        return self.mask.bit_count()

    @property
    def summary(self) -> str:
        """The numbers, in one line."""
        if not self.bars:
            return "A photo to write a word on."
        first = self.bars[0]
        text = f"{first.label}: {percent(first.plain)} without the word, {percent(first.without[0])} with it"
        if self.units:
            text += f", {percent(first.without[-1])} without {len(self.units)} of its neurons"
        return text + "."


def bench(site: Site, image: Key = "", word: Word = "", off: Off = None) -> Bench:
    """A photo of the atlas with a word written on it: the answer, the units that carry the word, the answer without them.

    Without `image` and `word` it is the first example, or the first photo; neither loads the model.
    """
    why = why_no_bench(site)
    if why:
        raise Refused(409, why)
    word = " ".join(word.split())
    found = _find(site, image, word)
    return _facts(site, found, tuple(off or ()))


def why_no_bench(site: Site) -> str:
    """Why an atlas has no bench; empty where it has one."""
    if not len(site.opened.probes.photos):
        return "there is no image of a concept in this atlas to write words on"
    if len(site.atlas.concepts) < 2:
        return "the atlas has fewer than two concepts to choose from"
    if str(site.atlas.manifest["model"]["name"]).startswith((TIMM, TORCHVISION)):
        return "this model reads images only: it has no answers in words to turn"
    if not site.links.live and not _examples(site):
        return "no example was computed before the pages were written (`synesthete stickers ATLAS`)"
    try:
        bench_layer(site.atlas)
    except SynestheteError as error:
        return error.message
    return ""


@dataclass(frozen=True)
class _Found:
    """A state, or the photo alone where nothing was computed; how it came."""

    image: int
    word: str
    state: State | None
    computed: str


def survey_of(site: Site) -> Survey | None:
    """What the atlas keeps of words on its photos."""
    return site.opened.computed("stickers", lambda: read_survey(site.atlas))


def _examples(site: Site) -> Sequence[State]:
    survey = survey_of(site)
    return survey.examples if survey else ()


def _find(site: Site, key: str, word: str) -> _Found:
    kept = _examples(site)
    if not key:
        if not word and kept:
            return _Found(kept[0].image, kept[0].word, kept[0], "before")
        number = kept[0].image if kept else int(site.opened.probes.photos[0])
        if not word:
            return _Found(number, "", None, "")
        return _Found(number, word, _computed(site, number, word), "now")
    chosen = _number(site, key)
    for one in kept:
        if one.image == chosen and one.word.casefold() == word.casefold():
            return _Found(chosen, one.word, one, "before")
    return _Found(chosen, word, _computed(site, chosen, word), "now")


def _computed(site: Site, number: int, word: str) -> State:
    """Loads the model on first use; of the last states each is kept."""
    return site.opened.computed(("sticker", number, word), lambda: _compute(site, number, word))


def _compute(site: Site, number: int, word: str) -> State:
    from synesthete.analysis.provenance import own_model

    model, layer = own_model(site.atlas), bench_layer(site.atlas)
    names, directions = _labels(site, word)
    image = photo(site, number)
    # The photo without the word is the same at every keystroke.
    embedding = site.opened.computed(
        ("embedding", number), lambda: model.encode_images(model.preprocess(image)[None])
    )
    plain = probabilities(embedding, directions, temperature(model))[0]
    if not word:
        return without_word(number, plain, names)
    try:
        found = carried(model, layer, image, word, directions, plain=plain)
    except SynestheteError as error:
        raise Refused(409, error.message, hint=error.hint) from error
    return found.state(number, word, layer, names)


def _labels(site: Site, word: str) -> tuple[list[str], Float32]:
    """The concepts and the word, where it is none of them; text embeddings of all `[labels, dim]`."""
    from synesthete.analysis.provenance import own_model
    from synesthete.analysis.zero_shot import class_embeddings

    names, directions = site.atlas.concepts, text_directions(site)
    if not word or word.casefold() in {name.casefold() for name in names}:
        return names, directions
    own = class_embeddings(own_model(site.atlas), [word], keep=False)
    return [*names, word], np.concatenate([directions, own])


def photo(site: Site, number: int) -> Image.Image:
    """An image of the atlas as words are written on it."""
    key = site.atlas.fingerprint, number
    found: Image.Image = PHOTOS.get(key, lambda: square(photo_of(site.atlas, number)))
    return found


def _facts(site: Site, found: _Found, off: Sequence[str]) -> Bench:
    state, opened = found.state, site.opened
    key = opened.ids.key(found.image)
    shown = images(site, [found.image])[0]
    addresses = [_address(site, one) for one in off]
    units: list[Carrier] = []
    mask = 0
    for bit, address in enumerate(state.units if state else ()):
        columns, unit = find_unit(site, address)
        is_off = address in addresses
        mask |= is_off << bit
        assert state is not None
        units.append(Carrier(neuron_row(site, columns, unit), is_off, state.without[1 << bit][0]))
    kept = [one.neuron.address for one in units if one.off]
    at = {"image": key, "word": found.word}
    model = str(site.atlas.manifest["model"]["name"])
    return Bench(
        model=model,
        title=_title(model, state),
        key=key,
        word=found.word,
        concept=shown.concept,
        path=site.links.at("/bench", **at, off=kept),
        photo=site.links.at("/bench.webp", **at),
        card=site.links.at("/bench.png", **at, off=kept),
        alt=shown.alt,
        bars=_bars(state) if state else [],
        answers=state.answers if state else [],
        mask=mask,
        units=units,
        control=state.control if state else [],
        draws=state.draws if state else 0,
        labels=len(site.atlas.concepts),
        computed=found.computed,
        small=not can_show(site.atlas),
        examples=_starts(site),
        rare=_rare(survey_of(site)),
    )


def _title(model: str, state: State | None) -> str:
    if state is None:
        return f"What does {model} take this for?"
    plain, says = state.labels[0], state.answers[0]
    if says != plain:
        return f"One word, and {model} takes {plain} for {says}"
    return f"{model} still says {plain}" if state.word else f"{model} takes this for {plain}"


def _address(site: Site, text: str) -> str:
    columns, unit = find_unit(site, text.strip())
    return columns.address(unit)


def _bars(state: State) -> list[Bar]:
    rows = zip(state.labels, state.plain, zip(*state.without, strict=True), strict=True)
    return [Bar(label=name, plain=plain, without=list(row)) for name, plain, row in rows]


def _starts(site: Site) -> list[Example]:
    """The examples; of an atlas without, photos of different concepts."""
    return site.opened.computed(("starts", site.links), lambda: _list_starts(site))


def _list_starts(site: Site) -> list[Example]:
    chosen = [(one.image, one.word) for one in _examples(site)]
    if not chosen:
        probes = site.opened.probes
        first = {probes.concept[number]: number for number in probes.photos[::-1].tolist()}
        chosen = [(number, "") for number in list(first.values())[::-1][:EXAMPLES]]
    numbers = [number for number, _ in chosen]
    return [
        Example(
            path=site.links.at("/bench", image=one.id, word=word),
            image=one.path,
            concept=one.concept,
            word=word,
            key=one.id,
        )
        for one, (_, word) in zip(images(site, numbers), chosen, strict=True)
    ]


def _rare(survey: Survey | None) -> Rare | None:
    if survey is None:
        return None
    turned, repaired, by_chance = ((one.successes, *one.interval) for one in survey.rates)
    return Rare(
        photos=survey.photos,
        pairs=survey.pairs,
        turned=turned,
        repaired=repaired,
        by_chance=by_chance,
    )


def bench_photo(site: Site, image: Key, word: Word = "") -> WebP:
    """A photo of the atlas with a word written on it (WebP), as it is shown to the model. Loads no model."""
    number = _number(site, image)
    plain, word = photo(site, number), " ".join(word.split())
    if not word:
        return encoded(plain)
    try:
        return encoded(with_sticker(plain, word))
    except SynestheteError as error:
        raise Refused(409, error.message, hint=error.hint) from error


def bench_card(site: Site, image: Key, word: Word = "", off: Off = None) -> WebP:
    """A photo, a word and the answers as one drawing to share (PNG, 1,200 by 630 pixels)."""
    facts = bench(site, image, word, off)
    if not facts.bars:  # of the first photo, which nothing was computed of yet
        facts = bench(site, facts.key, facts.word, off)
    return CARDS.get((site.atlas.fingerprint, facts.path), lambda: _card(site, facts))


def _card(site: Site, facts: Bench) -> WebP:
    number = _number(site, facts.key)
    picked = [one for one in facts.units if one.off] or facts.units
    mask = facts.mask or len(facts.answers) - 1
    first, answers = facts.bars[0], facts.answers
    rows = [CardRow("without the word", first.label, first.plain, "other")]
    if facts.word:
        rows.append(CardRow(f"with “{facts.word}” on it", answers[0], first.without[0]))
    if picked:
        many = "one neuron" if len(picked) == 1 else f"{len(picked)} neurons"
        rows.append(CardRow(f"and {many} switched off", answers[mask], first.without[mask]))
    svg = sticker_card(
        title=facts.title,
        photo=with_sticker(photo(site, number), facts.word) if facts.word else photo(site, number),
        answer=first.label,
        rows=rows,
        units=[
            CardUnit(
                one.neuron.heading,
                one.neuron.unit,
                _on_white(site.opened.thumbnails.sheet(in_mosaic(site, one.neuron.address))),
            )
            for one in picked
        ],
        foot=_foot(facts, len(picked), site.atlas.fingerprint),
    )
    return WebP.of(render(svg))


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def _foot(facts: Bench, off: int, fingerprint: str) -> str:
    control = ""
    if off and off <= len(facts.control):
        random = percent(facts.control[off - 1], 0)
        control = f" With as many random neurons off: {random}."
    return (
        f"Bars: probability of “{facts.bars[0].label}” among {facts.labels:,} concepts and the word.{control}"
        f" Atlas {fingerprint[:12]}."
    )


def _number(site: Site, key: str) -> int:
    number = site.opened.ids.number(key)
    there = number is not None and site.opened.probes.readable[number]
    if number is None or not there or site.atlas.text(number) is not None:
        raise Missing("there is no such image", hint="choose one of the page's photos")
    return number


BENCH = Page(path="/bench", template="bench.html", view=bench)
router = image_routes(
    ("/bench.webp", bench_photo, "photo with a word"),
    ("/bench.png", bench_card, "card of a photo with a word"),
)
