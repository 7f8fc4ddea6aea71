"""A catalogue as one model embedded it: the table of its items, the reference, and the model when it is needed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.cache import file_stamp
from synesthete._core.user_files import UnusableFile, read_inside
from synesthete.catalog.encode import PHOTOS, read_photos
from synesthete.catalog.query_encoder import QueryEncoder
from synesthete.catalog.reference import Reference
from synesthete.catalog.store import manifest as manifests
from synesthete.catalog.store.location import location_of
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.store.table import ItemTable
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel


class Embedding:
    """Everything in a catalogue that is of one model, so that no answer mixes two; safe for threads.

    Parameters
    ----------
    path
        The catalogue's folder.

    Attributes
    ----------
    stamp
        Of the manifest that it was opened by.
    manifest
        What `catalog.json` says.
    home
        The folder of the reference and of what was learnt with this model.
    table, reference
        The items, and what the model makes of unrelated things.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = file_stamp(path / manifests.FILE)
        self.manifest: Mapping[str, Any] = manifests.read_manifest(path)
        self.home = manifests.home_of(path, self.manifest)
        self.table = ItemTable(location_of(path, self.manifest))
        self.reference = _read_reference(self.home, self.manifest)
        self._lock = threading.RLock()
        self._snapshot: Snapshot | None = None
        self._photos: tuple[int, int, int] | None = None
        self._model: ImageTextModel | None = None

    def model(self) -> ImageTextModel:
        """The model, loaded at first use; raises `SynestheteError` where it is another one now."""
        with self._lock:
            if self._model is None:
                from synesthete.models import load_model

                self.use(load_model(self.manifest["model"]["name"]))
            assert self._model is not None
            return self._model

    def use(self, model: ImageTextModel) -> None:
        """Use a model that is loaded already; raises `SynestheteError` where it is another one."""
        layer = self.manifest["model"]["layer"]
        known = {one.name for one in model.layers()}
        given = manifests.describe(model, layer if layer in known else model.default_layers[0])
        manifests.refuse_other(self.path, self.manifest["model"], given)
        self._model = model

    def snapshot(self) -> Snapshot:
        """The items as they are now; the same object as long as nothing changes."""
        with self._lock:
            photos = file_stamp(self.home / PHOTOS)
            current = self._snapshot
            if current is None or current.version != self.table.version() or photos != self._photos:
                described = self.manifest["model"]
                self._snapshot = current = Snapshot(
                    self.table,
                    self.reference,
                    described["layer"],
                    photos=read_photos(self.home, described["embedding_dim"]),
                    before=current,
                )
                self._photos = photos
            return current

    def encoder(self) -> QueryEncoder:
        """Turns queries into vectors of the snapshot."""
        return QueryEncoder(self.snapshot(), self.model)

    def close(self) -> None:
        """Let go of files and connections."""
        with self._lock:
            self._snapshot = None
            self.table.close()


def _read_reference(home: Path, manifest: Mapping[str, Any]) -> Reference:
    try:
        data = read_inside(home, home / manifests.REFERENCE)
    except UnusableFile as error:
        raise SynestheteError(f"{home} is damaged: {error}") from None
    if hashlib.sha256(data).hexdigest() != manifest["reference"]["sha256"]:
        raise SynestheteError(
            f"{home} is damaged: {manifests.REFERENCE} has other content than when it was written",
            hint="index the items again into a new catalogue",
        )
    return Reference.from_bytes(data)
