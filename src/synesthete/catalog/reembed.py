"""A catalogue's items embedded again by another model, beside the vectors in use, which it takes the place of at once.

The new vectors are a catalogue of their own in a hidden folder until they are complete: killed, the old ones serve on, and the same
command goes on where it was. Then, while writers wait, what changed meanwhile is embedded, the folder is renamed, and the manifest
that names it is written: one rename, before which everybody reads the old vectors and after which the new ones.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from synesthete.atlas import open_atlas
from synesthete.atlas.files import disk_errors, lock_alone, open_to_write, sync_folder
from synesthete.catalog.catalog import Catalog
from synesthete.catalog.embedding import Embedding
from synesthete.catalog.encode import Batch, Loaded, digest_by, hash_of, image_bytes
from synesthete.catalog.schema import ImageSource, Quarantined
from synesthete.catalog.sources.remote_images import FOLDER as FETCHED
from synesthete.catalog.store import manifest as manifests
from synesthete.catalog.store.ingest import BATCH, BATCH_BYTES
from synesthete.catalog.store.location import LOCK
from synesthete.catalog.store.shards import embedded
from synesthete.catalog.store.table import ITEM_COLUMNS, ItemTable, item_of
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor

LOCK_FILE = ".reembed.lock"
BY_THUMBNAIL = "thumbnail "  # before an item's digest, so that indexing it again replaces it
TRIES = 2000  # places that images which were set aside may have had among those of an item
MOST_ASIDE = 6  # such images of an item
# Passes over what changed meanwhile, and how much of it may be left when writers wait.
PASSES, FEW = 8, 256


@dataclass(frozen=True, kw_only=True)
class Reembedded:
    """What was done.

    Attributes
    ----------
    items
        Of the catalogue now.
    embedded
        How many of them this call embedded; the others were already, before a kill.
    by_thumbnail
        Of those, items whose images are not where they were, or are other ones now: their thumbnail was embedded.
    lost
        Items that the new model could not use; they are quarantined with the reason.
    """

    items: int
    embedded: int
    by_thumbnail: int
    lost: int


def reembed(
    path: str | Path,
    model: str | ImageTextModel,
    *,
    layer: str | None = None,
    atlas: str | Path | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reembedded:
    """Embed all items again with another model, and switch to it at once.

    Items, events, decisions, keys, experiments and fetched images stay. What was learnt with the old model (`adapt`,
    `calibrate`) does not hold for the new one and is left behind. Images are read where they were, if they still have the
    content that was indexed; otherwise the item's thumbnail is embedded.

    Parameters
    ----------
    path
        The catalogue's folder; it may be served and written meanwhile.
    model, layer, atlas, seed
        As for `Catalog.create`.
    executor
        Who embeds, as for `Catalog.upsert`; what changes meanwhile is embedded by this process.
    progress
        Called with the number of items that are done, and of all.

    Raises
    ------
    SynestheteError
        No catalogue there; a model that cannot be loaded, or is the catalogue's own; another call that is running.
    """
    from synesthete.models import load_model

    path = Path(path)
    manifests.read_manifest(path)
    with _alone(path):
        old = Embedding(path)
        loaded = load_model(model) if isinstance(model, str) else model
        chosen = loaded.layer(layer or loaded.default_layers[0]).name
        described = manifests.describe(loaded, chosen)
        if not manifests.differences(old.manifest["model"], described):
            raise SynestheteError(
                f"{path} is embedded with {described['name']} already", hint="give another model"
            )
        name = (
            f"{manifests.FOLDER}{int(old.manifest.get('folder', 'model-1').rpartition('-')[2]) + 1}"
        )
        draft, resumed = _draft(path, old, loaded, chosen, atlas, seed, name)
        work = _Work(old.table, draft.table, loaded, described, progress, path)
        if not old.table.retired():
            if work.one_pass(executor) > FEW:
                for _ in range(PASSES - 1):
                    if work.one_pass() <= FEW:
                        break
            draft.table.tidy()
            with old.table.locked():
                work.one_pass()
                draft.table.note(old.table.quarantine())
                old.table.retire()
                _switch(path, draft, name)
        else:  # killed in the moment before: nothing was written since
            if not resumed:  # another draft than the complete one, which is gone
                work.one_pass()
                draft.table.tidy()
                draft.table.note(old.table.quarantine())
            _switch(path, draft, name)
        old.close()
    items = Embedding(path).table.count()
    return Reembedded(
        items=items,
        embedded=work.embedded,
        by_thumbnail=work.by_thumbnail,
        lost=len({one for one, _ in work.lost}),
    )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One at a time; the system frees the lock when its holder dies."""
    lock = path / LOCK_FILE
    with contextlib.ExitStack() as held:
        with disk_errors(path):
            file = held.enter_context(open_to_write(lock))
            alone = lock_alone(file.fileno(), lock)
        if not alone:
            raise SynestheteError(
                f"{path} is being embedded again already", hint="wait until that ends"
            )
        yield


