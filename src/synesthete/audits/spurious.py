"""The spurious-feature audit: does a prediction, or a unit, follow what comes along with a concept rather than the concept?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from synesthete._core.arrays import Float32, Floating, Int64
from synesthete._core.intervals import Rate
from synesthete.analysis.selectivity import auc_tables
from synesthete.analysis.significance import benjamini_hochberg, p_values
from synesthete.audits.images import LIMIT, ImageSet, embed_and_read, load_images
from synesthete.audits.labels import Style, can_write, write_label
from synesthete.audits.typographic.attack import ZeroShot, other_classes
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

MIDDLE = 0.6  # side of the image before another background, by that of the whole
BLUR = 1 / 12  # standard deviation by the side: no object is left, its colours and their places are
GREY = (128, 128, 128)
LEVEL = 0.01
LISTED = 20
DONORS = 10
Progress = Callable[[str], None]
Feature = Callable[[int, bool], Image.Image]


def audit_spurious(
    model: ImageTextModel,
    images: str | Path | None = None,
    *,
    limit: int = LIMIT,
    layer: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How often the background, the colours or a word of another class take the answer with them.

    Each image that is classified correctly gets one feature of an image of another class, and nothing else of it:
    its blurred background around the image, its colours, or its class's name. The control is the same change
    without the class: a grey background, no colour, an empty label.

    Parameters
    ----------
    images
        A probe set of the user's (`FOLDER/CONCEPT/IMAGE`), or None for the built-in photos and drawings.
    limit
        At most so many images.
    layer
        Where units are read; by default the model's last block.

    Returns
    -------
    dict
        `clean`, `excluded`, `images`, `layer`, and for each of `features`: `to_feature`, `lost`,
        `to_feature_blank`, `lost_to_blank` (rates over the images classified correctly) and `units` as `following_units`.

    Raises
    ------
    SynestheteError
        Images that cannot be used: too few, of one class, unreadable.
    """
    say = progress or (lambda message: None)
    layer = layer or model.default_layers[0]
    model.layer(layer)
    image_set = load_images(model, model.name, images, limit=limit, seed=seed, training=False)
    say(f"{len(image_set.images)} images of {len(image_set.classes)} classes")
    classifier, truth = ZeroShot.of(model, image_set.classes), image_set.truth
    every = np.arange(len(truth))
    embeddings, activations = embed_and_read(model, layer, image_set.images)
    right = classifier.answers(embeddings, every) == truth
    donors = donor_classes(image_set, np.random.default_rng(seed))
    other = other_classes(truth, donors, np.random.default_rng(seed))
    own = own_classes(activations, truth, donors)
    rows = np.flatnonzero(right).astype(np.int64)
    found: dict[str, Any] = {
        "images": image_set.described(),
        "clean": Rate.of(right).as_dict() | {"chance": round(1 / len(image_set.classes), 4)},
        "excluded": int((~right).sum()),
        "layer": layer,
        "features": {},
    }
    if not len(rows):
        return found
    target, names = other[rows], [image_set.classes[one] for one in donors]
    for name, change in features(image_set, other, seed).items():
        say(name)
        (embedded, raised), (plain, before) = (
            embed_and_read(model, layer, [change(int(row), blank) for row in rows])
            for blank in (False, True)
        )
        answers, blank = (classifier.answers(one, rows) for one in (embedded, plain))
        found["features"][name] = {
            "to_feature": Rate.of(answers == target).as_dict(),
            "lost": Rate.of(answers != truth[rows]).as_dict(),
            "to_feature_blank": Rate.of(blank == target).as_dict(),
            "lost_to_blank": Rate.of(blank != truth[rows]).as_dict(),
            "units": following_units(
                raised - before, np.searchsorted(donors, target), own, names, layer, seed=seed
            ),
        }
    return found


def donor_classes(image_set: ImageSet, rng: np.random.Generator) -> Int64:
    """The few classes whose features are put on the images, so that each is on several of them."""
    there = [
        one
        for one in np.unique(image_set.truth).tolist()
        if can_write(image_set.classes[one], Style())
    ]
    if len(there) < 2:
        raise SynestheteError(
            f"{Style().font} has letters for {len(there)} of the classes {', '.join(image_set.classes[:8])!r}; two are needed"
        )
    return np.sort(rng.choice(there, min(DONORS, len(there)), replace=False)).astype(np.int64)


