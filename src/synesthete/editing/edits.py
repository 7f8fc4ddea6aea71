"""Edits: what becomes of which units, as a small file that is reviewed and fits one model only; and how to plan them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError, one_of

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel
    from synesthete.models.interventions import Change

FORMAT, VERSION = "synesthete-edits", 2
EditKind = Literal["ablate", "mean-ablate", "scale", "steer"]
Value = float | tuple[float, ...]
EDIT_KINDS: tuple[str, ...] = get_args(EditKind)
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Edit:
    """What becomes of one unit's response `a`, at every position of every image.

    Attributes
    ----------
    address
        `layer:unit`, of any of the model's `sites()`.
    op
        `ablate` (0), `mean-ablate` (`value`, its mean), `scale` (`value · a`) or `steer` (`a + value`).
    value
        None for `ablate`. For the mean of an attention head, one number for each of its output dimensions.

    Raises
    ------
    SynestheteError
        Not an address, an unknown kind of edit, a value that is missing, not finite, or not wanted.

    Examples
    --------
    >>> Edit("visual.layer4.1:12", "scale", 0.5).affine
    (0.5, 0.0)
    >>> Edit("visual.layer4.1:pre:12", "ablate").layer
    'visual.layer4.1:pre'
    """

    address: str
    op: str
    value: Value | None = None

    def __post_init__(self) -> None:
        layer, _, unit = self.address.rpartition(":")
        if not (layer and unit.isascii() and unit.isdecimal()):
            hint = "layer:unit, such as visual.layer4.1:12"
            raise SynestheteError(f"{self.address!r} is not a valid address of a unit", hint=hint)
        # visual.layer4.1:007 and visual.layer4.1:7 are one unit.
        object.__setattr__(self, "address", f"{layer}:{int(unit)}")
        if self.op not in EDIT_KINDS:
            raise SynestheteError(
                f"unknown kind of edit {self.op!r}", hint=one_of(self.op, EDIT_KINDS)
            )
        if (self.value is None) != (self.op == "ablate"):
            problem = "takes no value" if self.value is not None else "needs a value"
            raise SynestheteError(f"{self.op} {self.address} {problem}")
        if isinstance(self.value, tuple) and self.op != "mean-ablate":
            raise SynestheteError(f"{self.op} {self.address}: expected one value, not several")
        values = self.value if isinstance(self.value, tuple) else (self.value or 0.0,)
        if not all(math.isfinite(one) for one in values):
            raise SynestheteError(f"{self.op} {self.address}: the value is not a finite number")

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
        if self.op == "scale":
            assert isinstance(self.value, float)
            return self.value, 0.0
        if self.op == "steer":
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
    dictionaries
        Of layers `LAYER@NAME` with edited latents: the hash of the sparse dictionary.

    Raises
    ------
    SynestheteError
        Two different edits of one unit.
    """

    edits: tuple[Edit, ...]
    model: str
    weights_sha256: str
    note: str = ""
    dictionaries: Mapping[str, str] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        one_each: dict[str, Edit] = {}
        for edit in self.edits:
            if one_each.setdefault(edit.address, edit) != edit:
                raise SynestheteError(
                    f"two different edits of {edit.address}: {one_each[edit.address].op} and {edit.op}",
                    hint="a unit is edited once; scale and steer do not add up",
                )
        ordered = sorted(one_each.values(), key=lambda edit: (edit.layer, edit.unit))
        object.__setattr__(self, "edits", tuple(ordered))

    def __len__(self) -> int:
        return len(self.edits)

    def with_(
        self, more: Iterable[Edit], dictionaries: Mapping[str, str] = MappingProxyType({})
    ) -> Edits:
        """These edits and more."""
        known = {**self.dictionaries, **dictionaries}
        return replace(self, edits=(*self.edits, *more), dictionaries=known)

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
                hint="edits fit only the model that they were planned for: plan them again for this one",
            )
        units = {one.name: one.units for one in model.sites()}
        for edit in self.edits:
            model.site(edit.layer)
            known = self.dictionaries.get(edit.layer)
            if known is not None and model.dictionaries[edit.layer].sha256 != known:
                raise SynestheteError(
                    f"{edit.layer} is a latent of another dictionary than the one these edits are for",
                    hint="plan them again for this one",
                )
            if edit.unit >= units[edit.layer]:
                raise SynestheteError(
                    f"{edit.address}: {edit.layer} has units 0 to {units[edit.layer] - 1}"
                )
            if edit.op == "steer" and hasattr(model.site(edit.layer), "width"):
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
                {"address": edit.address, "op": edit.op}
                | ({} if value is None else {"value": value})
            )
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": {"name": self.model, "weights_sha256": self.weights_sha256},
            "note": self.note,
            **({"dictionaries": dict(self.dictionaries)} if self.dictionaries else {}),
            "edits": rows,
        }

    def as_bytes(self) -> bytes:
        """The file."""
        return (json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n").encode()


def save_edits(edits: Edits, path: str | Path) -> Path:
    """Write edits to a file, completely or not at all.

    Raises
    ------
    SynestheteError
        The folder does not exist, or it cannot be written to.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise SynestheteError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise SynestheteError(f"{path} is a folder; edits are one file")
    write_file(path, edits.as_bytes())
    return path


def load_edits(path: str | Path) -> Edits:
    """Read a file of edits. Loads no model.

    Raises
    ------
    SynestheteError
        Missing, damaged, of another version, or with something in it that is not an edit.
    """
    path = Path(path)
    found = _read(path)
    if found.get("version") != VERSION:
        raise SynestheteError(
            f"{path} is of version {found.get('version')!r}; this program reads version {VERSION}",
            hint=f"run: synesthete migrate {path}" if found.get("version") == 1 else "",
        )
    return _parsed(path, found)


def migrate_edits(path: str | Path) -> tuple[int, int]:
    """Rewrite a file of edits of an earlier version as this program writes it; version 1 had `do` for `op`.

    Returns
    -------
    tuple of int
        The version before and after; equal when there was nothing to do.

    Raises
    ------
    SynestheteError
        As `load_edits`; the file is then as it was.
    """
    path = Path(path)
    found = _read(path)
    if found.get("version") != 1:
        load_edits(path)
        return VERSION, VERSION
    rows = found.get("edits")
    renamed = [
        {"op" if key == "do" else key: value for key, value in row.items()}
        if isinstance(row, Mapping)
        else row
        for row in (rows if isinstance(rows, list) else ())
    ]
    save_edits(_parsed(path, {**found, "edits": renamed if isinstance(rows, list) else rows}), path)
    return 1, VERSION


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path, max_bytes=MOST_BYTES)
    except UnusableFile as error:
        raise SynestheteError(f"{path} cannot be read: {error.reason}", hint=error.hint) from None
    except InvalidJson as error:
        raise SynestheteError(f"{path} is not valid JSON: {error.reason}") from None
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise SynestheteError(
            f"{path} is not a file of edits", hint=f'expected "format": "{FORMAT}"'
        )
    return found


def _parsed(path: Path, found: Mapping[str, Any]) -> Edits:
    model = found.get("model")
    if not (
        isinstance(model, Mapping)
        and all(isinstance(model.get(k), str) for k in ("name", "weights_sha256"))
    ):
        raise SynestheteError(f"{path} does not say which model it is for")
    rows, note = found.get("edits"), found.get("note", "")
    if not (isinstance(rows, list) and isinstance(note, str)):
        raise SynestheteError(f"{path} has no list of edits")
    dictionaries = found.get("dictionaries", {})
    if not (isinstance(dictionaries, Mapping) and all(isinstance(v, str) for v in dictionaries.values())):  # fmt: skip
        raise SynestheteError(f"{path} does not say which dictionaries it is for")
    edits = tuple(_edit(path, place, row) for place, row in enumerate(rows, start=1))
    try:
        return Edits(
            edits, model["name"], model["weights_sha256"], note, dictionaries=dict(dictionaries)
        )
    except SynestheteError as error:
        raise SynestheteError(f"{path}: {error.message}", hint=error.hint) from None


def _edit(path: Path, place: int, row: object) -> Edit:
    where = f"{path}, edit {place}"
    if not isinstance(row, Mapping) or not all(
        isinstance(row.get(k), str) for k in ("address", "op")
    ):
        raise SynestheteError(f"{where} has no address, or no kind of edit under 'op'")
    unknown = set(row) - {"address", "op", "value"}
    if unknown:
        raise SynestheteError(
            f"{where}: unknown field {sorted(unknown)[0]!r}", hint="address, op, value"
        )
    try:
        return Edit(row["address"], row["op"], _value(row.get("value")))
    except SynestheteError as error:
        raise SynestheteError(f"{where}: {error.message}", hint=error.hint) from None


def _value(value: object) -> Value | None:
    if value is None:
        return None
    numbers: list[Any] = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise SynestheteError("the value is not a number")
    try:
        values = tuple(float(number) for number in numbers)
    except OverflowError:
        raise SynestheteError("the value is not a finite number") from None
    return values if isinstance(value, list) else values[0]


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


BATCH = 64


def plan_edits(
    model: ImageTextModel,
    *,
    ablate: Sequence[str] = (),
    mean_ablate: Sequence[str] = (),
    scale: Mapping[str, float] | None = None,
    steer: Mapping[str, float] | None = None,
    pixels: torch.Tensor | None = None,
    note: str = "",
) -> Edits:
    """Edits of a model by the addresses of its units.

    Parameters
    ----------
    ablate, mean_ablate
        Units to ablate, and units to set to their mean.
    scale, steer
        Units with the factor, and units with the constant to add.
    pixels
        Images `[n, 3, height, width]` to compute the means over; needed for `mean_ablate`.

    Raises
    ------
    SynestheteError
        No such unit, two edits of one unit, means without images.

    Examples
    --------
    >>> import synesthete as syn
    >>> model = syn.load_model("mini")
    >>> len(plan_edits(model, ablate=["visual.layer4.1:3", "visual.layer4.1:3"]))
    1
    """
    edits = [Edit(address, "ablate") for address in ablate]
    edits += [Edit(address, "scale", float(value)) for address, value in (scale or {}).items()]
    edits += [Edit(address, "steer", float(value)) for address, value in (steer or {}).items()]
    planned = Edits(tuple(edits), model.name, model.weights_sha256, note)
    edits += [Edit(address, "ablate") for address in mean_ablate]
    hashes = {
        layer: model.dictionaries[layer].sha256
        for layer in sorted({edit.layer for edit in edits})
        if "@" in layer and layer in model.dictionaries
    }
    planned = replace(planned, dictionaries=hashes)
    if mean_ablate:
        if pixels is None or not len(pixels):
            raise SynestheteError("a mean needs images to be taken over")
        units = [Edit(address, "ablate").address for address in mean_ablate]
        Edits(tuple(Edit(one, "ablate") for one in units), model.name, model.weights_sha256).check(
            model
        )
        of_text = {one.name for one in model.sites("text")}
        for unit in units:
            if unit.rpartition(":")[0] in of_text:
                raise SynestheteError(
                    f"{unit} reads texts, and means are taken over images",
                    hint="ablate, scale or steer it",
                )
        values = means(model, units, pixels)
        planned = planned.with_(Edit(one, "mean-ablate", values[one]) for one in units)
    planned.check(model)
    return planned


def means(
    model: ImageTextModel, addresses: Sequence[str], pixels: torch.Tensor
) -> dict[str, Value]:
    """Mean response of units over images and all positions (the class token too), as an edit overwrites all of them.

    Returns
    -------
    dict
        Address to its mean; to one for each output dimension, for an attention head.
    """
    from synesthete.models.heads import Heads

    layers = list(dict.fromkeys(address.rpartition(":")[0] for address in addresses))
    totals = {layer: layer_totals(model, layer, pixels) for layer in layers}
    found: dict[str, Value] = {}
    for address in addresses:
        layer, _, unit = address.rpartition(":")
        mean = totals[layer][int(unit)]
        found[address] = (
            tuple(mean.tolist()) if isinstance(model.site(layer), Heads) else float(mean)
        )
    return found


def layer_totals(model: ImageTextModel, layer: str, pixels: torch.Tensor) -> torch.Tensor:
    """Mean response of every unit of a site over images and positions, `[units]` (heads `[heads, width]`), float64."""
    import torch

    from synesthete.models.heads import Heads

    kept = 2 if isinstance(model.site(layer), Heads) else 1
    sums: list[torch.Tensor] = []
    rows = 0

    def add(responses: torch.Tensor) -> torch.Tensor:
        nonlocal rows
        flat = responses.detach().double().reshape(-1, *responses.shape[-kept:])
        sums.append(flat.sum(0).cpu())
        rows += len(flat)
        return responses

    with model.rewritten([(layer, add)]):
        for start in range(0, len(pixels), BATCH):
            model.encode_images(pixels[start : start + BATCH])
    return torch.stack(sums).sum(0) / rows
