"""An axis of bias to search by: two groups of images, two attributes in words, in a file that a user writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synesthete._core.arrays import Float32, Int64
from synesthete._core.intervals import bootstrap_interval
from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.analysis.zero_shot import temperature
from synesthete.audits.images import readable
from synesthete.editing.defence.objective import Evaluation, Measured, rate_of
from synesthete.editing.defence.typographic import FEWEST
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

RESAMPLES = 1000
FEWEST_IMAGES, FEWEST_TEXTS = 4, 2
FORM = '{"groups": {"A": [concepts], "B": [concepts]}, "attributes": {"X": [texts], "Y": [texts]}}'


@dataclass(frozen=True, kw_only=True)
class Association:
    """How much nearer images of one group are to some texts than images of another: an axis of bias.

    Harm: the size of the effect, |d| of Caliskan et al. (2017, eq. 1 and 3): the difference of the groups' mean
    associations, in standard deviations of all. Kept: accuracy on labelled images.

    Attributes
    ----------
    pixels
        Images of the first group, of the second, and labelled ones.
    first, second
        How many there are of each group.
    direction
        `[dim]`: mean text embedding of one attribute minus that of the other.
    truth
        `[labelled]` their classes.
    """

    pixels: torch.Tensor
    first: int
    second: int
    direction: Float32
    truth: Int64
    classes: Float32
    scale: float
    harm_name: str = "effect size"
    kept_name: str = "clean accuracy"

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The squared effect, and cross-entropy on the labelled images."""
        import torch
        import torch.nn.functional as F

        leans = embeddings @ torch.from_numpy(self.direction).to(embeddings)
        both = leans[: self.first + self.second]
        gap = both[: self.first].mean() - both[self.first :].mean()
        harm = (gap / both.std(correction=1).clamp(min=1e-6)) ** 2
        scores = self.scale * embeddings[self.first + self.second :]
        scores = scores @ torch.from_numpy(self.classes).to(embeddings).T
        return harm, F.cross_entropy(scores, torch.from_numpy(self.truth).to(scores.device))

    def evaluate(self, embeddings: Float32) -> Evaluation:
        """The effect with a bootstrap interval over images, the accuracy with Wilson's."""
        leans = embeddings[: self.first + self.second] @ self.direction
        one, other = leans[: self.first], leans[self.first :]
        low, high = bootstrap_interval(_effect, one, other, draws=RESAMPLES)
        effect = Measured(_effect(one, other), low, high, len(leans))
        found = (embeddings[len(leans) :] @ self.classes.T).argmax(1)
        return Evaluation(effect, rate_of(found == self.truth))


def _effect(one: Float32, other: Float32) -> float:
    spread = max(np.concatenate([one, other]).std(ddof=1), 1e-9)
    return abs(float((one.mean() - other.mean()) / spread))


@dataclass(frozen=True)
class Axis:
    """Two groups, each some concepts of a probe set, and two attributes, each some texts.

    Attributes
    ----------
    groups, attributes
        Name to its list; two of each.
    """

    groups: dict[str, tuple[str, ...]]
    attributes: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        self._check("group", self.groups, 1, "")
        halves = "half of the texts are searched with, the other half evaluates"
        self._check("attribute", self.attributes, 2 * FEWEST_TEXTS, halves)

    @staticmethod
    def _check(kind: str, lists: Mapping[str, Sequence[str]], fewest: int, hint: str) -> None:
        if len(lists) != 2:
            raise SynestheteError(f"an axis has two {kind}s, not {len(lists)}", hint=FORM)
        for name, listed in lists.items():
            if len(set(listed)) < fewest:
                problem = f"lists {len(set(listed))}; at least {fewest} are needed"
                raise SynestheteError(f"the {kind} {name!r} {problem}", hint=hint)
        one, other = lists.values()
        if both := sorted(set(one) & set(other)):
            raise SynestheteError(f"{both[0]!r} is in both {kind}s", hint="each belongs to one")


