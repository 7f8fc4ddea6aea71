"""What those who run a server ask it: is it alive, is it ready, what does it measure; and the warm-up that makes it ready."""

from __future__ import annotations

import functools
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import anyio
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from PIL import Image
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synesthete.catalog.server.auth import Caller, requires
from synesthete.catalog.server.folder import CatalogFolder
from synesthete.catalog.server.state import SharedState
from synesthete.cli.console import say
from synesthete.errors import SynestheteError
from synesthete.server.errors import METHODS, Refused
from synesthete.server.middleware import HEADERS

if TYPE_CHECKING:
    from prometheus_client import Histogram
    from prometheus_client.metrics_core import Metric

HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"
# Where prometheus-client keeps the numbers of several processes.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOOKED_SECONDS = 1.0  # for how long a look at the catalogue holds
RETRY_SECONDS = 10.0
OPENING, LOADING, SEARCHING = (
    "the catalogue is being opened",
    "the model is being loaded",
    "the first search is under way",
)
FAILED = {
    OPENING: "the catalogue cannot be opened",
    LOADING: "the model cannot be loaded",
    SEARCHING: "the first search failed",
}
NOT_INDEXED = "an index is missing"
Given = ParamSpec("Given")
Result = TypeVar("Result")


class WarmUp:
    """Makes a server ready: opens the catalogue, loads the model, encodes a text and an image, and searches once.

    Parameters
    ----------
    folder
        The catalogue's.
    shared
        Where it is noted that this process is ready.
    measurements
        Where the time of the encoders goes.

    Attributes
    ----------
    step
        What it is doing, or what failed; empty when it is done.
    """

    def __init__(
        self, folder: CatalogFolder, shared: SharedState, measurements: Measurements
    ) -> None:
        self._folder, self._shared, self._measurements = folder, shared, measurements
        self.step = OPENING
        self._looked = (float("-inf"), "")
        self._looking = threading.Lock()

    def start(self, done: Callable[[], None] = lambda: None) -> None:
        """Warm up in the background, if that is not done, again after a while when something fails; then call `done`."""

        def warm() -> None:
            while self.step and not self.run():
                time.sleep(RETRY_SECONDS)
            done()

        threading.Thread(target=warm, name="warm-up", daemon=True).start()

    def run(self) -> bool:
        """Warm up; whether it is ready. What failed goes to standard error, and its kind into `step`."""
        catalog, step = self._folder.catalog, OPENING
        try:
            self.step = step
            catalog.snapshot()
            if missing := catalog.missing_indexes():
                raise SynestheteError(f"no index of {', '.join(missing)}")
            self.step = step = LOADING
            self._measurements.time_encoders(catalog.model)
            self.step = step = SEARCHING
            catalog.search("the first search", _grey(), limit=1)
        except SynestheteError as error:
            self.step = FAILED[step]
            say(f"not ready, {self.step}: {error}")
            return False
        self.step = ""
        self._shared.mark_ready()
        return True

    async def reason(self) -> str:
        """Why this process is not ready; empty when it is. Holds nothing of the catalogue."""
        at, found = self._looked
        if self.step or time.monotonic() - at < LOOKED_SECONDS or not self._looking.acquire(False):
            return self.step or found
        try:
            # In a thread of its own: those that requests share may all be busy.
            found = await anyio.to_thread.run_sync(self._look, limiter=anyio.CapacityLimiter(1))
            self._looked = time.monotonic(), found
        finally:
            self._looking.release()
        return found

    def _look(self) -> str:
        """Whether the catalogue is still there, with its indexes."""
        try:
            return NOT_INDEXED if self._folder.catalog.missing_indexes() else ""
        except SynestheteError:
            return FAILED[OPENING]


class Probes:
    """ASGI middleware in front of everything: answers `/healthz` and `/readyz`, which need no key and name nothing.

    Load balancers send no `Host` of ours and must be answered when the server is full, so no other check comes first.

    Parameters
    ----------
    app
        The application behind it.
    warm_up
        Says why it is not ready.
    """

    def __init__(self, app: ASGIApp, warm_up: WarmUp) -> None:
        self.app = app
        self.warm_up = warm_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        probe = scope["type"] == "http" and scope["path"] in (HEALTH, READY)
        if not probe or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        reason = await self.warm_up.reason() if scope["path"] == READY else ""
        facts = {"status": "not ready", "reason": reason} if reason else {"status": "ok"}
        headers = {**HEADERS, "Cache-Control": "no-store"} | (
            {"Retry-After": "1"} if reason else {}
        )
        body = json.dumps(facts).encode()
        response = Response(body, 503 if reason else 200, headers, "application/json")
        if scope["method"] == "HEAD":
            response.body = b""
        await response(scope, receive, send)


