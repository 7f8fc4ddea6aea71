"""Nearest vectors by inner product: all of them at half precision, or above a million by an inverted file."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from synesthete._core.arrays import Float32, Int64

IVF_ABOVE = 1_000_000
PROBED = 32
TRAIN_PER_LIST = 64
RECALL_QUERIES = 100
CHUNK = 16384


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
        self._lists: Int64 = np.zeros(0, np.int64)
        self._quantizer: Any = None
        if self.kind == "ivf":
            self._index, self._quantizer, self._lists, self.recall = _inverted(
                self._flat, dim, total
            )

    def changed(self, source: Int64, fresh: Float32) -> Nearest:
        """Another index, of which most vectors are in this one; nothing but the fresh ones is computed.

        Its vectors are those that an index built from scratch would hold, byte by byte. An inverted file keeps its lists' centres,
        and its recall is not measured again.

        Parameters
        ----------
        source
            For every row of the new index the row here that has its vector, or -1 for the next of `fresh`.
        fresh
            Vectors that are not here, in the order of the rows `[fresh, dim]`.
        """
        faiss = _faiss()
        updated = object.__new__(Nearest)
        updated.total, updated.kind, updated.recall = len(source), self.kind, self.recall
        updated._flat = faiss.IndexScalarQuantizer(
            self._flat.d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        new = np.flatnonzero(source < 0)
        codes = _codes(self._flat)
        added = np.zeros((0, self._flat.code_size), np.uint8)
        if len(new):
            added = updated._flat.sa_encode(np.ascontiguousarray(fresh, np.float32))
        for start in range(0, len(source), CHUNK):
            rows = source[start : start + CHUNK]
            part = np.zeros((len(rows), codes.shape[1]), np.uint8)
            part[rows >= 0] = codes[rows[rows >= 0]]
            part[rows < 0] = added[(new >= start) & (new < start + CHUNK)]
            updated._flat.add_sa_codes(part)
        updated._index, updated._lists = updated._flat, self._lists
        # Held in Python: an index frees no quantizer that others share, and none may outlive it.
        updated._quantizer = quantizer = self._quantizer
        if self.kind == "ivf":
            updated._lists = np.where(source < 0, 0, self._lists[np.maximum(source, 0)])
            if len(new):
                near = quantizer.search(np.ascontiguousarray(fresh, np.float32), 1)[1]
                updated._lists[new] = near[:, 0]
            updated._index = _filled(updated._flat, quantizer, updated._lists)
        return updated

    def best(self, queries: Float32) -> tuple[Float32, Int64]:
        """Score and row of every query's nearest vector `[queries]`, whatever the kind of index: all are compared.

        For many queries at once this is a matrix product, and many times faster than one by one.
        """
        scores = np.full(len(queries), -np.inf, np.float32)
        rows = np.full(len(queries), -1, np.int64)
        for start in range(0, self.total, CHUNK):
            part = self.vectors(np.arange(start, min(start + CHUNK, self.total)))
            found = np.asarray(queries, np.float32) @ part.T
            at = found.argmax(axis=1)
            top = found[np.arange(len(queries)), at]
            better = top > scores
            scores[better], rows[better] = top[better], start + at[better]
        return scores, rows

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


def _inverted(flat: Any, dim: int, total: int) -> tuple[Any, Any, Int64, float]:
    """The inverted file over the vectors of a flat index, its quantizer, the list of every vector, and its measured recall at ten."""
    faiss = _faiss()
    lists = int(4 * np.sqrt(total))
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(total, min(total, lists * TRAIN_PER_LIST), replace=False))
    index.cp.niter = 6
    index.train(flat.reconstruct_batch(sample))
    chosen_list = np.zeros(total, np.int64)
    for start in range(0, total, CHUNK):
        rows = np.arange(start, min(start + CHUNK, total))
        chosen_list[rows] = quantizer.search(flat.reconstruct_batch(rows), 1)[1][:, 0]
    index = _filled(flat, quantizer, chosen_list)
    chosen = rng.choice(total, min(total, RECALL_QUERIES), replace=False)
    queries = flat.reconstruct_batch(chosen)
    k = min(10, total)
    truth, found = flat.search(queries, k)[1], index.search(queries, k)[1]
    hits = [len(set(a) & set(b)) for a, b in zip(truth, found, strict=True)]
    return index, quantizer, chosen_list, float(np.mean(hits)) / k


def _filled(flat: Any, quantizer: Any, lists: Int64) -> Any:
    """An inverted file with the vectors of a flat index, each in its list; the quantizer is shared."""
    faiss = _faiss()
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        flat.d,
        quantizer.ntotal,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,
    )
    index.is_trained = True
    index.nprobe = PROBED
    for start in range(0, flat.ntotal, CHUNK):
        rows = np.arange(start, min(start + CHUNK, flat.ntotal))
        vectors = flat.reconstruct_batch(rows)
        own = np.ascontiguousarray(lists[rows])
        index.add_core(
            len(rows),
            faiss.swig_ptr(vectors),
            faiss.swig_ptr(rows),
            faiss.swig_ptr(own),
        )
    return index


def _codes(flat: Any) -> npt.NDArray[np.uint8]:
    """The stored bytes of a flat index `[vectors, bytes]`, not copied."""
    count = flat.ntotal * flat.code_size
    if not count:
        return np.zeros((0, flat.code_size), np.uint8)
    found: npt.NDArray[np.uint8] = _faiss().rev_swig_ptr(flat.codes.data(), count)
    return found.reshape(flat.ntotal, flat.code_size)
