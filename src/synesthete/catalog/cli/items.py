"""`synesthete catalog index`, `demo`, `items`, `delete`, `recenter`, `reembed`, `migrate`, `adapt`, `quarantine`: what is in a catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synesthete.catalog import Catalog, Item, Quarantined
from synesthete.catalog.cli.options import (
    CatalogArgument,
    Columns,
    FolderArgument,
    Limit,
    set_aside,
)
from synesthete.cli.command import Output, command
from synesthete.cli.console import Note, count, dim, table
from synesthete.cli.progress import Reporter
from synesthete.cli.workers import Workers
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog.sources import LeftOut, RemoteImages, Watermark

app = typer.Typer()
MOST_PRUNED = 0.2  # of the items, unless --prune-any says that the table is complete


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """Whether and how images on the web are fetched.

    Attributes
    ----------
    fetch_images
        Fetch images whose https addresses the table gives, from --image-hosts only, into the catalogue's folder; without it they are
        counted and ignored.
    image_hosts : HOST,...
        Hosts that images are fetched from: cdn.example.com, *.example.com, localhost:8443 (comma-separated, or repeat for more).
    allow_http
        Also fetch over unencrypted connections.
    allow_private
        Also fetch from private networks and this machine.
    """

    fetch_images: bool = False
    image_hosts: list[str] | None = None
    allow_http: bool = False
    allow_private: bool = False

    def images_of(self, catalog: Path) -> RemoteImages | None:
        """What fetches images for a catalogue.

        Raises
        ------
        SynestheteError
            No hosts; options without --fetch-images.
        """
        from synesthete.catalog.sources import RemoteImages

        if not self.fetch_images:
            if self.image_hosts or self.allow_http or self.allow_private:
                raise SynestheteError("images are fetched only with --fetch-images", hint="add it")
            return None
        hosts = [host for given in self.image_hosts or () for host in given.split(",")]
        return RemoteImages(
            catalog / "images",
            hosts,
            allow_http=self.allow_http,
            allow_private=self.allow_private,
        )


@command(app)
def index(
    items: str,
    *,
    out: Path,
    model: str | None = None,
    atlas: Path | None = None,
    sql: str | None = None,
    column: Columns = None,
    images: Path | None = None,
    fetching: Fetching,
    workers: Workers,
    since: str | None = None,
    store: str | None = None,
    prune: bool = False,
    prune_any: bool = False,
) -> Output:
    """Put items into a catalogue: new ones are added, changed ones replaced, unchanged ones skipped.

    Interrupted work is resumed: run the same command again. Items and images that cannot be used are quarantined with the
    reason, and the rest goes on.

    Parameters
    ----------
    items : ITEMS
        A .csv, .jsonl or .parquet, also as Shopify and WooCommerce export it; a folder with a metadata or items table, or of
        images and texts; with --sql the URL of a database, or '$NAME' for the URL in an environment variable.
    out : X.catalog
        The catalogue; made when it is not there.
    model : M
        As for `synesthete record`; mini for a new catalogue. A catalogue that another model built is refused.
    atlas : X.atlas
        Of the same model: its tested names and families go into reasons and flags. Only when the catalogue is made.
    sql : SELECT
        Index the rows of this query, which changes nothing; :since in it is the time of --since.
    images : FOLDER
        Folder of the table's images; without it the table's own.
    since : TIME
        Read only rows that changed at or after this time (2026-03-01T12:00:00Z), or with `last` since the latest change that the
        catalogue has of ITEMS. The column is updated_at, modified, ..., or --column updated=NAME.
    store : URL
        Where the items of a new catalogue are kept: s3://BUCKET/PREFIX, gs:// or az://; in its folder without it. Keys to it are
        read from the environment (AWS_ACCESS_KEY_ID, ...) and never written.
    prune
        Also delete items that are not in ITEMS: a fifth of the catalogue at most, and only where every row could be read, as half
        a download may be a table, too.
    prune_any
        With --prune: however many go, and whatever could not be read.

    Returns
    -------
    the counts, and what was quarantined.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog index items.csv --out my.catalog
    synesthete catalog index items.csv --out my.catalog --executor processes --workers 2
    synesthete catalog index sqlite:///shop.sqlite --sql "SELECT id, title, price, updated_at FROM products" --since last --out my.catalog
    """
    from synesthete.catalog.sources import LeftOut, Watermark, read_items, source_name
    from synesthete.catalog.sources.watermark import keep_mark, read_mark

    if prune_any and not prune:
        raise SynestheteError("--prune-any needs --prune", hint="add it")
    if prune and since is not None:
        hint = "leave one of them out"
        raise SynestheteError("--prune needs all rows, and --since leaves some out", hint=hint)
    executor, name = workers.opened(), source_name(items, sql)
    mark = Watermark(read_mark(out, name) if since == "last" else since, required=since is not None)
    remote, left_out = fetching.images_of(out), LeftOut()
    source = read_items(
        items,
        sql=sql,
        columns=dict(column or []),
        images=images,
        remote=remote,
        since=mark,
        left_out=left_out,
    )
    catalog = _open_or_create(out, model, atlas, store)
    given, before = _Given(), len(catalog)
    with Reporter("indexing", "items") as reporter:
        written = catalog.upsert(
            given.noted(source) if prune else source, executor=executor, progress=reporter
        )
    if prune and not given.ids:
        hint = "is the table complete? To empty a catalogue, delete its folder"
        raise SynestheteError(f"no items in {name}: --prune would delete all", hint=hint)
    gone = [item for item in catalog.snapshot().ids if item not in given.ids] if prune else []
    if gone and not prune_any:
        _refuse_to_prune(len(gone), before, given.unread)
    deleted = catalog.delete(gone).deleted if gone else 0
    data = {"catalog": str(out), "items": len(catalog), **written.as_dict(), "deleted": deleted}
    data["quarantine"] = len(catalog.quarantine())
    data["left_out"] = asdict(left_out)
    data["images_fetched"] = remote.transferred if remote else 0
    # An image that may come later shall be asked for again.
    data["changed_until"] = read_mark(out, name)
    if not (remote and remote.later):
        data["changed_until"] = keep_mark(out, name, mark)
    refused = (f"{one.id}, {one.what}: {one.reason}" for one in written.quarantined)
    more = f": synesthete catalog quarantine {out}"
    view = [
        f"{count(len(catalog))} items in {out}: {count(written.added)} added, {count(written.changed)} changed, "
        f"{count(written.unchanged)} unchanged, {count(deleted)} deleted",
        *set_aside(refused, len(written.quarantined), more=more),
        *_notes(left_out, mark, remote),
    ]
    return Output(data, view)


@command(app)
def demo(*, out: Path = Path("demo.catalog"), model: str = "mini") -> Output:
    """Make the demo catalogue out of the built-in probe set: every second concept, with its images, is an item.

    The other concepts are left out, so that a search for one of them shows what "not here" looks like.

    Parameters
    ----------
    out : X.catalog
        The catalogue to make.
    model : M
        As for `synesthete record`.

    Returns
    -------
    the counts.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog demo
    """
    from synesthete.catalog.sources import demo_items

    catalog = _open_or_create(out, model, None)
    with Reporter("indexing", "items") as reporter:
        written = catalog.upsert(demo_items(), progress=reporter)
    view = (
        f"{count(len(catalog))} items in {out}",
        f"Go on with   synesthete catalog search {out} --text fruit",
    )
    return Output({"catalog": str(out), "items": len(catalog), **written.as_dict()}, view)


@command(app)
def items(
    catalog: CatalogArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Some of them.")
    ] = None,
    limit: Limit = 20,
) -> Output:
    """Show items as they were given: all of them by id, or some.

    Returns
    -------
    the items.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog items my.catalog
    synesthete catalog items my.catalog mug-red --json
    """
    from itertools import islice

    found = list(islice(catalog.items(ids or None), limit))
    rows = (
        (
            item.id,
            item.title[:60],
            item.category,
            "" if item.price is None else f"{item.price:g}",
            "; ".join(f"{key} {', '.join(values)}" for key, values in item.attributes.items())[:60],
            len(item.images),
        )
        for item in found
    )
    columns = ("id", "title", "category", "price", "attributes", "images")
    shown = table(*columns, right=("price", "images"), rows=rows)
    below = dim(f"{count(len(found))} of {count(len(catalog))} items")
    return Output([item.as_dict() for item in found], [shown, below])


@command(app)
def delete(
    catalog: CatalogArgument,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Items.")],
) -> Output:
    """Delete items of a catalogue; unknown ids are ignored.

    Returns
    -------
    how many there were.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog delete my.catalog spoon-white
    """
    gone = catalog.delete(ids).deleted
    return Output({"deleted": gone}, [f"{count(gone)} deleted"])


@command(app)
def recenter(catalog: CatalogArgument) -> Output:
    """Make new centres of the items as they are, and every item's vector about them again.

    Items come and go without moving the others' vectors; done by itself when their number has doubled or halved since.
    Searches and writers go on meanwhile (in an object store, writers wait); then searches change a little, all at once.

    Returns
    -------
    the `version` of the centres, and how many `items` they are of.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog recenter my.catalog
    """
    version = catalog.recenter()
    items = len(catalog)
    return Output(
        {"version": version, "items": items}, [f"centres {version}, of {count(items)} items"]
    )


@command(app)
def reembed(
    catalog: FolderArgument, *, model: str, atlas: Path | None = None, workers: Workers
) -> Output:
    """Embed all items again with another model, and switch to it at once.

    The catalogue may be served and written meanwhile: searches use the old vectors until all new ones are there. Interrupted,
    run the same command again. Events, decisions, keys and experiments stay; what `adapt` and `calibrate` learnt does not hold
    for another model. Images are read where they were; where they are not there any more, the item's thumbnail is embedded.

    Parameters
    ----------
    model : M
        As for `synesthete record`.
    atlas : X.atlas
        Of that model: its tested names and families go into reasons and flags.

    Returns
    -------
    how many `items` there are, how many of them were `embedded` now, `by_thumbnail`, and `lost` to the quarantine.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog reembed my.catalog --model ViT-B-32/laion2b_s34b_b79k
    """
    from synesthete.catalog.reembed import reembed

    with Reporter("embedding", "items") as reporter:
        found = reembed(catalog, model, atlas=atlas, executor=workers.opened(), progress=reporter)
    view = [f"{catalog}: {count(found.items)} items, {count(found.embedded)} embedded with {model}"]
    if found.by_thumbnail:
        what = "by their thumbnails, as their images are not where they were or changed"
        view.append(f"{count(found.by_thumbnail)} of them {what}: index them again")
    if found.lost:
        view.append(f"{count(found.lost)} lost: synesthete catalog quarantine {catalog}")
    return Output(asdict(found), view)


@command(app)
def migrate(catalog: FolderArgument) -> Output:
    """Bring a catalogue of an earlier format to this program's, in place.

    Items, with what the model made of them, and the quarantine move; nothing is encoded again. Events, keys, cases,
    decisions and photos stay as they are. Interrupted, run the same command again.

    Returns
    -------
    the format's version `before` and `after`, and how many `items` there are.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog migrate my.catalog
    """
    from synesthete.catalog.store.migration import migrate_catalog

    before, after = migrate_catalog(catalog)
    items = len(Catalog.open(catalog))
    done = f"format {before} to {after}" if before != after else f"already of format {after}"
    data = {"before": before, "after": after, "items": items}
    return Output(data, [f"{catalog}: {done}, {count(items)} items"])


@command(app)
def adapt(
    catalog: CatalogArgument,
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS...", help="Image files, or folders of them.")
    ],
) -> Output:
    """Learn what customers' photos have in common, without labels, so that searches disregard it.

    A few dozen will do; photos given before are forgotten. Loads the model.

    Returns
    -------
    how many photos could be read.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog adapt my.catalog my-photos
    """
    from synesthete.catalog.sources import images_under

    read = catalog.adapt(image for path in photos for image in images_under(path))
    return Output({"photos": read}, [f"learnt from {count(read)} photos"])


@command(app)
def quarantine(catalog: CatalogArgument) -> Output:
    """Show what could not be indexed, with the reasons; an entry goes when its item is indexed or deleted.

    Returns
    -------
    A list of `id`, `what` and `reason`.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog quarantine my.catalog
    """
    rows = [asdict(one) for one in catalog.quarantine()]
    return Output(rows, [table("id", "what", "reason", rows=(row.values() for row in rows))])


def _open_or_create(
    path: Path, model: str | None, atlas: Path | None, store: str | None = None
) -> Catalog:
    from synesthete.catalog.store.manifest import FILE, store_of

    if not (path / FILE).exists():
        return Catalog.create(path, model or "mini", atlas=atlas, store=store)
    if atlas is not None:
        hint = "give --atlas when the catalogue is made"
        raise SynestheteError(f"'{path}' is there already", hint=hint)
    catalog = Catalog.open(path)
    if store is not None and store.rstrip("/") != store_of(catalog.manifest):
        hint = "give --store when the catalogue is made"
        raise SynestheteError(f"'{path}' is there already, with its items elsewhere", hint=hint)
    if model is not None and model != catalog.manifest["model"]["name"]:
        from synesthete.models import load_model

        return Catalog.open(path, model=load_model(model))
    return catalog


def _notes(left_out: LeftOut, mark: Watermark, remote: RemoteImages | None) -> Iterator[Note]:
    """What was left out on purpose, and how to have it."""
    if left_out.unchanged:
        yield Note(f"{count(left_out.unchanged)} items unchanged since {mark.text}, not read")
    if mark.required and mark.unreadable:
        yield Note(f"{count(mark.unreadable)} rows read whose time of change is not a valid time")
    if left_out.unpublished:
        yield Note(f"{count(left_out.unpublished)} products not published, left out")
    if hosts := left_out.image_urls:
        named = ",".join(sorted(hosts, key=lambda host: -hosts[host])[:3])
        hint = f"to fetch them: --fetch-images --image-hosts {named}"
        yield Note(f"{count(sum(hosts.values()))} images on the web, ignored ({hint})")
    if remote and remote.later:
        yield Note(
            f"{count(remote.later)} images may be there later: run the same command again, --since starts where it did"
        )


class _Given:
    """What a source gave: ids of items, and how many rows nobody knows the items of."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.unread = 0

    def noted(self, source: Iterable[Item | Quarantined]) -> Iterator[Item | Quarantined]:
        """The items of a source, which are noted."""
        for one in source:
            id = one.id.strip() if isinstance(one.id, str) else ""
            if not id or (isinstance(one, Quarantined) and one.what == "row"):
                self.unread += 1
            else:
                self.ids.add(id)
            yield one


def _refuse_to_prune(gone: int, before: int, unread: int) -> None:
    """Raise where a table may be half a download: nothing is deleted then, what is in it is indexed."""
    if unread:
        why = f"{count(unread)} rows could not be read"
    elif gone > MOST_PRUNED * before:
        why = "that is more than a fifth"
    else:
        return
    raise SynestheteError(
        f"--prune would delete {count(gone)} of {count(before)} items, and {why}: none deleted",
        hint="is the table complete? Then add --prune-any",
    )
