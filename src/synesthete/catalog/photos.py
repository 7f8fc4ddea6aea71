"""What customers' photos have in common: the sum of their embeddings, kept beside the catalogue."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete._core.user_files import read_inside
from synesthete.atlas.arrays import read_npz
from synesthete.atlas.files import write_file
from synesthete.catalog.checking import picture_bytes
from synesthete.catalog.encoding import embed_picture
from synesthete.catalog.types import Picture
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

FILE = "photos.npz"


def write_photos(path: Path, model: ImageTextModel, pictures: Iterable[Picture]) -> int:
    """Embed photos one by one and keep their sum; returns how many could be read."""
    total, count = np.zeros(model.embedding_dim, np.float64), 0
    for picture in pictures:
        try:
            total += embed_picture(model, picture_bytes(picture))
        except UnreadableImage:
            continue
        count += 1
    if not count:
        raise SynestheteError(
            "none of the photos can be read", hint="give pictures that customers sent"
        )
    stream = io.BytesIO()
    np.savez(stream, total=total, count=np.int64(count))
    write_file(path / FILE, stream.getvalue())
    return count


def read_photos(path: Path, dim: int) -> tuple[npt.NDArray[np.float64], int] | None:
    """Sum `[dim]` and number; None where nothing was learnt; raises `SynestheteError` for a damaged file."""
    if not (path / FILE).exists():
        return None
    expected = {"total": (np.float64, (dim,)), "count": (np.int64, ())}
    found = read_npz(read_inside(path, path / FILE), expected, source=str(path / FILE))
    return found["total"], int(found["count"])
