"""What a unit answers on average: the value that mean ablation puts in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synesthete.editing.edits import Edit, Edits, Value
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel

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
        Units to switch off, and units to hold at their mean.
    scale, steer
        Units with a factor, and units with what is added.
    pixels
        Pictures `[n, 3, height, width]` that the means are taken over; needed for `mean_ablate`.

    Raises
    ------
    SynestheteError
        No such unit, two edits of one unit, means without pictures.

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
    if mean_ablate:
        if pixels is None or not len(pixels):
            raise SynestheteError("a mean needs pictures to be taken over")
        units = [Edit(address, "ablate").address for address in mean_ablate]
        Edits(tuple(Edit(one, "ablate") for one in units), model.name, model.weights_sha256).check(
            model
        )
        values = means(model, units, pixels)
        planned = planned.with_(Edit(one, "mean-ablate", values[one]) for one in units)
    planned.check(model)
    return planned


def means(
    model: ImageTextModel, addresses: Sequence[str], pixels: torch.Tensor
) -> dict[str, Value]:
    """Mean response of units over pictures and all positions (the class token too), as an edit overwrites all of them.

    Returns
    -------
    dict
        Address to its mean; to one for each number that it hands on, for an attention head.
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
    """Mean response of every unit of a site over pictures and positions, `[units]` (heads `[heads, width]`), float64."""
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
