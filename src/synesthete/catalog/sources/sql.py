"""Items out of a database: the rows of one query, by SQLAlchemy, read-only and streamed.

A URL may hold a password, and so may its query; neither is ever shown or kept. `$NAME` stands for the URL in an environment
variable, which other users of the machine cannot see.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.row_reader import Rows
from synesthete.catalog.schema import Item, Quarantined
from synesthete.catalog.sources.reading import Reading
from synesthete.catalog.sources.tables import row_items
from synesthete.catalog.sources.watermark import BEGINNING, Watermark, time_of
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import sqlalchemy as sa

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_URL = re.compile(r"([a-z0-9]+(?:\+[a-z0-9_]+)?)://(.*)", re.DOTALL)
_SELECT = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL
)
_ROWS = 256  # fetched at a time
SINCE = "since"


def is_database_url(text: str) -> bool:
    """Whether a source is a database rather than a file.

    Examples
    --------
    >>> is_database_url("postgresql://db.example/shop"), is_database_url("$DATABASE_URL"), is_database_url("a.csv")
    (True, True, False)
    """
    return bool(_VARIABLE.fullmatch(text) or _URL.fullmatch(text))


def sql_items(url: str, query: str, reading: Reading) -> Iterator[Item | Quarantined]:
    """Items of a query's rows, with columns as in a table.

    A parameter `:since` in the query is filled in with the time from which rows are read.

    Parameters
    ----------
    url
        SQLAlchemy's URL of the database, or `$NAME`.
    query
        A SELECT.
    reading
        How rows become items.

    Raises
    ------
    SynestheteError
        No such database, a query that fails or would change something, an extra that is not installed.
    """
    parsed, name = _parsed(url)
    if not _SELECT.match(query):
        raise SynestheteError(
            "--sql takes one SELECT", hint="such as 'SELECT id, title FROM products'"
        )
    yield from row_items(name, _rows(parsed, name, query, reading.since), reading)


def database_name(url: str) -> str:
    """What a database is called in messages and in the catalogue: without user, password and query."""
    return _parsed(url)[1]


def _parsed(url: str) -> tuple[sa.URL, str]:
    try:
        import sqlalchemy as sa
    except ImportError:
        raise SynestheteError(
            "reading a database needs SQLAlchemy", hint="pip install 'synesthete[sql]'"
        ) from None
    if variable := _VARIABLE.fullmatch(url):
        url = os.environ.get(variable[1], "")
        if not url:
            raise SynestheteError(f"the environment variable {variable[1]} is not set")
    match = _URL.fullmatch(url)
    if match is None:
        hint = "such as postgresql://user@db.example/shop or sqlite:///shop.sqlite"
        raise SynestheteError("--sql needs the URL of a database", hint=hint)
    user = match[2].rpartition("@")[0]
    if not match[1].startswith("sqlite") and re.search(r"[@/?#\s]", user):
        # Parsed, parts of the password would become the host, and be shown.
        hint = "write @ as %40, / as %2F, # as %23 and ? as %3F in it"
        raise SynestheteError("the user or password in the URL has a special character", hint=hint)
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise SynestheteError("the URL of the database is not valid") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    shown = sa.URL.create(
        parsed.drivername.partition("+")[0],
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
    )
    return parsed, shown.render_as_string()


def _rows(url: sa.URL, name: str, query: str, since: Watermark | None) -> Rows:
    """The rows of a query, numbered from 1."""
    import sqlalchemy as sa

    is_file = url.get_backend_name() == "sqlite" and url.database and ":" not in url.database
    if is_file and not Path(str(url.database)).is_file():  # it would be created
        raise SynestheteError(f"no such database: '{url.database}'")
    try:
        statement = sa.text(query)
        wanted = set(statement.compile().params)
        if wanted - {SINCE}:
            raise SynestheteError(
                f"the query has a parameter :{min(wanted - {SINCE})}",
                hint="only :since is filled in",
            )
        if wanted:
            statement = statement.bindparams(**{SINCE: _bound(url, since)})
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True)
        with engine.connect() as connection:
            _forbid_writing(connection)
            result = connection.execution_options(yield_per=_ROWS).execute(statement)
            columns = list(result.keys())
            if len(set(columns)) < len(columns):
                twice = next(one for one in columns if columns.count(one) > 1)
                raise SynestheteError(
                    f"the query has two columns {twice!r}", hint="name one of them with AS"
                )
            for number, row in enumerate(result, start=1):
                yield number, dict(zip(columns, row, strict=True))
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise SynestheteError(
            f"{name} needs a driver: {reason}", hint="pip install 'synesthete[sql]'"
        ) from None
    except (sa.exc.SQLAlchemyError, UnicodeError, ValueError, OverflowError) as error:
        raise SynestheteError(f"{name}: {_message(error, url)}") from None


def _forbid_writing(connection: sa.Connection) -> None:
    """Have the database refuse changes; nothing is committed in any case."""
    backend = connection.dialect.name
    if backend == "postgresql":
        connection.execution_options(postgresql_readonly=True)
        # So that times without a zone are compared as UTC.
        connection.exec_driver_sql("SET TIME ZONE 'UTC'")
    elif backend == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")


def _bound(url: sa.URL, since: Watermark | None) -> Any:
    """The time as a database compares it: SQLite has texts or numbers, compared with what it had before."""
    text = BEGINNING if since is None else since.text
    if url.get_backend_name() == "sqlite":
        return text
    found = time_of(text)
    assert found is not None, "a watermark is a time"
    return found.replace(tzinfo=None)


def _message(error: Exception, url: sa.URL) -> str:
    """The first line of an error, without the password, should a driver repeat it."""
    text = str(getattr(error, "orig", None) or error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    secrets = [
        url.password,
        *(
            value
            for values in url.query.values()
            for value in ([values] if isinstance(values, str) else values)
        ),
    ]
    for secret in filter(None, secrets):
        line = line.replace(secret, "***")
    return line
