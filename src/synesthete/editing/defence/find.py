"""From a model and a harm to few edits, evaluated on what the search never saw, beside random units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete.analysis.zero_shot import class_embeddings, unseen_rows
from synesthete.editing.defence.association import Axis, associations
from synesthete.editing.defence.objective import Evaluation, Measured, Objective
from synesthete.editing.defence.search import (
    SHORTLIST,
    Candidates,
    Progress,
    Tail,
    at_random,
    candidates,
    greedy,
    predicted,
    ranked,
)
from synesthete.editing.defence.typographic import CLASSES, attacked, choose_classes, splits
from synesthete.editing.edits import Edit, Edits
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

DRAWS = 5


@dataclass(frozen=True)
class Point:
    """The held-out split with the first `units` units of a series switched off."""

    units: int
    harm: Measured
    kept: Measured


@dataclass(frozen=True)
class Series:
    """One way to choose units, and what it gives: `greedy`, `gradient`, or a draw of `random`."""

    name: str
    addresses: list[str]
    points: list[Point]


@dataclass(frozen=True, kw_only=True)
class Defence:
    """What a search found.

    Attributes
    ----------
    harm_name, kept_name
        What the two axes are.
    how
        `ablate` or `mean-ablate`.
    layers
        Where units were looked for.
    considered
        How many units that do something there are.
    search_before, before
        The unedited model on the search split and on the held-out split.
    search_after, after
        The proposed edits on both.
    random_after
        As many random units, the mean over the draws.
    budget
        Loss of what is kept that the proposal may cost on the search split.
    series
        Greedy, gradient-ranked, and the random draws, all on the held-out split.
    edits
        The proposal: the first units of the greedy series.
    """

    harm_name: str
    kept_name: str
    how: str
    layers: list[str]
    considered: int
    search_before: Evaluation
    search_after: Evaluation
    before: Evaluation
    after: Evaluation
    random_after: tuple[float, float]
    budget: float
    series: list[Series]
    edits: Edits

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"edits": self.edits.as_dict()}


def find_defence(
    model: ImageTextModel,
    search: Objective,
    held_out: Objective,
    *,
    layers: Sequence[str] | None = None,
    how: str = "ablate",
    most: int = 20,
    budget: float = 0.01,
    weight: float = 1.0,
    shortlist: int = SHORTLIST,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Defence:
    """Choose units whose switching off lowers a harm most for the least loss of what is kept.

    Parameters
    ----------
    search, held_out
        The two splits; units are chosen on the first only.
    layers
        Where to look; by default the model's default layers and, in transformers, all attention heads.
    how
        `ablate`, or `mean-ablate`: held at their means over the search split's images.
    most
        At most so many units.
    budget
        The proposal is the longest beginning of the greedy series that costs at most so much of what is kept, on the search
        split.
    weight
        Of the loss of what is kept, against that of the harm.
    shortlist
        How many units are tried in every greedy step.
    seed
        Of the random draws.

    Raises
    ------
    SynestheteError
        No such layer, no such way, or numbers out of range.
    """
    if how not in ("ablate", "mean-ablate"):
        raise SynestheteError(
            f"units cannot be switched off by {how!r}", hint="ablate or mean-ablate"
        )
    if not (most >= 1 and shortlist >= 1 and weight >= 0 and budget >= 0):
        raise SynestheteError("a search needs a unit at least, and no negative weight or budget")
    layers = list(layers) if layers else default_layers(model)
    for layer in layers:
        model.site(layer)
        if layer in {one.name for one in model.sites("text")}:
            raise SynestheteError(f"{layer} reads texts, and a defence is of what reads images")
    among = candidates(model, layers, search.pixels, mean=how == "mean-ablate")
    if not among.units:
        raise SynestheteError(f"no unit of {', '.join(layers)} answers to anything")
    most = min(most, len(among.units))
    tell = say or (lambda message: None)
    tell(f"searching {len(among.units):,} units of {', '.join(layers)}")
    near, far = Tail(model, layers, search.pixels), Tail(model, layers, held_out.pixels)
    chosen = greedy(
        near, search, among, most=most, weight=weight, shortlist=shortlist, progress=progress
    )
    by_gradient = ranked(predicted(near, search, among, [], weight), among, most)
    rng = np.random.default_rng(seed)
    drawn = [at_random(among, most, rng) for _ in range(DRAWS)]
    sizes = _sizes(most)
    series = [
        _series("greedy", chosen, among, far, held_out, list(range(len(chosen) + 1))),
        _series("gradient", by_gradient, among, far, held_out, sizes),
        *(_series("random", units, among, far, held_out, sizes) for units in drawn),
    ]
    search_before = _evaluate(near, search, among, [])
    kept = [_evaluate(near, search, among, chosen[: k + 1]) for k in range(len(chosen))]
    size = max(
        (k for k, one in enumerate(kept, 1) if one.kept.value >= search_before.kept.value - budget),
        default=0,
    )
    control = [_evaluate(far, held_out, among, units[:size]) for units in drawn]
    return Defence(
        harm_name=search.harm_name,
        kept_name=search.kept_name,
        how=how,
        layers=layers,
        considered=len(among.units),
        search_before=search_before,
        search_after=kept[size - 1] if size else search_before,
        before=_evaluate(far, held_out, among, []),
        after=_evaluate(far, held_out, among, chosen[:size]),
        random_after=(
            float(np.mean([one.harm.value for one in control])),
            float(np.mean([one.kept.value for one in control])),
        ),
        budget=budget,
        series=series,
        edits=_edits(model, among, chosen[:size], how, search.harm_name),
    )


def default_layers(model: ImageTextModel) -> list[str]:
    """The default layers, and all attention heads where there are any."""
    heads = [one.name for one in model.sites("image") if one.kind == "heads"]
    return [*model.default_layers, *heads]


def _sizes(most: int) -> list[int]:
    """0, 1, 2, 4 … and `most`."""
    doubling = [0, *(2**i for i in range(most.bit_length()) if 2**i < most), most]
    return sorted(set(doubling))


def _evaluate(
    tail: Tail, objective: Objective, among: Candidates, units: Sequence[tuple[str, int]]
) -> Evaluation:
    return objective.evaluate(tail.embed(among.rewrites(units)).float().cpu().numpy())


def _series(
    name: str,
    units: Sequence[tuple[str, int]],
    among: Candidates,
    tail: Tail,
    objective: Objective,
    sizes: Sequence[int],
) -> Series:
    points = []
    for size in sizes:
        scores = _evaluate(tail, objective, among, units[:size])
        points.append(Point(size, scores.harm, scores.kept))
    return Series(name, [f"{layer}:{unit}" for layer, unit in units], points)


def _edits(
    model: ImageTextModel, among: Candidates, units: Sequence[tuple[str, int]], how: str, harm: str
) -> Edits:
    edits = []
    for layer, unit in units:
        value = among.constants[layer][unit].tolist()
        held = tuple(value) if isinstance(value, list) else float(value)
        edits.append(Edit(f"{layer}:{unit}", how, None if how == "ablate" else held))
    return Edits(tuple(edits), model.name, model.weights_sha256, f"chosen to lower {harm}")


IMAGES = 200


def objectives(
    model: ImageTextModel,
    probes: ProbeSet,
    *,
    axis: Axis | None = None,
    limit: int = IMAGES,
    classes: int = CLASSES,
    seed: int = 0,
) -> tuple[Objective, Objective]:
    """The two splits of a typographic attack, or of an axis of bias.

    For a model that says so (the shipped one) the held-out split is of built-in images and fonts that it never saw in training.

    Raises
    ------
    SynestheteError
        Too few images or classes; see `splits` and `associations`.
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
    limit: int = IMAGES,
    classes: int = CLASSES,
    seed: int = 0,
    **search: Any,
) -> Defence:
    """Find the few units whose switching off makes a model harder to fool by written words, or less biased.

    Parameters
    ----------
    probes
        Images with their concepts; words are left out.
    axis
        An axis of bias; without it, the typographic attack.
    limit
        Images of each split at most.
    classes
        Concepts that images are named among, at most.
    search
        As `find_defence` takes them: `layers`, `how`, `most`, `budget`, `weight`, `shortlist`.
    """
    near, far = objectives(model, probes, axis=axis, limit=limit, classes=classes, seed=seed)
    return find_defence(model, near, far, seed=seed, **search)
