"""Held-out clip art and its titles: which image belongs to which text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training import tables
from training.evaluation.embedding import embed, rate, tile_image


def read_items(data: Path, keys: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Tiles and captions of the images named by `keys`."""
    images = tables.rows(data / "images.tsv")
    rows = {p["key"]: (i, p["caption"]) for i, p in enumerate(images)}
    tiles = np.load(data / "tiles.npy", mmap_mode="r")
    found = [rows[key] for key in keys if key in rows]
    return [np.asarray(tiles[i]) for i, _ in found], [caption for _, caption in found]


def recall(model: Any, tiles: list[np.ndarray], titles: list[str], at: int = 10) -> dict[str, Any]:
    """Recall@`at` from image to title and from title to image, ties counted against the model."""
    scores = embed(model, map(tile_image, tiles)) @ model.encode_texts(titles).T
    own = np.diag(scores)
    return {
        "pairs": len(titles),
        "at": at,
        "title_of_image": rate((scores >= own[:, None]).sum(1) <= at),
        "image_of_title": rate((scores >= own[None, :]).sum(0) <= at),
        "chance": round(at / len(titles), 5),
    }
