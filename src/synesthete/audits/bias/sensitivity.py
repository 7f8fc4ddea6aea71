"""How far an association depends on which words, templates and labels were chosen to measure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from synesthete._core.arrays import Float64, Floating, Int64
from synesthete._core.intervals import Rate, percentile_interval
from synesthete.audits.bias.associations import effect
from synesthete.audits.bias.disparities import People

DRAWS = 200
Lists = Sequence[Int64]


def moved(value: float, others: Sequence[float]) -> dict[str, Any]:
    """An association's figure over other choices: how many, their 95 % range, and how often the sign changes.

    Of a figure of 0, which has no sign, no change is counted: `sign_changes` has n 0.

    Examples
    --------
    >>> found = moved(0.5, [0.4, 0.6, -0.1, 0.5])
    >>> found["n"], found["sign_changes"]["rate"]
    (4, 0.25)
    """
    figures = np.asarray(others, np.float64)
    low, high = percentile_interval(figures)
    changed = figures * value < 0 if value else np.zeros(0, bool)
    return {
        "n": len(figures),
        "interval": [round(low, 4), round(high, 4)],
        "sign_changes": Rate.of(changed).as_dict(),
    }


def halves(
    lists: Lists, rng: np.random.Generator, fewest: int = 1, draws: int = DRAWS
) -> Iterator[list[Int64]]:
    """Random halves of some lists, drawn together; of each at least `fewest`, or all of a shorter one."""
    for _ in range(draws):
        yield [
            rng.choice(one, min(len(one), max(fewest, (len(one) + 1) // 2)), replace=False)
            for one in lists
        ]


def effect_sensitivity(
    embeddings: Mapping[str, Floating],
    words: Sequence[Sequence[str]],
    synonyms: Mapping[str, Sequence[str]],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """How an association test's effect moves over random halves of its four lists, single templates, and synonyms.

    Parameters
    ----------
    embeddings
        Word → `[templates, dim]`, of length one each; of all words and synonyms.
    words
        The lists X, Y, A and B of `weat`.
    synonyms
        Word → what may stand for it.

    Returns
    -------
    dict
        `subsets`, `templates` and `synonyms`, each as `moved`; None where there is one template, or no synonym.
    """
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(chain(*words, *synonyms.values())))
    number = {name: place for place, name in enumerate(names)}
    stack = np.stack([embeddings[name] for name in names]).astype(np.float64)
    mean = _cosines(stack.mean(axis=1))
    lists = [np.array([number[word] for word in one], np.int64) for one in words]
    value = _effect(mean, lists)
    alone = [_effect(_cosines(stack[:, t]), lists) for t in range(stack.shape[1])]
    choices = [
        [[number[one] for one in (word, *synonyms.get(word, ()))] for word in some]
        for some in words
    ]
    replaced = any(len(one) > 1 for some in choices for one in some)
    restated = (
        [np.array([rng.choice(one) for one in some], np.int64) for some in choices]
        for _ in range(DRAWS if replaced else 0)
    )
    return {
        "subsets": moved(value, [_effect(mean, half) for half in halves(lists, rng, 2)]),
        "templates": moved(value, alone) if len(alone) > 1 else None,
        "synonyms": moved(value, [_effect(mean, one) for one in restated]) if replaced else None,
    }


def _cosines(rows: Float64) -> Float64:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T, np.float64)


def _effect(cosines: Float64, lists: Lists) -> float:
    """Effect of `weat` from the cosines of all words with one another."""
    x, y, a, b = lists
    lean = cosines[:, a].mean(axis=1) - cosines[:, b].mean(axis=1)
    return effect(lean[x], lean[y])


def harm_sensitivity(
    people: People,
    neutral: Sequence[str],
    categories: Mapping[str, Sequence[str]],
    added: Sequence[str] = (),
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How the gap between two groups in a harmful category moves over random label sets.

    A label set is a random half of the neutral labels and of each category, and each added label with probability one half.

    Parameters
    ----------
    people, neutral, categories
        As for `harm_rates`.
    added
        Labels of all variants.

    Returns
    -------
    dict
        Category → `groups` (that with the highest rate and that with the lowest, all labels of `neutral` and
        `categories` offered), `value` (its rate minus the other's) and, over label sets, what `moved` has.
    """
    rng = np.random.default_rng(seed)
    labels = list(dict.fromkeys(chain(neutral, *categories.values(), added)))
    number = {label: place for place, label in enumerate(labels)}
    codes, groups = people.codes, people.groups
    scores = people.embeddings @ np.stack([people.labels[label] for label in labels]).T
    listed = [
        np.array([number[label] for label in some], np.int64)
        for some in (neutral, *categories.values())
    ]
    further = np.array([number[label] for label in added], np.int64)

    def rates(offered: Int64) -> Float64:
        """`[categories, groups]`."""
        answer = offered[scores[:, offered].argmax(axis=1)]
        harmed = np.stack([np.isin(answer, some) for some in listed[1:]])
        return np.stack([harmed[:, codes == g].mean(axis=1) for g in range(len(groups))], axis=1)

    full = rates(np.unique(np.concatenate(listed)))
    drawn = []
    for half in halves(listed, rng):
        more = further[rng.random(len(further)) < 0.5]
        drawn.append(rates(np.unique(np.concatenate([*half, more]))))
    out = {}
    for place, category in enumerate(categories):
        order = np.argsort(full[place], kind="stable")
        most, least = int(order[-1]), int(order[0])
        value = float(full[place, most] - full[place, least])
        others = [float(one[place, most] - one[place, least]) for one in drawn]
        out[category] = {
            "groups": [groups[most], groups[least]],
            "value": round(value, 4),
        } | moved(value, others)
    return out
