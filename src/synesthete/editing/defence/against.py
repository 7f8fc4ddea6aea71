"""A defence from names: which model, which pictures, against what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.analysis.zero_shot import class_embeddings, unseen_rows
from synesthete.editing.defence.attack import CLASSES, attacked, choose_classes, splits
from synesthete.editing.defence.axis import Axis, associations
from synesthete.editing.defence.driver import Defence, find_defence
from synesthete.editing.defence.objective import Objective

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

PICTURES = 200


def objectives(
    model: ImageTextModel,
    probes: ProbeSet,
    *,
    axis: Axis | None = None,
    limit: int = PICTURES,
    classes: int = CLASSES,
    seed: int = 0,
) -> tuple[Objective, Objective]:
    """The two splits of a typographic attack, or of an axis of bias.

    For a model that says so (the shipped one) the held-out split is of built-in pictures and fonts that it never saw in training.

    Raises
    ------
    SynestheteError
        Too few pictures or classes; see `splits` and `associations`.
    """
    unseen = unseen_rows(model.name, probes)
    names = choose_classes(probes, unseen, classes, seed)
    texts = class_embeddings(model, names)
    if axis is not None:
        return associations(model, probes, axis, names, texts, limit=limit, seed=seed)
    near, far = splits(probes, unseen, names, seed)
    return (
        attacked(model, probes, near, names, texts, limit=limit, seed=seed),
        attacked(model, probes, far, names, texts, limit=limit, seed=seed + 1),
    )


def defend(
    model: ImageTextModel,
    probes: ProbeSet,
    *,
    axis: Axis | None = None,
    limit: int = PICTURES,
    classes: int = CLASSES,
    seed: int = 0,
    **search: Any,
) -> Defence:
    """Find the few units whose switching off makes a model harder to fool by written words, or less biased.

    Parameters
    ----------
    probes
        Pictures with their concepts; words are left out.
    axis
        An axis of bias; without it, the typographic attack.
    limit
        Pictures of each split at most.
    classes
        Concepts that pictures are named among, at most.
    search
        As `find_defence` takes them: `layers`, `how`, `most`, `budget`, `weight`, `shortlist`.
    """
    near, far = objectives(model, probes, axis=axis, limit=limit, classes=classes, seed=seed)
    return find_defence(model, near, far, seed=seed, **search)
