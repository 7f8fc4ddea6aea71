"""Edits: what shall become of which units, as a small file that is reviewed and fits one model only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError, near

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.models.interventions import Change

FORMAT, VERSION = "synesthete-edits", 1
Deed = Literal["ablate", "mean-ablate", "scale", "steer"]
Value = float | tuple[float, ...]
DEEDS: tuple[str, ...] = get_args(Deed)
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Edit:
    """What becomes of one unit's response `a`, at every position of every picture.

    Attributes
    ----------
    address
        `layer:unit`, of any of the model's `sites()`.
    do
        `ablate` (0), `mean-ablate` (`value`, its mean), `scale` (`value · a`) or `steer` (`a + value`).
    value
        None for `ablate`. For the mean of an attention head, one number for each that it hands on.

    Raises
    ------
    SynestheteError
        No address, no such deed, a value that is missing, not finite, or not wanted.

    Examples
    --------
    >>> Edit("visual.layer4.1:12", "scale", 0.5).affine
    (0.5, 0.0)
    >>> Edit("visual.layer4.1:pre:12", "ablate").layer
    'visual.layer4.1:pre'
    """

    address: str
    do: str
    value: Value | None = None

    def __post_init__(self) -> None:
        layer, _, unit = self.address.rpartition(":")
        if not (layer and unit.isascii() and unit.isdecimal()):
            hint = "layer:unit, such as visual.layer4.1:12"
            raise SynestheteError(f"{self.address!r} is not a valid address", hint=hint)
        # visual.layer4.1:007 and visual.layer4.1:7 are one unit.
        object.__setattr__(self, "address", f"{layer}:{int(unit)}")
        if self.do not in DEEDS:
            hint = near(self.do, DEEDS) or ", ".join(DEEDS)
            raise SynestheteError(f"no such edit {self.do!r}", hint=hint)
        if (self.value is None) != (self.do == "ablate"):
            told = "takes no value" if self.value is not None else "needs a value"
            raise SynestheteError(f"{self.do} {self.address} {told}")
        if isinstance(self.value, tuple) and self.do != "mean-ablate":
            raise SynestheteError(f"{self.do} {self.address}: expected one value, not several")
        values = self.value if isinstance(self.value, tuple) else (self.value or 0.0,)
        if not all(math.isfinite(one) for one in values):
            raise SynestheteError(f"{self.do} {self.address}: the value is not a finite number")

    @property
    def layer(self) -> str:
        """The layer of the unit."""
        return self.address.rpartition(":")[0]

    @property
    def unit(self) -> int:
        """Its number in the layer."""
        return int(self.address.rpartition(":")[2])

    @property
    def affine(self) -> tuple[float, Value]:
        """`(scale, add)`: the response `a` becomes `scale · a + add`."""
        if self.do == "scale":
            assert isinstance(self.value, float)
            return self.value, 0.0
        if self.do == "steer":
            return 1.0, self.value or 0.0
        return 0.0, self.value or 0.0


@dataclass(frozen=True)
class Edits:
    """A set of edits of one model, in the order of their addresses; a unit has one.

    Attributes
    ----------
    edits
        Sorted by address; the same edit given twice is there once.
    model
        What the model is called.
    weights_sha256
        Fingerprint of the weights that the edits are for.
    note
        Why; for people.

    Raises
    ------
    SynestheteError
        Two different edits of one unit.
    """

    edits: tuple[Edit, ...]
    model: str
    weights_sha256: str
    note: str = ""

    def __post_init__(self) -> None:
        one_each: dict[str, Edit] = {}
        for edit in self.edits:
            if one_each.setdefault(edit.address, edit) != edit:
                raise SynestheteError(
                    f"two different edits of {edit.address}: {one_each[edit.address].do} and {edit.do}",
                    hint="a unit is edited once; scale and steer do not add up",
                )
        ordered = sorted(one_each.values(), key=lambda edit: (edit.layer, edit.unit))
        object.__setattr__(self, "edits", tuple(ordered))

    def __len__(self) -> int:
        return len(self.edits)

    def with_(self, more: Iterable[Edit]) -> Edits:
        """These edits and more."""
        return Edits((*self.edits, *more), self.model, self.weights_sha256, self.note)

    def check(self, model: ImageTextModel) -> None:
        """Refuse another model than the one they are for, and units that it does not have.

        Raises
        ------
        SynestheteError
            With what the edits are for, and what was given.
        """
        if model.weights_sha256 != self.weights_sha256:
            raise SynestheteError(
                f"these edits are for {self.model} with weights {self.weights_sha256[:12]}…, "
                f"not for {model.name} with weights {model.weights_sha256[:12]}…",
                hint="edits fit the very model that they were made for: make them again for this one",
            )
        units = {one.name: one.units for one in model.sites()}
        for edit in self.edits:
            model.site(edit.layer)
            if edit.unit >= units[edit.layer]:
                raise SynestheteError(
                    f"{edit.address}: {edit.layer} has units 0 to {units[edit.layer] - 1}"
                )
            if edit.do == "steer" and hasattr(model.site(edit.layer), "width"):
                hint = "scale, ablate or mean-ablate it"
                raise SynestheteError(
                    f"{edit.address} is an attention head, which has no one direction to steer in",
                    hint=hint,
                )

    def changes(self, model: ImageTextModel) -> list[Change]:
        """The edits as the model makes them while it runs.

        Raises
        ------
        SynestheteError
            See `check`.
        """
        from synesthete.models.interventions import Change

        self.check(model)
        return [Change(edit.layer, (edit.unit,), *edit.affine) for edit in self.edits]

    def as_dict(self) -> dict[str, Any]:
        """What the file holds."""
        rows: list[dict[str, Any]] = []
        for edit in self.edits:
            value = list(edit.value) if isinstance(edit.value, tuple) else edit.value
            rows.append(
                {"address": edit.address, "do": edit.do}
                | ({} if value is None else {"value": value})
            )
        return {
            "format": FORMAT, "version": VERSION,
            "model": {"name": self.model, "weights_sha256": self.weights_sha256},
            "note": self.note, "edits": rows,
        }  # fmt: skip

    def as_bytes(self) -> bytes:
        """The file."""
        return (json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n").encode()


def save_edits(edits: Edits, path: str | Path) -> Path:
    """Write edits to a file, completely or not at all.

    Raises
    ------
    SynestheteError
        There is no such folder, or it cannot be written to.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise SynestheteError(f"there is no folder {path.parent}")
    if path.is_dir():
        raise SynestheteError(f"{path} is a folder; edits are one file")
    write_file(path, edits.as_bytes())
    return path


