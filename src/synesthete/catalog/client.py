"""A typed client of the REST API: the same calls as a `Catalog`, from any machine."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from synesthete._core.user_files import read_file
from synesthete.catalog.classify import Classification
from synesthete.catalog.events import Event, Refusal, Taken
from synesthete.catalog.schema import (
    Alignment,
    Hit,
    ImageSource,
    Item,
    Signal,
    Suggestion,
    Written,
)
from synesthete.errors import SynestheteError

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

    def health(self) -> dict[str, Any]:
        """That it works, how many items, by which model."""
        return self._call("GET", "/health", dict[str, Any])

    def items(self, *, at_once: int = 200) -> Iterator[Item]:
        """All items, by id, fetched a page at a time; images by where they came from."""
        after: str | None = ""
        while after is not None:
            page = self._call(
                "GET", "/items", dict[str, Any], params={"after": after, "limit": at_once}
            )
            for row in page["items"]:
                yield _item(row)
            after = page["next"]

    def upsert(self, items: Iterable[Item]) -> Written:
        """Add items, or replace those with their ids (500 at a time)."""
        total = Written()
        for part in _parts(items, 500):
            body = {"items": [_item_body(item) for item in part]}
            total = _sum(total, self._call("POST", "/items", Written, json=body, once=True))
        return total

    def delete(self, ids: Iterable[str]) -> Written:
        """Delete items."""
        total = Written()
        for part in _parts(ids, 1000):
            body = {"ids": part}
            total = _sum(total, self._call("POST", "/items/delete", Written, json=body, once=True))
        return total

    def search(
        self,
        text: str | None = None,
        image: ImageSource | None = None,
        *,
        without: Sequence[str] = (),
        where: Sequence[str] = (),
        limit: int = 10,
        cut: float = 0.9,
        only_relevant: bool = False,
        reasons: int = 3,
    ) -> list[Hit]:
        """Items nearest to a text, an image or both; as `Catalog.search`."""
        body = {
            "text": text,
            "image": _base64(image),
            "without": list(without),
            "where": list(where),
            "limit": limit,
            "cut": cut,
            "only_relevant": only_relevant,
            "reasons": reasons,
        }
        return self._call("POST", "/search", dict[str, list[Hit]], json=body)["hits"]

    def recommend(
        self,
        signals: Sequence[Signal],
        *,
        mute: Sequence[str] = (),
        where: Sequence[str] = (),
        limit: int = 10,
        diversity: float = 0.3,
        half_life_days: float = 30.0,
        reasons: int = 3,
    ) -> list[Hit]:
        """Items for likes and dislikes; as `Catalog.recommend`."""
        body = {
            "signals": [_signal_body(signal) for signal in signals],
            "mute": list(mute),
            "where": list(where),
            "limit": limit,
            "diversity": diversity,
            "half_life_days": half_life_days,
            "reasons": reasons,
        }
        return self._call("POST", "/recommend", dict[str, list[Hit]], json=body)["hits"]

    def align(
        self, copies: Sequence[str], images: Sequence[ImageSource], *, reasons: int = 5
    ) -> list[Alignment]:
        """Every copy with every image; as `Catalog.align`."""
        encoded = [_base64(image) for image in images]
        body = {"copies": list(copies), "images": encoded, "reasons": reasons}
        return self._call("POST", "/align", dict[str, list[Alignment]], json=body)["pairs"]

    def suggest(
        self, image: ImageSource | None = None, brief: str | None = None, *, limit: int = 5
    ) -> Suggestion:
        """Suggestions for an image with a brief description; as `Catalog.suggest`."""
        body = {"image": _base64(image), "brief": brief, "limit": limit}
        return self._call("POST", "/suggest", Suggestion, json=body)

    def classify(
        self,
        classifier: str,
        records: Sequence[tuple[ImageSource | None, str]],
        *,
        reasons: bool = True,
    ) -> list[Classification]:
        """Labels of records (image, text) by a classifier of the catalogue."""
        rows = [{"image": _base64(image), "text": text} for image, text in records]
        body = {"classifier": classifier, "records": rows, "reasons": reasons}
        return self._call("POST", "/classify", dict[str, list[Classification]], json=body)[
            "records"
        ]

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

    def metrics(self) -> dict[str, Any]:
        """Rates, in all and by day."""
        return self._call("GET", "/metrics", dict[str, Any])

    def experiment(self, name: str, metric: str = "conversion", **options: Any) -> dict[str, Any]:
        """B against A; `options` as the API takes them: `alpha`, `window_hours`, `share_of_b`, `cap`."""
        params = {"name": name, "metric": metric, **options}
        return self._call("GET", "/experiment", dict[str, Any], params=params)

    def cases(self, *, waiting: bool | None = None, kind: str = "") -> Iterator[dict[str, Any]]:
        """Cases of the queue, those that wait first, fetched a page at a time."""
        after: int | None = 0
        while after is not None:
            params: dict[str, Any] = {"after": after, "kind": kind, "limit": 200}
            if waiting is not None:
                params["waiting"] = waiting
            page = self._call("GET", "/queue", dict[str, Any], params=params)
            yield from page["cases"]
            after = page["next"]

    def decide(
        self,
        ticket: str,
        verdict: Literal["accept", "override", "dismiss"],
        *,
        label: str = "",
        note: str = "",
        actor: str = "",
    ) -> dict[str, Any]:
        """Decide a case."""
        body = {"verdict": verdict, "label": label, "note": note, "actor": actor}
        return self._call("POST", f"/queue/{ticket}/decision", dict[str, Any], json=body)

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
    try:
        return TypeAdapter(kind).validate_json(response.content)
    except ValidationError as invalid:
        raise SynestheteError(
            f"the server's answer is of another form ({invalid.error_count()} differences)",
            hint="client and server of the same version?",
        ) from invalid


def _base64(image: ImageSource | None) -> str | None:
    if image is None:
        return None
    data = read_file(image) if isinstance(image, Path) else image
    return base64.b64encode(data).decode()


def _item_body(item: Item) -> dict[str, Any]:
    return {**item.as_dict(), "images": [_base64(image) for image in item.images]}


def _signal_body(signal: Signal) -> dict[str, Any]:
    return {**vars(signal), "image": _base64(signal.image)}


def _item(row: Mapping[str, Any]) -> Item:
    return Item(
        id=row["id"],
        title=row["title"],
        description=row["description"],
        category=row["category"],
        reviews=tuple(row["reviews"]),
        price=row["price"],
        attributes={name: tuple(values) for name, values in row["attributes"].items()},
        images=tuple(map(Path, row["images"])),
    )


def _sum(one: Written, other: Written) -> Written:
    return Written(
        added=one.added + other.added,
        changed=one.changed + other.changed,
        unchanged=one.unchanged + other.unchanged,
        deleted=one.deleted + other.deleted,
        quarantined=one.quarantined + other.quarantined,
    )


def _parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    part: list[T] = []
    for value in values:
        part.append(value)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
