"""`synesthete catalog backup`, `restore` and `webhook`: what a catalogue needs that is run as a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from synesthete.catalog.cli.options import FolderArgument
from synesthete.cli.command import Output, command
from synesthete.cli.console import Note, count, table
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog.backup import Backup

app = typer.Typer()
webhook = typer.Typer(
    help="Webhooks: a signed message to another program for every decision on a case.",
    no_args_is_help=True,
)
app.add_typer(webhook, name="webhook")


@command(app)
def backup(catalog: FolderArgument, to: Path) -> Output:
    """Copy a catalogue into a new folder or archive, while it is written and served, and verify the copy.

    It holds items, also those in an object store, events, reviews, hashes of keys, and the secrets of webhooks. Only you may read it.
    It does not hold events in PostgreSQL (SYNESTHETE_EVENTS_URL).

    Parameters
    ----------
    to : TO
        A new folder; or a new archive, where the name ends in .zip.

    Returns
    -------
    how many `files`, `bytes` and `items` are in it.

    See Also
    --------
    service.md#backups

    Examples
    --------
    synesthete catalog backup my.catalog my.backup
    synesthete catalog backup my.catalog my-backup.zip --json
    """
    from synesthete.catalog.backup import back_up

    return _shown(back_up(catalog, to), to)


@command(app)
def restore(backup: Path, catalog: Path, store: str | None = None) -> Output:
    """Make a new catalogue of a backup; every file is compared with what was backed up.

    Events in PostgreSQL are in no backup: they are what they are now.

    Parameters
    ----------
    backup : FROM
        The folder or archive that `catalog backup` wrote.
    catalog : CATALOG
        A new folder.
    store : URL
        Where the items go: s3://BUCKET/PREFIX, gs:// or az://, where no catalogue's items are; into the folder without it.

    Returns
    -------
    how many `files`, `bytes` and `items` were in the backup.

    See Also
    --------
    service.md#backups

    Examples
    --------
    synesthete catalog restore my.backup restored.catalog
    """
    from synesthete.catalog.backup import restore as put_back

    return _shown(put_back(backup, catalog, store=store), catalog)


@command(webhook)
def add(catalog: FolderArgument, url: str, private: bool = False) -> Output:
    """Send every decision from now on to a URL, signed with a secret that is printed once.

    Parameters
    ----------
    url : URL
        Of HTTPS, on the internet.
    private
        Its address may be of this machine or its networks, and the URL may be of plain HTTP then.

    Returns
    -------
    the webhook and its `secret`.

    See Also
    --------
    service.md#webhooks

    Examples
    --------
    synesthete catalog webhook add my.catalog https://shop.example/decisions
    """
    from synesthete.catalog.webhooks import Webhooks

    added, secret = Webhooks(catalog).add(url, private=private)
    line = f"That is the secret of webhook {added.id}; it is not printed again."
    return Output({**vars(added), "secret": secret}, [secret, Note(line)])


@command(webhook, "list")
def show(catalog: FolderArgument) -> Output:
    """Show the webhooks: how many messages arrived, wait to be sent again, and were given up.

    Returns
    -------
    the webhooks, without their secrets.

    See Also
    --------
    service.md#webhooks

    Examples
    --------
    synesthete catalog webhook list my.catalog
    """
    from synesthete.catalog.webhooks import Webhooks

    every = Webhooks(catalog).every()
    rows = [
        (one.id, one.url, count(one.delivered), count(one.waiting), count(one.failed), one.error)
        for one in every
    ]
    columns = ("id", "url", "delivered", "wait", "given up", "last error")
    view = table(*columns, right=columns[2:5], rows=rows) if every else "no webhook yet"
    return Output(every, [view])


@command(webhook)
def remove(catalog: FolderArgument, name: str) -> Output:
    """Send nothing more to a webhook; what waits to be sent is dropped.

    Parameters
    ----------
    name : WEBHOOK
        Its id or URL.

    Returns
    -------
    the webhooks that are left.

    See Also
    --------
    service.md#webhooks

    Examples
    --------
    synesthete catalog webhook remove my.catalog https://old.example/decisions
    """
    from synesthete.catalog.webhooks import Webhooks

    webhooks = Webhooks(catalog)
    webhooks.remove(name)
    left = webhooks.every()
    return Output(left, [Note(f"removed; {count(len(left))} left")])


@command(webhook)
def test(catalog: FolderArgument, name: str) -> Output:
    """Send a test message to a webhook now, and say whether it arrived.

    Parameters
    ----------
    name : WEBHOOK
        Its id or URL.

    Returns
    -------
    the `id` of the message.

    See Also
    --------
    service.md#webhooks

    Examples
    --------
    synesthete catalog webhook test my.catalog https://shop.example/decisions
    """
    import anyio

    from synesthete.catalog.webhooks import Webhooks, send

    message = Webhooks(catalog).test(name)
    if error := anyio.run(send, message):
        raise SynestheteError(f"the test message did not arrive: {error}")
    return Output({"id": message.id}, [Note(f"the test message {message.id} arrived")])


def _shown(found: Backup, place: Path) -> Output:
    what = f"{count(found.files)} files, {count(found.items)} items, {count(found.bytes)} bytes"
    return Output(found, [f"{place}: {what}, verified"])