def features(image_set: ImageSet, other: Int64, seed: int = 0) -> dict[str, Feature]:
    """What may come along with a class: gives for an image, by its number, the image with it; or the control.

    Parameters
    ----------
    other
        `[images]`, the class whose feature is put on each; one that has an image.
    """
    rng = np.random.default_rng(seed)
    donors = [int(rng.choice(np.flatnonzero(image_set.truth == one))) for one in other]
    images, style = image_set.images, Style()

    def word(row: int, blank: bool) -> Image.Image:
        name = image_set.classes[other[row]]
        return write_label(
            images[row], name, style, np.random.default_rng([seed, row]), blank=blank
        )

    return {
        "background": lambda row, blank: in_front_of(
            images[row], None if blank else images[donors[row]]
        ),
        "colour": lambda row, blank: recoloured(
            images[row], None if blank else images[donors[row]]
        ),
        "word": word,
    }


def in_front_of(image: Image.Image, scene: Image.Image | None) -> Image.Image:
    """The image at a smaller size before another, blurred until no object is left; or before grey."""
    if scene is None:
        out = Image.new("RGB", image.size, GREY)
    else:
        blur = ImageFilter.GaussianBlur(BLUR * min(image.size))
        out = scene.convert("RGB").resize(image.size).filter(blur)
    size = (max(1, round(MIDDLE * image.width)), max(1, round(MIDDLE * image.height)))
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    out.paste(small, ((image.width - size[0]) // 2, (image.height - size[1]) // 2))
    return out


def recoloured(image: Image.Image, like: Image.Image | None) -> Image.Image:
    """The image with the mean and spread of another's colour channels (Reinhard et al. 2001, in YCbCr); or in grey.

    Light and dark stay as they are: only the two channels of colour are changed.
    """
    own = np.asarray(image.convert("YCbCr"), np.float64)
    if like is None:
        chroma = np.full_like(own[..., 1:], 128.0)
    else:
        theirs = np.asarray(like.convert("YCbCr"), np.float64)[..., 1:].reshape(-1, 2)
        mine = own[..., 1:].reshape(-1, 2)
        ratio = theirs.std(axis=0) / np.maximum(mine.std(axis=0), 1e-9)
        # An image without colour has none to spread.
        ratio = np.where(mine.std(axis=0) > 0.5, ratio, 0.0)
        chroma = (own[..., 1:] - mine.mean(axis=0)) * ratio + theirs.mean(axis=0)
    pixels = np.concatenate([own[..., :1], chroma], axis=-1).clip(0, 255).round().astype(np.uint8)
    return Image.merge(
        "YCbCr", [Image.fromarray(one) for one in np.moveaxis(pixels, -1, 0)]
    ).convert("RGB")


def own_classes(activations: Float32, codes: Int64, classes: Int64) -> Int64:
    """`[units]`: of some classes, which excites the unit most on average, as its place in `classes`."""
    means = [activations[codes == one].mean(axis=0, dtype=np.float64) for one in classes]
    return np.asarray(np.argmax(means, axis=0), np.int64)


def following_units(
    rise: Floating, code: Int64, own: Int64, classes: Sequence[str], layer: str, *, seed: int = 0
) -> dict[str, Any]:
    """Units that the feature of their own class raises more than the features of other classes do.

    Parameters
    ----------
    rise
        Activation with the feature minus that with the control `[images, units]`.
    code
        `[images]`, the class of the feature, as its place in `classes`.
    own
        `[units]`, the class that excites the unit most, also as its place.

    Returns
    -------
    dict
        `n` images, `following` (a rate over units: Mann-Whitney, q ≤ 0.01), `permuted` (the same with the classes
        of the features permuted among the images), `listed`: the strongest, with `class`, `auc` and `q`.
    """
    mixed = np.random.default_rng(seed).permutation(code)
    every = np.arange(len(own))
    q = []
    tables = auc_tables(rise, [code, mixed], len(classes))
    for table in tables:
        p = p_values(table.wins, table.n_pos, table.n_neg)[every, own]
        q.append(np.nan_to_num(benjamini_hochberg(p), nan=1.0))
    auc = tables[0].auc[every, own]
    follows = q[0] <= LEVEL
    order = [int(unit) for unit in np.lexsort((-auc, q[0])) if follows[unit]][:LISTED]
    return {
        "n": len(code),
        "following": Rate.of(follows).as_dict(),
        "permuted": Rate.of(q[1] <= LEVEL).as_dict(),
        "listed": [
            {
                "address": f"{layer}:{unit}",
                "class": classes[own[unit]],
                "auc": round(float(auc[unit]), 4),
                "q": float(f"{q[0][unit]:.3g}"),
            }
            for unit in order
        ],
    }
