"""Words of many types and the images of groups: which words rank one group's images above another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Floating, Int64
from synesthete._core.intervals import Rate, percentile_interval
from synesthete._core.row_reader import csv_rows
from synesthete._core.user_files import UnusableFile
from synesthete.audits.bias.sensitivity import halves, moved
from synesthete.errors import SynestheteError

DRAWS = 1000
LEVEL = 0.05
LISTED = 10
COLUMNS = ("type", "word")


def load_words(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Type → words, of a CSV file with the columns `type` and `word`; other columns are ignored.

    Raises
    ------
    SynestheteError
        No such file, no such column, a line without a type or a word, no word at all.
    """
    place = Path(path)
    try:
        columns, rows = csv_rows(place)
        if missing := [column for column in COLUMNS if column not in columns]:
            raise SynestheteError(
                f"{place} has no column {missing[0]!r}",
                hint="its first line is: type,word; So-B-IT's list is of arXiv 2411.00997",
            )
        found: dict[str, dict[str, None]] = {}
        for line, row in rows:
            if isinstance(row, SynestheteError):
                raise row
            kind, word = (" ".join(row[column].split()) for column in COLUMNS)
            if not (kind and word):
                raise SynestheteError(f"{place.name}, line {line}: a type and a word are needed")
            found.setdefault(kind, {})[word] = None
    except UnusableFile as error:
        raise SynestheteError(f"{place} cannot be read: {error.reason}", hint=error.hint) from None
    if not found:
        raise SynestheteError(f"{place} has no word")
    return {kind: tuple(words) for kind, words in found.items()}


def associations(scores: Floating, codes: Int64, groups: int) -> Float64:
    """Contrastive association scores (C-ASC, Hamidieh et al. 2024), `[groups, words]`.

    Mean score of a group's images minus that of all others, in standard deviations over all images; 0 where a word
    scores every image the same.

    Parameters
    ----------
    scores
        Similarity of each image to each word `[images, words]`.
    codes
        `[images]`, groups; each occurs, and none has all.

    Examples
    --------
    >>> associations(np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([0, 0, 1, 1]), 2).tolist()
    [[2.0], [-2.0]]
    """
    return _contrast(_standardised(scores), codes, groups)


def _standardised(scores: Floating) -> Float64:
    rows = np.asarray(scores, np.float64)
    spread = rows.std(axis=0)
    return np.where(spread > 1e-12, (rows - rows.mean(axis=0)) / np.maximum(spread, 1e-12), 0.0)


def _contrast(z: Float64, codes: Int64, groups: int) -> Float64:
    """Of standardised scores, whose sum over all images is 0 for each word."""
    member = np.eye(groups)[codes]
    n = member.sum(axis=0)
    sums = member.T @ z
    return np.asarray(
        sums / n[:, None] - (z.sum(axis=0) - sums) / (len(z) - n)[:, None], np.float64
    )


def word_associations(
    scores: Floating,
    codes: Int64,
    groups: Sequence[str],
    types: Mapping[str, Sequence[str]],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The types of words that lean to a group, their words that do, and what is found where groups are permuted.

    Parameters
    ----------
    scores
        `[images, words]`, words in the order of `types`; a word of two types has two columns.
    codes
        `[images]`, groups.
    groups
        Their names.

    Returns
    -------
    dict
        `n` images, `words`, `significant` (words that lean to a group, p ≤ 0.05 for the family of all words and
        groups: the largest score of each of 1,000 permutations of the groups is its null distribution),
        `permuted` (words that do in a further permutation), `strongest` words, and for each of `types`: `words`, the
        `group` that it leans to, its mean association `value` with a bootstrap `interval` over images, a `p` for the
        family of all types and groups, `significant`, and over random halves of its words `subsets` as `moved`.
    """
    rng = np.random.default_rng(seed)
    z = _standardised(scores)
    names = [(kind, word) for kind, words in types.items() for word in words]
    which = np.repeat(np.arange(len(types)), [len(words) for words in types.values()])
    mean = np.eye(len(types))[which] / np.bincount(which)[None, :]  # [words, types]
    found = _contrast(z, codes, len(groups))
    by_type = found @ mean
    permuted = [_contrast(z, rng.permutation(codes), len(groups)) for _ in range(DRAWS)]
    largest = np.array([np.abs(one).max() for one in permuted])
    largest_mean = np.array([np.abs(one @ mean).max() for one in permuted])
    members = [np.flatnonzero(codes == group) for group in range(len(groups))]
    drawn = []
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(mine, len(mine)) for mine in members])
        drawn.append(associations(np.asarray(scores)[rows], codes[rows], len(groups)))
    p = _p(found, largest).min(axis=0)
    again = _contrast(z, rng.permutation(codes), len(groups))
    out: dict[str, Any] = {
        "n": len(codes),
        "words": len(names),
        "significant": Rate.of(p <= LEVEL).as_dict(),
        "permuted": Rate.of(_p(again, largest).min(axis=0) <= LEVEL).as_dict(),
        "strongest": [],
        "types": {},
    }
    for place in np.argsort(-np.abs(found).max(axis=0), kind="stable")[:LISTED].tolist():
        group = int(found[:, place].argmax())
        low, high = percentile_interval([one[group, place] for one in drawn])
        kind, word = names[place]
        out["strongest"].append(
            {
                "type": kind,
                "word": word,
                "group": groups[group],
                "value": round(float(found[group, place]), 4),
                "interval": [round(low, 4), round(high, 4)],
                "p": round(float(p[place]), 4),
            }
        )
    for number, kind in enumerate(types):
        group = int(by_type[:, number].argmax())
        value = float(by_type[group, number])
        low, high = percentile_interval([(one @ mean)[group, number] for one in drawn])
        mine = np.flatnonzero(which == number)
        subsets = [found[group, half].mean() for (half,) in halves([mine], rng)]
        out["types"][kind] = {
            "words": len(mine),
            "group": groups[group],
            "value": round(value, 4),
            "interval": [round(low, 4), round(high, 4)],
            "p": round(float(_p(np.abs(by_type[:, number]).max(), largest_mean)), 4),
            "significant": Rate.of(p[mine] <= LEVEL).as_dict(),
            "subsets": moved(value, subsets),
        }
    return out


def _p(found: Float64 | float, largest: Float64) -> Float64:
    """Family-wise p of each score from the largest of each permutation (Westfall & Young 1993)."""
    below = np.searchsorted(np.sort(largest), np.abs(found) - 1e-12, side="left")
    return np.asarray((1 + len(largest) - below) / (1 + len(largest)), np.float64)
