"""`@command`: the signature and docstring of a function become arguments, options and help; its result is printed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from synesthete.cli.app import TOPICS, make_app
from synesthete.cli.command import Only, Output, command
from synesthete.cli.console import table
from synesthete.cli.reference import help_of


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a run.

    Attributes
    ----------
    steps : N
        How many steps.
    rates
        Step sizes to try.
    fast
        Skip the checks.
    hidden
        Not an option.
    """

    steps: Annotated[int, typer.Option(min=1)] = 5
    rates: tuple[float, ...] = (0.5, 2.0)
    fast: bool = False
    hidden: int = 7


app = typer.Typer()


@command(app)
def train(
    model: str,
    *,
    out: str,
    training: Annotated[Training, Only("steps", "rates", "fast")],
    check: bool = True,
) -> Output:
    """Train a model.

    Parameters
    ----------
    model : MODEL
        Which one.
    out : FILE
        Where to.
    check
        Look at the result.

    Returns
    -------
    everything.

    Examples
    --------
    train mini --out x
    """
    data = {"model": model, "out": out, "check": check, "training": training}
    return Output(data, [table("[model]", rows=[(model,)])], exit_code=3 if model == "bad" else 0)


@app.callback()
def _group() -> None:
    """Several commands."""


def run(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["train", *arguments])
    return ended.exit_code, ended.stdout


def test_what_is_given_reaches_the_function() -> None:
    code, printed = run("mini", "--out", "x", "--steps", "2", "--rates", "1,3", "--fast", "--json")
    training = {"steps": 2, "rates": [1.0, 3.0], "fast": True, "hidden": 7}
    expected = {"model": "mini", "out": "x", "check": True, "training": training}
    assert (code, json.loads(printed)) == (0, expected)
    printed = run("mini", "--out", "x", "--no-check", "--json")[1]
    training = {"steps": 5, "rates": [0.5, 2.0], "fast": False, "hidden": 7}
    assert json.loads(printed) == expected | {"check": False, "training": training}


def test_people_see_the_view_and_the_exit_code_is_kept() -> None:
    code, printed = run("bad", "--out", "x")
    assert (code, printed.split()) == (3, ["[model]", "bad"])
    assert run("bad", "--out", "x", "--json")[0] == 3


@pytest.mark.parametrize(
    "arguments", [(), ("mini",), ("mini", "--out", "x", "--steps", "0"), ("mini", "--hidden", "1")]
)
def test_what_does_not_fit_the_signature_is_refused(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_the_help_is_the_docstring() -> None:
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    assert help_of(train) == ("Train a model.", ["train mini --out x"])
    helps = {one.name: (one.metavar, one.help) for one in train.params}
    assert helps["model"] == ("MODEL", "Which one.")
    assert helps["steps"] == ("N", "How many steps.")
    assert helps["as_json"][1] == "Print as JSON: everything."


def test_a_call_imports_the_module_of_its_command_alone() -> None:
    """Every command is of one topic, and is the same where only that is imported."""
    whole: Any = typer.main.get_command(make_app())
    listed = [name for names in TOPICS.values() for name in names]
    assert sorted(listed) == sorted(whole.commands)
    for topic, names in TOPICS.items():
        for name in names:
            alone: Any = typer.main.get_command(make_app(name))
            assert set(alone.commands) == set(names), topic
            assert help_of(alone.commands[name]) == help_of(whole.commands[name])
    assert set(typer.main.get_command(make_app("--help")).commands) == set(whole.commands)  # type: ignore[attr-defined]
