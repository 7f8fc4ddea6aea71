"""A catalogue: items with images and words, to be searched, recommended from and compared, with reasons."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from synesthete._core.arrays import Float32
from synesthete._core.cache import file_stamp
from synesthete.atlas.files import write_file
from synesthete.catalog.align import align
from synesthete.catalog.embedding import Embedding
from synesthete.catalog.encode import write_photos
from synesthete.catalog.evaluate import evaluate
from synesthete.catalog.recommend import recommend
from synesthete.catalog.reference import Reference, make_reference
from synesthete.catalog.requests import (
    Align,
    Answer,
    Recommend,
    Request,
    Search,
    Suggest,
    method_of,
)
from synesthete.catalog.schema import (
    Evaluation,
    ImageSource,
    Item,
    Quarantined,
    ReviewQueue,
    Suggestion,
    Written,
)
from synesthete.catalog.search import search
from synesthete.catalog.store import manifest as manifests
from synesthete.catalog.store.centres import Centres
from synesthete.catalog.store.ingest import upsert
from synesthete.catalog.store.location import POINTER, check_url, location_of, require_lancedb
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.store.table import ItemTable
from synesthete.catalog.suggest import (
    Confidence,
    calibrate,
    read_confidence,
    suggest,
    write_confidence,
)
from synesthete.errors import SynestheteError
from synesthete.reviews.cases import Policy

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor

Progress = Callable[[int, int], None]


class Catalog:
    """Opened with `Catalog.open`, created with `Catalog.create`. Safe for threads; several processes may write.

    Parameters
    ----------
    path
        The folder, usually called `NAME.catalog`.

    Attributes
    ----------
    path
        The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._opened = Embedding(self.path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: str | ImageTextModel = "mini",
        *,
        layer: str | None = None,
        atlas: str | Path | None = None,
        seed: int = 0,
        store: str | None = None,
    ) -> Catalog:
        """A new, empty catalogue.

        Parameters
        ----------
        path
            The folder to make.
        model
            A name, as for `load_model`, or the model itself.
        layer
            Whose units give the reasons; the model's default layer without it.
        atlas
            Of the same model, analysed: its tested names and families are used in reasons and flags.
        seed
            Of the unrelated texts that scores are judged against.
        store
            URL of an object store (`s3://bucket/prefix`, `gs://…`, `az://…`) for the items; in the folder without it. How to
            reach it is read from the environment, as the store's own tools do.

        Raises
        ------
        SynestheteError
            Something is there already; an atlas of another model; no such layer; a store that cannot be reached; no `lancedb` (extra `[catalog]`).
        """
        require_lancedb()
        from synesthete.atlas import open_atlas
        from synesthete.models import load_model

        place = Path(path)
        if (place / manifests.FILE).exists():
            raise SynestheteError(
                f"'{place}' is there already", hint="open it, or choose another name"
            )
        if place.exists() and (
            not place.is_dir() or any(not _begun(name) for name in _names(place))
        ):
            raise SynestheteError(f"'{place}' is there already and is no catalogue")
        store = None if store is None else check_url(store)
        loaded = load_model(model) if isinstance(model, str) else model
        chosen = loaded.layer(layer or loaded.default_layers[0]).name
        opened = None if atlas is None else open_atlas(atlas)
        reference, facts = make_reference(loaded, chosen, atlas=opened, seed=seed)
        data = reference.to_bytes()
        write_file(place / manifests.REFERENCE, data)
        manifest = {
            "format": manifests.FORMAT,
            "version": manifests.VERSION,
            "model": manifests.describe(loaded, chosen),
            "reference": {**facts, "sha256": hashlib.sha256(data).hexdigest()},
            "atlas": None if opened is None else opened.manifest["fingerprint"],
            **({"store": store} if store else {}),
        }
        dim, units = loaded.embedding_dim, loaded.layer(chosen).units
        ItemTable.create(location_of(place, manifest), dim, units, Centres.of_reference(reference))
        manifests.write_manifest(place, manifest)
        created = cls(place)
        created._opened.use(loaded)
        return created

    @classmethod
    def open(cls, path: str | Path, *, model: ImageTextModel | None = None) -> Catalog:
        """An existing catalogue. No model is loaded; what needs one loads it at first use and checks it.

        Parameters
        ----------
        path
            The folder.
        model
            Use this one instead of loading it by name.

        Raises
        ------
        SynestheteError
            No catalogue there, a damaged one, or one that another model built.
        """
        opened = cls(path)
        if model is not None:
            opened._opened.use(model)
        return opened

    def __repr__(self) -> str:
        return f"<Catalog {self.path}: {len(self)} items, {self.manifest['model']['name']}>"

    def __len__(self) -> int:
        return self._embedding().table.count()

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and bool(self._embedding().table.digests([item_id]))

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What `catalog.json` says: the model, the layer whose units give reasons, the reference."""
        return self._embedding().manifest

    @property
    def model(self) -> ImageTextModel:
        """The model that the catalogue was built with.

        Raises
        ------
        SynestheteError
            It cannot be loaded, or is another one now; the message says what differs.
        """
        return self._embedding().model()

    @property
    def reference(self) -> Reference:
        """What the model makes of unrelated things, and what its units are called."""
        return self._embedding().reference

    def snapshot(self) -> Snapshot:
        """The catalogue as it is now; the same object as long as nothing changes."""
        return self._embedding().snapshot()

    def upsert(
        self,
        items: Iterable[Item | Quarantined],
        *,
        executor: Executor | None = None,
        progress: Progress | None = None,
        tidy: bool = True,
    ) -> Written:
        """Add items, or replace those whose id is there already.

        Committed in batches: killed at any moment, what was committed stays, and the same call again skips what is
        unchanged. Items that cannot be used are set aside with the reason, and those already there stay as they were.

        Parameters
        ----------
        items
            May be a generator; memory does not grow with their number. What a reader of items could not read
            (`Quarantined`) may be among them and is kept with the rest.
        executor
            Who embeds them; this process without it. Processes, and actors of Ray, open the model by its name. What is written is the
            same wherever the processor sums alike with fewer threads.
        progress
            Called with the number of items done, twice.
        tidy
            Whether to `tidy` afterwards.
        """
        current = self._embedding()
        return upsert(
            current.table,
            current.model,
            current.manifest["model"],
            items,
            executor=executor,
            home=self.path,
            progress=progress,
            tidy=tidy,
        )

    def delete(self, ids: Iterable[str], *, tidy: bool = True) -> Written:
        """Take items out, and `tidy` if that is wanted; ids that are not there are ignored."""
        table = self._embedding().table
        gone = table.delete(list(dict.fromkeys(ids)))
        if tidy:
            table.tidy()
        return Written(deleted=gone)

    def tidy(self) -> None:
        """Compact, bring the indexes up to date, and make new centres where the number of items has doubled or halved.

        Until then searches find everything, and take longer. They go on meanwhile; other writers wait, though not for new centres
        (but in an object store).
        """
        self._embedding().table.tidy()

    def recenter(self) -> int:
        """Make new centres of the items as they are, and every item's fused vector again; returns the centres' version.

        Done by itself when the number of items has doubled or halved since the centres were made. Searches go on meanwhile, and
        writers as for `tidy`.

        Raises
        ------
        SynestheteError
            Another process does it.
        """
        return self._embedding().table.recenter()

    def items(self, ids: Sequence[str] | None = None) -> Iterator[Item]:
        """The items as they were given, sorted by id; or those asked for, in that order.

        Raises
        ------
        SynestheteError
            No such item.
        """
        return self.snapshot().items(ids)

    def thumbnail(self, item_id: str) -> bytes | None:
        """WebP of an item's first image; None where it has none. Raises `SynestheteError` for an unknown id."""
        return self.snapshot().thumbnail(item_id)

    def vectors(self, ids: Sequence[str] | None = None) -> Float32:
        """The items' fused unit vectors `[items, dim]`, in the order of `items`."""
        snapshot = self.snapshot()
        return snapshot.rows(snapshot.ids if ids is None else ids).array("fused")

    def units(self, ids: Sequence[str] | None = None) -> Float32:
        """Mean activation of every unit for the items' images, `[items, units]`; NaN without an image."""
        snapshot = self.snapshot()
        return snapshot.rows(snapshot.ids if ids is None else ids, ["units"]).array("units")

    def missing_indexes(self) -> list[str]:
        """Columns of the items' table whose index is not there, though searches use it; none unless files were lost."""
        return self._embedding().table.missing_indexes()

    def quarantine(self) -> list[Quarantined]:
        """What could not be used so far, with the reasons; an entry goes when its item is indexed or deleted."""
        return self._embedding().table.quarantine()

    def adapt(self, images: Iterable[ImageSource]) -> int:
        """Learn what customers' photos have in common, without labels, so that searches look past it.

        Their mean replaces that of the reference photos in queries with an image; photos given before are forgotten.
        Returns how many could be read.

        Raises
        ------
        SynestheteError
            None of them can be read.
        """
        current = self._embedding()
        return write_photos(current.home, current.model(), images)

    def answer(self, request: Request[Answer]) -> Answer:
        """Answer a request as a value: of a search, the next page, how many items match, and facets, too.

        Raises
        ------
        SynestheteError
            Nothing to search for, an image that cannot be read, an unknown filter, order or item, a number out of range.
        """
        current = self._embedding()
        encoder = current.encoder()
        result: Any = None
        if isinstance(request, Search):
            result = search(encoder, request)
        elif isinstance(request, Recommend):
            result = recommend(encoder, request)
        elif isinstance(request, Align):
            result = align(encoder, current.model(), request)
        elif isinstance(request, Suggest):
            result = self.suggest(
                request.image, request.brief, reference=request.reference, limit=request.limit
            )
        if result is None:
            raise SynestheteError(f"a catalogue does not answer {type(request).__name__}")
        return cast("Answer", result)

    search = method_of(Search, lambda page: page.hits)
    recommend = method_of(Recommend, lambda found: found.hits)
    align = method_of(Align, lambda found: found.pairs)

    def suggest(
        self,
        image: ImageSource | None = None,
        brief: str | None = None,
        *,
        reference: str = "",
        limit: int = 5,
        threshold: float = 0.6,
        audit: float = 0.0,
        queue: ReviewQueue | None = None,
    ) -> Suggestion:
        """Items, categories, attributes and next questions for an image with a brief description.

        Parameters
        ----------
        image, brief
            One of them may be missing.
        reference
            What the case is called in the queue and its labels; without it the image's path, or a hash of what was given.
        threshold
            Of confidence: below it the machine abstains.
        audit
            Share of the answers from it on that go to the queue as well, chosen by a hash of the reference.
        queue
            Where a case goes when it abstains, or when its answer is audited.

        Raises
        ------
        SynestheteError
            Neither an image nor a brief, an image that cannot be read, a number out of range.
        """
        current = self._embedding()
        return suggest(
            current.encoder(),
            Suggest(image, brief, reference=reference, limit=limit),
            policy=Policy(threshold, audit),
            queue=queue,
            calibrated=read_confidence(current.home),
        )

    @property
    def confidence(self) -> Confidence | None:
        """How often suggestions of each strength are right, where that was measured (`calibrate`)."""
        return read_confidence(self._embedding().home)

    def calibrate(self, queries: str | Path | None = None, *, seed: int = 0) -> Confidence:
        """Measure how often suggestions are right by their strength; from then on `suggest` gives a probability.

        Parameters
        ----------
        queries
            A table as for `evaluate`, of what customers ask, with the answers. Without it the catalogue's own items
            are asked for with themselves left out, which measures images like the catalogue's.
        seed
            Of the folds by which it is measured, and of the items where there are many.

        Raises
        ------
        SynestheteError
            Fewer than 50 cases, or all right, or all wrong; what `evaluate` raises.
        """
        current = self._embedding()
        path = None if queries is None else Path(queries)
        found = calibrate(current.encoder(), path, seed=seed)
        write_confidence(current.home, found)
        return found

    def evaluate(
        self,
        queries: str | Path,
        *,
        k: int | Sequence[int] = 10,
        seed: int = 0,
        columns: Mapping[str, str] | None = None,
        per_query: str | Path | None = None,
    ) -> list[Evaluation]:
        """Recall, NDCG and MRR at one `k` or several on a table of queries with known answers.

        Of `search` (words and vectors), of its parts alone (`vectors`, `text-only`, `image-only`), and of baselines:
        the model's plain `cosine`, `tf-idf`, `bm25` and `random`. By words, a query without words finds nothing.

        Parameters
        ----------
        queries
            A `.csv`, `.jsonl` or `.parquet` with columns `text` or `image` (or both) and `relevant`: ids of items,
            or `category`: then every item of that category is right.
        seed
            Of the random control and the bootstrap.
        columns
            Part to column, where the table has other names: `{"relevant": "class_id"}`.
        per_query
            A CSV to write: every query by every method, with what was found.

        Raises
        ------
        SynestheteError
            A table that cannot be read, a query without a right answer in the catalogue.
        """
        return evaluate(
            self._embedding().encoder(),
            Path(queries),
            ks=[k] if isinstance(k, int) else sorted(set(k)),
            seed=seed,
            columns=columns,
            per_query=None if per_query is None else Path(per_query),
        )

    def close(self) -> None:
        """Let go of files and connections."""
        self._opened.close()

    def _embedding(self) -> Embedding:
        """What is of the model in use: another one after `reembed`."""
        with self._lock:
            stamp = file_stamp(self.path / manifests.FILE)
            if stamp not in (None, self._opened.stamp):
                self._opened = Embedding(self.path)
            return self._opened


def _begun(name: str) -> bool:
    """Whether a file of this name may be what a killed creation left."""
    return name in (manifests.REFERENCE, POINTER) or name.endswith(".lance")


def _names(place: Path) -> list[str]:
    return [file.name for file in place.iterdir() if not file.name.startswith(".")]
