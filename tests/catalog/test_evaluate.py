"""The evaluation of a small catalogue against a loop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from synesthete.catalog import Catalog, evaluate
from synesthete.catalog.encode import unit_length
from synesthete.catalog.evaluate import BASELINES, METHODS
from synesthete.errors import SynestheteError
from tests.catalog.conftest import image


def queries(path: Path) -> Path:
    (path / "shots").mkdir()
    rows = [["text", "image", "relevant", "category"]]
    for place, kind in enumerate(("mug", "lamp", "bowl")):
        (path / "shots" / f"{kind}.png").write_bytes(image("red", place))
        rows += [[f"a red {kind}", "", f"{kind}-red", ""], ["", f"shots/{kind}.png", "", kind]]
    with (path / "q.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path / "q.csv"


def test_the_evaluation_is_search_and_its_controls(catalog: Catalog, tmp_path: Path) -> None:
    table = queries(tmp_path)
    found = {one.method: one for one in catalog.evaluate(table, k=5)}
    assert list(found) == [*METHODS, *BASELINES]
    recalls = []
    for kind in ("mug", "lamp", "bowl"):
        ids = [hit.id for hit in catalog.search(f"a red {kind}", limit=5, group=False)]
        recalls.append(float(f"{kind}-red" in ids))
        ids = [
            hit.id
            for hit in catalog.search(
                image=tmp_path / "shots" / f"{kind}.png", limit=5, group=False
            )
        ]
        recalls.append(sum(one.startswith(kind) for one in ids) / 4)
    assert found["search"].recall == pytest.approx(np.mean(recalls))
    assert all(one.n == 6 for one in found.values())
    assert catalog.evaluate(table, k=5) == list(found.values())
    # By words, half of the queries, which have none, find nothing.
    every = {one.method: one.recall for one in catalog.evaluate(table, k=24)}
    assert {name for name, recall in every.items() if recall < 1} == {"tf-idf", "bm25"}


def test_blocks_of_queries_change_no_figure(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = queries(tmp_path)
    whole = catalog.evaluate(table, k=[2, 5])
    monkeypatch.setattr(evaluate, "BLOCK", 2)
    assert catalog.evaluate(table, k=[2, 5]) == whole


@pytest.mark.parametrize("k", [1, 3, 7, 8, 20])
def test_the_highest_scores_are_those_of_a_stable_sort(k: int) -> None:
    scores = np.random.default_rng(k).integers(0, 4, (50, 8)).astype(np.float32)
    scores[::3, 5:] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert [one.tolist() for one in evaluate.top_of(scores, k)] == expected.tolist()


def test_baselines_are_what_their_names_say(catalog: Catalog, tmp_path: Path) -> None:
    table = tmp_path / "q.csv"
    table.write_text("text,relevant\na red lamp,lamp-red\nzebra,mug-red\n")
    found = catalog.evaluate(table, k=[3, 1], per_query=tmp_path / "found.csv")
    assert [(one.method, one.k) for one in found][:2] == [("search", 1), ("search", 3)]
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = {(r["text"], r["method"], r["k"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * 2 * len(found) // 2
    for one in found:
        mine = [
            float(r["recall"])
            for (_, m, k), r in rows.items()
            if (m, k) == (one.method, str(one.k))
        ]
        assert np.mean(mine) == one.recall
    snapshot = catalog.snapshot()
    items = snapshot.rows(snapshot.ids, ("images", "texts"))
    query = catalog.model.encode_texts(["zebra"])[0]
    fused = unit_length(unit_length(items.array("images")) + unit_length(items.array("texts")))
    order = np.argsort(-(fused @ query), kind="stable")[:3]
    assert rows["zebra", "cosine", "3"]["found"] == " ".join(snapshot.ids[at] for at in order)
    assert rows["zebra", "bm25", "3"]["found"] == ""
    assert rows["a red lamp", "tf-idf", "1"]["found"] == "lamp-red"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,relevant\nx,none\n", "none of the right answers"),
        ("text,relevant\nx,\n", "none of the right answers"),
        ("text,relevant\n,mug-red\n", "neither a text nor an image"),
        ("text,relevant\n", "no queries"),
        ("text,path,relevant\n,../x.png,mug-red\n", "leads out"),
        ("text,path,relevant\n,x.png,mug-red\n", "no such file"),
    ],
)
def test_wrong_queries(catalog: Catalog, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "q.csv").write_text(content)
    with pytest.raises(SynestheteError, match=message):
        catalog.evaluate(tmp_path / "q.csv")