def _draft(
    path: Path,
    old: Embedding,
    model: ImageTextModel,
    layer: str,
    atlas: str | Path | None,
    seed: int,
    name: str,
) -> tuple[Embedding, bool]:
    """The catalogue of the new vectors, and whether it is what a killed call left of the same model: else it is empty."""
    place = path / f".{name}"
    if (path / name).exists():  # killed in the moment before the manifest was written
        (path / name).rename(place)
    store = manifests.store_of(old.manifest)
    if (place / manifests.FILE).exists():
        left = Embedding(place)
        facts = left.manifest["reference"].get("seed"), left.manifest.get("atlas")
        wanted = seed, None if atlas is None else open_atlas(atlas).manifest["fingerprint"]
        described = manifests.describe(model, layer)
        if facts == wanted and not manifests.differences(left.manifest["model"], described):
            return left, True
        if store:
            raise SynestheteError(
                f"{left.manifest['store']} has what {left.manifest['model']['name']} made of some items",
                hint=f"give that model, atlas and seed again, or remove it and {place}",
            )
        left.close()
    # Away in one step: a kill leaves a draft or none.
    gone = place.with_name(f"{place.name}.old")
    for one in (gone, place):
        if one.exists():
            shutil.rmtree(one if one == gone else one.rename(gone))
    url = f"{store}/{name}" if store else None
    Catalog.create(place, model, layer=layer, atlas=atlas, seed=seed, store=url).close()
    return Embedding(place), False


def _switch(path: Path, draft: Embedding, name: str) -> None:
    """Make the new vectors those of the catalogue; the turn to write is held."""
    draft.close()
    draft.path.rename(path / name)
    sync_folder(path)
    manifests.write_manifest(path, {**draft.manifest, "folder": name})
    for file in (manifests.FILE, LOCK):
        (path / name / file).unlink(missing_ok=True)