def load_axis(path: str | Path) -> Axis:
    """Read an axis.

    Raises
    ------
    SynestheteError
        No such file, no JSON, not two groups and two attributes, too few texts, the same one on both sides.
    """
    try:
        found = read_json(Path(path))
    except UnusableFile as error:
        raise SynestheteError(f"{path} cannot be read: {error.reason}", hint=error.hint) from None
    except InvalidJson as error:
        raise SynestheteError(f"{path} is not valid JSON: {error.reason}", hint=FORM) from None
    parts = [found.get(k) if isinstance(found, Mapping) else None for k in ("groups", "attributes")]
    if not all(
        isinstance(part, Mapping) and all(_texts(v) for v in part.values()) for part in parts
    ):
        raise SynestheteError(f"{path} is not an axis", hint=f"expected {FORM}")
    groups, attributes = ({str(k): tuple(v) for k, v in part.items()} for part in parts)  # type: ignore[union-attr]
    return Axis(groups, attributes)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def associations(
    model: ImageTextModel,
    probes: ProbeSet,
    axis: Axis,
    classes: Sequence[str],
    embeddings: Float32,
    *,
    limit: int,
    seed: int,
) -> tuple[Association, Association]:
    """The axis on the search split and on the held-out split: other images and other texts.

    Parameters
    ----------
    classes, embeddings
        What plain images are named among, and their text embeddings.
    limit
        At most so many images of each group, and so many plain ones, on each side.

    Raises
    ------
    SynestheteError
        A concept that the probe set does not have, or too few images.
    """
    rng = np.random.default_rng(seed)
    concept = np.array(probes.labels["concept"].to_pylist())
    modality = np.array(probes.labels["modality"].to_pylist())
    for name in [one for listed in axis.groups.values() for one in listed]:
        if name not in probes.concepts:
            raise SynestheteError(f"{probes.name} has no images of {name!r}")
    groups = []
    for name, listed in axis.groups.items():
        rows = rng.permutation(np.flatnonzero(np.isin(concept, listed) & (modality != "word")))
        if len(rows) < 2 * FEWEST_IMAGES:
            raise SynestheteError(
                f"{len(rows)} images of {name!r}; at least {2 * FEWEST_IMAGES} are needed"
            )
        groups.append((rows[::2][:limit], rows[1::2][:limit]))
    plain = rng.permutation(np.flatnonzero(np.isin(concept, classes) & (modality != "word")))
    if len(plain) < 2 * FEWEST:
        raise SynestheteError(f"{len(plain)} labelled images; at least {2 * FEWEST} are needed")
    sides = []
    for side, labelled in enumerate((plain[::2][:limit], plain[1::2][:limit])):
        texts = [model.encode_texts(list(one)[side::2]).mean(0) for one in axis.attributes.values()]
        pixels, counts, truth = _read_images(
            model, probes, [groups[0][side], groups[1][side], labelled]
        )
        if min(counts) < FEWEST_IMAGES:
            raise SynestheteError("too few images of a group can be read")
        number = {name: i for i, name in enumerate(classes)}
        sides.append(
            Association(
                pixels=pixels,
                first=counts[0],
                second=counts[1],
                direction=np.asarray(texts[0] - texts[1], np.float32),
                truth=np.array([number[concept[row]] for row in truth], np.int64),
                classes=embeddings,
                scale=temperature(model),
            )
        )
    return sides[0], sides[1]


def _read_images(
    model: ImageTextModel, probes: ProbeSet, rows: Sequence[Int64]
) -> tuple[torch.Tensor, list[int], list[int]]:
    """All readable images in one tensor, how many of each list, and the rows of the last list."""
    import torch

    lists = [list(readable(probes, listed.tolist(), model.preprocess)) for listed in rows]
    pixels = torch.stack([tensor for found in lists for _, tensor in found])
    return pixels, [len(found) for found in lists], [row for row, _ in lists[-1]]
