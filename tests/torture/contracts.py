"""Both servers against their own OpenAPI: schemathesis with every default check and every default phase."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema

from synesthete.catalog.server.app import create_app as create_catalog_app
from synesthete.catalog.server.state import SharedState
from synesthete.server import Gate, create_app
from synesthete.server.auth import LOOPBACK
from tests.small_atlas import LAYER

TOKEN = "token-of-the-contracts"


class Patient(SharedState):
    """Lets everything through, so that the answers are of the endpoints."""

    def take(self, caller: str, per_minute: int) -> Any:
        return super().take(f"{caller} {id(object())}", 10**9)


@dataclass(kw_only=True)
class Findings:
    """What one run found.

    Attributes
    ----------
    operations
        Labels of the operations that were called.
    cases
        Requests that were answered.
    checks, phases
        How often each check was made, and how many requests each phase made.
    failures
        Check → its distinct failures (one per operation and kind), each with a request that shows it.
    """

    operations: set[str] = field(default_factory=set)
    cases: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    failures: dict[str, dict[Failure, str]] = field(default_factory=dict)

    def add(self, check: str, failure: Failure, shown: str) -> None:
        """Note a failure, once."""
        self.failures.setdefault(check, {}).setdefault(failure, shown)

    def shown(self) -> str:
        """All failures, to be read."""
        return "\n\n".join(
            f"{check}: {failure.operation}: {text}"
            for check, found in self.failures.items()
            for failure, text in found.items()
        )

    def as_dict(self) -> dict[str, Any]:
        """In numbers."""
        failures = {check: len(found) for check, found in self.failures.items()}
        return {"operations": len(self.operations), "cases": self.cases, "failures": failures}


def microscope(atlas: Path) -> tuple[FastAPI, dict[str, str]]:
    """The microscope of an atlas, and values of path parameters that exist in it."""
    app = create_app([atlas], Gate(TOKEN, hosts=[*LOOPBACK, "testserver"]))
    library = app.state.library
    return app, {
        "atlas": library.first, "layer": LAYER, "address": f"{LAYER}:0", "concept": "boat", "family": "food",
        "key": library.get(library.first).ids.key(0), "name": "made",
    }  # fmt: skip


def catalogue(path: Path) -> tuple[FastAPI, dict[str, str]]:
    """The application of a catalogue, with a case in the queue and an experiment in the log."""
    app = create_catalog_app(path, Gate(TOKEN, hosts=[*LOOPBACK, "testserver"]))
    app.state.shared = Patient()
    folder = app.state.folder
    ticket = folder.queue.add("suggest", {"choices": ["item-01"]}, reason="unsure", confidence=0.1)
    folder.events.take(
        {"key": f"{v}-{i}", "kind": kind, "item": "item-01", "subject": f"{v}{i}", "experiment": "spring", "variant": v}
        for v in "AB" for i in range(4) for kind in ("impression",)
    )  # fmt: skip
    return app, {"ticket": ticket, "id": "item-01"}


def explore(app: FastAPI, known: Mapping[str, str], *, examples: int, seed: int) -> Findings:
    """Send requests made from an application's own OpenAPI, valid and invalid, and check every answer.

    Parameters
    ----------
    known
        Values of parameters that exist, given to schemathesis as examples besides what it makes up.
    examples
        Requests that the fuzzing phase makes for each operation.
    seed
        The same seed gives the same requests.
    """
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {TOKEN}"},
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
        }
    )
    schema = schemathesis.openapi.from_dict(_with_examples(app.openapi(), known), config=config)
    schema.app = app
    found = Findings()
    for event in from_schema(schema).execute():
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            shown = f"{event.info.title}: {event.info.message}"
            found.add("engine", Failure(operation=event.label, message=shown), shown)
        if isinstance(event, events.ScenarioFinished):
            _note(found, event)
    return found


def _with_examples(described: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    for operation in (one for methods in described["paths"].values() for one in methods.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in known:
                parameter["example"] = known[parameter["name"]]
    return described


def _note(found: Findings, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    found.cases += len(recorder.interactions)
    found.phases[event.phase.value] += len(recorder.interactions)
    found.operations |= {node.value.operation.label for node in recorder.cases.values()}
    for check in (one for checks in recorder.checks.values() for one in checks):
        found.checks[check.name] += 1
        if check.status is Status.FAILURE and check.failure_info is not None:
            failure = check.failure_info.failure
            status = getattr(failure, "status_code", "")
            shown = (
                f"{event.phase.value}: {status} {failure}\n{check.failure_info.code_sample[:2000]}"
            )
            found.add(check.name, failure, shown)


def run(examples: int, seed: int) -> dict[str, Any]:
    """Explore both applications; per application its operations, cases, and distinct failures by check."""
    from synesthete.catalog import Catalog
    from synesthete.models import load_model
    from tests.catalog.server.conftest import fill
    from tests.server.conftest import make_atlas
    from tests.small_atlas import write_model

    with tempfile.TemporaryDirectory() as folder:
        model = load_model(write_model(Path(folder) / "shop" / "model"))
        path = Path(folder) / "shop" / "shop.catalog"
        Catalog.create(path, model).close()
        served = {
            "microscope": microscope(make_atlas(Path(folder) / "scope")),
            "catalogue": catalogue(fill(path, model)),
        }
        return {
            name: explore(app, known, examples=examples, seed=seed).as_dict()
            for name, (app, known) in served.items()
        }
