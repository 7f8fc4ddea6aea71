"""What one server keeps of its catalogue: the catalogue, its events, its queue, its classifiers."""

from __future__ import annotations

import threading
from pathlib import Path

from synesthete.catalog import Catalog
from synesthete.catalog.classify import Classifier
from synesthete.catalog.events import EventLog
from synesthete.catalog.people import Queue
from synesthete.errors import near
from synesthete.server.errors import Missing
from synesthete.server.shop.once import Once

CLASSIFIERS = "classifiers"
ENDING = ".classifier"


class Shop:
    """A catalogue and everything that lies in its folder.

    Parameters
    ----------
    path
        The catalogue's folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name.removesuffix(".catalog")
        self.catalog = Catalog.open(self.path)
        self.events = EventLog(self.path, known=self.catalog.__contains__)
        self.queue = Queue(self.path)
        self.once = Once(self.path)
        self._classifiers: dict[str, tuple[float, Classifier]] = {}
        self._lock = threading.Lock()

    @property
    def classifiers(self) -> list[str]:
        """Names of the classifiers in the catalogue's folder `classifiers`."""
        found = (self.path / CLASSIFIERS).glob(f"*{ENDING}/classifier.json")
        return sorted(one.parent.name.removesuffix(ENDING) for one in found)

    def classifier(self, name: str) -> Classifier:
        """A classifier by its name, read again when it was fitted anew.

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
