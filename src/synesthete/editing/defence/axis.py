"""An axis of bias as an objective: two groups of pictures, two attributes in words, in a file that a user writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.editing.defence.attack import FEWEST
from synesthete.editing.defence.objective import Association
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

FEWEST_PICTURES, FEWEST_TEXTS = 4, 2
FORM = '{"groups": {"A": [concepts], "B": [concepts]}, "attributes": {"X": [texts], "Y": [texts]}}'


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
        for told, lists, fewest in (
            ("group", self.groups, 1), ("attribute", self.attributes, 2 * FEWEST_TEXTS),
        ):  # fmt: skip
            if len(lists) != 2:
                raise SynestheteError(f"an axis has two {told}s, not {len(lists)}", hint=FORM)
            one, other = lists.values()
            for name, listed in lists.items():
                if len(set(listed)) < fewest:
                    hint = (
                        "half of the texts are searched with, the other half judges"
                        if fewest > 1
                        else ""
                    )
                    raise SynestheteError(
                        f"the {told} {name!r} lists {len(set(listed))}; at least {fewest} are needed",
                        hint=hint,
                    )
            both = sorted(set(one) & set(other))
            if both:
                raise SynestheteError(f"{both[0]!r} is in both {told}s", hint="each belongs to one")


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
        raise SynestheteError(f"{path} is no JSON: {error.reason}", hint=FORM) from None
    parts = [found.get(k) if isinstance(found, Mapping) else None for k in ("groups", "attributes")]
    if not all(
        isinstance(part, Mapping) and all(_texts(v) for v in part.values()) for part in parts
    ):
        raise SynestheteError(f"{path} is no axis", hint=f"expected {FORM}")
    groups, attributes = ({str(k): tuple(v) for k, v in part.items()} for part in parts)  # type: ignore[union-attr]
    return Axis(groups, attributes)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def associations(
    model: ImageTextModel,
    probes: ProbeSet,
    axis: Axis,
    classes: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    *,
    limit: int,
    seed: int,
) -> tuple[Association, Association]:
    """The axis on the search split and on the held-out split: other pictures and other texts.

    Parameters
    ----------
    classes, embeddings
        What plain pictures are named among, and their text embeddings.
    limit
        At most so many pictures of each group, and so many plain ones, on each side.

    Raises
    ------
    SynestheteError
        A concept that the probe set does not have, or too few pictures.
    """
    rng = np.random.default_rng(seed)
    concept = np.array(probes.labels["concept"].to_pylist())
    modality = np.array(probes.labels["modality"].to_pylist())
    for name in [one for listed in axis.groups.values() for one in listed]:
        if name not in probes.concepts:
            raise SynestheteError(f"{probes.name} has no pictures of {name!r}")
    groups = []
    for name, listed in axis.groups.items():
        rows = rng.permutation(np.flatnonzero(np.isin(concept, listed) & (modality != "word")))
        if len(rows) < 2 * FEWEST_PICTURES:
            raise SynestheteError(
                f"{len(rows)} pictures of {name!r}; at least {2 * FEWEST_PICTURES} are needed"
            )
        groups.append((rows[::2][:limit], rows[1::2][:limit]))
    plain = rng.permutation(np.flatnonzero(np.isin(concept, classes) & (modality != "word")))
    if len(plain) < 2 * FEWEST:
        raise SynestheteError(f"{len(plain)} labelled pictures; at least {2 * FEWEST} are needed")
    made = []
    for side, labelled in enumerate((plain[::2][:limit], plain[1::2][:limit])):
        texts = [model.encode_texts(list(one)[side::2]).mean(0) for one in axis.attributes.values()]
        pixels, counts, truth = _pictures(
            model, probes, [groups[0][side], groups[1][side], labelled]
        )
        if min(counts) < FEWEST_PICTURES:
            raise SynestheteError("too few pictures of a group can be read")
        number = {name: i for i, name in enumerate(classes)}
        scale = float(model.network.logit_scale.exp())
        made.append(
            Association(
                pixels, counts[0], counts[1], np.asarray(texts[0] - texts[1], np.float32),
                np.array([number[concept[row]] for row in truth], np.int64), embeddings, scale,
            )
        )  # fmt: skip
    return made[0], made[1]


def _pictures(
    model: ImageTextModel, probes: ProbeSet, rows: Sequence[npt.NDArray[np.int64]]
) -> tuple[torch.Tensor, list[int], list[int]]:
    """All readable pictures in one tensor, how many of each list, and the rows of the last list."""
    import torch

    found: list[torch.Tensor] = []
    counts: list[int] = []
    kept: list[int] = []
    for listed in rows:
        kept = []
        for row in listed.tolist():
            try:
                found.append(model.preprocess(probes.image(row)))
            except SynestheteError:
                continue
            kept.append(row)
        counts.append(len(kept))
    return torch.stack(found), counts, kept