def load_edits(path: str | Path) -> Edits:
    """Read a file of edits. Loads no model.

    Raises
    ------
    SynestheteError
        Missing, damaged, of another version, or with something in it that is no edit.
    """
    path = Path(path)
    try:
        found = read_json(path, max_bytes=MOST_BYTES)
    except UnusableFile as error:
        raise SynestheteError(f"{path} cannot be read: {error.reason}", hint=error.hint) from None
    except InvalidJson as error:
        raise SynestheteError(f"{path} is no JSON: {error.reason}") from None
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise SynestheteError(f"{path} is no file of edits", hint=f'expected "format": "{FORMAT}"')
    if found.get("version") != VERSION:
        raise SynestheteError(
            f"{path} is of version {found.get('version')!r}; this program reads version {VERSION}"
        )
    model = found.get("model")
    if not (
        isinstance(model, Mapping)
        and all(isinstance(model.get(k), str) for k in ("name", "weights_sha256"))
    ):
        raise SynestheteError(f"{path} does not say which model it is for")
    rows, note = found.get("edits"), found.get("note", "")
    if not (isinstance(rows, list) and isinstance(note, str)):
        raise SynestheteError(f"{path} has no list of edits")
    edits = tuple(_edit(path, place, row) for place, row in enumerate(rows, start=1))
    try:
        return Edits(edits, model["name"], model["weights_sha256"], note)
    except SynestheteError as error:
        raise SynestheteError(f"{path}: {error.message}", hint=error.hint) from None


def _edit(path: Path, place: int, row: object) -> Edit:
    where = f"{path}, edit {place}"
    if not isinstance(row, Mapping) or not all(
        isinstance(row.get(k), str) for k in ("address", "do")
    ):
        raise SynestheteError(f"{where} has no address or says not what to do")
    unknown = set(row) - {"address", "do", "value"}
    if unknown:
        raise SynestheteError(
            f"{where}: what is {sorted(unknown)[0]!r}?", hint="address, do, value"
        )
    try:
        return Edit(row["address"], row["do"], _value(row.get("value")))
    except SynestheteError as error:
        raise SynestheteError(f"{where}: {error.message}", hint=error.hint) from None


def _value(value: object) -> Value | None:
    if value is None:
        return None
    numbers: list[Any] = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise SynestheteError("the value is no number")
    try:
        made = tuple(float(number) for number in numbers)
    except OverflowError:
        raise SynestheteError("the value is not a finite number") from None
    return made if isinstance(value, list) else made[0]


def parse_pairs(given: Sequence[str], option: str) -> dict[str, float]:
    """`ADDRESS=NUMBER` as the command line has them.

    Examples
    --------
    >>> parse_pairs(["visual.layer4.1:12=0.5"], "--scale")
    {'visual.layer4.1:12': 0.5}
    """
    found: dict[str, float] = {}
    for text in given:
        address, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not address or not math.isfinite(value):
            hint = f"{option} visual.layer4.1:12=0.5"
            raise SynestheteError(f"{option} {text!r}: expected ADDRESS=NUMBER", hint=hint)
        if found.setdefault(address, value) != value:
            raise SynestheteError(f"{option} gives {address} two values")
    return found
