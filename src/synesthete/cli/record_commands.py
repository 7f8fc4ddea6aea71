"""Commands that make an atlas: demo, record, analyze."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli import views
from synesthete.cli.console import JsonFlag, out, print_json, say
from synesthete.cli.progress import Reporter

PANEL = "Make an atlas"
MODEL = "mini"
PROBES = "concepts"
CARDS = 3
PICTURES = 6

Threshold = Annotated[
    float, typer.Option(min=0.5, max=1.0, help="The AUC that a modality must reach.")
]
FalseDiscovery = Annotated[
    float, typer.Option("--q", min=0.0, max=1.0, help="The false discovery rate to allow.")
]
Seed = Annotated[int, typer.Option(help="Seed of the random twin and of the shuffled labels.")]


def demo(
    out_path: Annotated[
        Path, typer.Option("--out", metavar="X.atlas", help="Where the atlas is written.")
    ] = Path("demo.atlas"),
    serve: Annotated[
        bool | None,
        typer.Option(
            help="Open the microscope at the end; without it only on a terminal.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """From nothing to measured multimodal neurons, with the shipped model and the built-in probes.

    Records the model mini on the probe set concepts, analyses what was recorded, names the neurons, prints
    the counts with their controls, makes pictures of what the first neurons see, writes the cards of the best neurons beside
    the atlas, and opens the microscope.
    A second run finds the atlas complete and only shows it.
    """
    from synesthete.atlas import open_atlas
    from synesthete.report import write_card

    started = time.monotonic()
    _record(MODEL, PROBES, [], out_path)
    if not open_atlas(out_path).analysed:
        _analyze(out_path)
    if "families" not in open_atlas(out_path).manifest:
        _name(out_path)
    if "layout" not in open_atlas(out_path).manifest:
        from synesthete.analysis.layout import lay_out

        lay_out(out_path)
    _picture(out_path)
    opened = open_atlas(out_path)
    seconds = time.monotonic() - started
    if as_json:
        print_json(opened.summary())
        return
    views.print_summary(opened)
    found = opened.neurons(multimodal=True) or opened.neurons()
    views.print_neurons(opened, found, 12)
    folder = out_path.with_suffix(".cards")
    cards = [write_card(opened, neuron, folder) for neuron in found[:CARDS]]
    out().print(f"Done in {seconds:.0f} s. The cards of the best neurons:", highlight=False)
    for card in cards:
        out().print(f"  {card.html}", soft_wrap=True)
    out().print(
        f"\nGo on with   {_command()} neurons {out_path} --multimodal\n"
        f"             {_command()} show {out_path} {found[0].address}",
        soft_wrap=True,
    )
    if sys.stdin.isatty() if serve is None else serve:
        from synesthete.cli.server_commands import open_microscope

        open_microscope([out_path], browser=_has_screen())
    else:
        out().print(f"See it with  {_command()} serve {out_path}", soft_wrap=True)


def record(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help=(
                "mini, ARCH/TAG of open_clip such as RN50/openai, hf-hub:org/name, or local-dir:PATH."
            ),
            show_default=False,
        ),
    ],
    out_path: Annotated[
        Path,
        typer.Option(
            "--out", metavar="X.atlas", help="Where the atlas is written.", show_default=False
        ),
    ],
    probes: Annotated[
        str,
        typer.Option(
            metavar="P",
            help="concepts, a folder of images, a metadata.csv or .jsonl, or a parquet file.",
        ),
    ] = PROBES,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L",
            help="A layer to read (repeat for more); without it the model's last block.",
            show_default=False,
        ),
    ] = None,
    reduction: Annotated[
        str, typer.Option(help="How a response map becomes one number: max, mean or cls.")
    ] = "max",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images decoded ahead of the model, at most.")
    ] = 128,
    twin: Annotated[
        bool, typer.Option(help="Also record the randomly initialised twin, the control.")
    ] = True,
    seed: Seed = 0,
    words: Annotated[
        bool,
        typer.Option(
            help="Draw the names of the concepts and add them, unless the probe set has written words."
        ),
    ] = True,
    analyze: Annotated[
        bool, typer.Option(help="Analyse what was recorded, as `synesthete analyze` does.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Show a model every image of a probe set, and record what its neurons do.

    Interrupted work is resumed: run the same command again. An atlas that is complete is not recorded
    again. Images that cannot be read are set aside with the reason, and the rest goes on.
    """
    from synesthete.atlas import open_atlas

    _record(
        model,
        probes,
        layer or [],
        out_path,
        reduction=reduction,
        batch_size=batch_size,
        twin=twin,
        seed=seed,
        words=words,
    )
    if analyze:
        _analyze(out_path, seed=seed)
    _tell(open_atlas(out_path), as_json)


