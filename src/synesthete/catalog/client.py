"""A typed client of the REST API: the same calls as a `Catalog`, from any machine."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

import httpx
from pydantic import TypeAdapter, ValidationError

from synesthete.catalog.classify import Classify
from synesthete.catalog.events import Event, Refusal, Taken
from synesthete.catalog.requests import (
    Align,
    Answer,
    Recommend,
    Request,
    Search,
    Suggest,
    answer_type,
    method_of,
)
from synesthete.catalog.schema import Item, Written
from synesthete.catalog.server.schema import CaseFacts, CasePage, Health, ItemPage, Upsert
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.catalog.metrics import Experiment, Summary

T = TypeVar("T")
TRIES = 4
LONGEST_WAIT = 30.0


class CatalogClient:
    """A catalogue on a server.

    Calls that change something carry an idempotency key, so that they are tried again after a lost connection, or when
    the server is busy (429, and 503 or 409 with `Retry-After`), without being carried out twice.

    Parameters
    ----------
    url
        Where it is served, such as `http://127.0.0.1:8765`.
    key
        Of `synesthete catalog keys`.
    timeout
        Seconds that an answer may take.
    transport
        Of httpx; for tests.

    Raises
    ------
    SynestheteError
        From every call: what the server says is wrong, or that it cannot be reached.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            timeout=timeout,
            transport=transport,
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
        )

    def __enter__(self) -> CatalogClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Health:
        """That it works, how many items, by which model."""
        return self._call("GET", "/health", Health)

    def items(self, *, sort: str = "id", at_once: int = 200) -> Iterator[Item]:
        """All items, by id or in another order, fetched a page at a time; images by where they came from."""
        after: str | None = ""
        while after is not None:
            params: dict[str, Any] = {"after": after, "limit": at_once, "sort": sort}
            page = self._call("GET", "/items", ItemPage, params=params)
            yield from (one.item() for one in page.items)
            after = page.next

    def upsert(self, items: Iterable[Item]) -> Written:
        """Add items, or replace those with their ids (500 at a time)."""
        total = Written()
        for part in _parts(items, 500):
            body = Upsert(items=part).model_dump(mode="json")
            total = _sum(total, self._call("POST", "/items", Written, json=body, once=True))
        return total

    def delete(self, ids: Iterable[str]) -> Written:
        """Delete items."""
        total = Written()
        for part in _parts(ids, 1000):
            body = {"ids": part}
            total = _sum(total, self._call("POST", "/items/delete", Written, json=body, once=True))
        return total

    def answer(self, request: Request[Answer]) -> Answer:
        """Answer a request as a value; as `Catalog.answer`."""
        kind = type(request)
        body = TypeAdapter(kind).dump_python(request, mode="json")
        return self._call("POST", f"/{kind.__name__.lower()}", answer_type(kind), json=body)

    search = method_of(Search, lambda page: page.hits)
    recommend = method_of(Recommend, lambda found: found.hits)
    align = method_of(Align, lambda found: found.pairs)
    suggest = method_of(Suggest, lambda suggestion: suggestion)
    classify = method_of(Classify, lambda found: found.records)

    def send(self, events: Iterable[Event]) -> Taken:
        """Send events (1,000 at a time); an event sent twice counts once, by its key."""
        total = Taken()
        for number, part in enumerate(_parts(events, 1000)):
            body = {"events": [vars(event) for event in part]}
            done = self._call("POST", "/events", Taken, json=body, once=True)
            refused = (
                Refusal(one.index + 1000 * number, one.key, one.reason) for one in done.refused
            )
            total = Taken(
                added=total.added + done.added,
                replayed=total.replayed + done.replayed,
                unknown=total.unknown + done.unknown,
                skewed=total.skewed + done.skewed,
                refused=(*total.refused, *refused),
            )
        return total

    def assignment(
        self, experiment: str, subject: str, share_of_b: float = 0.5
    ) -> Literal["A", "B"]:
        """Which variant a visitor sees."""
        params = {"experiment": experiment, "subject": subject, "share_of_b": share_of_b}
        row = self._call("GET", "/assignment", dict[str, Any], params=params)
        return "B" if row["variant"] == "B" else "A"

    def metrics(self) -> Summary:
        """Rates, in all and by day."""
        from synesthete.catalog.metrics import Summary

        return _measured(Summary, self._call("GET", "/metrics", dict[str, Any]))

    def experiment(self, name: str, metric: str = "conversion", **options: Any) -> Experiment:
        """B against A; `options` as the API takes them: `alpha`, `window_hours`, `share_of_b`, `cap`."""
        from synesthete.catalog.metrics import Experiment

        params = {"name": name, "metric": metric, **options}
        return _measured(
            Experiment, self._call("GET", "/experiment", dict[str, Any], params=params)
        )

    def cases(self, *, waiting: bool | None = None, kind: str = "") -> Iterator[CaseFacts]:
        """Cases of the queue, those that wait first, fetched a page at a time."""
        after: int | None = 0
        while after is not None:
            params: dict[str, Any] = {"after": after, "kind": kind, "limit": 200}
            if waiting is not None:
                params["waiting"] = waiting
            page = self._call("GET", "/queue", CasePage, params=params)
            yield from page.cases
            after = page.next

    def decide(
        self,
        ticket: str,
        verdict: Literal["accept", "override", "dismiss"],
        *,
        label: str = "",
        note: str = "",
        actor: str = "",
    ) -> CaseFacts:
        """Decide a case."""
        body = {"verdict": verdict, "label": label, "note": note, "actor": actor}
        return self._call("POST", f"/queue/{ticket}/decision", CaseFacts, json=body)

    def _call(self, method: str, path: str, kind: type[T], *, once: bool = False, **more: Any) -> T:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if once else {}
        # Reading, and what carries a key, may be tried again; a decision is not, since it would be in the trail twice.
        tries = 1 if method == "POST" and path.endswith("/decision") else TRIES
        for left in reversed(range(tries)):
            try:
                response = self._http.request(method, path, headers=headers, **more)
            except httpx.HTTPError as error:
                if left:
                    time.sleep(0.2 * (tries - left))
                    continue
                raise SynestheteError(
                    f"{self._http.base_url} cannot be reached: {error}"
                ) from error
            wait = response.headers.get("retry-after", "1" if response.status_code == 429 else "")
            if response.status_code in (409, 429, 503) and wait and left:
                time.sleep(min(float(wait), LONGEST_WAIT))
                continue
            return _read(response, kind)
        raise AssertionError("unreachable")


