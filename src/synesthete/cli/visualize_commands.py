"""Commands that make pictures with a model: visualize, attribute."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from synesthete._core.user_files import read_named
from synesthete.cli.console import JsonFlag, count, out, percent, print_json, say, table
from synesthete.cli.naming_commands import PANEL, Address, AtlasPath
from synesthete.cli.progress import Reporter
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.atlas import Atlas
    from synesthete.visualization.features import Target, Visualized


def visualize(
    atlas: AtlasPath,
    address: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ADDRESS]...", help="Neurons, such as visual.layer4.1:12."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(help="All neurons of a family.", show_default=False),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The N most multimodal live neurons.", show_default=False
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="L",
            help="All live neurons of a layer; with --top, --sum or --direction: which layer.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A concept, as the direction of its text (repeat for more).",
            show_default=False,
        ),
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="TEXT",
            help="A class: its text's direction less that of all concepts.",
            show_default=False,
        ),
    ] = None,
    sum_: Annotated[
        list[str] | None,
        typer.Option(
            "--sum",
            metavar="TEXT",
            help="A text as a sparse sum of neurons (decompose).",
            show_default=False,
        ),
    ] = None,
    direction: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Any direction, from a .npy file: [units] of --layer, or of the embedding.",
            show_default=False,
        ),
    ] = None,
    facets: Annotated[
        str,
        typer.Option(
            help="all, none, or names parted by commas; without facet there is always one."
        ),
    ] = "none",
    facet_folder: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="A facet of your own: a folder of at least 16 pictures (repeat for more).",
            show_default=False,
        ),
    ] = None,
    least: Annotated[
        bool, typer.Option("--least", help="What inhibits most, rather than what excites most.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many steps for a picture.", show_default=False),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            metavar="S,S,...", help="Facet strengths to try; the best is kept.", show_default=False
        ),
    ] = None,
    variant: Annotated[
        str,
        typer.Option(help="The facet objective: released (as in the paper's code) or published."),
    ] = "released",
    phase: Annotated[
        bool,
        typer.Option(
            "--phase", help="Only phases are free; magnitudes are those of photos (MACO)."
        ),
    ] = False,
    copies: Annotated[
        int, typer.Option(min=1, help="So many different pictures of each facet.")
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Pictures made at once.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.")] = 0,
    probes: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Where the probe set is, when the atlas's name for it does not say.",
            show_default=False,
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write all of them as one .webp, .png or .jpg.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make pictures that excite a neuron, or a direction, most: plainly, and steered towards facets.

    Every picture is shown to the unmodified model, and the percentile says how many real images it surpasses. Pictures are
    written into the atlas; what is there already is kept, so an interrupted run goes on. Loads the model.
    """
    from synesthete.atlas import open_atlas
    from synesthete.visualization.features import Settings
    from synesthete.visualization.features import visualize as make

    opened = open_atlas(atlas)
    wanted = _targets(opened, address, family, top, layer, text, class_, sum_, direction)
    asked: dict[str, Any] = {"variant": variant, "copies": copies, "batch": batch, "seed": seed}
    asked |= {"kind": "phase"} if phase else {}
    asked |= {"steps": steps} if steps else {}
    asked |= {"strengths": _numbers(strengths)} if strengths else {}
    asked |= {"diversity": 4.0} if copies > 1 else {}
    folders = {folder.name: folder for folder in facet_folder or ()}
    with Reporter("visualizing", unit="pictures") as reporter:
        found = make(
            opened, wanted, facets=facets, folders=folders, goal="least" if least else "most",
            settings=Settings(**asked), probes=probes, progress=reporter,
        )  # fmt: skip
    if sheet is not None:
        from synesthete.visualization.features.sheet import contact_sheet, write_sheet

        write_sheet(contact_sheet(opened, found.visualizations), sheet)
    if as_json:
        print_json(
            [one.as_dict() | {"path": str(opened.path / one.file)} for one in found.visualizations]
        )
    else:
        _tell(opened, found)
    for label, why in found.failed.items():
        say(f"no image of {label}: {why}")


