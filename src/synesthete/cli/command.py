"""`@command`: a function becomes a command; its docstring is the help, and what it returns is printed."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text
from typer.models import ArgumentInfo, OptionInfo

from synesthete._core.docstrings import Help, read_docstring
from synesthete._core.remote_files import is_url
from synesthete.atlas import Atlas, open_atlas
from synesthete.cli.console import Note, out, print_json, say
from synesthete.errors import SynestheteError

AtlasArgument = Annotated[
    Atlas,
    typer.Argument(parser=open_atlas, metavar="ATLAS", help="The atlas, such as demo.atlas."),
]


def here(place: str) -> Path:
    """The folder that a path or a URL of an atlas stands for on this machine."""
    return open_atlas(place).path if is_url(place) else Path(place)


Address = Annotated[
    str,
    typer.Argument(
        metavar="NEURON",
        help="The neuron: its address such as visual.layer4.1:12, its number where the atlas has one layer, "
        "or a concept or name; where several neurons have that, and not one alone is multimodal, they are listed.",
    ),
]
ModelSpec = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="mini, ARCH/TAG of open_clip such as RN50/openai, hf-hub:org/name, local-dir:PATH, timm:NAME or torchvision:NAME.",
    ),
]
_UNIONS = (typing.Union, types.UnionType)
Positive = Annotated[int, typer.Option(min=1)]
Share = Annotated[float, typer.Option(min=0.0, max=1.0)]


@dataclass(frozen=True)
class Output:
    """What a command has to say.

    Attributes
    ----------
    data
        What `--json` prints, or a function that computes it.
    view
        What people see otherwise: tables and lines, or a function that yields them. A `Note` goes to standard error.
    exit_code
        How the command ends.
    """

    data: Any
    view: Sequence[RenderableType] | Callable[[], Iterable[RenderableType]] = ()
    exit_code: int = 0


@dataclass(frozen=True)
class Only:
    """Names the fields of a settings dataclass that become options: `Annotated[Settings, Only("steps")]`."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True)
