"""What units and the embedding say of drawn words: a small recording beside the probe images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete.atlas.arrays import npy_bytes, parquet_bytes
from synesthete.atlas.manifest import layer_folder, read_manifest
from synesthete.atlas.writing import add_files
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.atlas.store import Atlas

TABLE, EMBEDDINGS = "words/words.parquet", "words/embeddings.npy"


def activations_file(layer: str) -> str:
    """Name inside the atlas of what a layer's units say of the words."""
    return f"words/{layer_folder(layer)}.npy"


def write_words(
    path: str | Path,
    words: Sequence[str],
    activations: Mapping[str, npt.NDArray[np.float16]],
    embeddings: npt.NDArray[np.float16],
    notes: Mapping[str, Any],
) -> None:
    """Write what units say of drawn words; replaces what earlier words said.

    Parameters
    ----------
    words
        In order.
    activations
        Layer → `[words, units]`, for every layer of the atlas that the model itself has and that reads images.
    embeddings
        `[words, dim]`.
    notes
        Kept under `words` in the manifest: how they were drawn.

    Raises
    ------
    SynestheteError
        When layers or shapes are not those of the atlas.
    """
    path = Path(path)
    manifest = read_manifest(path)
    shapes = {
        entry["name"]: (len(words), int(entry["units"]))
        for entry in manifest["layers"]
        if entry.get("tower") != "text"
        and not ("dictionary" in entry and entry.get("tower") == "joint")
    }
    given = {layer: values.shape for layer, values in activations.items()}
    if given != shapes or embeddings.shape != (len(words), manifest["model"]["embedding_dim"]):
        raise SynestheteError(f"words of shapes {given} do not fit the layers of {path}")
    contents = {
        TABLE: parquet_bytes(pa.table({"word": pa.array(words, pa.string())})),
        EMBEDDINGS: npy_bytes(embeddings),
        **{activations_file(layer): npy_bytes(values) for layer, values in activations.items()},
    }
    add_files(path, contents, meanwhile={"words": None}, notes={"words": dict(notes)})


def need_words(atlas: Atlas) -> None:
    """Refuse an atlas that no words were shown to, saying how to get them."""
    if "words" not in atlas.manifest:
        raise SynestheteError(
            f"no drawn words were shown to the model of {atlas.path} yet",
            hint=f"run: synesthete words {atlas.path} ADDRESS --vocabulary concepts",
        )
