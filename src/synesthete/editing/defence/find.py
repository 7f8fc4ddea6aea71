"""From a model and a harm to few edits, evaluated on what the search never saw, beside random units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float32
from synesthete._core.intervals import paired_change
from synesthete.analysis.zero_shot import class_embeddings, unseen_rows
from synesthete.editing.defence.association import Axis, associations
from synesthete.editing.defence.heads import Looking, class_heads, keep_heads, label_attention
from synesthete.editing.defence.objective import Evaluation, Measured, Objective, rate_of
from synesthete.editing.defence.search import (
    SHORTLIST,
    Candidates,
    Progress,
    Tail,
    at_random,
    candidates,
    embedded,
    greedy,
    predicted,
    ranked,
)
from synesthete.editing.defence.subspace import (
    project_out,
    random_directions,
    written_directions,
)
from synesthete.editing.defence.typographic import (
    CLASSES,
    Typographic,
    attacked,
    choose_classes,
    splits,
)
from synesthete.editing.edits import Edit, Edits
from synesthete.errors import SynestheteError, one_of

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

DRAWS = 5
METHODS = ("greedy", "dyslexify")
LISTED = 12
NO_AXIS = "dyslexify defends against written words, not against an axis"


@dataclass(frozen=True)
class Frontier:
    """What a defence gains and costs on the same images, against the unedited model (Newcombe 1998).

    Attributes
    ----------
    attacked
        Attacked images that are classified correctly among all classes.
    gain, harm, kept
        Paired changes of that, of the harm, and of what is kept.
    """

    attacked: Measured
    gain: Measured
    harm: Measured
    kept: Measured


@dataclass(frozen=True)
class Point:
    """The test split with the first `units` units of a series switched off, or as many directions projected out."""

    units: int
    harm: Measured
    kept: Measured
    frontier: Frontier | None = None


@dataclass(frozen=True)
class Series:
    """One way to choose units, and what it gives.

    `greedy`, `gradient`; `dyslexify`, `attention` (its order alone); a draw of `random` units; `subspace`, and a draw of
    `random subspace`, which have no addresses.
    """

    name: str
    addresses: list[str]
    points: list[Point]


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """By which units the harm goes: first-order shares of what ablations would take off its loss.

    Attributes
    ----------
    strongest
        The units with the largest shares, and these.
    half, of
        How many units have half of it, of how many that have any.
    """

    strongest: list[tuple[str, float]]
    half: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Defence:
    """What a search found.

    Attributes
    ----------
    harm_name, kept_name
        What the two axes are.
    method
        `greedy` or `dyslexify`.
    how
        `ablate` or `mean-ablate`.
    layers
        Where units were looked for.
    considered
        How many units that do something there are.
    validation_before, before
        The unedited model on the validation split and on the test split.
    validation_after, after
        The proposed edits on both.
    random_after
        As many random units on the test split, the mean over the draws.
    budget
        Loss of what is kept that the proposal may cost on the validation split.
    series
        On the test split: the method's units, its baseline (`gradient`, `attention`) and the random draws; against written words, `subspace`
        and random subspaces too.
    rank
        Of the subspace, as chosen on the validation split; None where there is none.
    attention
        Of `dyslexify`: how much each head looks at the label on the fitting split, the most first.
    carriers
        By which units of those considered the harm goes, on the fitting split.
    edits
        The proposal: the first units of the method's series.
    """

    harm_name: str
    kept_name: str
    method: str
    how: str
    layers: list[str]
    considered: int
    validation_before: Evaluation
    validation_after: Evaluation
    before: Evaluation
    after: Evaluation
    random_after: tuple[float, float]
    budget: float
    series: list[Series]
    rank: int | None
    attention: list[Looking]
    carriers: Carriers
    edits: Edits

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"edits": self.edits.as_dict()}


def find_defence(
    model: ImageTextModel,
    search: Objective,
    held_out: Objective,
    *,
    validation: Objective | None = None,
    method: str = "greedy",
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
        The fitting split, by which units are ranked, and the test split, which nothing is chosen on.
    validation
        By which it is chosen how many units are proposed, and the rank of the subspace; without it the fitting split.
    method
        `greedy`: of the units that the gradient favours, the one that helps most, again and again. `dyslexify`: the heads
        that look at the written label (`synesthete.editing.defence.heads`).
    layers
        Where to look; by default the model's default layers and all attention heads; for `dyslexify`, heads that
        write into the class token or a pooled one.
    how
        `ablate`, or `mean-ablate`: held at their means over the fitting split's images.
    most
        At most so many units.
    budget
        The proposal costs at most so much of what is kept, on the validation split.
    weight
        Of the loss of what is kept, against that of the harm.
    shortlist
        How many units are tried in every greedy step.
    seed
        Of the random draws.

    Raises
    ------
    SynestheteError
        No such layer, no such way, numbers out of range; for `dyslexify` a model without such heads, or another harm than
        written words.
    """
    layers = search_layers(model, method=method, how=how, layers=layers)
    if not (most >= 1 and shortlist >= 1 and weight >= 0 and budget >= 0):
        raise SynestheteError("a search needs a unit at least, and no negative weight or budget")
    middle_of = validation or search
    written = _all_written(search, middle_of, held_out)
    if method == "dyslexify" and written is None:
        raise SynestheteError(NO_AXIS)
    among = candidates(model, layers, search.pixels, mean=how == "mean-ablate")
    if not among.units:
        raise SynestheteError(f"no unit of {', '.join(layers)} answers to anything")
    most = min(most, len(among.units))
    tell = say or (lambda message: None)
    tell(f"searching {len(among.units):,} units of {', '.join(layers)}")
    near, far = (Tail(model, layers, split.pixels) for split in (search, held_out))
    middle = near if middle_of is search else Tail(model, layers, middle_of.pixels)
    attention: list[Looking] = []
    if method == "dyslexify":
        assert written is not None
        scores = label_attention(model, layers, written[0])
        order = sorted(among.units, key=lambda unit: -scores[unit].share)
        chosen = keep_heads(
            middle, written[1], among, order, most=most, budget=budget, progress=progress
        )
        attention = [scores[unit] for unit in order]
        second, other = "attention", order[:most]
    else:
        chosen = greedy(
            near, search, among, most=most, weight=weight, shortlist=shortlist, progress=progress
        )
        second, other = "gradient", ranked(predicted(near, search, among, [], weight), among, most)
    rng = np.random.default_rng(seed)
    drawn = [at_random(among, most, rng) for _ in range(DRAWS)]
    unedited = embedded(far, among, [])
    sizes = _sizes(most)

    def series(name: str, units: Sequence[tuple[str, int]], sizes: Sequence[int]) -> Series:
        points = [_point(k, held_out, unedited, embedded(far, among, units[:k])) for k in sizes]
        return Series(name, [f"{layer}:{unit}" for layer, unit in units], points)

    validated = [
        middle_of.evaluate(embedded(middle, among, chosen[:k])) for k in range(len(chosen) + 1)
    ]
    # What dyslexify keeps is within the budget at every step, and so is all of it.
    size = max(
        k for k, one in enumerate(validated) if one.kept.value >= validated[0].kept.value - budget
    )
    ours = series(method, chosen, range(len(chosen) + 1))
    controls = [series("random", units, sorted({*sizes, size})) for units in drawn]
    control = [_at(one, size) for one in controls]
    rank, subspaces = None, list[Series]()
    if written is not None:
        plain = [embedded(near, among, []), embedded(middle, among, []), unedited]
        rank, subspaces = _subspaces(written, plain, budget, rng)
    return Defence(
        harm_name=search.harm_name,
        kept_name=search.kept_name,
        method=method,
        how=how,
        layers=layers,
        considered=len(among.units),
        validation_before=validated[0],
        validation_after=validated[size],
        before=held_out.evaluate(unedited),
        after=_at(ours, size),
        random_after=(
            float(np.mean([one.harm.value for one in control])),
            float(np.mean([one.kept.value for one in control])),
        ),
        budget=budget,
        series=[
            ours,
            series(second, other, sizes),
            *controls,
            *subspaces,
        ],
        rank=rank,
        attention=attention,
        carriers=_carriers(predicted(near, search, among, [], 0.0)),
        edits=_edits(model, among, chosen[:size], how, search.harm_name),
    )


