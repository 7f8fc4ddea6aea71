"""The bias audit: associations of texts and of units, rankings of images of people, and harmful labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.audits.bias.associations import association_matrix, centred, profiles, weat
from synesthete.audits.bias.disparities import People, counts, harm_rates, skews_with_interval
from synesthete.audits.bias.lists import Lists, load_lists
from synesthete.audits.bias.sensitivity import effect_sensitivity, harm_sensitivity
from synesthete.audits.bias.words import load_words, word_associations
from synesthete.audits.images import FEWEST, Model, embed, read_units, readable
from synesthete.errors import SynestheteError, near
from synesthete.probes import load_probes
from synesthete.probes.words import has_letters, load_fonts, render_word

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.probes import ProbeSet

# Names of things stand for no group: the baseline from which units are measured, and the control of leans.
_THINGS = (
    "apple chair table car tree river clock book lamp door window cloud "
    "stone bridge shoe cup spoon key train boat bread fish leaf hill"
)
THINGS = tuple(_THINGS.split())
FONTS = 3
SHOWN = 10  # k of MaxSkew@k
Progress = Callable[[str], None]
FEWEST_OF_GROUP = 5
BASELINE = 200
DRAWN = ("photo", "drawing")
Axis = tuple[list[Image.Image], Int64, list[str]]


def audit_bias(
    model: ImageTextModel,
    people: str | Path | None = None,
    *,
    lists: str | Path | None = None,
    words: str | Path | None = None,
    layer: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What the model associates with groups of people.

    Parameters
    ----------
    people
        A folder of the user's photos, `FOLDER/GROUP/IMAGE` with the groups of one or more axes; without it the drawn
        persons of the built-in probe set, which are few and stand for nobody.
    lists
        Groups, attributes and labels (`load_lists`).
    words
        Words by type, to be compared with the images of the groups (`load_words`); the attributes of the lists without it.
    layer
        Where units are read; by default the model's last block.

    Returns
    -------
    dict
        `tests`, `units`, `retrieval`, `harms`, `label_sets`, `words`; docs/audits.md has the fields.

    Raises
    ------
    SynestheteError
        Lists or images that cannot be used.
    """
    say = progress or (lambda message: None)
    word_lists = load_lists(lists)
    types = word_lists.attributes if words is None else load_words(words)
    if layer is not None:
        model.layer(layer)
    say("association tests")
    found: dict[str, Any] = {
        "lists": word_lists.source,
        "tests": association_tests(model, word_lists, seed=seed),
    }
    say("images of people")
    probes, axes, unreadable = images_of_people(model, word_lists, people)
    found["images"] = {
        "source": "drawn persons of the built-in probe set" if people is None else str(people),
        "of_people": people is not None,
        "axes": {axis: counts(codes.tolist(), names) for axis, (_, codes, names) in axes.items()},
        "unreadable": unreadable,
    }
    say("units")
    found["units"] = unit_associations(model, word_lists, probes, axes, layer=layer, seed=seed)
    say("rankings and harmful labels")
    embeddings = {axis: embed(model, images) for axis, (images, _, _) in axes.items()}
    found["retrieval"], found["harms"], found["label_sets"] = rankings(
        model, word_lists, axes, embeddings, seed=seed
    )
    say("words by type")
    every = list(chain.from_iterable(types.values()))
    columns = class_embeddings(model, every, word_lists.templates).T
    found["words"] = {
        axis: word_associations(embeddings[axis] @ columns, codes, names, types, seed=seed)
        for axis, (_, codes, names) in axes.items()
    }
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
    alone = _by_template(model, lists)
    for test in lists.tests:
        x, y = (
            class_embeddings(model, lists.attributes[name], lists.templates)
            for name in test.attributes
        )
        group_words = [lists.groups[test.axis][name].words for name in test.groups]
        a, b = (class_embeddings(model, one, lists.templates) for one in group_words)
        targets = [lists.attributes[name] for name in test.attributes]
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
                "sensitivity": effect_sensitivity(
                    alone, [*targets, *group_words], lists.synonyms, seed=seed
                ),
                "control_sensitivity": effect_sensitivity(
                    alone, [*targets, THINGS[::2], THINGS[1::2]], lists.synonyms, seed=seed
                ),
            }
        )
    return rows


def _by_template(model: Model, lists: Lists) -> dict[str, Float32]:
    """Word → embeddings in each template `[templates, dim]`, of all that tests compare."""
    groups = (group.words for members in lists.groups.values() for group in members.values())
    names = list(
        dict.fromkeys(chain(THINGS, *groups, *lists.attributes.values(), *lists.synonyms.values()))
    )
    stack = np.stack([class_embeddings(model, names, (one,)) for one in lists.templates], axis=1)
    return dict(zip(names, stack, strict=True))


