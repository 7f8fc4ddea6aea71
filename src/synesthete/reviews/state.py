"""The state of an atlas's reviews: the reviewed name of each unit, its flags, and acts about another atlas."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError
from synesthete.reviews.acts import VERDICTS, Act, append, new_act, read
from synesthete.reviews.verdicts import MACHINE, Reviewed


@dataclass(kw_only=True)
class State(Reviewed):
    """What people say of one unit.

    Attributes
    ----------
    flags
        Rater → the reason, while flagged.
    requests
        Reasons for which the program asked for a review, in order.
    """

    flags: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def verdict(self) -> tuple[str, str] | None:
        """The verdict of most raters; of a tie the one given last."""
        return self.leading()[-1] if self.verdicts else None

    def as_dict(self, machine_name: str | None) -> dict[str, Any]:
        """As JSON can write it; `name` is the name after review, None when rejected."""
        kind, renamed = self.verdict() or (None, "")
        name = {"reject": None, "rename": renamed}.get(kind or "", machine_name)
        return {
            "name": name,
            "machine_name": machine_name,
            "verdict": kind,
            "raters": len(self.verdicts),
            "disputed": self.disputed,
            "flags": self.flags,
            "notes": self.notes,
            "requests": self.requests,
        }


def belongs(act: Act, atlas: Atlas) -> bool:
    """Whether an act is about a unit of this atlas: the same weights, and a unit that it has.

    Other probe images make another fingerprint, but the unit is the same unit.
    """
    layer, _, unit = act.address.rpartition(":")
    if act.weights != atlas.manifest["model"]["weights_sha256"] or layer not in atlas.layers:
        return False
    return int(unit) < int(atlas.layer(layer)["units"])


def current(atlas: Atlas) -> dict[str, State]:
    """Address → what people say, of the reviewed units of this atlas."""
    return states(act for act in read(atlas.path) if belongs(act, atlas))


def foreign(atlas: Atlas) -> list[Act]:
    """Acts about units that this atlas does not have, or of another model: kept, and not counted."""
    return [act for act in read(atlas.path) if not belongs(act, atlas)]


def states(acts: Iterable[Act]) -> dict[str, State]:
    """States from acts in order of time."""
    found: dict[str, State] = {}
    for act in acts:
        if act.kind == "label":
            continue
        state = found.setdefault(act.address, State())
        if act.kind in VERDICTS:
            state.record(act.rater, act.kind, act.value)
        elif act.kind == "flag":
            state.flags[act.rater] = act.value
        elif act.kind == "unflag":
            state.flags.pop(act.rater, None)
        elif act.kind == "note":
            state.notes.append(act.value)
        elif act.kind == "request":
            state.requests.append(act.value)
    return found


def say(
    atlas_path: str | Path,
    kind: str,
    address: str,
    *,
    rater: str,
    value: str = "",
    image: int | None = None,
    question: str = "",
) -> Act:
    """Record one act about a unit of an atlas (and, for labels, an image of it).

    Raises
    ------
    SynestheteError
        No such unit or image, a concept or name that no neuron or several have, or an act that could not be said (`check`).
    """
    atlas = open_atlas(atlas_path)
    address = atlas.address(address)
    act = new_act(
        rater=rater,
        fingerprint=atlas.fingerprint,
        weights=str(atlas.manifest["model"]["weights_sha256"]),
        address=address,
        kind=kind,
        value=value,
        image="" if image is None else image_hash(atlas, image),
        question=question,
    )
    append(atlas.path, [act])
    return act


def request_review(atlas_path: str | Path, address: str, reason: str) -> Act:
    """Let the program abstain: put a unit into people's queue, saying why."""
    return say(atlas_path, "request", address, rater=MACHINE, value=reason)


def image_hash(atlas: Atlas, image: int) -> str:
    """SHA-256 of a probe image, by which labels know it whatever atlas it is in."""
    if not 0 <= image < atlas.probes.num_rows:
        last = atlas.probes.num_rows - 1
        raise SynestheteError(f"no image {image}; the atlas has images 0 to {last}")
    return str(atlas.probes["sha256"][image].as_py())
