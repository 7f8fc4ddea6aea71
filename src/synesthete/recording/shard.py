"""One shard: a range of images and texts through the model, into results that merge. A pure function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synesthete.atlas.exemplars import Exemplars
from synesthete.atlas.half import to_half
from synesthete.atlas.manifest import WORD_ORDER
from synesthete.atlas.thumbnails import SPRITE_TILES, sprite_of
from synesthete.errors import SynestheteError
from synesthete.probes.probe_set import text_rows, words_shuffled
from synesthete.recording.exemplars import exemplars_of
from synesthete.recording.feed import MicroBatch, feed, micro_batches
from synesthete.recording.plan import Plan, group_codes
from synesthete.recording.statistics import UnitStatistics

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.models import ImageTextModel, Reading
    from synesthete.probes import ProbeSet

Halves = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """What a shard knows of one layer.

    Attributes
    ----------
    statistics, exemplars
        Of the readable images.
    activations
        [images, units], NaN rows for what is unreadable or not read by the layer; None where they are not kept.
    twins
        The same of each twin, by its name.
    grid
        Height and width of the layer's response map; None when no image was readable.
    """

    statistics: UnitStatistics
    exemplars: Exemplars
    activations: Halves | None
    twins: dict[str, Halves]
    grid: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a shard found.

    Attributes
    ----------
    ids
        Its image ids.
    embeddings
        [images, dim] float16, NaN rows for unreadable images.
    layers
        Layer name → result.
    unreadable
        Image id → reason.
    sprites
        Number of the sprite (image id // 64) → WebP sheet.
    """

    ids: range
    embeddings: Halves
    layers: dict[str, LayerResult]
    unreadable: dict[int, str]
    sprites: dict[int, bytes]


def record_shard(
    model: ImageTextModel,
    probes: ProbeSet,
    ids: range,
    plan: Plan,
    *,
    twins: Mapping[str, ImageTextModel] = MappingProxyType({}),
    batches: Iterator[MicroBatch] | None = None,
    seen: Callable[[int], None] | None = None,
) -> ShardResult:
    """Show a range of images to a model and sum up what its units do.

    The result depends on the arguments alone, so shards can be computed anywhere, in any order.

    Parameters
    ----------
    model, probes
        Who looks, and at what.
    ids
        Image ids; the first is a multiple of 64.
    plan
        What to read and to keep.
    twins
        The twins of the plan, by name; for `word_order` the model itself.
    batches
        The decoded micro-batches of `ids`; by default they are decoded here.
    seen
        Called with the number of images after each micro-batch.
    """
    model = at_precision(model, plan)
    twins = {name: at_precision(twin, plan) for name, twin in twins.items()}
    rows = len(ids)
    embeddings = _nothing(rows, model.embedding_dim)
    sizes = dict(zip(plan.layers, plan.units, strict=True))
    values = {name: _nothing(rows, units) for name, units in sizes.items()}
    controls = {
        (twin, name): _nothing(rows, sizes[name])
        for twin in twins
        for name in plan.controlled_by(twin)
    }
    places = {name: np.full((rows, units), -1, np.int16) for name, units in sizes.items()}
    grids: dict[str, tuple[int, int]] = {}
    unreadable: dict[int, str] = {}
    decoded = batches or feed(
        model,
        probes,
        micro_batches(ids, plan.micro_batch),
        size=plan.micro_batch,
        thumbnails=plan.thumbnails == "all",
    )
    with _SpriteMaker() as sprites:
        for batch in decoded:
            unreadable |= batch.unreadable
            sprites.add(batch.thumbnails, last=batch.ids.stop == ids.stop)
            for found, slots, names, reading in _readings(model, batch, plan):
                into = found - ids.start
                embeddings[into] = to_half(reading.embeddings[slots])
                for name in names:
                    values[name][into] = to_half(reading.activations[name][slots])
                    places[name][into] = reading.positions[name][slots]
                    if name in reading.grids:
                        grids[name] = reading.grids[name]
            for twin, other in twins.items():
                shown = _words_shuffled(batch) if twin == WORD_ORDER else batch
                for found, slots, names, reading in _readings(other, shown, plan, twin):
                    for name in names:
                        some = to_half(reading.activations[name][slots])
                        controls[twin, name][found - ids.start] = some
            if seen is not None:
                seen(len(batch.ids))
    fine = np.array([image not in unreadable for image in ids], dtype=bool)
    of_text = text_rows(probes.labels.slice(ids.start, len(ids)))
    for twin, name in controls:
        if twin == WORD_ORDER:  # images have no words, and stay what they are
            controls[twin, name][~of_text] = values[name][~of_text]
    groups = group_codes(probes.labels, ids, plan.groups)
    known = np.array(ids, dtype=np.int64)

    def result(name: str) -> LayerResult:
        readable = fine & ~of_text if name in plan.reading("image") else fine & of_text
        if name in plan.reading("text"):
            readable |= fine & of_text
        found = values[name][readable]
        return LayerResult(
            statistics=UnitStatistics.of(found),
            exemplars=exemplars_of(
                found,
                places[name][readable],
                known[readable],
                groups[readable],
                plan.groups,
                plan.exemplars,
            ),
            activations=values[name] if plan.dense else None,
            twins={twin: controls[twin, name] for twin in twins if (twin, name) in controls},
            grid=grids.get(name),
        )

    return ShardResult(
        ids=ids,
        embeddings=embeddings,
        layers={name: result(name) for name in plan.layers},
        unreadable=unreadable,
        sprites=sprites.finished(),
    )


