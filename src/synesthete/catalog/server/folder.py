"""What is in a catalogue's folder, opened for one server: items, events, review queue, requests, classifiers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from synesthete.catalog import Catalog
from synesthete.catalog.classify import Classifications, Classifier, Classify, make_record
from synesthete.catalog.encode import image_bytes
from synesthete.catalog.events import EventLog
from synesthete.catalog.requests import Align, Answer, Recommend, Request, Search, Suggest
from synesthete.catalog.retention import Settings
from synesthete.catalog.schema import Item, Written
from synesthete.catalog.server.idempotency import IdempotentRequests
from synesthete.catalog.webhooks import Webhooks
from synesthete.errors import SynestheteError, near
from synesthete.reviews.cases import Policy, Queue, policy_of
from synesthete.server.errors import Missing

REQUESTS: tuple[type[Request[Any]], ...] = (Search, Recommend, Align, Suggest, Classify)
CLASSIFIERS = "classifiers"
ENDING = ".classifier"


class Tidier:
    """Tidies a catalogue in the background after what requests wrote, so that none of them waits for it.

    One thread, while there is something to do; what comes meanwhile is tidied together. It may end with the process at any
    moment, as a writer that is killed: a table is tidy or not, and the next one that tidies it does all that is left.
    Several processes take turns by the writers' lock.

    Parameters
    ----------
    catalog
        Which.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._condition = threading.Condition()
        self._wanted = self._running = self._closed = False

    def wake(self) -> None:
        """Tidy soon."""
        with self._condition:
            self._wanted = True
            if not self._running and not self._closed:
                self._running = True
                threading.Thread(target=self._run, name="tidier", daemon=True).start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all is tidy, so long at most; whether it is."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._running, seconds)

    def close(self, seconds: float) -> bool:
        """Begin nothing more, and wait for the present round, so long at most; whether it ended."""
        with self._condition:
            self._closed, self._wanted = True, False
        return self.wait(seconds)

    def _run(self) -> None:
        try:
            while self._next():
                try:
                    self._catalog.tidy()
                except SynestheteError as error:  # the next write tries again
                    logging.getLogger(__name__).error("tidying: %s", error)
        except BaseException:
            with self._condition:
                self._running = False
                self._condition.notify_all()
            raise

    def _next(self) -> bool:
        """Whether there is something to do; without it the thread ends."""
        with self._condition:
            self._running, self._wanted = self._wanted, False
            if not self._running:
                self._condition.notify_all()
            return self._running


class Answering:
    """What answers the requests that an assistant has tools for: items, review queue, classifiers.

    Parameters
    ----------
    path
        The catalogue's folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.catalog = Catalog.open(self.path)
        self.queue = Queue(self.path)
        self._classifiers: dict[str, tuple[float, Classifier]] = {}
        self._lock = threading.Lock()

    @property
    def suggest_policy(self) -> Policy:
        """Confidence below which `suggest` abstains, and the share of its answers that are audited."""
        return policy_of(self.queue.trail, "suggest")

    @property
    def classify_policy(self) -> Policy | None:
        """What people set for `classify`; None where nobody did, and the classifier's own coverage decides."""
        policy = policy_of(self.queue.trail, "classify")
        return policy if policy.set_by != "machine" else None

    @property
    def classifiers(self) -> list[str]:
        """Names of the classifiers in the catalogue's folder `classifiers`."""
        paths = (self.path / CLASSIFIERS).glob(f"*{ENDING}/classifier.json")
        return sorted(path.parent.name.removesuffix(ENDING) for path in paths)

    def answer(self, request: Request[Answer]) -> Answer:
        """Answer a request; what `suggest` and `classify` abstain from goes to people, by the policies that they set."""
        result: Any
        if isinstance(request, Suggest):
            policy = self.suggest_policy
            result = self.catalog.suggest(
                request.image,
                request.brief,
                reference=request.reference,
                limit=request.limit,
                threshold=policy.threshold,
                audit=policy.audit,
                queue=self.queue,
            )
        elif isinstance(request, Classify):
            records = [
                make_record(image_bytes(one.image) if one.image else None, one.text, row=row)
                for row, one in enumerate(request.records, start=1)
            ]
            classifier = self.classifier(request.classifier)
            result = Classifications(
                classifier.judge(
                    records, queue=self.queue, policy=self.classify_policy, reasons=request.reasons
                )
            )
        else:
            result = self.catalog.answer(request)
        return cast("Answer", result)

    def classifier(self, name: str) -> Classifier:
        """A classifier by its name, read again after it was fitted again.

        Raises
        ------
        Missing
            No such classifier.
        """
        if name not in self.classifiers:
            raise Missing(f"there is no classifier {name!r}", hint=near(name, self.classifiers))
        path = self.path / CLASSIFIERS / f"{name}{ENDING}"
        stamp = (path / "classifier.json").stat().st_mtime
        with self._lock:
            known = self._classifiers.get(name)
            if known is None or known[0] != stamp:
                known = (stamp, Classifier(path))
                self._classifiers[name] = known
            return known[1]


class CatalogFolder(Answering):
    """A catalogue and everything in its folder.

    Parameters
    ----------
    path
        The catalogue's folder. Where its events are, and for how long, is in environment variables (`Settings`).
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.name = self.path.resolve().name.removesuffix(".catalog")
        self.settings = Settings.of_environment()
        url = self.settings.events_url
        self.events = EventLog(self.path, known=self.catalog.__contains__, url=url)
        self.webhooks = Webhooks(self.path)
        hours = self.settings.idempotency_hours
        self.requests = IdempotentRequests(self.path, hours=hours)
        self.tidier = Tidier(self.catalog)

    def upsert(self, items: Sequence[Item]) -> Written:
        """Add or replace items; the catalogue is tidied afterwards, in the background."""
        try:
            return self.catalog.upsert(items, tidy=False)
        finally:
            self.tidier.wake()

    def delete(self, ids: Sequence[str]) -> Written:
        """Delete items; the catalogue is tidied afterwards, in the background."""
        try:
            return self.catalog.delete(ids, tidy=False)
        finally:
            self.tidier.wake()
