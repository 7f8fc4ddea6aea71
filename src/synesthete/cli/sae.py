"""Commands about sparse dictionaries of layers: sae train, sae import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from synesthete.cli.command import AtlasArgument, Output, Positive, command
from synesthete.cli.console import Note, count, percent, table
from synesthete.cli.progress import Reporter

PANEL = "Make an atlas"

app = typer.Typer(
    help="Sparse dictionaries (SAEs): latents of a layer as units.", no_args_is_help=True
)


@command(app)
def train(
    atlas: AtlasArgument,
    *,
    layer: str,
    latents: Positive,
    out: Path,
    kind: str = "topk",
    k: Positive = 32,
    epochs: Positive = 4,
    seed: int = 0,
    probes: str | None = None,
) -> Output:
    """Train a sparse dictionary of a layer, on what the model says at every place of the atlas's images.

    Nine of ten images are trained on, without their labels; the others measure it, beside random directions. The model is run
    again in every epoch, in memory that does not grow with the number of images. Interrupted work is resumed: run the same command again.

    Parameters
    ----------
    layer : L
        A layer of the atlas's model, recorded or not: `synesthete models layers MODEL` lists them.
    latents
        How many latents the dictionary has.
    out : X.sae
        Where it is written: a folder in SAELens' format.
    kind
        topk, or jumprelu (trained as BatchTopK).
    k
        How many latents are not zero at a place: at most, or with jumprelu on average.
    epochs
        How often every image is seen.
    seed
        Of the start and of the order of images.
    probes : SET
        Where the images are, when the atlas's own set is not to be found.

    Returns
    -------
    settings, `steps`, `resampled`, `held_out` (`images`, `places`, `explained_variance`, `l0`, `dead_share`), and the same of random
    directions: `held_out_random_dictionary`.

    See Also
    --------
    dictionaries.md

    Examples
    --------
    synesthete sae train demo.atlas --layer visual.layer4.1 --latents 2048 --out x.sae
    """
    from synesthete.analysis.layer_dictionary import train_dictionary

    with Reporter("training") as reporter:
        found = train_dictionary(
            atlas,
            layer,
            out,
            latents=latents,
            kind=kind,
            k=k,
            epochs=epochs,
            seed=seed,
            probes=probes,
            progress=reporter,
        )

    def view() -> Iterator[RenderableType]:
        yield from _measured(found)
        model = atlas.manifest["model"]["name"]
        yield Note(f"next: synesthete record {model} --layer {layer}@{out} --out {out.stem}.atlas")

    return Output(found, view)


@command(app, "import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR")],
    *,
    out: Path,
    k: int | None = None,
    allow_pickle: bool = False,
) -> Output:
    """Bring a dictionary of SAELens, ViT-Prisma, saev or Overcomplete into the one format that `record` and SAELens read.

    What describes itself and is safetensors, `record --layer LAYER@FILE` reads as it is. Weights in other files are read by a reader that
    makes tensors and nothing else, and only with --allow-pickle.

    Parameters
    ----------
    file
        A folder with cfg.json or config.json, a .safetensors or .pt file.
    out : X.sae
        Where it is written: a folder in SAELens' format.
    k
        How many latents are not zero at once, for state dicts that do not say it.
    allow_pickle
        Read weights that are no safetensors.

    Returns
    -------
    its `cfg.json`.

    See Also
    --------
    dictionaries.md

    Examples
    --------
    synesthete sae import x.sae --out copy.sae
    """
    from synesthete.atlas.files import write_together
    from synesthete.errors import SynestheteError
    from synesthete.models.dictionary_formats import read_dictionary

    found = read_dictionary(file, k=k, allow_pickle=allow_pickle or None)
    if out.exists():
        raise SynestheteError(f"{out} exists already", hint="name another --out")
    write_together(out, found.files())
    line = f"{found.kind}: {count(found.latents)} latents of {count(found.dim)} units, in {out}"
    return Output(found.config(), [line])


def _measured(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    right = ("explained variance", "latents at a place", "dead")
    rows = []
    for label, key in (
        ("trained", "held_out"),
        ("random directions", "held_out_random_dictionary"),
    ):
        one = found[key]
        share = one["explained_variance"]
        rows.append(
            (
                label,
                "–" if share is None else percent(share),
                f"{one['l0']:.1f}",
                percent(one["dead_share"]),
            )
        )
    yield table("", *right, right=right, rows=rows)
    held = found["held_out"]
    yield f"on {count(held['images'])} images that were not trained on ({count(held['places'])} places)"
