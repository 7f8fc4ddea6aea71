"""Neurons on a plane: near each other where they answer to the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete.analysis.design import readable_rows, tower_of
from synesthete.atlas import open_atlas, write_unit_tables
from synesthete.errors import SynestheteError

COMPONENTS, PERPLEXITY = 50, 30.0
IMAGES = 20_000  # of more images, so many at equal distances are taken


def lay_out(atlas_path: str | Path, *, layer: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Compute where each neuron lies on the map of its layer, and write it into the atlas (`layout`).

    Activations are standardised over images and within modalities (so that a map of concepts comes out and not one of
    modalities), reduced to 50 principal components, and laid out by t-SNE on cosine distances (van der Maaten and Hinton
    2008; scikit-learn). Dead units are left out.

    Parameters
    ----------
    layer
        One layer; all by default.
    seed
        Of t-SNE. The same atlas and seed give the same map on the same machine.

    Returns
    -------
    dict
        The notes that the manifest keeps: settings, and for each layer the units laid out.

    Raises
    ------
    SynestheteError
        No dense matrix, no such layer, fewer than four live units.
    """
    atlas = open_atlas(atlas_path).sampled
    layers = atlas.layers if layer is None else [str(atlas.layer(layer)["name"])]
    modality = np.array([str(name) for name in atlas.probes["modality"].to_pylist()])
    tables, per_layer = {}, {}
    for name in layers:
        rows = readable_rows(atlas, tower_of(atlas, name))
        rows = rows[:: max(1, -(-len(rows) // IMAGES))]
        values = np.nan_to_num(np.asarray(atlas.activations(name)[rows], np.float32))
        profiles, live = _profiles(values, modality[rows])
        if len(live) < 4:
            raise SynestheteError(f"{name} has {len(live)} live units; a map needs four")
        x, y = _plane(profiles, seed).T
        rank = pa.array(np.zeros(len(live), np.int16))
        tables[name] = pa.table(
            {"unit": pa.array(live.astype(np.int32)), "rank": rank, "x": x, "y": y}
        )
        per_layer[name] = {"units": len(live), "images": len(rows)}
    notes = {"method": "t-SNE", "perplexity": PERPLEXITY, "seed": seed, "layers": per_layer}
    write_unit_tables(atlas_path, "layout", tables, notes)
    return notes


def _profiles(values: Float32, modality: npt.NDArray[np.str_]) -> tuple[Float32, Int64]:
    """Live units' standardised activations `[units, images]`, and which units those are."""
    for name in np.unique(modality):
        here = modality == name
        values[here] -= values[here].mean(axis=0)
    spread = values.std(axis=0)
    live = np.flatnonzero(spread > 1e-6)
    return np.ascontiguousarray((values[:, live] / spread[live]).T), live


def _plane(profiles: Float32, seed: int) -> Float64:
    """`[units, 2]`."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = min(COMPONENTS, *profiles.shape)
    reduced = PCA(count, svd_solver="randomized", random_state=seed).fit_transform(profiles)
    length = np.linalg.norm(reduced, axis=1, keepdims=True)
    reduced = reduced / np.maximum(length, 1e-9)
    perplexity = min(PERPLEXITY, (len(profiles) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(found, np.float64)
