"""What is in a catalogue's folder, opened for one server: items, events, review queue, requests, classifiers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

from synesthete.catalog import Catalog
from synesthete.catalog.classify import Classifications, Classifier, Classify, make_record
from synesthete.catalog.encode import image_bytes
from synesthete.catalog.events import EventLog
from synesthete.catalog.requests import Answer, Request, Suggest
from synesthete.catalog.retention import Settings
from synesthete.catalog.server.idempotency import IdempotentRequests
from synesthete.catalog.webhooks import Webhooks
from synesthete.errors import near
from synesthete.reviews.cases import Policy, Queue, policy_of
from synesthete.server.errors import Missing

CLASSIFIERS = "classifiers"
ENDING = ".classifier"


class CatalogFolder:
    """A catalogue and everything in its folder.

    Parameters
    ----------
    path
        The catalogue's folder. Where its events are, and for how long, is in environment variables (`Settings`).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name.removesuffix(".catalog")
        self.catalog = Catalog.open(self.path)
        self.settings = Settings.of_environment()
        url = self.settings.events_url
        self.events = EventLog(self.path, known=self.catalog.__contains__, url=url)
        self.queue = Queue(self.path)
        self.webhooks = Webhooks(self.path)
        hours = self.settings.idempotency_hours
        self.requests = IdempotentRequests(self.path, hours=hours)
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