class _Work:
    """Brings the new table up to date with the old one, as often as it is called.

    Parameters
    ----------
    old, new
        The tables.
    model, described
        The new model, and what the manifest says of it.
    progress
        Called with how many items are done, and of how many.
    home
        The catalogue's folder, where fetched images are, and batches that others embed.

    Attributes
    ----------
    embedded, by_thumbnail
        Numbers of items.
    lost
        Id and digest of items that the model cannot use.
    """

    def __init__(
        self,
        old: ItemTable,
        new: ItemTable,
        model: ImageTextModel,
        described: Mapping[str, Any],
        progress: Callable[[int, int], None] | None,
        home: Path,
    ) -> None:
        self._home = home
        self._old, self._new, self._model, self._progress = old, new, model, progress
        self._layer, self._units = str(described["layer"]), int(described["units"])
        self.embedded = self.by_thumbnail = 0
        self.lost: set[tuple[str, str]] = set()
        self._aside: Mapping[str, Sequence[str]] = {}

    def one_pass(self, executor: Executor | None = None) -> int:
        """Embed what is new or changed in the old table, and take out what is gone; returns how many items that were."""
        old, new = _listed(self._old), _listed(self._new)
        gone = new.join(old, "id", join_type="left anti")["id"].to_pylist()
        if gone:
            self._new.delete(gone)
        missing = old.join(new, ["id", "digest"], join_type="left anti")
        pairs = set(zip(*(missing[key].to_pylist() for key in ("id", "digest")), strict=True))
        todo = sorted(one for one, _ in pairs - self.lost)
        done, total = len(old) - len(todo), len(old)
        aside = defaultdict[str, list[str]](list)
        for one in self._old.quarantine() if todo else ():
            if Path(one.what).suffix and one.what not in aside[one.id][:MOST_ASIDE]:
                aside[one.id].append(one.what)
        self._aside = aside
        batches = embedded(
            self._pieces(todo),
            lambda: self._model,
            self._layer,
            self._units,
            executor=executor,
            home=self._home,
        )
        for rows, batch, quarantined in batches:
            if batch is not None:
                self._write(rows, batch, quarantined)
            done += len(rows)
            if self._progress is not None:
                self._progress(done, total)
        return len(gone) + len(todo)

    def _pieces(self, todo: Sequence[str]) -> Iterator[tuple[list[dict[str, Any]], list[Loaded]]]:
        """Rows of the old table and their items, as many at once as their images leave room for."""
        for start in range(0, len(todo), BATCH):
            columns = (*ITEM_COLUMNS, "digest", "thumbnail")
            rows: list[dict[str, Any]] = []
            loaded: list[Loaded] = []
            held = 0
            for row in self._old.rows(todo[start : start + BATCH], columns):
                rows.append(row)
                aside = self._aside.get(row["id"], ())[:MOST_ASIDE]
                loaded.append(_loaded(row, aside, self._home))
                held += sum(len(data) for data in loaded[-1].data if data)
                if held >= BATCH_BYTES:
                    yield rows, loaded
                    rows, loaded, held = [], [], 0
            if rows:
                yield rows, loaded

    def _write(
        self, rows: Sequence[dict[str, Any]], batch: Batch, quarantined: list[Quarantined]
    ) -> None:
        given = {row["id"]: row for row in rows}
        batch = replace(
            batch,
            items=[item_of(given[item.id]) for item in batch.items],
            thumbnails=[given[item.id]["thumbnail"] for item in batch.items],
        )
        self._new.commit(batch, quarantined)
        self.embedded += len(batch.items)
        self.by_thumbnail += sum(digest.startswith(BY_THUMBNAIL) for digest in batch.digests)
        self.lost |= {
            (one, given[one]["digest"].removeprefix(BY_THUMBNAIL))
            for one in given.keys() - {item.id for item in batch.items}
        }


def _listed(table: ItemTable) -> pa.Table:
    """Id and digest of all items."""
    found = table.listed()
    plain = pc.replace_substring(found["digest"], BY_THUMBNAIL, "", max_replacements=1)
    return found.set_column(1, "digest", plain)


def _loaded(row: Mapping[str, Any], aside: Sequence[str], home: Path) -> Loaded:
    """An item with its images, where they have the content that was indexed, or else with its thumbnail.

    Parameters
    ----------
    aside
        What of the item is quarantined. The digest is of all images that were given, the item has those that could be used.
    home
        The catalogue's folder: it may have been moved, with the images that were fetched.
    """
    item, digest = item_of(row), row["digest"].removeprefix(BY_THUMBNAIL)
    item = replace(item, images=tuple(_moved_along(image, home) for image in item.images))
    data = [_content(image) for image in item.images]
    more = [(hash_of(_content(Path(name))), None) for name in aside]
    given = islice(_given([hash_of(one) for one in data], more), TRIES)
    if any(digest_by(item, hashes) == digest for hashes in given):
        return Loaded(item, tuple(data), digest, ())
    if row["thumbnail"] is None:
        return Loaded(replace(item, images=()), (), digest, ())
    small = replace(item, images=item.images[:1])
    return Loaded(small, (row["thumbnail"],), BY_THUMBNAIL + digest, ())


def _moved_along(image: ImageSource, home: Path) -> ImageSource:
    """A fetched image's place in the catalogue as it lies now."""
    if not isinstance(image, Path) or image.parent.parent.name != FETCHED or image.exists():
        return image
    here = home / FETCHED / image.parent.name / image.name
    return here if here.exists() else image


def _content(image: ImageSource) -> bytes | None:
    try:
        return image_bytes(image)
    except UnreadableImage:
        return None


def _given(
    hashes: list[str | None], more: Sequence[tuple[str | None, ...]]
) -> Iterator[list[str | None]]:
    """What may have been given for what was used: each of `more` in one of its forms somewhere among it, or nowhere.

    Examples
    --------
    >>> list(_given(["a"], [("b",)]))
    [['a'], ['b', 'a'], ['a', 'b']]
    """
    if not more:
        yield hashes
        return
    yield from _given(hashes, more[1:])
    for one in dict.fromkeys(more[0]):
        for place in range(len(hashes) + 1):
            yield from _given([*hashes[:place], one, *hashes[place:]], more[1:])
