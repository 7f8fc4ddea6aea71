"""Commands that compute images with a model: visualize, attribute."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from synesthete._core.user_files import read_named
from synesthete.atlas import Atlas
from synesthete.cli.analyze import PANEL
from synesthete.cli.command import Address, AtlasArgument, Only, Output, Positive, command
from synesthete.cli.console import Note, and_more, count, percent, say, table
from synesthete.cli.progress import Reporter
from synesthete.cli.workers import Workers
from synesthete.errors import SynestheteError
from synesthete.visualization.settings import STRENGTHS, Settings

if TYPE_CHECKING:
    from synesthete.visualization.features import Target, Visualized

SHOWN = 40

app = typer.Typer()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targets:
    """What to visualize.

    Attributes
    ----------
    family
        All neurons of a family; with --top the most multimodal of them.
    top : N
        The N most multimodal live neurons.
    layer : L
        All live neurons of a layer; with --top, --family, --sum or --direction: which layer.
    text : TEXT
        A concept, as the direction of its text among embeddings (repeat for more).
    class_ : TEXT
        A class: its text's direction less the mean direction of all concepts (repeat for more).
    sum_ : TEXT
        A text as a sparse sum of neurons, as `decompose` finds it (repeat for more).
    direction : FILE
        Any direction, from a .npy file: [units] of --layer, or of the embedding.
    """

    family: str | None = None
    top: Annotated[int | None, typer.Option(min=1)] = None
    layer: str | None = None
    text: list[str] | None = None
    class_: list[str] | None = None
    sum_: list[str] | None = None
    direction: Path | None = None

    def of(self, atlas: Atlas, addresses: Sequence[str]) -> list[str | Target]:
        """The targets in an atlas, the neurons at `addresses` first.

        Raises
        ------
        SynestheteError
            When nothing is named, or no neuron is of the family.
        """
        from synesthete.visualization.features import targets as kinds

        found: list[str | Target] = list(addresses)
        if self.family is not None:
            neurons = atlas.neurons(self.layer)
            family = [n for n in neurons if n.family.casefold() == self.family.casefold()]
            if not family:
                known = ", ".join(sorted({n.family for n in neurons} - {""})) or "none"
                message = f"no neuron is of the family {self.family!r}"
                raise SynestheteError(message, hint=f"there are {known}")
            found += [n.address for n in family if n.std > 0][: self.top]
        elif self.top is not None:
            found += [n.address for n in atlas.neurons(self.layer) if n.std > 0][: self.top]
        elif self.layer is not None and not (
            found or self.text or self.class_ or self.sum_ or self.direction
        ):
            std = atlas.statistics(str(atlas.layer(self.layer)["name"])).std
            found += [f"{self.layer}:{unit}" for unit in range(len(std)) if std[unit] > 0]
        found += [kinds.text_target(atlas, text) for text in self.text or ()]
        found += [kinds.class_target(atlas, text) for text in self.class_ or ()]
        found += [kinds.sum_target(atlas, text, layer=self.layer) for text in self.sum_ or ()]
        if self.direction is not None:
            vector = kinds.read_direction(self.direction)
            label = f"direction:{self.direction.name}"
            found.append(kinds.direction_target(atlas, vector, self.layer, name=label))
        if not found:
            raise SynestheteError(
                "nothing was named to visualize",
                hint="give an address, --top N, --family F, --layer L, --text, --class, --sum or --direction",
            )
        return found


@command(app, panel=PANEL)
def visualize(
    atlas: AtlasArgument,
    address: Annotated[list[str] | None, typer.Argument(metavar="[NEURON]...")] = None,
    *,
    targets: Targets,
    facets: str = "none",
    facet_folder: list[Path] | None = None,
    least: bool = False,
    phase: bool = False,
    settings: Annotated[
        Settings,
        Only("steps", "size", "attempts", "strengths", "variant", "copies", "batch", "seed"),
    ],
    workers: Workers,
    probes: str | None = None,
    sheet: Path | None = None,
) -> Output:
    """Optimise images that excite a neuron, or a direction, most: plainly, and steered towards facets.

    Every image is shown to the unmodified model; the percentile says how many real images it surpasses, and one that
    surpasses fewer than 99.9 % is marked. Images are written into the atlas; what is there already is kept, so an interrupted
    run goes on. Loads the model.

    Parameters
    ----------
    address
        Neurons: addresses such as visual.layer4.1:12, numbers where the atlas has one layer, or concepts or names of neurons.
    facets
        all, none, or names separated by commas; an image without facet is always made.
    facet_folder : FOLDER
        A facet of your own: a folder of at least 16 images (repeat for more).
    least
        What inhibits most, rather than what excites most.
    phase
        Only phases are free; magnitudes are those of photos (MACO).
    probes : P
        Where the probe set is, when the atlas's name for it does not say.
    sheet : FILE
        Also write all of them as one .webp, .png or .jpg, beside the neurons' strongest real images.

    Returns
    -------
    a list of images: `target`, `facet`, `path`, `activation`, `percentile`, `excites`, `strength` and more.

    See Also
    --------
    visualization.md

    Examples
    --------
    synesthete visualize demo.atlas --top 1 --facets word --steps 12 --strengths 1
    synesthete visualize demo.atlas --text apple --steps 12 --json
    synesthete visualize demo.atlas --top 2 --steps 12 --sheet sheet.webp
    synesthete visualize demo.atlas --top 8 --steps 12 --batch 4 --executor processes --workers 2
    """
    from synesthete.visualization.features import visualize as optimise
    from synesthete.visualization.features.sheet import contact_sheet, write_sheet

    if phase:
        settings = dataclasses.replace(settings, kind="phase")
    if settings.copies > 1:
        settings = dataclasses.replace(settings, diversity=4.0)
    who, wanted = workers.opened(), targets.of(atlas, address or ())
    with Reporter("visualizing", unit="steps") as reporter:
        found = optimise(
            atlas,
            wanted,
            facets=facets,
            folders={folder.name: folder for folder in facet_folder or ()},
            goal="least" if least else "most",
            settings=settings,
            probes=probes,
            executor=who,
            progress=reporter,
        )
    if sheet is not None:
        write_sheet(contact_sheet(atlas, found.visualizations), sheet)
    for target, why in found.failed.items():
        say(f"no image of {target}: {why}")
    if left_out := _left_out(facets, facet_folder, settings):
        say(left_out)
    return Output(
        lambda: [
            one.as_dict() | {"path": str(atlas.path / one.file)} for one in found.visualizations
        ],
        lambda: _view(atlas, found),
    )


@command(app, panel=PANEL)
def attribute(
    atlas: AtlasArgument,
    address: Address,
    image: list[Path] | None = None,
    method: str = "gradient-activation",
    limit: Positive = 8,
    probes: str | None = None,
    out: Path | None = None,
) -> Output:
    """Show where in its strongest images, or in yours, a neuron finds what it responds to. Loads the model.

    Parameters
    ----------
    image : FILE
        An image of your own (repeat for more); without it the neuron's strongest images.
    method : M
        gradient-activation, integrated-gradients, response or rollout.
    limit
        At most so many of its images.
    probes : P
        Where the probe set is, when the atlas's name for it does not say.
    out : FILE
        Draw it to a .webp, .png or .jpg: what counts is bright, the box around the strongest part.

    Returns
    -------
    a list of `image`, `id`, `activation` and `box` (`left`, `top`, `width`, `height` as shares of the sides,
    and the `share` of the attribution inside).

    See Also
    --------
    visualization.md

    Examples
    --------
    synesthete attribute demo.atlas visual.layer4.1:12 --limit 2
    synesthete attribute demo.atlas visual.layer4.1:12 --image image.png --method integrated-gradients --out where.png --json
    """
    from synesthete.probes.decoding import decode
    from synesthete.visualization.attribution import attribute as locate
    from synesthete.visualization.attribution import drawn
    from synesthete.visualization.features.sheet import write_sheet

    images = [decode(read_named(path)) for path in image] if image else None
    found = locate(atlas, address, images=images, limit=limit, method=method, probes=probes)
    if out is not None:
        write_sheet(drawn(found), out)
    names = [str(path) for path in image] if image else [f"image {one.number}" for one in found]
    boxes = [asdict(one.box) if one.box else None for one in found]
    rows = [
        {"image": name, "id": one.number, "activation": one.activation, "box": box}
        for name, one, box in zip(names, found, boxes, strict=True)
    ]
    cells = (
        (name, f"{one.activation:.3g}", *map(percent, (box or {}).values()))
        for name, one, box in zip(names, found, boxes, strict=True)
    )
    right = ("activation", "left", "top", "width", "height", "holds")
    return Output(rows, [table("image", *right, right=right, rows=cells)])


def _left_out(facets: str, folders: list[Path] | None, settings: Settings) -> str:
    """What the quick default does not make, and how to have it; empty where all is made."""
    if facets == "none" and not folders:
        return "without facets; --facets all also steers an image to each of them"
    if settings.strengths == Settings().strengths:
        several = ",".join(f"{one:g}" for one in STRENGTHS)
        return (
            f"each facet at strength {STRENGTHS[0]:g}; --strengths {several} tries {len(STRENGTHS)} "
            "and keeps the best"
        )
    return ""


def _view(atlas: Atlas, found: Visualized) -> Iterator[RenderableType]:
    images = found.visualizations
    right = ("activation", "held out", "percentile", "strength")
    rows = (
        (
            one.target,
            one.facet,
            f"{one.activation:.3g}",
            "–" if one.held_out is None else f"{one.held_out:.3g}",
            Text(f"{one.percentile:.2f}", style="" if one.excites else "red"),
            f"{one.strength:g}" if one.strength else "",
        )
        for one in images[:SHOWN]
    )
    yield table("target", "facet", *right, right=right, rows=rows)
    if len(images) > SHOWN:
        yield Note(and_more(len(images) - SHOWN, "--json has all"))
    good = sum(one.excites for one in images)
    yield Note(
        f"{count(good)} of {count(len(images))} images surpass all but one in a thousand real images; "
        f"{count(found.created)} were made now"
    )
    if images:
        yield Note(f"they are in {(atlas.path / images[0].file).parent.parent}")
    left_out = {facet: why for one in found.facets.values() for facet, why in one.left_out.items()}
    for facet, why in left_out.items():
        yield Note(f"no facet {facet}: {why}")
