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
from synesthete.catalog.classify.classifier import Classification
from synesthete.catalog.events import Event, Taken
from synesthete.catalog.schema import Alignment, Hit, ImageSource, Item, Signal, Suggestion, Written
from synesthete.errors import SynestheteError

Made = TypeVar("Made")
TRIES = 4
LONGEST_WAIT = 30.0


class CatalogClient:
    """A catalogue that is served somewhere.

    Every call that changes something carries an idempotency key, so that it may be tried again after a lost connection
    or a server that is busy (429, and 503 with `Retry-After`) without being carried out twice.

    Parameters
    ----------
    url
        Where it is served, such as `http://127.0.0.1:8765`.
    key
        Of `synesthete catalog keys`.
    timeout
        Seconds that an answer may take.
    transport
        Another way to reach it, such as `httpx.WSGITransport`; for tests.

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
            base_url=f"{url.rstrip('/')}/api/v1", timeout=timeout, transport=transport,
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
        )  # fmt: skip

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
        """All items, by id, fetched a page at a time; pictures by where they came from."""
        after: str | None = ""
        while after is not None:
            page = self._call(
                "GET", "/items", dict[str, Any], params={"after": after, "limit": at_once}
            )
            for row in page["items"]:
                yield _item(row)
            after = page["next"]

    def upsert(self, items: Iterable[Item]) -> Written:
        """Add items, or put them in the place of those with their ids (500 at a time)."""
        total = Written()
        for part in _parts(items, 500):
            body = {"items": [_as_item(one) for one in part]}
            total = _sum(total, self._call("POST", "/items", Written, json=body, once=True))
        return total

    def delete(self, ids: Iterable[str]) -> Written:
        """Take items out."""
        total = Written()
        for part in _parts(ids, 1000):
            total = _sum(
                total, self._call("POST", "/items/delete", Written, json={"ids": part}, once=True)
            )
        return total

    def search(
        self, text: str | None = None, picture: ImageSource | None = None, *, without: Sequence[str] = (),
        where: Sequence[str] = (), k: int = 10, cut: float = 0.9, only_relevant: bool = False, reasons: int = 3,
    ) -> list[Hit]:  # fmt: skip
        """Items nearest to a text, a picture or both; as `Catalog.search`."""
        body = {
            "text": text, "picture": _base64(picture), "without": list(without), "where": list(where), "limit": k,
            "cut": cut, "only_relevant": only_relevant, "reasons": reasons,
        }  # fmt: skip
        return self._call("POST", "/search", dict[str, list[Hit]], json=body)["hits"]

    def recommend(
        self, signals: Sequence[Signal], *, mute: Sequence[str] = (), where: Sequence[str] = (), k: int = 10,
        diversity: float = 0.3, half_life_days: float = 30.0, reasons: int = 3,
    ) -> list[Hit]:  # fmt: skip
        """Items for a taste; as `Catalog.recommend`."""
        tastes = [
            {
                "side": one.side, "item": one.item, "text": one.text, "picture": _base64(one.image),
                "weight": one.weight, "age_days": one.age_days,
            }
            for one in signals
        ]  # fmt: skip
        body = {
            "signals": tastes, "mute": list(mute), "where": list(where), "limit": k, "diversity": diversity,
            "half_life_days": half_life_days, "reasons": reasons,
        }  # fmt: skip
        return self._call("POST", "/recommend", dict[str, list[Hit]], json=body)["hits"]

    def align(
        self, copies: Sequence[str], pictures: Sequence[ImageSource], *, reasons: int = 5
    ) -> list[Alignment]:
        """Every copy against every picture; as `Catalog.align`."""
        body = {
            "copies": list(copies),
            "pictures": [_base64(one) for one in pictures],
            "reasons": reasons,
        }
        return self._call("POST", "/align", dict[str, list[Alignment]], json=body)["pairs"]

    def suggest(
        self, picture: ImageSource | None = None, brief: str | None = None, *, k: int = 5
    ) -> Suggestion:
        """Suggestions for a picture with a brief description; as `Catalog.suggest`."""
        body = {"picture": _base64(picture), "brief": brief, "limit": k}
        return self._call("POST", "/suggest", Suggestion, json=body)

    def classify(
        self,
        classifier: str,
        records: Sequence[tuple[ImageSource | None, str]],
        *,
        reasons: bool = True,
    ) -> list[Classification]:
        """Records (picture, text) judged by a classifier of the catalogue."""
        rows = [{"picture": _base64(picture), "text": text} for picture, text in records]
        body = {"classifier": classifier, "records": rows, "reasons": reasons}
        return self._call("POST", "/classify", dict[str, list[Classification]], json=body)[
            "records"
        ]

    def send(self, events: Iterable[Event]) -> Taken:
        """Tell what visitors did (1,000 at a time); an event sent twice counts once, by its key."""
        total = Taken(0, 0, 0, 0)
        for number, part in enumerate(_parts(events, 1000)):
            body = {"events": [vars(one) for one in part]}
            done = self._call("POST", "/events", Taken, json=body, once=True)
            moved = tuple(
                type(one)(one.index + 1000 * number, one.key, one.reason) for one in done.refused
            )
            total = Taken(
                total.added + done.added, total.replayed + done.replayed, total.unknown + done.unknown,
                total.skewed + done.skewed, total.refused + moved,
            )  # fmt: skip
        return total

    def assignment(
        self, experiment: str, subject: str, share_of_b: float = 0.5
    ) -> Literal["A", "B"]:
        """Which variant a visitor sees."""
        params = {"experiment": experiment, "subject": subject, "share_of_b": share_of_b}
        found: Literal["A", "B"] = self._call("GET", "/assignment", dict[str, Any], params=params)[
            "variant"
        ]
        return found

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
        self, ticket: str, verdict: Literal["accept", "override", "dismiss"], *, label: str = "", note: str = "",
        actor: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Decide a case."""
        body = {"verdict": verdict, "label": label, "note": note, "actor": actor}
        return self._call("POST", f"/queue/{ticket}/decision", dict[str, Any], json=body)

    def _call(
        self, method: str, path: str, made: type[Made], *, once: bool = False, **more: Any
    ) -> Made:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if once else {}
        # Reading, and what carries a key, may be tried again; a decision is not, lest it stand in the trail twice.
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
            if response.status_code in (429, 503) and wait and left:
                time.sleep(min(float(wait), LONGEST_WAIT))
                continue
            return _read(response, made)
        raise AssertionError("unreachable")


