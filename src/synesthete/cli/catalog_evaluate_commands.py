"""How well a catalogue answers: `synesthete catalog evaluate` and `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.catalog_options import (
    CatalogPath,
    ColumnOption,
    Many,
    open_catalog,
    pairs_of,
)
from synesthete.cli.console import JsonFlag, count, out, print_json, share, table


def calibrate(
    catalog: CatalogPath,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="What customers ask, with the answers, as for evaluate; without it the catalogue's own items.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds by which it is measured.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Measure how often suggestions are right, so that their confidence is a probability.

    Without a table each item is asked for by its own picture with itself left out: that tells of pictures like the
    catalogue's, and customers' photos are harder. Loads the model for a table only.
    """
    found = open_catalog(catalog).calibrate(queries, seed=seed)
    if as_json:
        print_json(found.as_dict())
        return
    shown = table("told", "right", "95 %", "cases", right=("told", "right", "cases"))
    for one in found.bins:
        shown.add_row(share(one.told), share(one.right), _interval((one.low, one.high)), str(one.n))
    out().print(shown)
    out().print(
        f"{count(found.n)} cases ({found.source}), {share(found.right)} right; calibration error {found.error:.3f}, "
        f"of the bare strength {found.raw_error:.3f}; a right one is stronger than a wrong one in {share(found.order)}",
        style="dim",
        soft_wrap=True,
    )


def evaluate(
    catalog: CatalogPath,
    queries: Annotated[
        Path,
        typer.Option(
            metavar="TABLE",
            help="A .csv, .jsonl or .parquet: text or image, and relevant (ids) or category.",
            show_default=False,
        ),
    ],
    limit: Many = 10,
    column: ColumnOption = None,
    seed: Annotated[int, typer.Option(help="Of the random control and the intervals.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Measure recall and NDCG on queries with known answers, beside texts alone, pictures alone, and chance.

    Loads the model.
    """
    found = open_catalog(catalog).evaluate(queries, k=limit, seed=seed, columns=pairs_of(column))
    if as_json:
        methods = {
            one.method: {
                f"recall@{limit}": one.recall,
                f"recall@{limit}_interval": list(one.recall_interval),
                f"ndcg@{limit}": one.ndcg,
                f"ndcg@{limit}_interval": list(one.ndcg_interval),
                f"mrr@{limit}": one.mrr,
            }
            for one in found
        }
        print_json({**methods["fused"], "k": limit, "n": found[0].n, "methods": methods})
        return
    shown = table("method", f"recall@{limit}", "95 %", f"NDCG@{limit}", "95 % ", "MRR", right=())
    for one in found:
        shown.add_row(
            one.method, share(one.recall), _interval(one.recall_interval),
            share(one.ndcg), _interval(one.ndcg_interval), share(one.mrr),
        )  # fmt: skip
    out().print(shown)
    out().print(f"{count(found[0].n)} queries", style="dim")


def _interval(values: tuple[float, float]) -> str:
    return f"{values[0]:.2f}–{values[1]:.2f}"


def add_to(group: typer.Typer) -> None:
    """Put these commands into the group `catalog`."""
    for command in (evaluate, calibrate):
        group.command()(command)
