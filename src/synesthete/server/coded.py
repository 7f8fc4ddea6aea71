"""A column of texts as small numbers: for filters and counts over many rows without a Python object each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class Coded:
    """Texts of rows.

    Attributes
    ----------
    codes
        `[rows]` int32: which of `texts`.
    texts
        Each text once; the first is "", for rows without one.
    """

    codes: npt.NDArray[np.int32]
    texts: tuple[str, ...]

    def __getitem__(self, row: int) -> str:
        """The text of a row."""
        return self.texts[int(self.codes[row])]

    def code(self, text: str) -> int | None:
        """The code of a text, whatever its letter case; None where no row has it."""
        wanted = text.strip().casefold()
        for code, one in enumerate(self.texts):
            if one.casefold() == wanted:
                return code
        return None

    def rows(self, text: str) -> npt.NDArray[np.bool_]:
        """`[rows]`: which rows have a text."""
        code = self.code(text)
        found: npt.NDArray[np.bool_] = self.codes == (-1 if code is None else code)
        return found

    def counts(self, rows: npt.NDArray[np.bool_] | None = None) -> dict[str, int]:
        """How many rows have each text, most first, then by text; rows without one are left out."""
        codes = self.codes if rows is None else self.codes[rows]
        number = np.bincount(codes, minlength=len(self.texts))
        number[0] = 0
        there = [(self.texts[i], int(number[i])) for i in np.flatnonzero(number)]
        return dict(sorted(there, key=lambda one: (-one[1], one[0])))


def coded(column: pa.ChunkedArray | pa.Array) -> Coded:
    """Code a column of texts; null counts as "".

    Examples
    --------
    >>> made = coded(pa.array(["b", None, "a", "b"]))
    >>> made.texts, made.codes.tolist(), made[3], made.counts()
    (('', 'b', 'a'), [1, 0, 2, 1], 'b', {'b': 2, 'a': 1})
    """
    import pyarrow.compute as pc

    filled = pc.fill_null(column, "")
    if isinstance(filled, pa.ChunkedArray):
        filled = filled.combine_chunks()
    if isinstance(filled, pa.ChunkedArray):
        filled = pa.concat_arrays(filled.chunks) if filled.num_chunks else pa.array([], pa.string())
    table = filled.dictionary_encode()
    texts = [str(text) for text in table.dictionary.to_pylist()]
    codes = table.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    empty = texts.index("") if "" in texts else None
    if empty is None:
        return Coded(codes + 1, ("", *texts))
    order = [empty, *(i for i in range(len(texts)) if i != empty)]
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return Coded(place[codes], tuple(texts[i] for i in order))


def spread(units: int, table: pa.Table | None, column: str) -> Coded:
    """A text column of a table of units (rank 0) as a row per unit; "" for units without a row."""
    if table is None:
        return Coded(np.zeros(units, np.int32), ("",))
    best = table["rank"].to_numpy() == 0
    some = coded(table[column])
    codes = np.zeros(units, np.int32)
    codes[table["unit"].to_numpy()[best]] = some.codes[best]
    return Coded(codes, some.texts)