def analyze(
    atlas: Annotated[
        Path,
        typer.Argument(metavar="ATLAS", help="The atlas, such as demo.atlas.", show_default=False),
    ],
    threshold: Threshold = 0.9,
    q: FalseDiscovery = 0.01,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Find the multimodal neurons of an atlas, with their controls.

    For every neuron, one half of the artists chooses its concept and the other half measures it. The
    same test is run on the random twin and on shuffled labels.
    """
    from synesthete.atlas import open_atlas

    _analyze(atlas, threshold=threshold, q=q, seed=seed)
    _tell(open_atlas(atlas), as_json)


def _record(
    model: str,
    probes: str,
    layers: list[str],
    out_path: Path,
    *,
    reduction: str = "max",
    batch_size: int = 128,
    twin: bool = True,
    seed: int = 0,
    words: bool = True,
) -> None:
    from synesthete.models import load_model
    from synesthete.probes import load_probes
    from synesthete.recording import record as record_atlas

    loaded = load_model(model)
    probe_set = load_probes(probes, words=words)
    with Reporter("recording") as reporter:
        record_atlas(
            loaded,
            probe_set,
            layers or loaded.default_layers,
            out_path,
            reduction=reduction,
            batch_size=batch_size,
            twin=twin,
            seed=seed,
            progress=reporter,
        )


def _analyze(path: Path, *, threshold: float = 0.9, q: float = 0.01, seed: int = 0) -> None:
    from synesthete.analysis import analyze as analyze_atlas

    with Reporter("analysing", unit="steps") as reporter:
        analyze_atlas(path, threshold=threshold, q=q, seed=seed, progress=reporter)


def _name(path: Path) -> None:
    from synesthete.analysis.families import assign_families
    from synesthete.analysis.naming import name_neurons

    with Reporter("naming", unit="steps") as reporter:
        name_neurons(path, progress=reporter)
    with Reporter("families", unit="steps") as reporter:
        assign_families(path, progress=reporter)


def _picture(path: Path) -> None:
    """A few pictures of the first neurons, made on the spot; with some already there, none."""
    from synesthete.atlas import open_atlas

    opened = open_atlas(path)
    if any(opened.visualizations(layer) for layer in opened.layers):
        return
    from synesthete.visualization.features import Settings, visualize

    first = [neuron.address for neuron in opened.neurons() if neuron.std > 0][:PICTURES]
    if first:
        quick = Settings(steps=60, strengths=(1.0,))
        with Reporter("picturing", unit="pictures") as reporter:
            visualize(opened, first, facets="word", settings=quick, progress=reporter)


def _tell(opened: views.Atlas, as_json: bool) -> None:
    if as_json:
        print_json(opened.summary())
    else:
        views.print_summary(opened)
        say(f"next: synesthete neurons {opened.path}")


def _command() -> str:
    """How this program is called from here: by its name, or by its path where that is not on PATH."""
    if shutil.which("synesthete") or Path(sys.argv[0]).name != "synesthete":
        return "synesthete"
    return os.path.relpath(sys.argv[0])


def _has_screen() -> bool:
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (demo, record, analyze):
        app.command(rich_help_panel=PANEL)(command)