def attribute(
    atlas: AtlasPath,
    address: Address,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A picture of your own (repeat for more); without it the neuron's strongest images.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="M", help="gradient-activation, integrated-gradients, response or rollout."
        ),
    ] = "gradient-activation",
    limit: Annotated[int, typer.Option(min=1, help="At most so many of its images.")] = 8,
    probes: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Where the probe set is, when the atlas's name for it does not say.",
            show_default=False,
        ),
    ] = None,
    out_path: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Draw it to a .webp, .png or .jpg.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say where in its strongest images, or in yours, a neuron finds what it answers to.

    Loads the model.
    """
    from synesthete.atlas import open_atlas
    from synesthete.probes.decoding import decode
    from synesthete.visualization.attribution import attribute as ask
    from synesthete.visualization.attribution import drawn
    from synesthete.visualization.features.sheet import write_sheet

    images = None
    if image:
        images = [decode(read_named(one)) for one in image]
    found = ask(
        open_atlas(atlas), address, images=images, limit=limit, method=method, probes=probes
    )
    if out_path is not None:
        write_sheet(drawn(found), out_path)
    names = [str(one) for one in image] if image else [f"image {one.number}" for one in found]
    if as_json:
        print_json(
            [
                {
                    "image": name,
                    "id": one.number,
                    "activation": one.activation,
                    "box": one.box and asdict(one.box),
                }
                for name, one in zip(names, found, strict=True)
            ]
        )
        return
    shown = table("image", "activation", "left", "top", "width", "height", "holds", right=("activation", "left", "top", "width", "height", "holds"))  # fmt: skip
    for name, one in zip(names, found, strict=True):
        box = asdict(one.box).values() if one.box else ()
        shown.add_row(name, f"{one.activation:.3g}", *(percent(value) for value in box))
    out().print(shown)


def _targets(
    atlas: Atlas,
    address: list[str] | None,
    family: str | None,
    top: int | None,
    layer: str | None,
    text: list[str] | None,
    class_: list[str] | None,
    sum_: list[str] | None,
    direction: Path | None,
) -> list[str | Target]:
    from synesthete.visualization.features import targets as kinds

    found: list[str | Target] = list(address or ())
    directions = [
        *(text or ()),
        *(class_ or ()),
        *(sum_ or ()),
        *([direction] if direction else ()),
    ]
    if family is not None:
        mine = [n for n in atlas.neurons(layer) if n.family.casefold() == family.casefold()]
        if not mine:
            known = sorted({n.family for n in atlas.neurons(layer)} - {""})
            raise SynestheteError(
                f"no neuron is of the family {family!r}",
                hint=f"there are {', '.join(known) or 'none'}",
            )
        found += [n.address for n in mine if n.std > 0][:top]
    elif top is not None:
        found += [n.address for n in atlas.neurons(layer) if n.std > 0][:top]
    elif layer is not None and not found and not directions:
        std = atlas.statistics(str(atlas.layer(layer)["name"])).std
        found += [f"{layer}:{unit}" for unit in range(len(std)) if std[unit] > 0]
    found += [kinds.text_target(atlas, one) for one in text or ()]
    found += [kinds.class_target(atlas, one) for one in class_ or ()]
    found += [kinds.sum_target(atlas, one, layer=layer) for one in sum_ or ()]
    if direction is not None:
        read = kinds.read_direction(direction)
        found.append(kinds.direction_target(atlas, read, layer, name=f"direction:{direction.name}"))
    if not found:
        raise SynestheteError(
            "nothing was named to make pictures of",
            hint="give an address, --top N, --family F, --layer L, --text, --class, --sum or --direction",
        )
    return found


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SynestheteError(f"{text!r} are no numbers parted by commas") from None


def _tell(atlas: Atlas, found: Visualized) -> None:
    shown = table("target", "facet", "activation", "percentile", "strength", right=("activation", "percentile", "strength"))  # fmt: skip
    for one in found.visualizations[:40]:
        mark = Text(f"{one.percentile:.2f}", style="" if one.excites else "red")
        strength = f"{one.strength:g}" if one.strength else ""
        shown.add_row(one.target, one.facet, f"{one.activation:.3g}", mark, strength)
    out().print(shown)
    if len(found.visualizations) > 40:
        say(f"and {count(len(found.visualizations) - 40)} more; --json has all")
    good = sum(one.excites for one in found.visualizations)
    say(
        f"{count(good)} of {count(len(found.visualizations))} pictures surpass all but one in a thousand real images; "
        f"{count(found.created)} were made now"
    )
    if found.visualizations:
        say(f"they are in {(atlas.path / found.visualizations[0].file).parent.parent}")
    left_out = {k: v for one in found.facets.values() for k, v in one.left_out.items()}
    for name, why in left_out.items():
        say(f"no facet {name}: {why}")


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (visualize, attribute):
        app.command(rich_help_panel=PANEL)(command)
