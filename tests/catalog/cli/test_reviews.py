"""The people's commands of `synesthete catalog`, run in this process: data as JSON, mistakes as one red line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synesthete.catalog import Catalog
from synesthete.catalog.classify import read_records
from synesthete.catalog.keys import Keys
from synesthete.cli import main
from synesthete.models.image_text_model import ImageTextModel
from synesthete.reviews.cases import Queue
from tests.catalog.classify.conftest import SECRETS, write_records

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["synesthete", "catalog", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return int(str(code or 0)), written.out, written.err

    return call


def parsed(result: tuple[int, str, str]) -> Any:
    assert result[0] == 0, result[2]
    return json.loads(result[1])


def write_events(path: Path, shown: str, other: str) -> Path:
    rows = []
    for i in range(60):
        variant = "AB"[i % 2]
        base = {"subject": f"v{i}", "list": f"l{i}", "experiment": "spring", "variant": variant}
        at = f"2026-01-{1 + i // 6:02d}T10:00:00Z"
        rows.append(
            {
                "key": f"i{i}",
                "kind": "impression",
                "item": shown if i < 30 else other,
                "at": at,
                **base,
            }
        )
        if variant == "B":
            rows.append(
                {
                    "key": f"c{i}",
                    "kind": "click",
                    "item": shown if i < 30 else other,
                    "at": at,
                    **base,
                }
            )
    path.write_text(
        "\n".join(json.dumps(row) for row in [*rows, {"key": "x", "kind": "clik", "item": "y"}])
    )
    return path


def test_events_and_metrics(catalog: Catalog, tmp_path: Path, run: Run) -> None:
    shop = catalog.path
    first, second = list(catalog.items())[:2]
    file = write_events(tmp_path / "events.jsonl", first.id, second.id)
    taken = parsed(run("events", shop, "--import", file, "--aside", "--json"))
    assert (taken["taken"]["added"], taken["taken"]["refused"]) == (90, 1)
    assert taken["experiments"] == ["spring"]
    assert "did you mean" in taken["aside"][0]["reason"]
    again = parsed(run("events", shop, "--import", file, "--json"))
    assert (again["taken"]["added"], again["taken"]["replayed"]) == (0, 90)
    assert parsed(run("metrics", shop, "--json"))["total"]["click"]["value"] == 0.5
    found = parsed(
        run(
            "metrics",
            shop,
            "--experiment",
            "spring",
            "--metric",
            "click",
            "--window",
            "1",
            "--json",
        )
    )
    assert found["lift"]["verdict"] == "B is better"
    for extra in (
        (),
        ("--experiment", "spring"),
        ("--experiment", "spring", "--metric", "interleaved"),
    ):
        assert run("metrics", shop, *extra)[0] == 0
    code, _, error = run("metrics", shop, "--experiment", "sprin")
    assert (code, "spring" in error) == (2, True)
    assert run("metrics", shop, "--experiment", "spring", "--metric", "clicks")[0] == 2


def test_drift(catalog: Catalog, tmp_path: Path, run: Run) -> None:
    with_images = [item.id for item in catalog.items() if item.images]
    run(
        "events",
        catalog.path,
        "--import",
        write_events(tmp_path / "e.jsonl", with_images[0], with_images[5]),
    )
    found = parsed(run("metrics", catalog.path, "--drift", "2026-01-06", "--json"))
    assert found["most"][0]["n_before"] == found["most"][0]["n_now"] == 30
    assert run("metrics", catalog.path, "--drift", "yesterday")[0] == 2
    assert run("metrics", catalog.path, "--drift", "1999-01-01")[0] == 2


def test_queue(catalog: Catalog, run: Run) -> None:
    shop = catalog.path
    ticket = Queue(shop).add(
        "suggest", {"reference": "r", "proposal": "mug"}, reason="unsure", confidence=0.3
    )
    assert parsed(run("queue", shop, "--json"))["waiting"] == 1
    assert parsed(run("queue", shop, ticket, "--json"))["reason"] == "unsure"
    assert run("queue", shop, ticket, "--accept", "--dismiss")[0] == 2
    assert run("queue", shop, "--accept")[0] == 2
    assert run("queue", shop, "nope", "--accept")[0] == 2
    assert (
        parsed(run("queue", shop, ticket, "--override", "cup", "--actor", "ann", "--json"))["label"]
        == "cup"
    )
    assert parsed(run("queue", shop, "--labels", "--json"))[0]["label"] == "cup"
    assert (
        parsed(
            run(
                "queue",
                shop,
                "--threshold",
                "suggest=0.7",
                "--audit",
                "0.1",
                "--actor",
                "ann",
                "--json",
            )
        )["audit"]
        == 0.1
    )
    assert run("queue", shop, "--threshold", "sugest=0.7")[0] == 2
    assert run("queue", shop, "--threshold", "suggest=high")[0] == 2
    assert run("queue", shop, "--threshold", "align=0.7")[0] == 2
    trail = parsed(run("queue", shop, "--trail", "--json"))
    assert (trail["checked"], [act["did"] for act in trail["acts"]]) == (
        3,
        ["ask", "override", "policy"],
    )
    for extra in ((), (ticket,), ("--labels",), ("--trail",)):
        assert run("queue", shop, *extra)[0] == 0


def test_keys(catalog: Catalog, run: Run) -> None:
    shop = catalog.path
    key = parsed(
        run("keys", shop, "--new", "web shop", "--scope", "read", "--scope", "events", "--json")
    )
    assert Keys(shop).find(key["secret"]) is not None
    assert "secret" not in run("keys", shop, "--json")[1]
    assert parsed(run("keys", shop, "--revoke", key["id"], "--json"))[0]["revoked"]
    assert Keys(shop).find(key["secret"]) is None
    assert run("keys", shop, "--new", "x", "--scope", "raed")[0] == 2
    assert run("keys", shop.parent / "nowhere")[0] == 2


def test_pilot(catalog: Catalog, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "pilot"
    folder.mkdir()
    write_events(folder / "events.jsonl", "a", "b")
    more = ("--experiment", "spring", "--metric", "click", "--window", "1")
    found = parsed(run("pilot", folder, "--a", "old=text", "--b", "new=both", *more, "--json"))
    assert found["decision"] == "take B"
    assert "Take new." in (folder / "decision.html").read_text()
    assert json.loads((folder / "decision.json").read_text())["decision"] == "take B"
    assert run("pilot", folder, *more, "--out", tmp_path / "elsewhere")[0] == 0
    assert (tmp_path / "elsewhere" / "decision.html").exists()
    assert run("pilot", tmp_path / "nowhere")[0] == 2
    assert run("pilot", folder, "--a", "old=sound")[0] == 2


def test_what_can_be_promised_is_of_records_that_can_be_learnt_from(
    tmp_path: Path, model: ImageTextModel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of those without a label nor of those whose label is too rare; a settled case gives one."""
    monkeypatch.setattr("synesthete.models.load_model", lambda name: model)
    rows = [
        (f"a {('round', 'square')[n % 2]} spot {n}", ("round", "square")[n % 2]) for n in range(80)
    ]
    rows += [(f"unknown {n}", "") for n in range(400)] + [(f"rare {n}", "oval") for n in range(3)]
    table = tmp_path / "records.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    shop = tmp_path / "shop"
    shop.mkdir()
    queue, unknown = Queue(shop), read_records(table).records[80].reference
    payload = {"reference": unknown, "proposal": "round"}
    ticket = queue.add("classify", payload, reason="unsure", confidence=0.4)
    queue.decide(ticket, "accept", actor="ann")
    fitted = run("classify", table, "--fit", "--out", tmp_path / "x", "--queue", shop, "--json")
    assert parsed(fitted)["records"]["used"] == 81
    assert "these 81 can promise" in fitted[2]
    assert "it will decide nothing by itself; --risk 0.15 is the lowest to try" in fitted[2]


def test_classify(
    catalog: Catalog,
    tmp_path: Path,
    model: ImageTextModel,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synesthete.models.load_model", lambda name: model)
    table, out = write_records(tmp_path / "records"), tmp_path / "spots.classifier"
    fitted = run("classify", table, "--fit", "--out", out, "--template", "health", "--risk", "0.3")
    assert fitted[0] == 0, fitted[2]
    assert "not a medical device" in fitted[1]
    judged = run("classify", table, "--with", out, "--queue", catalog.path, "--json")
    rows = parsed(judged)
    assert rows["notice"] == "Research use, not a medical device."
    assert len(rows["records"]) == 120
    shown = run("classify", table, "--with", out, "--no-reasons")
    for secret in SECRETS:
        assert secret.casefold() not in "".join((*fitted[1:], *judged[1:], *shown[1:])).casefold()
    for wrong in (("--calibration", "magic"), ("--template", "law"), ("--risk", "2")):
        assert run("classify", table, "--fit", "--out", tmp_path / "x", *wrong)[0] == 2
    assert run("classify", table, "--with", tmp_path / "none")[0] == 2
