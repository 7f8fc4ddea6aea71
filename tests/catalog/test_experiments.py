"""A pilot from a folder to a decision: what it says must follow from what is in the folder."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete.catalog import Catalog
from synesthete.catalog.experiments import (
    Variant,
    decision_page,
    lift_chart,
    rates_chart,
    run_pilot,
    variant_of,
)
from synesthete.catalog.metrics import lift
from synesthete.errors import SynestheteError
from tests.catalog.conftest import image

A, B = Variant("words <only>", "text"), Variant("words & images", "both")


def write_events(
    folder: Path, rate_a: float, rate_b: float, visitors: int = 500, *, mismatched: bool = False
) -> None:
    rng = np.random.default_rng(0)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = []
    for i in range(visitors):
        variant = "AB"[i % 2] if not mismatched else "AB"[int(rng.random() < 0.8)]
        at = start + timedelta(minutes=i)
        common = {
            "item": "mug",
            "subject": f"v{i}",
            "list": f"l{i}",
            "experiment": "pilot",
            "variant": variant,
        }
        rows.append({"key": f"i{i}", "kind": "impression", "at": at.isoformat(), **common})
        if rng.random() < (rate_a if variant == "A" else rate_b):
            rows.append(
                {
                    "key": f"c{i}",
                    "kind": "conversion",
                    "at": (at + timedelta(minutes=1)).isoformat(),
                    **common,
                }
            )
    rows.append({**rows[0], "key": "last", "at": (start + timedelta(days=9)).isoformat()})
    with (folder / "events.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_clear_winner_is_taken(tmp_path: Path) -> None:
    write_events(tmp_path, 0.1, 0.4)
    found = run_pilot(tmp_path, A, B)
    assert found.decision == "take B"
    assert found.needs == ()
    assert found.live is not None
    assert found.live.lift.difference.low > 0
    # The other way round, A is kept.
    write_events(tmp_path, 0.4, 0.1)
    assert run_pilot(tmp_path, A, B).decision == "keep A"


def test_where_nothing_is_decided_it_says_what_would(tmp_path: Path) -> None:
    write_events(tmp_path, 0.2, 0.22, visitors=300)
    found = run_pilot(tmp_path, A, B, least_worth=0.5)
    assert found.decision == "more data"
    assert len(found.needs) == 3
    larger = {round(need.effect, 4): need.pairs for need in found.needs}
    pairs = [larger[key] for key in sorted(larger, key=abs)]
    assert pairs == sorted(pairs, key=lambda one: -(one or 10**9)), (
        "a smaller effect takes more pairs"
    )
    page = decision_page(found)
    assert "More data is needed" in page or "more data is needed" in page


def test_a_mismatched_split_decides_nothing(tmp_path: Path) -> None:
    write_events(tmp_path, 0.1, 0.5, mismatched=True)
    found = run_pilot(tmp_path, A, B)
    assert found.decision == "more data"
    assert any("split" in one for one in found.cautions)


class Page(HTMLParser):
    """Whatever a page would fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_the_page_needs_nothing_and_escapes_everything(tmp_path: Path) -> None:
    write_events(tmp_path, 0.1, 0.4)
    page = decision_page(run_pilot(tmp_path, A, B, question="<script>alert(1)</script>"))
    read = Page()
    read.feed(page)
    assert read.outside == []
    assert "script" not in read.tags
    assert "words &lt;only&gt;" in page
    assert "url(" not in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)


def test_charts_are_well_formed_whatever_there_is() -> None:
    for a, b in (([], []), ([0], [1]), ([0, 1] * 30, [1] * 60), ([0.0] * 9, [0.0] * 9)):
        found = lift(a, b)
        ET.fromstring(lift_chart(found))
        ET.fromstring(rates_chart([("<A>", found.a), ("B", found.b)]))


def test_queries_run_on_both_variants(catalog: Catalog, tmp_path: Path) -> None:
    """By hand: A finds nothing by an empty filter's colour, B finds what is asked."""
    folder = tmp_path / "pilot"
    folder.mkdir()
    rows = [
        {"text": f"{colour} {kind}", "relevant": f"{kind}-{colour}"}
        for kind in ("lamp", "chair", "bowl")
        for colour in ("red", "blue")
    ]
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    other = Variant("never", "text", ("colour=green",))
    only = Variant("red only", "text", ("colour=red",))
    found = run_pilot(folder, other, only, catalog=catalog, k=24)
    assert found.offline is not None
    assert found.offline.queries == 6
    assert found.offline.recall.a.value == 0.0
    assert found.offline.recall.b.value == pytest.approx(0.5), "the three red ones, and those only"
    assert found.decision == "more data", "six queries decide nothing"
    skipping = run_pilot(folder, A, Variant("p", "text"), catalog=catalog)
    assert skipping.offline is not None
    assert skipping.offline.ndcg.difference.value == 0.0
    with pytest.raises(SynestheteError, match="both variants can answer"):
        run_pilot(folder, A, B, catalog=catalog)


def test_queries_are_read_as_evaluate_reads_them(catalog: Catalog, tmp_path: Path) -> None:
    """Columns by their other names, ids as JSON, categories in any case, images in the folder."""
    (tmp_path / "lamp.png").write_bytes(image("red", 8))
    (tmp_path / "queries.csv").write_text(
        'query,photo,item_id,category\nred mug,,"[""mug-red"", ""gone""]",\nchair,,,CHAIR\n,lamp.png,lamp-red,\n'
    )
    fused = catalog.evaluate(tmp_path / "queries.csv", k=5)[0]
    words, images = Variant("words", "text"), Variant("images", "image")
    found = run_pilot(tmp_path, words, words, catalog=catalog, k=5).offline
    assert found is not None
    assert (found.queries, found.skipped) == (2, 1)
    other = run_pilot(tmp_path, images, images, catalog=catalog, k=5).offline
    assert other is not None
    assert (other.queries, other.skipped) == (1, 2)
    together = (2 * found.ndcg.a.value + other.ndcg.a.value) / 3
    assert together == pytest.approx(fused.ndcg)
    (tmp_path / "lamp.png").write_bytes(b"broken")
    for ask in (
        catalog.evaluate,
        lambda one: run_pilot(one.parent, images, images, catalog=catalog),
    ):
        with pytest.raises(SynestheteError, match=r"queries\.csv, line 4: "):
            ask(tmp_path / "queries.csv")


def test_wrong_folders(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(SynestheteError, match="not a folder"):
        run_pilot(tmp_path / "nowhere", A, B)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SynestheteError, match="neither queries nor events"):
        run_pilot(tmp_path / "empty", A, B)
    (tmp_path / "empty" / "queries.csv").write_text("text,relevant\nmug,mug-red|gone\nmug,gone\n")
    with pytest.raises(SynestheteError, match="needs a catalogue"):
        run_pilot(tmp_path / "empty", A, B)
    with pytest.raises(SynestheteError, match="line 3: none of the right answers"):
        run_pilot(tmp_path / "empty", A, Variant("b", "text"), catalog=catalog)
    write_events(tmp_path, 0.1, 0.1, 10)
    with pytest.raises(SynestheteError, match="no experiment 'spring'"):
        run_pilot(tmp_path, A, B, experiment="spring")
    with pytest.raises(SynestheteError, match="write NAME=text"):
        variant_of("x=sound")
