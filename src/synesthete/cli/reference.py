"""The reference page, docs/cli.md, from the commands' own help: `python -m synesthete.cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from synesthete.cli.app import make_app

INTRODUCTION = """\
# The command line

<!-- Written by `python -m synesthete.cli.reference > docs/cli.md` from the help of the commands: edit that, not this page. -->

`synesthete --help` lists the commands, and `synesthete COMMAND --help` prints what is on this page. `--version` prints the version. After
`make install` or `make demo` the command is `.venv/bin/synesthete`.

Four rules hold everywhere:

- **Data goes to standard output, everything else to standard error.** With `--json`, standard output is JSON and nothing but
  JSON; a number that does not exist is `null`.
- **A mistake ends in one line** that says what was given, what was expected and what to do, with exit code 2. An interrupt ends
  with exit code 130. Nothing is lost by either: run the same command again.
- **Every count has its controls.** A count of multimodal neurons is shown with the same count for a randomly initialised control
  and for shuffled concept labels.
- **A neuron has an address, a number and names.** `visual.layer4.1:12` is its address; `12` is enough where the atlas has one layer; and
  so is a concept or name, such as `apple`, where exactly one multimodal neuron has it, or exactly one neuron. Otherwise the
  candidates are listed.

Commands that only read an atlas load no model, and answer at once.
"""
CARD = """\
How to read a card:

- the **bars** show the AUC in each modality from 0.5 (chance) to 1, with a mark at the threshold; *n* counts the images of the
  concept among those held out from choosing it;
- the **images** are those of highest activation, whatever they show. A coloured frame marks the neuron's concept; any
  other image has a caption with what it shows. The small red box is the position of the neuron's maximum;
- **most inhibited** (or **least excited**, where no activation is below zero) are the images of lowest activation. In a layer read
  after its ReLU many images may tie at zero, and then the card says so instead of showing arbitrary ones; record `LAYER:pre` to see
  inhibition;
- the **histogram** counts all images; each tick beneath it is one image of the concept;
- the **last line** has the controls.
"""


def commands(
    group: Any, path: str = "synesthete", panel: str = ""
) -> Iterator[tuple[str, Any, str]]:
    """Every command of a group: how it is called, the command, and its heading in the list of commands."""
    for name, command in group.commands.items():
        heading = panel or command.rich_help_panel or ""
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}", heading)
        else:
            yield f"{path} {name}", command, heading


def page() -> str:
    """The whole page."""
    panels: dict[str, list[str]] = {}
    for path, command, panel in commands(typer.main.get_command(make_app())):
        panels.setdefault(panel, []).append(section(path, command))
    parts = [INTRODUCTION]
    for panel, sections in panels.items():
        parts += [f"## {panel}\n", *sections]
    return "\n".join(parts)


def section(path: str, command: Any) -> str:
    """What the page says of one command: usage, help, examples, arguments and options."""
    options = [one for one in command.params if one.param_type_name == "option"]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    shown = [option for option in options if option.name != "help"]
    usage = " ".join([path, *(_metavar(one) for one in arguments), "[OPTIONS]" * bool(shown)])
    text, examples = help_of(command)
    see = getattr(command.callback, "see", "")
    parts = [f"### {path}\n", f"`{usage.strip()}`\n", text + "\n"]
    if examples:
        parts.append("\n".join(["```sh", *examples, "```\n"]))
    rows = [f"| `{_metavar(one)}` | {_meaning(one)} |" for one in arguments]
    rows += [f"| {_names(one)} | {_meaning(one)} |" for one in shown]
    if rows:
        parts.append("\n".join(["| argument, option | meaning |", "| --- | --- |", *rows, ""]))
    if path == "synesthete show":
        parts.append(CARD)
    if see:
        parts.append(f"More: [{see.partition('#')[0]}]({see}).\n")
    return "\n".join(parts)


def help_of(command: Any) -> tuple[str, list[str]]:
    """The text of a command's help, and the examples at its end."""
    paragraphs = (command.help or "").split("\n\n")
    examples = [
        one.removeprefix("Example: ").strip("`")
        for one in paragraphs
        if one.startswith("Example: ")
    ]
    return "\n\n".join(one for one in paragraphs if not one.startswith("Example: ")), examples


def _metavar(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _names(option: Any) -> str:
    names = sorted([*option.opts, *option.secondary_opts], key=lambda name: name[:2] != "--")
    value = f" {option.metavar}" if option.metavar and not option.is_flag else ""
    return ", ".join(f"`{name}{value}`" for name in names)


def _meaning(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    default = parameter.default
    if parameter.required and parameter.param_type_name == "option":
        return f"{text} Required."
    if getattr(parameter, "is_flag", False):
        return f"{text} On by default." if default and parameter.secondary_opts else text
    if parameter.show_default and default not in (None, "", []) and not callable(default):
        return f"{text} Default: `{default}`."
    return text


if __name__ == "__main__":
    sys.stdout.write(page())
