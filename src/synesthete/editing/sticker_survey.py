"""How often a written word turns the answer to a photo, how often three units turn it back, and the clearest pairs as examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter, ValidationError

from synesthete._core.arrays import Bool, Float32, Float64, Int64
from synesthete._core.intervals import Rate
from synesthete._core.progress import Progress
from synesthete.analysis.design import tower_of
from synesthete.analysis.provenance import own_model, photo_of
from synesthete.analysis.zero_shot import class_embeddings, held_out_rows
from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.writing import add_files
from synesthete.audits.labels import can_write, legible
from synesthete.editing.sticker import (
    PLACE,
    SHARE,
    Carried,
    State,
    carried,
    classify,
    square,
    with_sticker,
)
from synesthete.errors import SynestheteError
from synesthete.report.columns import read_probe_columns

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.models import ImageTextModel

SECTION = "stickers"  # of the manifest
EXAMPLES, BATCH = 12, 32


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a written word does to the photos of an atlas, one word drawn for each.

    Attributes
    ----------
    layer
        Whose units were switched off.
    photos
        Photos looked at: those that the model was not trained on, where that is known.
    pairs
        Of these, those that the model classifies correctly; each with the name of another concept on it.
    turned
        Of the pairs, those in which the written word became the answer.
    repaired
        Of those, in how many the answer is the photo's again without the units that carry the word, three at most.
    by_chance
        The same without as many random units that are active on the image.
    share
        Area of the label by that of the photo.
    seed
        Draws the words and the random units.
    examples
        The clearest pairs that were turned and repaired, each photo's concept and each word once.
    """

    layer: str
    photos: int
    pairs: int
    turned: int
    repaired: int
    by_chance: int
    share: float
    seed: int
    examples: list[State]

    @property
    def rates(self) -> tuple[Rate, Rate, Rate]:
        """Turned of the pairs; of those repaired, and by chance."""
        return (
            Rate(self.turned, self.pairs),
            Rate(self.repaired, self.turned),
            Rate(self.by_chance, self.turned),
        )


def survey_stickers(
    path: str | Path, *, limit: int = 256, seed: int = 0, progress: Progress | None = None
) -> Survey:
    """Write a word on each photo of an atlas, count what it does, and keep the clearest pairs in the atlas as examples.

    Parameters
    ----------
    path
        The atlas; its model is loaded.
    limit
        At most so many photos, drawn at random.
    progress
        Called with (pairs done, how many there are).

    Raises
    ------
    SynestheteError
        The model reads no texts, the atlas has no photos of two concepts, or its weights are not at hand.
    """
    atlas = open_atlas(path)
    layer = bench_layer(atlas)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(_unseen(atlas, read_probe_columns(atlas).photos))[:limit]
    names = atlas.concepts
    if not len(rows) or len(names) < 2:
        raise SynestheteError(f"{path} has no photos of two concepts to write words on")
    model = own_model(atlas)
    directions = class_embeddings(model, names)
    pairs = _pairs(atlas, model, rows, directions, rng)
    turned = _turned(model, pairs, directions)
    results: list[tuple[_Pair, Carried]] = []
    for pair in turned:
        results.append(
            (pair, carried(model, layer, pair.photo, pair.word, directions, plain=pair.plain))
        )
        if progress is not None:
            progress(len(results), len(turned))
    survey = Survey(
        layer=layer,
        photos=len(rows),
        pairs=len(pairs),
        turned=len(turned),
        repaired=sum(one.repaired is not None for _, one in results),
        by_chance=sum(one.repaired_by_chance is not None for _, one in results),
        share=SHARE,
        seed=seed,
        examples=_clearest(results, layer, names),
    )
    add_files(Path(path), {}, notes={SECTION: asdict(survey)})
    return survey


def read_survey(atlas: Atlas) -> Survey | None:
    """What `survey_stickers` kept in an atlas; None where it did not run.

    Raises
    ------
    SynestheteError
        Notes that are something else, or name units or images that the atlas has not.
    """
    notes = atlas.manifest.get(SECTION)
    if notes is None:
        return None
    try:
        found: Survey = TypeAdapter(Survey).validate_python(notes)
    except (ValidationError, SynestheteError) as error:
        raise SynestheteError(f"the examples of {atlas.path} are damaged") from error
    images = int(atlas.manifest["probes"]["images"])
    known = found.layer in atlas.layers and all(0 <= one.image < images for one in found.examples)
    if not known:
        raise SynestheteError(f"the examples of {atlas.path} are of another atlas")
    return found


def bench_layer(atlas: Atlas) -> str:
    """The layer whose units are switched off: the first that reads images alone, and is no dictionary's.

    Raises
    ------
    SynestheteError
        There is none.
    """
    for name in atlas.layers:
        if tower_of(atlas, name) == "image" and "dictionary" not in atlas.layer(name):
            return name
    raise SynestheteError(f"{atlas.path} has no layer of the image tower to switch units of off")


def _unseen(atlas: Atlas, rows: Int64) -> Int64:
    """Of some images those that the model was not trained on, where that is known and leaves any."""
    if atlas.manifest["probes"]["name"] != "concepts":
        return rows
    unseen: Bool = held_out_rows(str(atlas.manifest["model"]["name"]), atlas.probes.take(rows))
    return rows[unseen] if unseen.any() else rows


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A photo that is classified correctly, and the name of another concept, `target` in the order of all."""

    image: int
    photo: Image.Image
    plain: Float64
    word: str
    target: int


def _pairs(
    atlas: Atlas,
    model: ImageTextModel,
    rows: Int64,
    directions: Float32,
    rng: np.random.Generator,
) -> list[_Pair]:
    names = atlas.concepts
    truth = atlas.probes["concept"].take(rows).to_pylist()
    style = legible("a", share=SHARE, place=PLACE)
    known = [i for i, name in enumerate(names) if can_write(name, style)]
    found = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH].tolist()
        images = [square(photo_of(atlas, one)) for one in some]
        for place, row in enumerate(classify(model, images, directions)):
            own = names.index(truth[start + place])
            target = int(rng.choice([i for i in known if i != own] or [own]))
            if int(row.argmax()) == own != target:
                pair = _Pair(
                    image=some[place],
                    photo=images[place],
                    plain=row,
                    word=names[target],
                    target=target,
                )
                found.append(pair)
    return found


def _turned(model: ImageTextModel, pairs: Sequence[_Pair], directions: Float32) -> list[_Pair]:
    """Those in which the written word becomes the answer."""
    found = []
    for start in range(0, len(pairs), BATCH):
        some = pairs[start : start + BATCH]
        rows = classify(model, [with_sticker(one.photo, one.word) for one in some], directions)
        found += [
            one for one, row in zip(some, rows, strict=True) if int(row.argmax()) == one.target
        ]
    return found


def _clearest(
    results: Sequence[tuple[_Pair, Carried]], layer: str, names: Sequence[str]
) -> list[State]:
    """The pairs whose weakest of the three answers (plain, turned, repaired) is surest, the surest first."""
    ranked = []
    for pair, one in results:
        if one.repaired is not None:
            back = float(one.without[2**one.repaired - 1][one.answer])
            least = min(float(one.plain[one.answer]), float(one.without[0].max()), back)
            ranked.append((-least, pair.image, pair, one))
    found: list[State] = []
    seen: set[str] = set()
    for _, _, pair, one in sorted(ranked, key=lambda row: row[:2]):
        if not seen & {names[one.answer], pair.word}:
            seen |= {names[one.answer], pair.word}
            found.append(one.state(pair.image, pair.word, layer, names))
    return found[:EXAMPLES]
