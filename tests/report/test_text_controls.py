"""Wherever counts of a layer that reads texts are shown, its controls of text stand beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synesthete.atlas import open_atlas
from synesthete.report import source_of
from synesthete.report.counts import counts_in_words, layer_counts
from synesthete.server import create_app
from synesthete.server.auth import Gate
from tests.analysis.test_texts import (
    CONCEPTS,
    IMAGE,
    TEXT,
    analysed,  # noqa: F401
    recorded,  # noqa: F401
)
from tests.cli.conftest import Run, run, workplace  # noqa: F401
from tests.server.conftest import BEARER, TOKEN

HELD = 2 * len(CONCEPTS)  # texts of the scoring half in a modality


@pytest.fixture
def path(analysed: Path) -> Path:  # noqa: F811
    return analysed


def test_a_text_layer_has_them_and_an_image_layer_not(path: Path) -> None:
    source = source_of(open_atlas(path))
    images, texts, joint = (layer_counts(source, layer) for layer in (IMAGE, TEXT, "joint"))
    assert images is not None
    assert texts is not None
    assert joint is not None
    assert (images.texts, images.texts_note) == ([], "")
    rows = {row.name: row for row in texts.texts}
    assert list(rows) == [
        "the model",
        "its random twin",
        "its weights permuted",
        "random mixtures of its neurons",
        "shuffled labels",
        "shuffled words",
        "a bag of words",
    ]
    # These texts are of one word, so that shuffling changes nothing; the concept is written in each.
    for name in ("the model", "shuffled words", "a bag of words"):
        assert rows[name].multimodal == 5
        for one in rows[name].modalities.values():
            assert (one.n, one.passing, one.top_1, one.median_rank) == (HELD, 5, 1.0, 1.0)
            assert one.low is not None
            assert one.low < 0.9
    twin = rows["its random twin"]
    assert twin.multimodal == 0
    assert all(one.top_1 is not None and one.top_1 < 0.7 for one in twin.modalities.values())
    assert rows["shuffled labels"].modalities["anecdote"].top_1 is None
    assert "5 of 5 multimodal neurons" in texts.beside[0]
    assert "matched in length" in texts.beside[0]
    # A bag of words does not read images.
    assert "a bag of words" in [row.name for row in joint.texts]
    assert joint.texts[-1].multimodal is None
    assert "5 multimodal neurons with shuffled words" in counts_in_words(texts)


def test_summary_and_pages_show_them(
    path: Path,
    run: Run,  # noqa: F811
) -> None:
    from starlette.testclient import TestClient

    facts = json.loads(run("summary", path, "--json").out)
    assert not any("word_order" in key for key in facts)
    assert not any("word_order" in key for key in facts["layers"][IMAGE])
    layer = facts["layers"][TEXT]
    assert layer["multimodal_word_order"] == layer["multimodal_bag_of_words"] == 5
    assert layer["multimodal_matched_texts"] == 5
    assert layer["passing"]["model"]["anecdote"] == 5
    assert layer["passing"]["shuffled"]["anecdote"] <= 1
    assert layer["reading"]["anecdote"]["word_order"]["top_1"] == 1
    printed = " ".join(run("summary", path).out.split())
    assert f"what {TEXT} makes of texts" in printed
    assert "100.0 % (1)" in printed
    app = create_app([path], Gate(TOKEN))
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=BEARER) as client:
        for page in (f"/layer/{TEXT}", "/"):
            html = client.get(page, headers={"accept": "text/html"}).text
            assert "a bag of words" in html
            assert "anecdote read first" in html
        html = client.get(f"/layer/{IMAGE}", headers={"accept": "text/html"}).text
        assert "bag of words" not in html


def test_lists_of_joint_units_have_the_scores_of_others(
    path: Path,
    run: Run,  # noqa: F811
) -> None:
    rows = json.loads(run("neurons", path, "--layer", "joint", "--json").out)
    for row in rows:
        assert set(row["joint"]) == {"dominance", "dominant", "bridge", "partner", "pairs"}
        assert 0 <= row["joint"]["dominance"] <= 1
    assert "joint" not in json.loads(run("neurons", path, "--layer", TEXT, "--json").out)[0]
    assert "bridge" in run("neurons", path, "--layer", "joint").out
    assert "bridge" not in run("neurons", path).out