def _read(response: httpx.Response, kind: type[T]) -> T:
    if response.status_code >= 400:
        try:
            error: Mapping[str, Any] = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            raise SynestheteError(f"the server answered {response.status_code}") from None
        raise SynestheteError(str(error.get("message", "")), hint=str(error.get("hint", "")))
    with _same_form():
        return TypeAdapter(kind).validate_json(response.content)


@contextmanager
def _same_form() -> Iterator[None]:
    """Say in one line that an answer is not what this version expects."""
    try:
        yield
    except ValidationError as invalid:
        raise SynestheteError(
            f"the server's answer is of another form ({invalid.error_count()} differences)",
            hint="client and server of the same version?",
        ) from invalid


def _measured(kind: type[T], answer: dict[str, Any]) -> T:
    """An answer with measured numbers: where nothing was measured they are null in JSON, and NaN here."""
    with _same_form():
        return TypeAdapter(kind).validate_python(_with_nan(kind, answer))


def _with_nan(kind: Any, value: Any) -> Any:
    if kind is float and value is None:
        return math.nan
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        return {key: _with_nan(hints.get(key), one) for key, one in value.items()}
    if isinstance(value, dict):
        inner = get_args(kind)[-1:] or (None,)
        return {key: _with_nan(inner[0], one) for key, one in value.items()}
    if isinstance(value, list):
        inner = get_args(kind)[:1] or (None,)
        return [_with_nan(inner[0], one) for one in value]
    return value


def _sum(one: Written, other: Written) -> Written:
    return Written(
        added=one.added + other.added,
        changed=one.changed + other.changed,
        unchanged=one.unchanged + other.unchanged,
        deleted=one.deleted + other.deleted,
        quarantined=one.quarantined + other.quarantined,
    )


def _parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(values)
    while part := list(islice(left, size)):
        yield part
