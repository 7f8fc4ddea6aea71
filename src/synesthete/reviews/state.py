"""The state of reviews: the verdict on each subject, the last of each rater counting; and what people say of an atlas's units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError
from synesthete.reviews.acts import MACHINE, NEURONS, Act, Log, Subjects, log_of, read


@dataclass(kw_only=True)
class Reviewed:
    """A subject and what raters say of it.

    Attributes
    ----------
    verdicts
        Rater → the last verdict: (kind, name), in the order in which they were given; the name is empty where the kind
        has none.
    times
        Rater → when that was, UTC, ISO 8601.
    notes
        In order.
    flags
        Rater → the reason, while flagged.
    requests
        What the program asked, in order.

    Examples
    --------
    >>> pear = Reviewed()
    >>> for rater, name in (("ann", "apple"), ("bob", "fig"), ("ann", "fig")):
    ...     pear.record(rater, "rename", name)
    >>> pear.leading(), pear.disputed
    ([('rename', 'fig')], False)
    """

    verdicts: dict[str, tuple[str, str]] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def record(self, rater: str, kind: str, name: str = "", *, at: str = "") -> None:
        """Replace a rater's verdict."""
        self.verdicts.pop(rater, None)
        self.verdicts[rater], self.times[rater] = (kind, name), at

    @property
    def disputed(self) -> bool:
        """Whether raters disagree."""
        return len(set(self.verdicts.values())) > 1

    def leading(self) -> list[tuple[str, str]]:
        """The verdicts that most raters gave, the one given last at the end: none, one, or several in a tie."""
        counts = Counter(reversed(self.verdicts.values()))
        most = max(counts.values(), default=0)
        return [verdict for verdict, count in counts.items() if count == most][::-1]

    def majority(self) -> tuple[str, str] | None:
        """The verdict that more raters gave than any other; None without one, or in a tie."""
        leading = self.leading()
        return leading[0] if len(leading) == 1 else None


S = TypeVar("S", bound=Reviewed)


def states(
    acts: Iterable[Act], subjects: Subjects, begin: Callable[[Act], S | None]
) -> dict[str, S]:
    """Address → state, from acts in order of time.

    Parameters
    ----------
    begin
        A new state for the first act of an address, or None where it does not begin one.
    """
    found: dict[str, S] = {}
    for act in acts:
        state = found.get(act.address) or begin(act)
        if state is None:
            continue
        found[act.address] = state
        text, note = subjects.text_and_note(act)
        if act.kind in subjects.verdicts:
            state.record(act.rater, act.kind, text, at=act.at)
        elif act.kind in subjects.requests:
            state.requests.append(act.value)
        elif act.kind == "flag":
            state.flags[act.rater] = text
        elif act.kind == "unflag":
            state.flags.pop(act.rater, None)
        elif act.kind == "note":
            note = text
        if note:
            state.notes.append(note)
    return found


class State(Reviewed):
    """What people say of one unit."""

    def verdict(self) -> tuple[str, str] | None:
        """The verdict of most raters; of a tie the one given last."""
        return self.leading()[-1] if self.verdicts else None

    @property
    def called(self) -> str:
        """What people call it; empty where they give it no name of their own."""
        kind, name = self.verdict() or ("", "")
        return name if kind == "rename" else ""

    def as_dict(self, machine_name: str | None) -> dict[str, Any]:
        """As JSON can write it; `name` is the name after review, None when rejected; `verdicts` say who, what and when."""
        kind, renamed = self.verdict() or (None, "")
        name = {"reject": None, "rename": renamed}.get(kind or "", machine_name)
        return {
            "name": name,
            "machine_name": machine_name,
            "verdict": kind,
            "verdicts": [
                {"rater": rater, "kind": one, "name": given, "at": self.times.get(rater, "")}
                for rater, (one, given) in self.verdicts.items()
            ],
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
    acts = (act for act in read(atlas.path) if belongs(act, atlas) and act.kind != "label")
    return states(acts, NEURONS, lambda act: State())


def foreign(atlas: Atlas) -> list[Act]:
    """Acts about units that this atlas does not have, or of another model: kept, and not counted."""
    return [act for act in read(atlas.path) if not belongs(act, atlas)]


def ratings(folder: str | Path) -> dict[str, dict[str, dict[str, str]]]:
    """The `labels` and `verdicts` of an atlas or of a catalogue's queue, each as `agreement` takes them.

    Returns
    -------
    dict
        Item (a neuron's image and the question, a neuron, a case) → rater → label. Of an atlas, what belongs to it.
    """
    log = log_of(folder)
    atlas = open_atlas(folder) if log.subjects is NEURONS else None
    acts = [act for act in log.read() if atlas is None or belongs(act, atlas)]
    labels: dict[str, dict[str, str]] = {}
    for act in acts:
        if act.kind == "label":
            item = f"{act.address} {act.question} {act.image}"
            labels.setdefault(item, {})[act.rater] = act.value
    verdicts = {
        address: {rater: " ".join(given).strip() for rater, given in state.verdicts.items()}
        for address, state in states(acts, log.subjects, lambda act: Reviewed()).items()
        if state.verdicts
    }
    return {"labels": labels, "verdicts": verdicts}


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
    return Log(atlas.path).say(
        kind,
        atlas.address(address),
        rater=rater,
        value=value,
        question=" ".join(question.split()),
        fingerprint=atlas.fingerprint,
        weights=str(atlas.manifest["model"]["weights_sha256"]),
        image="" if image is None else image_hash(atlas, image),
    )


def request_review(atlas_path: str | Path, address: str, reason: str) -> Act:
    """Let the program abstain: put a unit into people's queue, saying why."""
    return say(atlas_path, "request", address, rater=MACHINE, value=reason)


def image_hash(atlas: Atlas, image: int) -> str:
    """SHA-256 of a probe image, by which labels know it whatever atlas it is in."""
    if not 0 <= image < atlas.probes.num_rows:
        last = atlas.probes.num_rows - 1
        raise SynestheteError(f"no image {image}; the atlas has images 0 to {last}")
    return str(atlas.probes["sha256"][image].as_py())
