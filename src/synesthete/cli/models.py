"""Commands about probe sets and models: list them, contact sheets, a model's layers, zero-shot accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.command import ModelSpec, Output, command
from synesthete.cli.console import Note, bounds, count, dim, percent, table
from synesthete.cli.progress import Reporter

models = typer.Typer(help="Models: image-text models and their layers.", no_args_is_help=True)
PANEL = "Probe sets and models"
probes = typer.Typer(help="Probe sets: the images that a model is shown.", no_args_is_help=True)


READS = {"image": "", "text": "reads texts", "joint": "images, texts"}


@command(models, "list")
def list_models(family: str | None = None) -> Output:
    """List the models that can be loaded: the shipped one, and those whose weights open_clip can download.

    Repositories of the hub and folders are not listed: `synesthete models layers openai/clip-vit-base-patch32`.

    Parameters
    ----------
    family : F
        Only those with F in their name or image tower, such as RN50, siglip or convnext; or timm or torchvision, whose models of images only are listed.

    Returns
    -------
    the same, with each model's default layers.

    Examples
    --------
    synesthete models list
    synesthete models list --family siglip
    """
    from synesthete.models import list_models as known_models

    def side(size: object) -> str:
        return "×".join(map(str, size)) if isinstance(size, list | tuple) else str(size or "–")

    rows = known_models(family)
    right = ("image size", "embedding")
    cells = (
        (
            f"{row['name']} (shipped)" if row["shipped"] else row["name"],
            row["image_tower"],
            side(row["image_size"]),
            row["embedding_dim"] or "–",
        )
        for row in rows
    )
    return Output(rows, [table("model", "image tower", *right, right=right, rows=cells)])


@command(models)
def layers(model: ModelSpec) -> Output:
    """List the layers of a model that can be read, with their units: the image tower's, the text tower's, and `joint`.

    Returns
    -------
    a list of `name`, `kind`, `units`, `grid`, `tower` (`image`, `text` or `joint`), `default`.

    Examples
    --------
    synesthete models layers mini
    """
    from synesthete.models import load_model

    loaded = load_model(model)
    read_first = set(loaded.default_layers)
    rows = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "units": layer.units,
            "grid": list(layer.grid) if layer.grid else None,
            "tower": layer.tower,
            "default": layer.name in read_first,
        }
        for layer in loaded.layers()
    ]
    cells = (
        (
            layer.name,
            layer.kind,
            count(layer.units),
            "×".join(map(str, layer.grid or ())),
            "read by default" if layer.name in read_first else READS[layer.tower],
        )
        for layer in loaded.layers()
    )
    found = table("layer", "kind", "units", "grid", "", right=("units",), rows=cells)
    missing = loaded.description.get("text_tower")
    return Output(rows, [found, *([Note(missing)] if missing else [])])


@command(models)
def evaluate(model: ModelSpec, probes: str = "concepts") -> Output:
    """Measure how often a model names an image right, without training (zero-shot), per modality.

    On images held out of training where the model's folder lists them in `held_out.json`, as the shipped model's does; on all of
    the probe set for others. Every rate stands with its 95 % Wilson interval, with chance, and with the random twin's.

    Parameters
    ----------
    probes : P
        The probe set whose images are to be named.

    Returns
    -------
    under `modalities`, for each: `n`, `top1`, `top5`, their intervals, `chance`, `random_twin`.

    Examples
    --------
    synesthete models evaluate mini --json
    """
    from synesthete.analysis.zero_shot import evaluate as measure

    with Reporter("evaluating") as reporter:
        result = measure(model, probes, progress=reporter)
    right = ("n", "top-1", "top-1, 95 %", "top-5", "top-5, 95 %", "chance", "random twin")
    cells = (
        (
            modality,
            count(rates["n"]),
            percent(rates["top1"]),
            bounds(rates["top1_interval"]),
            percent(rates["top5"]),
            bounds(rates["top5_interval"]),
            percent(rates["chance"]),
            percent(rates["random_twin"]["top1"]),
        )
        for modality, rates in result["modalities"].items()
    )
    held_out = "never seen in training" if result["held_out_only"] else "all of the probe set"
    line = f"{result['model']} names images of {result['probes']} ({held_out}) among {count(result['classes'])} concepts"
    return Output(result, [table("modality", *right, right=right, rows=cells), dim(line)])


@command(probes, "list")
def list_probes() -> Output:
    """List the built-in probe sets, with their counts and licences.

    Examples
    --------
    synesthete probes list
    """
    from synesthete.probes import list_probes as known_probes

    rows = known_probes()
    cells = ([(name, _in_words(value)) for name, value in row.items()] for row in rows)
    return Output(rows, [table("", "", rows=lines) for lines in cells])


@command(probes)
def sheet(
    probes: Annotated[str, typer.Argument()] = "concepts",
    out: Path = Path("sheets"),
) -> Output:
    """Draw contact sheets, concept by modality, to look at what a probe set really holds.

    Parameters
    ----------
    probes
        concepts, a folder of images, a metadata.csv or .jsonl, captions_*.json of COCO, a parquet file or WebDataset tars.
    out : DIR
        The folder for the sheets.

    Returns
    -------
    the paths of the sheets: `sheets`.

    Examples
    --------
    synesthete probes sheet my-images --out sheets
    """
    from synesthete.probes import load_probes
    from synesthete.probes.sheet import write_contact_sheets

    sheets = write_contact_sheets(load_probes(probes, texts=False), out)
    return Output({"sheets": sheets}, [f"{count(len(sheets))} contact sheets in {out}"])


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(item) for item in value)
    return count(value) if isinstance(value, int) else str(value)