def at_precision(model: ImageTextModel, plan: Plan) -> ImageTextModel:
    """The model in the precision that a plan says."""
    return model if plan.precision == "fp32" else model.at_precision(plan.precision)


def shard_ranges(images: int, shard_size: int) -> list[range]:
    """The image ids of every shard; the size is rounded up to whole sprites (64 images).

    Examples
    --------
    >>> shard_ranges(200, 100)
    [range(0, 128), range(128, 200)]
    """
    if shard_size < 1:
        raise SynestheteError(f"the shard size is {shard_size}, expected at least 1")
    size = -(-shard_size // SPRITE_TILES) * SPRITE_TILES
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


def _readings(
    model: ImageTextModel, batch: MicroBatch, plan: Plan, twin: str = ""
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], list[str], Reading]]:
    """What a model makes of the images and of the texts of a micro-batch: ids, rows of the reading, layers, reading."""
    images = np.array(
        [one for one in batch.ids if one not in batch.unreadable and one not in batch.texts],
        dtype=np.int64,
    )
    if len(images):
        names = plan.reading("image", twin)
        yield (
            images,
            images - batch.ids.start,
            names,
            model.read(batch.pixels, names, plan.reduction),
        )
    if batch.texts:
        texts, names = np.array(list(batch.texts), dtype=np.int64), plan.reading("text", twin)
        reading = model.read_texts(list(batch.texts.values()), names, plan.text_reduction)
        yield texts, np.arange(len(texts)), names, reading


def _words_shuffled(batch: MicroBatch) -> MicroBatch:
    """A micro-batch without its images, and with the words of every text in random order."""
    images = {image: "" for image in batch.ids if image not in batch.texts}
    texts = {number: words_shuffled(text) for number, text in batch.texts.items()}
    return replace(batch, unreadable=images, texts=texts)


def _nothing(rows: int, columns: int) -> Halves:
    return np.full((rows, columns), np.nan, np.float16)


class _SpriteMaker:
    """Collects thumbnails and encodes each full sprite in a thread of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sprites")
        self._tiles: dict[int, dict[int, Image.Image]] = {}
        self._sheets: dict[int, Future[bytes]] = {}

    def __enter__(self) -> _SpriteMaker:
        return self

    def __exit__(self, *failure: Any) -> None:
        self._pool.shutdown(wait=True, cancel_futures=any(failure))

    def add(self, thumbnails: dict[int, Image.Image], *, last: bool) -> None:
        """Take the thumbnails of a micro-batch; the ids come in rising order."""
        for image_id, image in thumbnails.items():
            number, tile = divmod(image_id, SPRITE_TILES)
            self._tiles.setdefault(number, {})[tile] = image
        newest = max(self._tiles, default=0)
        for number in [number for number in self._tiles if last or number < newest]:
            self._sheets[number] = self._pool.submit(sprite_of, self._tiles.pop(number))

    def finished(self) -> dict[int, bytes]:
        """The sheets, once everything is added."""
        return {number: sheet.result() for number, sheet in sorted(self._sheets.items())}