class Measurements:
    """What Prometheus reads of a server: requests, their time, the encoders' time, items, and what waits.

    With several workers, each writes its numbers into a file of the folder that `PROMETHEUS_MULTIPROC_DIR` names, and
    whichever is asked adds them up. Labels are templates of routes, never what a request holds.

    Parameters
    ----------
    folder
        The catalogue's.
    """

    def __init__(self, folder: CatalogFolder) -> None:
        self._folder = folder
        self._encoder: Histogram | None = None
        self._several = bool(os.environ.get(FOLDER_VARIABLE))
        try:
            from prometheus_client import CollectorRegistry, Counter, Histogram
        except ImportError:
            self.available = False
            return
        self.available = True
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "synesthete_requests",
            "Requests answered; rate-limited ones have status 429.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "synesthete_request_seconds",
            "From the header of a request to the end of its response.",
            ("method", "route"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._encoder = Histogram(
            "synesthete_encoder_seconds",
            "Of one pass through a tower of the model.",
            ("tower",),
            buckets=SECONDS,
            registry=self._registry,
        )
        if not self._several:
            self._registry.register(self)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        if self.available:
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(method, route).observe(seconds)

    def time_encoders(self, model: Any) -> None:
        """Measure from now on how long each pass through one of the model's towers takes."""
        if self._encoder is not None:
            for name, tower in (
                ("encode_images", "image"),
                ("read", "image"),
                ("encode_texts", "text"),
            ):
                run = getattr(model, name)
                if not hasattr(run, "__wrapped__"):
                    setattr(model, name, _timed(run, self._encoder.labels(tower).observe))

    def text(self) -> tuple[bytes, str]:
        """All numbers in Prometheus' text format, of all workers, and its media type.

        Raises
        ------
        Refused
            501 without prometheus-client.
        """
        if not self.available:
            hint = "pip install 'synesthete[serve]'"
            raise Refused(501, "metrics need the package `prometheus-client`", hint=hint)
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if self._several:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """What is the same for all workers, since it is in the catalogue's folder."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        deliveries = self._folder.webhooks.counts()
        for name, meaning, value in (
            ("items", "Items of the catalogue.", len(self._folder.catalog)),
            ("queue_waiting", "Cases that wait for a person.", self._folder.queue.waiting()),
            ("webhook_deliveries_waiting", "Messages that wait to be sent.", deliveries.waiting),
            ("webhook_deliveries_failed", "Messages that were given up.", deliveries.failed),
        ):
            yield GaugeMetricFamily(f"synesthete_{name}", meaning, value)

    def describe(self) -> list[Metric]:
        """Nothing, so that to register costs no look at the catalogue."""
        return []


class Measured:
    """ASGI middleware around all others: counts every response and times it.

    Parameters
    ----------
    app
        The application behind it.
    measurements
        Where it is counted.
    """

    def __init__(self, app: ASGIApp, measurements: Measurements) -> None:
        self.app = app
        self.measurements = measurements

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Where there is no response, the client had gone.
        start, status = time.perf_counter(), 499

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        state = scope.setdefault("state", {})
        try:
            await self.app(scope, receive, answer)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            seconds = time.perf_counter() - start
            self.measurements.count(method, state.get("route", "none"), status, seconds)


class NamedRoute:
    """ASGI middleware behind all others: notes the template of the route that answered, for `Measured`.

    Parameters
    ----------
    app
        The router.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http" and "endpoint" in scope:
                route = scope.get("route")
                # What is mounted is a folder of files, and has no route.
                scope["state"]["route"] = route.path if route is not None else "/static"


class _ForPrometheus(APIRoute):
    """A route for clients that accept Prometheus' formats; others get the page of the same address."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is for this request."""
        accept = Headers(scope=scope).get("accept", "") if scope["type"] == "http" else ""
        wanted = "openmetrics" in accept or "text/plain" in accept
        return super().matches(scope) if wanted else (Match.NONE, {})


router = APIRouter(route_class=_ForPrometheus)


@router.get(METRICS, include_in_schema=False)
def prometheus(request: Request, caller: Annotated[Caller, requires("metrics")]) -> Response:
    """What the server measures, in Prometheus' text format."""
    measurements: Measurements = request.app.state.measurements
    text, media_type = measurements.text()
    headers = {"Vary": "Accept", "Cache-Control": "no-store", **request.state.limits}
    return Response(text, media_type=media_type, headers=headers)


def _timed(
    run: Callable[Given, Result], observe: Callable[[float], None]
) -> Callable[Given, Result]:
    @functools.wraps(run)
    def timed(*args: Given.args, **given: Given.kwargs) -> Result:
        start = time.perf_counter()
        try:
            return run(*args, **given)
        finally:
            observe(time.perf_counter() - start)

    return timed


def _grey() -> bytes:
    """An image for the first search."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "#808080").save(stream, "PNG")
    return stream.getvalue()
