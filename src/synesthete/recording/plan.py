"""What a recording reads and keeps, and the recipe whose hash is the atlas's fingerprint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas.exemplars import PER_BIN
from synesthete.atlas.half import COARSE_BINS, HISTOGRAM_BINS
from synesthete.atlas.manifest import RANDOM_DICTIONARY, RECORDING_VERSION, TWINS, WORD_ORDER
from synesthete.atlas.thumbnails import THUMBNAIL_SIZE
from synesthete.errors import SynestheteError, near
from synesthete.probes.probe_set import text_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from synesthete.models import ImageTextModel
    from synesthete.models.activations import Precision, Tower
    from synesthete.probes import ProbeSet

REDUCTIONS = ("max", "mean", "cls")
TEXT_REDUCTIONS = ("end", "max", "mean")
# The model always sees these many images at once (or as many as the plan says), the same ones together, so that neither the
# batch size nor the sharding can change how floating-point sums are taken.
MICRO_BATCH = 32
DENSE_LIMIT_BYTES = 4_000_000_000
SAMPLE_LIMIT = 20_000
THUMBNAIL_LIMIT = 50_000
# Each twin costs one more pass over the images: with more images than these only the first is recorded unless asked for.
# Shuffled texts cost one more pass over the texts: with more texts than these they are not recorded unless asked for.
TWINS_LIMIT = 20_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is read of every image and what is kept of it.

    Attributes
    ----------
    layers
        Names of the layers.
    units
        Number of units of each layer.
    towers
        What each layer answers to: `image`, `text` or (`joint`) both. In rows of the other kind it has no values.
    reduction
        How a response map becomes one number: `max`, `mean` or `cls`.
    text_reduction
        How the responses to a text's tokens do: `end`, `max` or `mean`.
    groups
        Names of the groups that exemplars are kept in.
    exemplars
        How many exemplars to keep at either end, per unit and group.
    dense
        Whether to keep every activation.
    twins
        What is recorded as a control: networks that know nothing, of `synesthete.atlas.TWINS`; `word_order`, the model itself
        with the words of each text in random order; and `random_dictionary` where a layer is a sparse dictionary.
    dictionaries
        Of layers that are sparse dictionaries: the hash of each.
    seed
        Of those.
    thumbnails
        Whether thumbnails are made of all images or of exemplars only.
    precision
        In which the image tower computes: `fp32` or `bf16`.
    micro_batch
        How many images pass at once, a divisor of 64.
    """

    layers: tuple[str, ...]
    units: tuple[int, ...]
    towers: tuple[Tower, ...]
    reduction: str
    text_reduction: str
    groups: tuple[str, ...]
    exemplars: int
    dense: bool
    twins: tuple[str, ...]
    seed: int
    thumbnails: Literal["all", "exemplars"]
    dictionaries: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "fp32"
    micro_batch: int = MICRO_BATCH

    def reading(self, tower: Tower, twin: str = "") -> list[str]:
        """The layers that answer to an `image`, or to a `text`; of those the ones that a twin is a control of."""
        pairs = zip(self.layers, self.towers, strict=True)
        own = self.controlled_by(twin)
        return [name for name, reads in pairs if reads in (tower, "joint") and name in own]

    def controlled_by(self, twin: str) -> tuple[str, ...]:
        """The layers that a twin is recorded at: random dictionaries beside dictionaries, shuffled texts of what reads texts."""
        if twin == RANDOM_DICTIONARY:
            return tuple(name for name in self.layers if name in self.dictionaries)
        if twin == WORD_ORDER:
            pairs = zip(self.layers, self.towers, strict=True)
            return tuple(name for name, tower in pairs if tower != "image")
        return self.layers

    def twins_of(self, layer: str) -> list[str]:
        """The controls of a layer."""
        return [twin for twin in self.twins if layer in self.controlled_by(twin)]