def _read(response: httpx.Response, made: type[Made]) -> Made:
    if response.status_code >= 400:
        try:
            told: Mapping[str, Any] = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            raise SynestheteError(f"the server answered {response.status_code}") from None
        raise SynestheteError(str(told.get("message", "")), hint=str(told.get("hint", "")))
    try:
        return TypeAdapter(made).validate_json(response.content)
    except ValidationError as error:
        raise SynestheteError(
            f"the server's answer is of another form ({error.error_count()} differences)",
            hint="client and server of the same version?",
        ) from error


def _base64(picture: ImageSource | None) -> str | None:
    if picture is None:
        return None
    data = read_file(picture) if isinstance(picture, Path) else picture
    return base64.b64encode(data).decode()


def _as_item(item: Item) -> dict[str, Any]:
    told = item.as_dict()
    return {**told, "images": [_base64(one) for one in item.images]}


def _item(row: Mapping[str, Any]) -> Item:
    return Item(
        row["id"], title=row["title"], description=row["description"], category=row["category"], reviews=tuple(row["reviews"]), price=row["price"],
        attributes={name: tuple(values) for name, values in row["attributes"].items()},
        images=tuple(Path(one) for one in row["images"]),
    )  # fmt: skip


def _sum(one: Written, other: Written) -> Written:
    return Written(
        added=one.added + other.added, changed=one.changed + other.changed, unchanged=one.unchanged + other.unchanged,
        deleted=one.deleted + other.deleted, quarantined=one.quarantined + other.quarantined,
    )  # fmt: skip


def _parts(values: Iterable[Made], size: int) -> Iterator[list[Made]]:
    part: list[Made] = []
    for value in values:
        part.append(value)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