class Except:
    """Names the fields of a settings dataclass that do not: `Annotated[Settings, Except("device")]`."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    panel: str | None = None,
) -> Callable[[Callable[..., Output | None]], Callable[..., Output | None]]:
    """Add the decorated function to `app` as a command.

    The help is the function's docstring: its text, `Parameters` (`name : METAVAR` and the meaning), `Returns` (what `--json`
    prints), `Examples`, one command line each, and `See Also`, a page beside `docs/cli.md`. A parameter without default is an argument, or a required option where it is keyword-only; a dataclass is
    replaced by an option for each of its fields, described by its own docstring. A function that returns an `Output` gets
    `--json`. Mistakes are `SynestheteError`s, which `main` prints in one line.

    Parameters
    ----------
    app
        The group.
    name
        Of the command; without it that of the function.
    panel
        Heading in the list of commands.
    """

    def add(function: Callable[..., Output | None]) -> Callable[..., Output | None]:
        signature = inspect.signature(function, eval_str=True)
        help_ = read_docstring(function.__doc__)
        settings: dict[str, tuple[Any, list[str]]] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            kind, *more = typing.get_args(parameter.annotation) or (parameter.annotation,)
            if dataclasses.is_dataclass(kind):
                options = options_of(kind, *_chosen(kind, more))
                settings[parameter.name] = kind, [option.name for option in options]
                parameters += options
            else:
                parameters.append(_declared(parameter, help_))
        if signature.return_annotation is Output:
            info = typer.Option("--json", help=f"Print as JSON: {help_.returns or 'the same.'}")
            parameters.append(_parameter("as_json", Annotated[bool, info], False))

        @functools.wraps(function)
        def run(**given: Any) -> None:
            as_json = given.pop("as_json", False)
            for name, (kind, fields) in settings.items():
                values = {field: given.pop(field) for field in fields}
                # Of an option that may be repeated nothing is None, and the setting has its default.
                given[name] = kind(**{f: value for f, value in values.items() if value is not None})
            show(function(**given), as_json)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.see = help_.see  # type: ignore[attr-defined]
        shown = "\n\n".join([help_.text, *(f"Example: `{line}`" for line in help_.examples)])
        app.command(name, help=shown, rich_help_panel=panel)(run)
        return function

    return add


def options_of(settings: Any, *names: str) -> list[inspect.Parameter]:
    """The fields of a settings dataclass (those named, or all) as options: type, default, and its docstring as help.

    Examples
    --------
    >>> [(option.name, option.default) for option in options_of(Output, "exit_code")]
    [('exit_code', 0)]
    """
    help_ = read_docstring(settings.__doc__)
    hints = typing.get_type_hints(settings, include_extras=True)
    plain = typing.get_type_hints(settings)
    options = []
    for field in dataclasses.fields(settings):
        if names and field.name not in names:
            continue
        kind: Any = hints[field.name]
        default: Any = field.default
        if kind == tuple[float, ...]:
            info = typer.Option(parser=numbers, metavar="X,X,...")
            kind, default = Annotated[Any, info], ",".join(f"{one:g}" for one in default)
        elif not any(isinstance(one, OptionInfo) for one in typing.get_args(kind)):
            kind, default = _as_option(plain[field.name], default)
        if field.name == "limit":
            kind = Annotated[kind, typer.Option("-k", "--limit")]
        options.append(_declared(_parameter(field.name, kind, default), help_))
    return options


def _as_option(kind: Any, default: Any) -> tuple[Any, Any]:
    """The type and default that typer knows: of a sequence a list, of an image its path."""
    kinds = set(typing.get_args(kind)) if typing.get_origin(kind) in _UNIONS else {kind}
    sequence = next((one for one in kinds if typing.get_origin(one) is Sequence), None)
    if sequence is not None:
        (element,) = typing.get_args(sequence)
        several: Any = list[_as_option(element, None)[0]]  # type: ignore[misc]
        return several | None, None
    return (Path if kinds == {Path, bytes} else Path | None if Path in kinds else kind), default


def _chosen(settings: Any, more: Sequence[Only | Except]) -> list[str]:
    """The fields that become options."""
    names = [field.name for field in dataclasses.fields(settings)]
    for one in more:
        names = [name for name in names if (name in one.names) == isinstance(one, Only)]
    return names


def numbers(text: str | tuple[float, ...]) -> tuple[float, ...]:
    """Numbers separated by commas.

    Examples
    --------
    >>> numbers("1,3,10")
    (1.0, 3.0, 10.0)
    """
    try:
        return tuple(float(part) for part in text.split(",")) if isinstance(text, str) else text
    except ValueError:
        raise SynestheteError(f"{text!r} are not numbers separated by commas") from None


def _declared(parameter: inspect.Parameter, help_: Help) -> inspect.Parameter:
    """A parameter as typer understands it, with what the docstring says of it."""
    kind, *more = [parameter.annotation]
    if typing.get_origin(kind) is Annotated:
        kind, *more = typing.get_args(kind)
    known = [one for one in more if isinstance(one, OptionInfo | ArgumentInfo)]
    required = parameter.default is inspect.Parameter.empty
    argument = required and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    info = copy.copy(known[0]) if known else typer.Argument() if argument else typer.Option()
    metavar, meaning = help_.parameters.get(parameter.name, (None, None))
    if meaning and typing.get_origin(kind) in _UNIONS and "repeat" not in meaning:
        several = any(typing.get_origin(one) is list for one in typing.get_args(kind))
        meaning = f"{meaning.removesuffix('.')} (repeat for more)." if several else meaning
    info.help, info.metavar = info.help or meaning, info.metavar or metavar
    if required or parameter.default is None:
        info.show_default = False
    if isinstance(info, OptionInfo) and not info.param_decls and info.default is ...:
        name = parameter.name.rstrip("_").replace("_", "-")
        both = f"--{name}/--no-{name}" if kind in (bool, bool | None) else f"--{name}"
        info.param_decls = (f"--{name}" if kind is bool and not parameter.default else both,)
    return _parameter(parameter.name, Annotated[kind, info], parameter.default)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def show(output: Output | None, as_json: bool = False) -> None:
    """Print what a command returned, and end with its exit code."""
    if output is None:
        return
    if as_json:
        print_json(output.data() if callable(output.data) else output.data)
    else:
        for part in output.view() if callable(output.view) else output.view:
            if isinstance(part, Note):
                say(part)
            elif isinstance(part, str | Text):
                out().print(Text(part) if isinstance(part, str) else part, soft_wrap=True)
            else:
                out().print(part)
    if output.exit_code:
        raise typer.Exit(output.exit_code)