def needed_part(model: ImageTextModel, probes: ProbeSet, layers: Sequence[str] | None) -> ProbeSet:
    """The images of a probe set, its texts, or both: whatever a layer reads.

    Raises
    ------
    SynestheteError
        No such layer, or the set has nothing that one of them reads.
    """
    chosen = [model.layer(name) for name in layers or model.default_layers]
    texts = text_rows(probes.labels)
    for layer in chosen:
        if not (texts.any() if layer.tower == "text" else True):
            raise SynestheteError(
                f"{layer.name} reads texts, and the probe set {probes.name!r} holds none",
                hint="texts come in .txt files beside the images or in a column text of a table",
            )
        if layer.tower == "image" and texts.all():
            message = f"{layer.name} reads images, and the probe set {probes.name!r} holds none"
            raise SynestheteError(message)
    if not texts.any():
        return probes
    towers = {layer.tower for layer in chosen}
    return probes.part(images=towers != {"text"}, texts=towers != {"image"})


def reading_texts(model: ImageTextModel) -> list[str]:
    """What is recorded of texts beside a layer of the image tower: the text tower's last MLP, where it has one, and the joint space."""
    of_text = [one.name for one in model.layers("text") if one.kind == "mlp"]
    return [*of_text[-1:], "joint"]


def make_plan(
    model: ImageTextModel,
    probes: ProbeSet,
    layers: Sequence[str] | None,
    *,
    reduction: str,
    text_reduction: str = "end",
    dense: bool | None,
    exemplars: int,
    twins: Collection[str] | None,
    seed: int,
) -> Plan:
    """Settle what is left open, and check what is given.

    Raises
    ------
    SynestheteError
        No such layer, reduction or twin, a layer named twice, a number out of range.
    """
    towers = ("image", "text", "joint")
    names = tuple(layers or model.default_layers)
    if len(set(names)) != len(names):
        raise SynestheteError(f"a layer is named twice in {', '.join(names)}")
    # An atlas's first layer is the one that pages open with.
    names = tuple(sorted(names, key=lambda name: towers.index(model.layer(name).tower)))
    units = tuple(model.layer(name).units for name in names)
    if text_reduction not in TEXT_REDUCTIONS:
        message = (
            f"no reduction {text_reduction!r} of texts; there are {', '.join(TEXT_REDUCTIONS)}"
        )
        raise SynestheteError(message, hint=near(text_reduction, TEXT_REDUCTIONS))
    if reduction not in REDUCTIONS:
        message = f"no reduction {reduction!r}; there are {', '.join(REDUCTIONS)}"
        raise SynestheteError(message, hint=near(reduction, REDUCTIONS))
    if exemplars < 1:
        raise SynestheteError(f"exemplars is {exemplars}, expected at least 1")
    known = (*TWINS, WORD_ORDER)
    for name in twins or ():
        if name not in known:
            message = f"no twin {name!r} of a model; there are {', '.join(known)}"
            raise SynestheteError(message, hint=near(name, known))
    if twins is None:
        texts = text_rows(probes.labels)
        twins = TWINS if (~texts).sum() <= TWINS_LIMIT else TWINS[:1]
        twins = (*twins, WORD_ORDER) if texts.sum() <= TWINS_LIMIT else twins
    layer_towers = tuple(model.layer(name).tower for name in names)
    recorded = tuple(
        name
        for name in known
        if name in twins and (name != WORD_ORDER or not set(layer_towers) <= {"image"})
    )
    dictionaries = {name: model.dictionaries[name].sha256 for name in names if "@" in name}
    if dictionaries and set(recorded) & set(TWINS):
        recorded += (RANDOM_DICTIONARY,)
    if dense is None:
        dense = len(probes) * sum(units) * np.dtype(np.float16).itemsize <= DENSE_LIMIT_BYTES
    return Plan(
        layers=names,
        units=units,
        towers=layer_towers,
        reduction=reduction,
        text_reduction=text_reduction,
        groups=tuple(group_names(probes)),
        exemplars=exemplars,
        dense=dense,
        # Of a twin only the matrix is kept: it serves as the control of what the matrix shows.
        twins=recorded if dense else (),
        dictionaries=dictionaries,
        seed=seed,
        thumbnails="all" if len(probes) <= THUMBNAIL_LIMIT else "exemplars",
    )


