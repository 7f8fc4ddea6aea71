"""The commands, in this process: what they print, and one line for every mistake."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from synesthete.catalog import Catalog, search
from synesthete.cli import main
from synesthete.models.image_text_model import ImageTextModel
from tests.catalog.conftest import image

page_of = search._page
Ended = tuple[int, str, str]
Run = Callable[..., Ended]


@pytest.fixture
def run(
    tmp_path: Path,
    shop_path: Path,
    model: ImageTextModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run a command in a folder with `shop.catalog`, `empty.catalog`, `shot.png` and a table of items."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(shop_path, "shop.catalog")
    Path("shot.png").write_bytes(image("red", 8))
    Path("items.csv").write_text("id,title,colour,image\n1,red mug,red,shot.png\n2,,,\n1,again,,\n")
    monkeypatch.setattr("synesthete.models.load_model", lambda spec: model)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["synesthete", "catalog", *arguments])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return int(str(code or 0)), written.out, written.err

    return call


def data(ended: Ended) -> object:
    code, out, err = ended
    assert code == 0, err
    return json.loads(out)


def test_index_again_and_prune(run: Run, empty_path: Path) -> None:
    shutil.copytree(empty_path, "new.catalog")
    first = data(run("index", "items.csv", "--out", "new.catalog", "--json"))
    assert isinstance(first, dict)
    assert (first["items"], first["added"], first["quarantine"]) == (1, 1, 2)
    assert {one["id"] for one in first["quarantined"]} == {"1", "2"}
    code, out, err = run("index", "items.csv", "--out", "new.catalog")
    assert code == 0
    assert "1 items in new.catalog: 0 added, 0 changed, 1 unchanged" in out
    assert "set aside: 2, item: neither an image nor a text" in err
    Path("fewer.csv").write_text("id,title\n9,cup\n")
    pruned = data(
        run("index", "fewer.csv", "--out", "new.catalog", "--prune", "--prune-any", "--json")
    )
    assert isinstance(pruned, dict)
    assert (pruned["items"], pruned["added"], pruned["deleted"]) == (1, 1, 1)


def test_half_a_download_prunes_nothing(run: Run, empty_path: Path) -> None:
    shutil.copytree(empty_path, "new.catalog")
    rows = [f"{n},mug {n}\n" for n in range(20)]
    prune = ("index", "cut.csv", "--out", "new.catalog", "--prune")
    Path("cut.csv").write_text("id,title\n" + "".join(rows))
    assert run(*prune)[0] == 0
    for text, why in (
        ("".join(rows)[: len("".join(rows)) // 2], "more than a fifth"),
        ("".join(rows[:-1]) + ",mug 19\n", "1 rows could not be read"),
        ("".join(rows[:15]), "would delete 5 of 20 items"),
    ):
        Path("cut.csv").write_text("id,title\n" + text)
        code, _, err = run(*prune)
        assert (code, len(Catalog.open("new.catalog"))) == (2, 20), why
        assert why in err
        assert "--prune-any" in err
    Path("cut.csv").write_text("id,title\n" + "".join(rows[:16]))
    assert data(run(*prune, "--json"))["deleted"] == 4  # type: ignore[index]
    Path("cut.csv").write_text("id,title\n,mug\n" + "".join(rows[:2]))
    assert data(run(*prune, "--prune-any", "--json"))["deleted"] == 14  # type: ignore[index]
    code, _, err = run("index", "cut.csv", "--out", "new.catalog", "--prune-any")
    assert (code, "needs --prune" in err) == (2, True)


def test_index_makes_a_catalogue(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed = data(
        run(
            "index",
            "items.csv",
            "--out",
            "made.catalog",
            "--model",
            "small",
            "--column",
            "title=colour",
            "--json",
        )
    )
    assert isinstance(indexed, dict)
    assert indexed["added"] == 1
    assert next(Catalog.open("made.catalog").items()).title == "red"


def test_search(run: Run) -> None:
    found = data(run("search", "shop.catalog", "--text", "red lamp", "-k", "3", "--json"))
    assert isinstance(found, list)
    assert len(found) == 3
    assert {"id", "score", "relevance", "reasons"} <= set(found[0])
    options = [
        "--image",
        "shot.png",
        "--without",
        "mug",
        "--without-image",
        "shot.png",
        "--where",
        "price<9",
        "--no-group",
    ]
    found = data(run("search", "shop.catalog", "--text", "lamp", *options, "--json"))
    assert isinstance(found, list)
    assert all(one["price"] < 9 for one in found)
    code, out, _ = run("search", "shop.catalog", "--text", "red lamp")
    assert code == 0
    assert "relevance" in out
    assert (
        data(run("search", "shop.catalog", "--text", "x", "--min-relevance", "1", "--json"))
        is not None
    )


def test_a_number_that_may_be_higher_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_page", lambda *given: replace(page_of(*given), at_least=True))
    code, out, _ = run("search", "shop.catalog", "--where", "category=lamp", "--facets", "2")
    assert code == 0
    assert "at least 4 items match" in out


def test_search_sorts_and_counts(run: Run) -> None:
    options = ["--where", "category=lamp", "--sort=-price", "--facets", "2", "-k", "3"]
    page = data(run("search", "shop.catalog", *options, "--json"))
    assert isinstance(page, dict)
    assert [one["id"] for one in page["hits"]] == ["lamp-white", "lamp-green", "lamp-blue"]
    assert (page["total"], page["next"], page["price"]["count"]) == (4, 3, 4)
    assert [len(one["values"]) for one in page["facets"]] == [1, 2, 2]
    code, out, _ = run("search", "shop.catalog", *options)
    assert code == 0
    assert "4 items match; prices 8 to 11 (4)" in out
    assert "at least" not in out
    code, _, err = run("search", "shop.catalog", "--where", "price<3", "--sort", "prise")
    assert code == 2
    assert "did you mean 'price'" in err
    assert "Traceback" not in err


def test_recommend(run: Run) -> None:
    Path("me.jsonl").write_text('{"item": "mug-red"}\n')
    options = [
        "--like",
        "lamp-red",
        "--dislike",
        "chair-red",
        "--text",
        "tea",
        "--image",
        "shot.png",
    ]
    options += [
        "--without",
        "wood",
        "--mute",
        "bowl",
        "--profile",
        "me.jsonl",
        "--half-life-days",
        "5",
    ]
    found = data(run("recommend", "shop.catalog", *options, "-k", "4", "--json"))
    assert isinstance(found, list)
    assert len(found) == 4
    assert not {"lamp-red", "chair-red", "mug-red"} & {one["id"] for one in found}


def test_align_and_suggest(run: Run) -> None:
    found = data(
        run("align", "shop.catalog", "--copy", "a red lamp", "--image", "shot.png", "--json")
    )
    assert isinstance(found, list)
    assert {"verdict", "agreeing", "disagreeing", "words", "regions", "flags"} <= set(found[0])
    Path("sale").mkdir()
    shutil.copy("shot.png", "sale/red.png")
    Path("sale/red.txt").write_text("A red lamp\nA blue lamp\n")
    code, out, _ = run("align", "shop.catalog", "--campaign", "sale")
    assert code == 0
    assert "A blue lamp" in out
    answer = data(
        run("suggest", "shop.catalog", "--image", "shot.png", "--brief", "lamp", "--json")
    )
    assert isinstance(answer, dict)
    assert {"items", "categories", "attributes", "questions", "confidence", "abstained"} <= set(
        answer
    )
    assert run("suggest", "shop.catalog", "--brief", "lamp")[0] == 0


def test_evaluate(run: Run) -> None:
    Path("q.csv").write_text("words,right\na red mug,mug-red\n")
    options = ["--queries", "q.csv", "--column", "text=words", "--column", "relevant=right"]
    found = data(run("evaluate", "shop.catalog", *options, "--json"))
    assert isinstance(found, dict)
    assert {"recall@10", "ndcg@10", "n"} <= set(found)
    assert set(found["methods"]) == {"search", "vectors", "text-only", "image-only"}
    assert set(found["baselines"]) == {"cosine", "tf-idf", "bm25", "random"}
    code, out, _ = run("evaluate", "shop.catalog", *options)
    assert code == 0
    assert "image-only" in out


def test_items_delete_adapt_quarantine(run: Run) -> None:
    found = data(run("items", "shop.catalog", "lamp-red", "--json"))
    assert isinstance(found, list)
    assert found[0]["attributes"]["colour"] == ["red"]
    assert "24 items" in run("items", "shop.catalog")[1]
    assert data(run("delete", "shop.catalog", "lamp-red", "none", "--json")) == {"deleted": 1}
    assert "0 deleted" in run("delete", "shop.catalog", "lamp-red")[1]
    assert data(run("adapt", "shop.catalog", "shot.png", "--json")) == {"photos": 1}
    assert data(run("quarantine", "shop.catalog", "--json")) == []
    assert run("quarantine", "shop.catalog")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "none.catalog", "--text", "x"], "no catalogue at 'none.catalog'"),
        (["search", "shop.catalog"], "nothing to search for"),
        (["search", "shop.catalog", "--image", "none.png"], "no such file"),
        (["search", "shop.catalog", "--image", "items.csv"], "not an image but text"),
        (
            ["search", "shop.catalog", "--text", "x", "--where", "color=red"],
            "did you mean 'colour'",
        ),
        (["recommend", "shop.catalog"], "at least one like"),
        (["recommend", "shop.catalog", "--like", "lamp-rot"], "no item 'lamp-rot'"),
        (["align", "shop.catalog", "--copy", "x"], "nothing to align"),
        (["align", "shop.catalog", "--copy", "x", "--campaign", "."], "its own copies"),
        (["evaluate", "shop.catalog", "--queries", "items.csv"], "none of the right answers"),
        (["index", "none", "--out", "shop.catalog"], "no such folder or table"),
        (["index", "items.csv", "--out", "shop.catalog", "--atlas", "x.atlas"], "there already"),
        (["index", "items.csv", "--out", "shop.catalog", "--column", "id"], "is not FIELD=NAME"),
        (["items", "shop.catalog", "none"], "no item 'none'"),
        (["adapt", "shop.catalog", "none"], "no images"),
    ],
)
def test_mistakes_end_in_one_line(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_demo_items() -> None:
    from itertools import islice

    from synesthete.catalog.sources import demo_items

    first = list(islice(demo_items(), 6))
    assert len({item.id for item in first}) == 6
    for item in first:
        assert item.title
        assert 1 <= len(item.images) <= 3
        assert "word" not in item.attributes["shown as"]