def _all_written(*splits: Objective) -> list[Typographic] | None:
    """The splits, if their harm is written words."""
    written = [split for split in splits if isinstance(split, Typographic)]
    return written if len(written) == len(splits) else None


def _carriers(scores: dict[str, torch.Tensor]) -> Carriers:
    """Of first-order changes of the harm, layer to `[units]`: only what an ablation would take off."""
    taken = {
        f"{layer}:{unit}": -value
        for layer, values in scores.items()
        for unit, value in enumerate(values.tolist())
        if value < 0
    }
    total = sum(taken.values())
    strongest = sorted(taken.items(), key=lambda item: -item[1])
    summed = np.cumsum([value for _, value in strongest])
    half = int(np.searchsorted(summed, total / 2) + 1) if strongest else 0
    listed = [(address, value / total) for address, value in strongest[:LISTED]]
    return Carriers(strongest=listed, half=half, of=len(taken))


def _subspaces(
    written: list[Typographic], embeddings: list[Float32], budget: float, rng: np.random.Generator
) -> tuple[int, list[Series]]:
    """The rank that the validation split chooses, and the series of the fitted subspace and of random ones on the test split.

    Chosen is the rank at which most attacked images are classified correctly, of those within the budget; the smallest of several.
    """
    (fitting, validation, test), (near, middle, far) = written, embeddings
    directions = written_directions(fitting, near)
    sizes = _sizes(min(len(directions), near.shape[1] // 2))
    best, rank = -1.0, 0
    clean = validation.evaluate(middle).kept.value
    for size in sizes:
        projected = project_out(middle, directions[:size])
        survived = float(validation.survived(projected).mean())
        if survived > best and validation.evaluate(projected).kept.value >= clean - budget:
            best, rank = survived, size

    def series(name: str, directions: Float32) -> Series:
        points = [_point(size, test, far, project_out(far, directions[:size])) for size in sizes]
        return Series(name, [], points)

    drawn = [random_directions(sizes[-1], far.shape[1], rng) for _ in range(DRAWS)]
    return rank, [
        series("subspace", directions),
        *(series("random subspace", one) for one in drawn),
    ]


def search_layers(
    model: ImageTextModel,
    *,
    method: str = "greedy",
    how: str = "ablate",
    layers: Sequence[str] | None = None,
) -> list[str]:
    """Where `find_defence` looks; what it would refuse is refused here, before anything is computed."""
    if how not in ("ablate", "mean-ablate"):
        raise SynestheteError(
            f"units cannot be switched off by {how!r}", hint="ablate or mean-ablate"
        )
    if method not in METHODS:
        raise SynestheteError(f"no such method {method!r}", hint=one_of(method, METHODS))
    if method == "dyslexify":
        return class_heads(model, layers)
    layers = list(layers) if layers else default_layers(model)
    of_text = {one.name for one in model.sites("text")}
    for layer in layers:
        model.site(layer)
        if layer in of_text:
            raise SynestheteError(f"{layer} reads texts, and a defence is of what reads images")
    return layers


def default_layers(model: ImageTextModel) -> list[str]:
    """The default layers, and all attention heads where there are any."""
    heads = [
        one.name
        for one in model.sites("image")
        if one.kind in ("heads", "class heads") and not one.name.endswith(":cls")
    ]
    return [*model.default_layers, *heads]


def _sizes(most: int) -> list[int]:
    """0, 1, 2, 4 … and `most`."""
    doubling = [0, *(2**i for i in range(most.bit_length()) if 2**i < most), most]
    return sorted(set(doubling))


def _at(series: Series, size: int) -> Evaluation:
    """What the test split says of the first units of a series, which has that point."""
    (point,) = (one for one in series.points if one.units == size)
    return Evaluation(point.harm, point.kept)


def _point(size: int, objective: Objective, unedited: Float32, edited: Float32) -> Point:
    scores = objective.evaluate(edited)
    frontier = None
    if isinstance(objective, Typographic):
        survived = objective.survived(edited)
        gain = Measured(*paired_change(objective.survived(unedited), survived), len(survived))
        change = objective.change(unedited, edited)
        frontier = Frontier(rate_of(survived), gain, change.harm, change.kept)
    return Point(size, scores.harm, scores.kept, frontier)


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
) -> tuple[Objective, Objective, Objective]:
    """The fitting, validation and test split of a typographic attack, or of an axis of bias.

    All three are of images that the model never saw in training, where it says which (the shipped one, of the built-in images), and the test's
    fonts are others. An axis has two splits: it is validated on the one that is fitted on.

    Raises
    ------
    SynestheteError
        Too few images or classes; see `splits` and `associations`.
    """
    unseen = unseen_rows(model.name, probes)
    names = choose_classes(probes, unseen, classes, seed)
    texts = class_embeddings(model, names)
    if axis is not None:
        near, far = associations(model, probes, axis, names, texts, limit=limit, seed=seed)
        return near, near, far
    fitting, validation, test = (
        attacked(model, probes, split, names, texts, limit=limit, seed=seed + place)
        for place, split in enumerate(splits(probes, unseen, names, seed))
    )
    return fitting, validation, test


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
        As `find_defence` takes them: `method`, `layers`, `how`, `most`, `budget`, `weight`, `shortlist`.
    """
    given = {key: search[key] for key in ("method", "how", "layers") if key in search}
    search_layers(model, **given)
    if axis is not None and search.get("method") == "dyslexify":
        raise SynestheteError(NO_AXIS)
    near, middle, far = objectives(
        model, probes, axis=axis, limit=limit, classes=classes, seed=seed
    )
    return find_defence(model, near, far, validation=middle, seed=seed, **search)
