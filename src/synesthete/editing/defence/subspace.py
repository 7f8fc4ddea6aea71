"""A linear baseline: the subspace in which written words move embeddings, projected out of them.

After Materzynska et al. 2022 (CVPR, arXiv 2206.07835), who learn such a projection; here it is the span of the first principal
directions of the differences between embeddings with and without a word. It edits no unit: it says what a linear map of the
embedding alone can do.
"""

from __future__ import annotations

import numpy as np

from synesthete._core.arrays import Float32
from synesthete.editing.defence.typographic import Typographic


def written_directions(objective: Typographic, embeddings: Float32) -> Float32:
    """Orthonormal directions `[rank, dim]`, those along which words move embeddings most first.

    Parameters
    ----------
    embeddings
        Of the plain and of the attacked images of `objective`, `[plain + attacked, dim]`.
    """
    moved = embeddings[len(objective.truth) :] - embeddings[objective.of]
    # Not centred: what all words have in common is a direction to remove, too.
    found: Float32 = np.linalg.svd(moved, full_matrices=False)[2].astype(np.float32)
    return found


def random_directions(count: int, dim: int, rng: np.random.Generator) -> Float32:
    """As many orthonormal directions, `[count, dim]`, drawn evenly."""
    found: Float32 = np.linalg.qr(rng.standard_normal((dim, count)))[0].T.astype(np.float32)
    return found


def project_out(embeddings: Float32, directions: Float32) -> Float32:
    """Embeddings `[n, dim]` without their part in the span of orthonormal directions, at length one.

    Examples
    --------
    >>> import numpy as np
    >>> project_out(np.array([[0.6, 0.8]]), np.array([[1.0, 0.0]])).tolist()
    [[0.0, 1.0]]
    """
    left = embeddings - embeddings @ directions.T @ directions
    length = np.linalg.norm(left, axis=1, keepdims=True)
    found: Float32 = left / np.maximum(length, 1e-12)
    return found
