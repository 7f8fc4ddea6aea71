"""Commands about two models: compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from synesthete.atlas import Atlas, open_atlas
from synesthete.cli.command import AtlasArgument, Output, Positive, command
from synesthete.cli.console import count, dim, table

if TYPE_CHECKING:
    from synesthete.analysis.compare import Comparison, MatchCount

PANEL = "Look at an atlas"
WAYS = {"by_profile": "concept profile", "by_activation": "activation"}

app = typer.Typer()
OtherAtlas = Annotated[
    Atlas | None,
    typer.Argument(
        parser=open_atlas,
        metavar="[OTHER]",
        help="The second atlas; without it, two layers of the first.",
    ),
]


@command(app, panel=PANEL)
def compare(
    atlas: AtlasArgument,
    other: OtherAtlas = None,
    layer: str | None = None,
    other_layer: str | None = None,
    limit: Positive = 10,
    seed: int = 0,
) -> Output:
    """Compare two models, or two layers of one: which units match, and which concepts both have a multimodal unit for.

    Units are matched by concept profile (mean responses to the concepts that both were shown; the images need not be the same) and by
    activation on the images that both were shown. Partners are chosen on one half of the artists and scored on the other; a match has
    r ≥ 0.5 and q ≤ 0.01 there. Beside each count: its range over six splits of the artists, the other model's random twin, random mixtures of the other's units, and shuffled labels.

    Parameters
    ----------
    layer : L
        Layer of the first; without it its last main one.
    other_layer : L
        Layer of the second.
    limit
        How many pairs are listed.
    seed
        Of the controls and of the other splits.

    Returns
    -------
    `by_profile` and `by_activation`, each with `first`, `second` (counts with `low`, `high` and controls), `mutual` and `pairs`; `concepts`
    (`both`, `only_first`, `only_second`, `neither`, and what is expected `by_chance`); `missing`, what could not be computed and why.

    See Also
    --------
    compare.md

    Examples
    --------
    synesthete compare demo.atlas other.atlas
    synesthete compare demo.atlas other.atlas --layer visual.layer4.1 --other-layer visual.layer4.1 --limit 3 --json
    """
    from synesthete.analysis.compare import compare_models

    found = compare_models(atlas, other, layer=layer, other_layer=other_layer, seed=seed)
    return Output(lambda: found.as_dict(limit), lambda: _view(found, limit))


def _view(found: Comparison, limit: int) -> Iterator[RenderableType]:
    ways = {name: getattr(found, name) for name in WAYS}
    right = ("units", "matched", "range", "twin", "mixtures", "shuffled")
    rows = [
        (WAYS[name], side, *_cells(getattr(matching, side)))
        for name, matching in ways.items()
        if matching is not None
        for side in ("first", "second")
    ]
    for side, layer, model in zip(("first", "second"), found.layers, found.models, strict=True):
        yield f"{side}: {layer} of {model}"
    yield table("by", "of", *right, right=right, rows=rows)
    for name, matching in ways.items():
        if matching is None:
            yield dim(f"{WAYS[name]}: {found.missing[name]}")
            continue
        of = "concepts" if name == "by_profile" else "images"
        scored = f"scored on {count(matching.scored)}" if of == "images" else "scored on the other half of the artists"  # fmt: skip
        yield dim(
            f"{WAYS[name]}: chosen on {count(len(matching.points))} {of}, {scored}; {count(matching.mutual)} pairs are each other's best"
        )
    if (sets := found.concepts) is None:
        yield dim(f"concepts: {found.missing['concepts']}\n")
    else:
        yield (
            f"Concepts with a multimodal unit: {count(len(sets.both))} in both (by chance {sets.by_chance:.1f}, {sets.low} to {sets.high}; "
            f"p = {sets.p:.2g}), {count(len(sets.only_first))} only in the first, {count(len(sets.only_second))} only in the second, "
            f"{count(len(sets.neither))} in neither."
        )
        if sets.both:
            yield dim("both: " + ", ".join(sets.both[:limit]) + (" …" if len(sets.both) > limit else ""))  # fmt: skip
    for name, matching in ways.items():
        if matching is None or not (pairs := matching.pairs(limit)):
            continue
        shared = "concept" if name == "by_profile" else "image"
        yield table(
            WAYS[name],
            "",
            "r",
            f"{shared} shared most",
            right=("r",),
            rows=(
                (f"{found.layers[0]}:{one}", f"{found.layers[1]}:{two}", f"{r:.2f}", what)
                for one, two, r, what in pairs
            ),
        )


def _cells(one: MatchCount) -> tuple[str, ...]:
    twin = "-" if one.random_twin is None else count(one.random_twin)
    return (
        count(one.live),
        count(one.matched),
        f"{count(one.low)} to {count(one.high)}",
        twin,
        count(one.rotation),
        count(one.shuffled),
    )
