"""Items embedded by whomever the recording's executors hire: this process, others of this machine, or actors of Ray.

A batch of items is a piece. This process reads the items and writes the table, in the order of the batches, as if it had embedded them itself; the others
are given a folder with a file for each batch that is being worked on. Killed, the folder is of no use: what was committed is in the table, and the same
command embeds the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Float16
from synesthete._core.json_reader import parse_json
from synesthete._core.text import storable
from synesthete._core.user_files import ANY_SIZE, read_inside
from synesthete.atlas.files import write_file
from synesthete.catalog.encode import Batch, Loaded, encode
from synesthete.catalog.schema import Item, Quarantined, image_name
from synesthete.errors import SynestheteError
from synesthete.recording.pieces import check_executor, compute_pieces, shared_folder

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor
    from synesthete.recording.pieces import Compute

T = TypeVar("T")
VECTORS = ("images", "texts", "units")


def embedded(
    pieces: Iterable[tuple[T, Sequence[Loaded]]],
    model: Callable[[], ImageTextModel],
    layer: str,
    units: int,
    *,
    executor: Executor | None,
    home: Path,
) -> Iterator[tuple[T, Batch | None, list[Quarantined]]]:
    """What `encode` makes of batches of items, in their order.

    Parameters
    ----------
    pieces
        Batches, each with anything that shall come back with it; read ahead by no more than two for each worker.
    model, layer, units
        As for `encode`.
    executor
        Who embeds; this process without it.
    home
        The catalogue's folder, in which the batches are that others work on.

    Yields
    ------
    tuple
        What came with a batch, the batch (None of an empty one), and what could not be used.

    Raises
    ------
    SynestheteError
        An array job; workers that cannot open the model, or that are killed by a batch again and again: after all others.
    """
    if executor is None or check_executor(executor.kind) == "local":
        for context, loaded in pieces:
            yield context, *(encode(model(), layer, units, loaded) if loaded else (None, []))
        return
    waiting: dict[int, T] = {}
    done: dict[int, tuple[Batch | None, list[Quarantined]]] = {}
    with shared_folder(home) as folder:
        batches = ItemBatches(work=folder, layer=layer, units=units)

        def given() -> Iterator[int]:
            for number, (context, loaded) in enumerate(pieces):
                waiting[number] = context
                if loaded:
                    write_file(batches.file(number), _from_loaded(loaded), sync=False)
                    yield number
                else:
                    done[number] = None, []

        def finished() -> Iterator[tuple[T, Batch | None, list[Quarantined]]]:
            """Those before which none is missing."""
            while (number := min(waiting, default=-1)) in done:
                yield waiting.pop(number), *done.pop(number)

        try:
            for number, result in compute_pieces(batches, given(), model(), executor, home):
                done[number] = _to_batch(_table(result))
                batches.file(number).unlink()
                yield from finished()
        except SynestheteError:
            for number in waiting.keys() - done.keys():
                del waiting[number]
            yield from finished()
            raise
        yield from finished()


@dataclass(frozen=True, kw_only=True)
class ItemBatches:
    """Batches of items, as another process can be sent them (`synesthete.recording.pieces.Pieces`).

    Attributes
    ----------
    work
        The folder of the batches; every worker sees it.
    layer, units
        As for `encode`.
    """

    work: Path
    layer: str
    units: int

    def file(self, number: int) -> Path:
        """The file of a batch."""
        return self.work / f"given-{number}.arrow"

    def title(self, number: int) -> str:
        """The first and the last item of a batch, for messages."""
        loaded = self._loaded(number)
        return f"items {loaded[0].item.id!r} to {loaded[-1].item.id!r}"

    def start(self, model: ImageTextModel) -> Compute:
        """There is nothing to prepare."""
        return partial(self._compute, model)

    def _compute(
        self, model: ImageTextModel, number: int, seen: Callable[[int], None] | None
    ) -> bytes:
        """What `encode` makes of a batch; `seen` is called with the number of items."""
        loaded = self._loaded(number)
        result = _from_batch(*encode(model, self.layer, self.units, loaded))
        if seen is not None:
            seen(len(loaded))
        return result

    def _loaded(self, number: int) -> list[Loaded]:
        return _to_loaded(_table(read_inside(self.work, self.file(number), max_bytes=ANY_SIZE)))


def _table(data: bytes) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(data)).read_all()


def _to_bytes(columns: dict[str, Any], aside: Sequence[Quarantined]) -> bytes:
    # Names of files and what libraries say of them may hold anything.
    reasons = [{name: storable(text) for name, text in asdict(one).items()} for one in aside]
    table = pa.table(columns)
    table = table.replace_schema_metadata({b"aside": json.dumps(reasons)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _aside(table: pa.Table) -> list[Quarantined]:
    found = parse_json(
        table.schema.metadata[b"aside"], "what could not be used", max_bytes=ANY_SIZE
    )
    return [Quarantined(**one) for one in found]


def _from_loaded(loaded: Sequence[Loaded]) -> bytes:
    columns = {
        "item": [_from_item(one.item) for one in loaded],
        "data": pa.array([list(one.data) for one in loaded], pa.list_(pa.large_binary())),
        "digest": [one.digest for one in loaded],
        "count": [len(one.quarantined) for one in loaded],
    }
    return _to_bytes(columns, [aside for one in loaded for aside in one.quarantined])


def _to_loaded(table: pa.Table) -> list[Loaded]:
    aside = iter(_aside(table))
    return [
        Loaded(
            _to_item(row["item"]),
            tuple(row["data"]),
            row["digest"],
            tuple(next(aside) for _ in range(row["count"])),
        )
        for row in table.to_pylist()
    ]


def _from_batch(batch: Batch, aside: Sequence[Quarantined]) -> bytes:
    columns: dict[str, Any] = {
        "item": pa.array([_from_item(one) for one in batch.items], pa.string()),
        "digest": pa.array(batch.digests, pa.string()),
        "thumbnail": pa.array(batch.thumbnails, pa.large_binary()),
    }
    for name in VECTORS:
        values: Float16 = getattr(batch, name)
        columns[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(values.reshape(-1)), values.shape[1]
        )
    return _to_bytes(columns, aside)


def _to_batch(table: pa.Table) -> tuple[Batch, list[Quarantined]]:
    arrays = {}
    for name in VECTORS:
        column = table[name].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False)
        arrays[name] = np.asarray(flat, np.float16).reshape(-1, column.type.list_size)
    batch = Batch(
        items=[_to_item(text) for text in table["item"].to_pylist()],
        digests=table["digest"].to_pylist(),
        thumbnails=table["thumbnail"].to_pylist(),
        **arrays,
    )
    return batch, _aside(table)


def _from_item(item: Item) -> str:
    """An item as JSON, with its images by the names that the table keeps of them."""
    facts = replace(item, images=()).as_dict()
    return json.dumps({**facts, "images": [image_name(image) for image in item.images]})


def _to_item(text: str) -> Item:
    facts = parse_json(text, "an item", max_bytes=ANY_SIZE)
    facts["reviews"] = tuple(facts["reviews"])
    facts["attributes"] = {name: tuple(values) for name, values in facts["attributes"].items()}
    facts["images"] = tuple(map(Path, facts["images"]))
    return Item(**facts)
