"""The bias audit: associations of texts and of units, rankings of people's pictures, and harmful labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete.analysis.zero_shot import class_embeddings
from synesthete.audits.bias.associations import association_matrix, centred, profiles
from synesthete.audits.bias.harms import harm_rates
from synesthete.audits.bias.lists import Lists, load_lists
from synesthete.audits.bias.people import Axis, other_pictures, people
from synesthete.audits.bias.ranking import counts, skews_with_interval
from synesthete.audits.bias.weat import weat
from synesthete.audits.pictures import Model, embed, read_units
from synesthete.errors import SynestheteError
from synesthete.probes.words import has_letters, load_fonts, render_word

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.probes import ProbeSet

# Names of things stand for no group: the baseline from which units are measured, and the control of leans.
THINGS = (
    "apple", "chair", "table", "car", "tree", "river", "clock", "book", "lamp", "door", "window", "cloud",
    "stone", "bridge", "shoe", "cup", "spoon", "key", "train", "boat", "bread", "fish", "leaf", "hill",
)  # fmt: skip
FONTS = 3
SHOWN = 10  # k of MaxSkew@k
Float64 = npt.NDArray[np.float64]
Progress = Callable[[str], None]


def audit_bias(
    model: ImageTextModel,
    images: str | Path | None = None,
    *,
    lists: str | Path | None = None,
    layer: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What the model associates with groups of people.

    Parameters
    ----------
    images
        A folder of the user's photos, `FOLDER/GROUP/IMAGE` with the groups of one or more axes; without it the drawn
        persons of the built-in probe set, which are few and stand for nobody.
    lists
        Groups, attributes and labels (`load_lists`).
    layer
        Where units are read; by default the model's last block.

    Returns
    -------
    dict
        `tests`, `units`, `retrieval`, `harms`; docs/audits.md has the fields.

    Raises
    ------
    SynestheteError
        Lists or pictures that cannot be used.
    """
    say = progress or (lambda told: None)
    told = load_lists(lists)
    if layer is not None:
        model.layer(layer)
    say("association tests")
    found: dict[str, Any] = {
        "lists": told.source,
        "tests": association_tests(model, told, seed=seed),
    }
    say("pictures of people")
    probes, axes, unreadable = people(model, told, images)
    found["pictures"] = {
        "source": "drawn persons of the built-in probe set" if images is None else str(images),
        "of_people": images is not None,
        "axes": {axis: counts(codes.tolist(), names) for axis, (_, codes, names) in axes.items()},
        "unreadable": unreadable,
    }
    say("units")
    found["units"] = unit_associations(model, told, probes, axes, layer=layer, seed=seed)
    say("rankings and harmful labels")
    found["retrieval"], found["harms"] = rankings(model, told, axes, seed=seed)
    effects = [abs(test["effect"]) for test in found["tests"]]
    gaps = [
        category["gap"]
        for axis in found["harms"].values()
        for variant in axis.values()
        for category in variant["categories"].values()
    ]
    skews = [row["max_skew"]["value"] for axis in found["retrieval"].values() for row in axis]
    return {
        "largest_effect": max(effects, default=None),
        "largest_max_skew": max(skews, default=None),
        "largest_harm_gap": max(gaps, default=None),
    } | found


def association_tests(model: Model, lists: Lists, *, seed: int = 0) -> list[dict[str, Any]]:
    """Every test of the lists, and as a control the same with names of things for the two groups."""
    rows = []
    things = class_embeddings(model, THINGS, lists.templates)
    for test in lists.tests:
        x, y = (
            class_embeddings(model, lists.attributes[name], lists.templates)
            for name in test.attributes
        )
        a, b = (
            class_embeddings(model, lists.groups[test.axis][name].words, lists.templates)
            for name in test.groups
        )
        found, control = (
            weat(x, y, a, b, seed=seed),
            weat(x, y, things[::2], things[1::2], seed=seed),
        )
        rows.append(
            asdict(found)
            | {
                "attributes": list(test.attributes),
                "axis": test.axis,
                "groups": list(test.groups),
                "source": test.source,
                "words": [len(x), len(y), len(a), len(b)],
                "control_effect": control.effect,
                "control_p": control.p,
            }
        )
    return rows


