"""Options that several audits share, and what every audit does with its report."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli.console import JsonFlag

EXIT_FAILED = 3

ImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--images", metavar="FOLDER",
        help="Your pictures, FOLDER/CONCEPT/IMAGE; without it the built-in ones.", show_default=False,
    ),
]  # fmt: skip
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Write report.json, report.html and a model card section.", show_default=False
    ),
]  # fmt: skip
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=30, metavar="N", help="At most so many pictures.", show_default=False),
]  # fmt: skip
LayerOption = Annotated[
    str | None,
    typer.Option(metavar="L", help="Where units are read; without it the last block.", show_default=False),
]  # fmt: skip
ListsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML of groups, attributes and labels.", show_default=False),
]
ThresholdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold", metavar="METRIC=X",
        help="The limit of a verdict (repeat for more), such as typographic.success_rate=0.2.", show_default=False,
    ),
]  # fmt: skip
FailOption = Annotated[
    str | None,
    typer.Option(
        "--fail-on", metavar="V", help=f"End with exit code {EXIT_FAILED} on a verdict: fail or undecided.",
        show_default=False,
    ),
]  # fmt: skip
SeedOption = Annotated[int, typer.Option(help="Seed of what is chosen at random.")]
EpsilonOption = Annotated[
    list[float] | None,
    typer.Option(
        "--epsilon", metavar="E", help="Size of a change in steps of an 8-bit picture (repeat for more).",
        show_default=False,
    ),
]  # fmt: skip
StepsOption = Annotated[int, typer.Option(min=1, help="Steps of each attack.")]


@dataclass(frozen=True)
class Reporting:
    """What becomes of a report: the options that every audit has."""

    out_path: OutOption = None
    threshold: ThresholdOption = None
    fail_on: FailOption = None
    seed: SeedOption = 0
    as_json: JsonFlag = False


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Reporting` after its own; it gets them as one, `told`."""
    signature = inspect.signature(command, eval_str=True)
    shared = inspect.signature(Reporting, eval_str=True).parameters
    own = [one for name, one in signature.parameters.items() if name != "told"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        told = Reporting(**{name: given.pop(name) for name in shared})
        command(**given, told=told)

    parameters = [*own, *shared.values()]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