def sample_rows(probes: ProbeSet, units: int, size: int | None, seed: int) -> list[int]:
    """The images and texts of which every activation is kept, where that is not done of all: their numbers, in order.

    Every concept has its first image in a modality before any has a second, and the artists of a cell take turns; images without
    a concept come last.

    Parameters
    ----------
    units
        Of all layers together.
    size
        How many; None for 20,000, or what 4 GB hold.
    seed
        Of the order among equals.
    """
    most = DENSE_LIMIT_BYTES // (units * np.dtype(np.float16).itemsize)
    size = min(SAMPLE_LIMIT, most) if size is None else size
    if size < 1:
        raise SynestheteError(f"the sample is {size}, expected at least 1 (or 0 for none)")
    order = np.random.default_rng(seed).permutation(len(probes))
    concept, modality, artist = (
        np.unique(probes.labels[name].to_pylist(), return_inverse=True)[1][order]
        for name in ("concept", "modality", "artist")
    )
    cell = concept * (modality.max() + 1) + modality
    by_artist = np.argsort(_earlier(cell * (artist.max() + 1) + artist), kind="stable")
    turn = np.empty(len(order), np.int64)
    turn[by_artist] = _earlier(cell[by_artist])
    unlabelled = np.array(probes.labels["concept"].to_pylist())[order] == ""
    first = np.lexsort((turn, unlabelled))[:size]
    return sorted(order[first].tolist())


def _earlier(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same group come before each."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    lengths = np.diff(starts, append=len(groups))
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return ranks


def group_names(probes: ProbeSet) -> list[str]:
    """The modalities of a probe set, and "" when some images have none."""
    unlabelled = "" in probes.labels["modality"].unique().to_pylist()
    return [*probes.modalities, ""] if unlabelled else list(probes.modalities)


def group_codes(table: pa.Table, ids: range, groups: Sequence[str]) -> NDArray[np.int64]:
    """Index into `groups` of each image of a range."""
    names = table["modality"].slice(ids.start, len(ids)).to_pylist()
    index = {name: code for code, name in enumerate(groups)}
    return np.array([index[name] for name in names], dtype=np.int64)


def network_of(model: ImageTextModel) -> dict[str, Any]:
    """What tells a network from others, as JSON values."""
    # Weights alone do not: RN50 and RN50-quickgelu share them.
    wiring = ("architecture", "image_tower", "quick_gelu")
    return {
        "weights_sha256": model.weights_sha256,
        "embedding_dim": model.embedding_dim,
        **{key: model.description[key] for key in wiring if key in model.description},
    }


def recipe_of(plan: Plan, model: ImageTextModel, probes: ProbeSet) -> dict[str, Any]:
    """Everything that decides the content of an atlas, as JSON values.

    The batch and shard sizes are not in it, because they change nothing, and neither are the names
    of model and probe set.
    """
    texts = int(text_rows(probes.labels).sum())
    # What only recordings of texts have is not said of others, whose fingerprint stays as it was.
    of_texts = {"text_reduction": plan.text_reduction} if "text" in plan.towers else {}
    return {
        "format": RECORDING_VERSION,
        "model": network_of(model),
        "preprocessing": model.preprocessing.as_dict(),
        "probes": {"fingerprint": probes.fingerprint, "images": len(probes)}
        | ({"texts": texts} if texts else {}),
        "layers": [
            {"name": name, "units": units}
            | ({} if tower == "image" else {"tower": tower})
            | ({"dictionary": plan.dictionaries[name]} if name in plan.dictionaries else {})
            for name, units, tower in zip(plan.layers, plan.units, plan.towers, strict=True)
        ],
        **of_texts,
        "groups": list(plan.groups),
        "reduction": plan.reduction,
        "dtype": "float16",
        "micro_batch": plan.micro_batch,
        **({} if plan.precision == "fp32" else {"precision": plan.precision}),
        "histogram_bins": HISTOGRAM_BINS,
        "exemplars": {"ends": plan.exemplars, "per_bin": PER_BIN, "bins": COARSE_BINS},
        "dense": plan.dense,
        "twins": {name: {"seed": plan.seed} for name in plan.twins},
        "thumbnails": {"size": THUMBNAIL_SIZE, "scope": plan.thumbnails},
    }