def unit_associations(
    model: ImageTextModel,
    lists: Lists,
    probes: ProbeSet,
    axes: dict[str, Axis],
    *,
    layer: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Groups × attributes over the units of a layer: everything by drawn words; groups by pictures too."""
    layer = layer or model.default_layers[0]
    baseline = read_units(model, layer, _drawn(THINGS)[0])
    skipped: list[str] = []

    def by_words(words: Sequence[str]) -> Float64:
        images, left_out = _drawn(words)
        skipped.extend(left_out)
        return profiles(read_units(model, layer, images), baseline)

    attributes = centred({name: by_words(words) for name, words in lists.attributes.items()})
    groups: dict[str, Float64] = {}
    for axis, members in lists.groups.items():
        groups |= centred(
            {f"{axis}: {name}": by_words(group.words) for name, group in members.items()}
        )
    found: dict[str, Any] = {
        "layer": layer,
        "by_words": association_matrix(groups, attributes, layer, seed=seed),
        "skipped_words": sorted(set(skipped)),
        "by_pictures": None,
    }
    if axes:
        shown = {
            f"{axis}: {name}": [image for image, c in zip(images, codes, strict=True) if c == code]
            for axis, (images, codes, names) in axes.items()
            for code, name in enumerate(names)
        }
        pictures = [image for images in shown.values() for image in images]
        others = other_pictures(model, probes, lists, seed) or pictures
        base = read_units(model, layer, others)
        seen = {
            name: profiles(read_units(model, layer, images), base) for name, images in shown.items()
        }
        by_pictures: dict[str, Float64] = {}
        for axis in axes:
            mine = {name: rows for name, rows in seen.items() if name.startswith(f"{axis}: ")}
            by_pictures |= centred(mine)
        found["by_pictures"] = association_matrix(by_pictures, attributes, layer, seed=seed)
    return found


def rankings(
    model: Model, lists: Lists, axes: dict[str, Axis], *, seed: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Skew of every text's ranking, and harm rates of every set of labels, for each axis."""
    retrieval: dict[str, Any] = {}
    harms: dict[str, Any] = {}
    texts = model.encode_texts(lists.retrieval) if lists.retrieval else None
    offered = lists.harms
    everything = [
        *offered.neutral,
        *(one for names in (*offered.categories.values(), *offered.variants.values()) for one in names),
    ]  # fmt: skip
    labels = dict(
        zip(everything, class_embeddings(model, everything, lists.templates), strict=True)
    ) if everything else {}  # fmt: skip
    for axis, (images, codes, names) in axes.items():
        embeddings = embed(model, images)
        if texts is not None:
            scores = embeddings @ texts.T
            k = min(SHOWN, len(images))
            retrieval[axis] = [
                {"text": text} | skews_with_interval(scores[:, i], codes, len(names), k, seed=seed)
                for i, text in enumerate(lists.retrieval)
            ]
        if offered.categories:
            variants: dict[str, Sequence[str]] = {"as listed": (), **offered.variants}
            harms[axis] = {
                name: harm_rates(
                    embeddings, codes, names, labels, offered.neutral, offered.categories, added, seed=seed
                )
                for name, added in variants.items()
            }  # fmt: skip
    return retrieval, harms


def _drawn(words: Sequence[str]) -> tuple[list[Image.Image], list[str]]:
    """Pictures of words in a few fonts, and the words that no font has letters for."""
    images, skipped = [], []
    for word in words:
        fonts = [font for font in load_fonts() if has_letters(word, font)][:FONTS]
        images += [render_word(word, font) for font in fonts]
        skipped += [] if fonts else [word]
    if not images:
        raise SynestheteError(f"no font has letters for any of {', '.join(words)}")
    return images, skipped