def unit_associations(
    model: ImageTextModel,
    lists: Lists,
    probes: ProbeSet,
    axes: dict[str, Axis],
    *,
    layer: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Groups × attributes over the units of a layer: everything by drawn words; groups by images too."""
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
        "by_images": None,
    }
    if axes:
        shown = {
            f"{axis}: {name}": [image for image, c in zip(images, codes, strict=True) if c == code]
            for axis, (images, codes, names) in axes.items()
            for code, name in enumerate(names)
        }
        images = [image for images in shown.values() for image in images]
        others = other_images(model, probes, lists, seed) or images
        base = read_units(model, layer, others)
        seen = {
            name: profiles(read_units(model, layer, images), base) for name, images in shown.items()
        }
        by_images: dict[str, Float64] = {}
        for axis in axes:
            mine = {name: rows for name, rows in seen.items() if name.startswith(f"{axis}: ")}
            by_images |= centred(mine)
        found["by_images"] = association_matrix(by_images, attributes, layer, seed=seed)
    return found


def rankings(
    model: Model,
    lists: Lists,
    axes: dict[str, Axis],
    embeddings: dict[str, Float32],
    *,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """For each axis: skew of every text's ranking, harm rates of every set of labels, and their range over random sets."""
    retrieval: dict[str, Any] = {}
    harms: dict[str, Any] = {}
    label_sets: dict[str, Any] = {}
    texts = model.encode_texts(lists.retrieval) if lists.retrieval else None
    offered = lists.harms
    added = list(dict.fromkeys(chain.from_iterable(offered.variants.values())))
    offered_labels = [*offered.neutral, *chain.from_iterable(offered.categories.values()), *added]
    labels: dict[str, Float32] = {}
    if offered_labels:
        embedded = class_embeddings(model, offered_labels, lists.templates)
        labels = dict(zip(offered_labels, embedded, strict=True))
    for axis, (images, codes, names) in axes.items():
        if texts is not None:
            scores = embeddings[axis] @ texts.T
            limit = min(SHOWN, len(images))
            retrieval[axis] = [
                {"text": text}
                | skews_with_interval(scores[:, i], codes, len(names), limit, seed=seed)
                for i, text in enumerate(lists.retrieval)
            ]
        if offered.categories:
            variants: dict[str, Sequence[str]] = {"as listed": (), **offered.variants}
            people = People(embeddings[axis], codes, names, labels)
            harms[axis] = {
                name: harm_rates(people, offered.neutral, offered.categories, more, seed=seed)
                for name, more in variants.items()
            }
            label_sets[axis] = harm_sensitivity(
                people, offered.neutral, offered.categories, added, seed=seed
            )
    return retrieval, harms, label_sets


def _drawn(words: Sequence[str]) -> tuple[list[Image.Image], list[str]]:
    """Images of words in a few fonts, and the words that no font has letters for."""
    images, skipped = [], []
    for word in words:
        fonts = [font for font in load_fonts() if has_letters(word, font)][:FONTS]
        images += [render_word(word, font) for font in fonts]
        skipped += [] if fonts else [word]
    if not images:
        raise SynestheteError(f"no font has letters for any of {', '.join(words)}")
    return images, skipped


def images_of_people(
    model: Model, lists: Lists, images: str | Path | None
) -> tuple[ProbeSet, dict[str, Axis], dict[str, str]]:
    """The probe set, and for each axis with two groups or more: images, group of each, names of groups.

    An image may stand in several axes.
    """
    probes = load_probes("concepts" if images is None else images, texts=False)
    concept = np.array(probes.labels["concept"].to_pylist())
    modality = np.array(probes.labels["modality"].to_pylist())
    usable = np.isin(modality, DRAWN) if images is None else np.ones(len(probes), bool)
    axes: dict[str, Axis] = {}
    unreadable: dict[str, str] = {}
    kept: dict[int, Image.Image] = {}
    for axis, groups in lists.groups.items():
        shown: list[Image.Image] = []
        codes: list[int] = []
        names: list[str] = []
        for name, group in groups.items():
            wanted = [*group.concepts] if images is None else [name]
            rows = np.flatnonzero(usable & np.isin(concept, wanted)).tolist()
            new = (row for row in rows if row not in kept)
            kept |= dict(readable(probes, new, model.geometry, unreadable))
            mine = [kept[row] for row in rows if row in kept]
            if len(mine) >= FEWEST_OF_GROUP:
                shown += mine
                codes += [len(names)] * len(mine)
                names.append(name)
        if len(names) >= 2:
            axes[axis] = (shown, np.array(codes, np.int64), names)
    if images is not None:
        _check_folder(probes, lists, axes, str(images))
    return probes, axes, unreadable


def _check_folder(probes: ProbeSet, lists: Lists, axes: dict[str, Axis], source: str) -> None:
    known = {name for groups in lists.groups.values() for name in groups}
    if not axes:
        concepts = ", ".join(probes.concepts[:8])
        hint = near(probes.concepts[0], known) if probes.concepts else ""
        raise SynestheteError(
            f"{source} has images of {concepts}, and no two groups of an axis with {FEWEST_OF_GROUP} images each",
            hint=hint or f"name its folders {', '.join(sorted(known))}",
        )
    total = max(len(shown) for shown, _, _ in axes.values())
    if total < FEWEST:
        raise SynestheteError(
            f"{total} images of people can be used of {source}, and an audit needs {FEWEST}",
            hint="fewer would leave every interval too wide to say anything: give more",
        )


def other_images(model: Model, probes: ProbeSet, lists: Lists, seed: int) -> list[Image.Image]:
    """Built-in images of other things than people; none of a user's folder, where people are all there is."""
    if probes.name != "concepts":
        return []
    labels = probes.labels
    ours = {
        c for groups in lists.groups.values() for group in groups.values() for c in group.concepts
    }
    rows = [
        row
        for row, (concept, modality, family) in enumerate(
            zip(*(labels[c].to_pylist() for c in ("concept", "modality", "family")), strict=True)
        )
        if modality in DRAWN and family != "person" and concept not in ours
    ]
    chosen = np.random.default_rng(seed).permutation(rows)[:BASELINE].tolist()
    return [image for _, image in readable(probes, chosen, model.geometry)]
