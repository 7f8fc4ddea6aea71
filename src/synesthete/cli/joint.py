"""Commands about what images and texts share: joint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer
from rich.console import RenderableType

from synesthete.atlas import Atlas, open_atlas
from synesthete.cli.command import AtlasArgument, Output, Positive, command
from synesthete.cli.console import Note, count, dim, percent, table
from synesthete.cli.progress import Reporter

PANEL = "Say what neurons are about"
CONTROLS = {
    "random_twin": "random twin",
    "rotation": "random mixtures of the latents",
    "shuffled": "shuffled labels",
    "random_dictionary": "random directions",
    "rotated_embedding": "trained on a rotated space",
    "word_order": "shuffled words",
}

app = typer.Typer()


@command(app, panel=PANEL)
def joint(
    atlas: AtlasArgument,
    name: str = "topk",
    latents: Positive = 1024,
    k: Positive = 16,
    seed: int = 0,
) -> Output:
    """Learn a sparse dictionary of the space that images and texts share; its latents become neurons of the atlas.

    The atlas was recorded with the layer joint and a probe set that has texts. The dictionary is a TopK autoencoder of the
    embeddings, each modality centred first, trained on the half of the artists that units are not scored on. Its latents are the
    layer joint@NAME, with an activation for images and texts alike, and analysed with the same controls; two more are dictionaries of random directions, and of the space rotated at random.

    Parameters
    ----------
    name
        What the dictionary is called: letters, digits, - and _.
    latents
        How many latents it has.
    k
        How many of them an embedding is a sum of.
    seed
        Seed of the training.

    Returns
    -------
    settings, `trained_on` (images and texts), `explained_variance` (also `_of_images`, `_of_texts`, `_held_out`), `l0`, `dead_share`,
    `modality_gap` (`distance`, `variance_share`), the same of the `controls`, and `counts`: the layer's, null before an analysis.

    See Also
    --------
    joint.md

    Examples
    --------
    synesthete joint my.atlas
    synesthete joint my.atlas --name wide --latents 2048 --k 32 --json
    """
    from synesthete.analysis.joint import add_dictionary

    with Reporter("learning", unit="steps") as reporter:
        notes = add_dictionary(
            atlas.path, name=name, latents=latents, k=k, seed=seed, progress=reporter
        )
    return Output(
        lambda: notes | {"counts": _counts(open_atlas(atlas.path), notes["layer"])},
        lambda: _view(open_atlas(atlas.path), notes),
    )


def _counts(atlas: Atlas, layer: str) -> dict[str, Any] | None:
    if not atlas.analysed:
        return None
    found: dict[str, Any] = atlas.manifest["analysis"]["layers"][layer]
    return {key: value for key, value in found.items() if key != "design"}


def _view(atlas: Atlas, notes: Mapping[str, Any]) -> Iterator[RenderableType]:
    gap, counts = notes["modality_gap"], _counts(atlas, notes["layer"])
    yield (
        f"{count(notes['latents'])} latents as layer {notes['layer']}: they explain {percent(notes['explained_variance'])} of the "
        f"variance ({percent(notes['explained_variance_held_out'])} of what had no part in training), {notes['l0']:.1f} at a time; "
        f"{percent(notes['dead_share'])} are dead."
    )
    if gap["distance"] is not None:
        yield (
            f"Modality gap: the means of images and of texts are {gap['distance']:.2f} apart, which is "
            f"{percent(gap['variance_share'])} of the variance; it was taken off."
        )
    if counts is not None and counts["multimodal"] is not None:
        keys = ("selective", "multimodal", "concept_cells", "concepts_in_five")
        right = ("selective", "multimodal", "concept cells", "concepts in five")
        grid = table("", *right, right=right)
        for label, suffix in (
            ("model", ""),
            *((text, f"_{key}") for key, text in CONTROLS.items()),
        ):
            row = [counts.get(f"{key}{suffix}") for key in keys]
            grid.add_row(label, *("-" if one is None else count(one) for one in row))
        yield grid
        yield dim(
            "Concepts in five: with a latent that passes in five modalities, anecdote and one of images among them."
        )
    elif counts is not None:
        yield dim("The images and texts do not allow to test multimodality over both.")
    yield Note(f"next: synesthete neurons {atlas.path} --layer {notes['layer']}")
