"""Nearest vectors by inner product: all of them at half precision, or above a million by an inverted file."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

IVF_ABOVE = 1_000_000
PROBED = 32
TRAIN_PER_LIST = 64
RECALL_QUERIES = 100


class Nearest:
    """An index over unit vectors `[items, dim]`.

    Parameters
    ----------
    dim
        Length of a vector.
    chunks
        The vectors, piece by piece, in the order of the rows that `search` gives back.
    total
        How many vectors come.
    ivf_above
        Above so many vectors an inverted file is used.

    Attributes
    ----------
    kind
        `flat` (every vector is compared: exact but for the rounding to half precision) or `ivf`.
    recall
        For `ivf`: share of the true nearest ten that it finds, measured on vectors of its own; 1 for `flat`.
    """

    def __init__(
        self, dim: int, chunks: Iterable[Float32], total: int, *, ivf_above: int = IVF_ABOVE
    ) -> None:
        faiss = _faiss()
        self.total = total
        self.recall = 1.0
        self._flat: Any = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        for chunk in chunks:
            self._flat.add(np.ascontiguousarray(chunk, np.float32))
        self.kind = "flat" if total <= ivf_above else "ivf"
        self._index = self._flat
        if self.kind == "ivf":
            self._index, self.recall = _inverted(self._flat, dim, total)

    def search(
        self, queries: Float32, k: int, *, among: Int64 | None = None
    ) -> tuple[Float32, Int64]:
        """Scores and rows of the `k` best, `[queries, min(k, rows)]`, best first.

        Parameters
        ----------
        among
            Rows to choose from; all by default. Few rows are always compared one by one.
        """
        faiss = _faiss()
        count = self.total if among is None else len(among)
        k = min(k, count)
        if k <= 0:
            empty = np.zeros((len(queries), 0))
            return empty.astype(np.float32), empty.astype(np.int64)
        index, settings = self._index, None
        if among is not None:
            selector = faiss.IDSelectorBatch(among)
            if self.kind == "ivf" and count > self.total // 10:
                settings = faiss.SearchParametersIVF(sel=selector, nprobe=PROBED)
            else:
                index, settings = self._flat, faiss.SearchParameters(sel=selector)
        scores, rows = index.search(np.ascontiguousarray(queries, np.float32), k, params=settings)
        return scores, rows

    def vectors(self, rows: Int64) -> Float32:
        """The vectors of some rows as they are stored, `[rows, dim]`."""
        if not len(rows):
            return np.zeros((0, self._flat.d), np.float32)
        found: Float32 = self._flat.reconstruct_batch(rows)
        return found


def _faiss() -> Any:
    """The library, loaded at first use; its type stubs do not know its keyword arguments."""
    return importlib.import_module("faiss")


def _inverted(flat: Any, dim: int, total: int) -> tuple[Any, float]:
    """The inverted file over the vectors of a flat index, and its measured recall at ten."""
    faiss = _faiss()
    lists = int(4 * np.sqrt(total))
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.own_fields = True
    quantizer.this.disown()
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(total, min(total, lists * TRAIN_PER_LIST), replace=False))
    index.cp.niter = 6
    index.train(flat.reconstruct_batch(sample))
    for start in range(0, total, 65536):
        rows = np.arange(start, min(start + 65536, total))
        index.add(flat.reconstruct_batch(rows))
    index.nprobe = PROBED
    chosen = rng.choice(total, min(total, RECALL_QUERIES), replace=False)
    queries = flat.reconstruct_batch(chosen)
    k = min(10, total)
    truth, found = flat.search(queries, k)[1], index.search(queries, k)[1]
    hits = [len(set(a) & set(b)) for a, b in zip(truth, found, strict=True)]
    return index, float(np.mean(hits)) / k
