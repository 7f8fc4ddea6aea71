"""Commands about models: list them, list a model's layers, measure how well it names images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from synesthete.cli.console import JsonFlag, count, out, percent, print_json, table
from synesthete.cli.progress import Reporter

app = typer.Typer(help="Models: image-text models and their layers.", no_args_is_help=True)

ModelSpec = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="mini, ARCH/TAG of open_clip such as RN50/openai, hf-hub:org/name or local-dir:PATH.",
        show_default=False,
    ),
]


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List the models that can be loaded: the shipped one, and those that open_clip knows."""
    from synesthete.models import list_models

    rows = list_models()
    if as_json:
        print_json(rows)
        return
    made = table(
        "model", "image tower", "image size", "embedding", right=("image size", "embedding")
    )
    for row in rows:
        size = row["image_size"]
        made.add_row(
            f"{row['name']} (shipped)" if row["shipped"] else row["name"],
            row["image_tower"],
            "×".join(map(str, size)) if isinstance(size, list | tuple) else str(size),
            str(row["embedding_dim"] or "–"),
        )
    out().print(made)


@app.command()
def layers(model: ModelSpec, as_json: JsonFlag = False) -> None:
    """List the layers of a model that can be read, with their units."""
    from synesthete.models import load_model

    loaded = load_model(model)
    read_first = set(loaded.default_layers)
    rows = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "units": layer.units,
            "grid": list(layer.grid) if layer.grid else None,
            "default": layer.name in read_first,
        }
        for layer in loaded.layers()
    ]
    if as_json:
        print_json(rows)
        return
    made = table("layer", "kind", "units", "grid", "", right=("units",))
    for row in rows:
        made.add_row(
            str(row["name"]),
            str(row["kind"]),
            count(int(str(row["units"]))),
            "×".join(str(side) for side in row["grid"]) if isinstance(row["grid"], list) else "",
            "read by default" if row["default"] else "",
        )
    out().print(made)


@app.command()
def evaluate(
    model: ModelSpec,
    probes: Annotated[
        str, typer.Option(metavar="P", help="The probe set whose images are to be named.")
    ] = "concepts",
    as_json: JsonFlag = False,
) -> None:
    """Measure how often a model names an image right, without training (zero-shot), per modality.

    For the shipped model, on the artists, fonts and photos that were held out of its training. Every
    rate stands with its 95 % Wilson interval and with the rate of guessing.
    """
    from synesthete.analysis.zero_shot import evaluate as measure

    with Reporter("evaluating") as reporter:
        result = measure(model, probes, progress=reporter)
    if as_json:
        print_json(result)
        return
    right = ("n", "top-1", "top-1, 95 %", "top-5", "top-5, 95 %", "chance", "random twin")
    made = table("modality", *right, right=right)
    for modality, rates in result["modalities"].items():
        made.add_row(
            modality,
            count(rates["n"]),
            percent(rates["top1"]),
            _interval(rates["top1_interval"]),
            percent(rates["top5"]),
            _interval(rates["top5_interval"]),
            percent(rates["chance"]),
            percent(rates["random_twin"]["top1"]),
        )
    out().print(made)
    held_out = "never seen in training" if result["held_out_only"] else "all of the probe set"
    out().print(
        f"{result['model']} names images of {probes} ({held_out}) among {count(result['classes'])} concepts",
        style="dim",
        soft_wrap=True,
    )


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"
