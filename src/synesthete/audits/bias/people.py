"""Pictures of people by group: the user's folder, or the drawn persons of the built-in probe set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from synesthete.audits.bias.lists import Lists
from synesthete.audits.pictures import FEWEST, Int64, Model
from synesthete.errors import SynestheteError, near
from synesthete.probes import UnreadableImage, load_probes

if TYPE_CHECKING:
    from synesthete.probes import ProbeSet

FEWEST_OF_GROUP = 5
BASELINE = 200
DRAWN = ("photo", "drawing")

Axis = tuple[list[Image.Image], Int64, list[str]]


def people(
    model: Model, lists: Lists, images: str | Path | None
) -> tuple[ProbeSet, dict[str, Axis], dict[str, str]]:
    """The probe set, and for each axis with two groups or more: pictures, group of each, names of groups.

    A picture may stand in several axes.
    """
    probes = load_probes("concepts" if images is None else images)
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
            mine = [one for row in rows if (one := _see(model, probes, row, kept, unreadable))]
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
        told = ", ".join(probes.concepts[:8])
        hint = near(probes.concepts[0], known) if probes.concepts else ""
        raise SynestheteError(
            f"{source} has pictures of {told}, and no two groups of an axis with {FEWEST_OF_GROUP} pictures each",
            hint=hint or f"name its folders {', '.join(sorted(known))}",
        )
    total = max(len(shown) for shown, _, _ in axes.values())
    if total < FEWEST:
        raise SynestheteError(
            f"{total} pictures of people can be used of {source}, and an audit needs {FEWEST}",
            hint="fewer would leave every interval too wide to say anything: give more",
        )


def _see(
    model: Model,
    probes: ProbeSet,
    row: int,
    kept: dict[int, Image.Image],
    unreadable: dict[str, str],
) -> Image.Image | None:
    if row not in kept:
        try:
            kept[row] = model.geometry(probes.image(row))
        except (UnreadableImage, SynestheteError) as error:
            unreadable[str(probes.labels["key"][row])] = str(error)
            return None
    return kept[row]


def other_pictures(model: Model, probes: ProbeSet, lists: Lists, seed: int) -> list[Image.Image]:
    """Built-in pictures of other things than people; none of a user's folder, where people are all there is."""
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
    found = (_see(model, probes, row, {}, {}) for row in chosen)
    return [image for image in found if image is not None]
