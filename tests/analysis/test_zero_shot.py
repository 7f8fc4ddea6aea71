"""Zero-shot rates against hand-made cases and against scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from synesthete.analysis import zero_shot
from synesthete.errors import SynestheteError
from synesthete.probes import load_probes


def test_ranks_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(200, 16)).astype(np.float32)
    classes = rng.normal(size=(30, 16)).astype(np.float32)
    truth = rng.integers(30, size=200)
    ranks = zero_shot.ranks_of_truth(images, classes, truth)
    for k in (1, 5):
        expected = top_k_accuracy_score(truth, images @ classes.T, k=k, labels=range(30))
        assert (ranks < k).mean() == expected


def test_a_model_that_says_the_same_of_everything_is_never_right() -> None:
    images = np.ones((5, 4), np.float32)
    classes = np.ones((7, 4), np.float32)
    ranks = zero_shot.ranks_of_truth(images, classes, np.arange(5))
    assert zero_shot.rates(ranks, 7)["top1"] == 0


def test_intervals_contain_the_rate_and_narrow_with_n() -> None:
    few = zero_shot.rates(np.array([0, 9]), 10)["top1_interval"]
    many = zero_shot.rates(np.array([0, 9] * 200), 10)["top1_interval"]
    assert few[0] < many[0] < 0.5 < many[1] < few[1]


def test_other_models_saw_nothing_and_mini_only_what_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "modality": ["drawing", "drawing", "word", "photo"],
            "artist": ["noto", "emojione", "Caveat", "grocery"],
            "key": ["a", "b", "c", "d"],
        }
    )
    assert zero_shot.held_out_rows("RN50/openai", table).all()
    (tmp_path / "mini").mkdir()
    described = {"drawing": {"artists": ["emojione"]}, "photo": {"keys": ["d"]}}
    (tmp_path / "mini" / "held_out.json").write_text(json.dumps(described))
    from synesthete.models import sources

    monkeypatch.setattr(sources, "MINI", tmp_path / "mini")
    for spec in ("mini", f"local-dir:{tmp_path / 'mini'}"):
        assert zero_shot.held_out_rows(spec, table).tolist() == [False, True, False, True]
    assert sources.held_out_file(f"local-dir:{tmp_path}/mini") == tmp_path / "mini/held_out.json"
    assert sources.held_out_file(f"local-dir:{tmp_path}") is None, "it does not say"
    assert zero_shot.held_out_rows(f"local-dir:{tmp_path}", table).all()
    for wrong in ("{", "[1]", '{"word": {"artists": [3]}}', '{"word": ["Caveat"]}'):
        (tmp_path / "mini" / "held_out.json").write_text(wrong)
        with pytest.raises(SynestheteError, match="does not say what was held out"):
            zero_shot.held_out_rows("mini", table)


def test_mini_was_trained_on_none_of_your_own_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("apple", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            noise = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{i}.png")
    found = zero_shot.evaluate("mini", str(tmp_path))
    assert found["modalities"]["photo"]["n"] == 6
    assert not found["held_out_only"]
    own = load_probes(str(tmp_path))
    assert zero_shot.unseen_rows("mini", own).all()
    built_in = load_probes("concepts")
    unseen = zero_shot.unseen_rows("mini", built_in)
    assert unseen.tolist() == zero_shot.held_out_rows("mini", built_in.labels).tolist()
    assert not unseen.all()


def test_the_signature_of_a_url_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from synesthete import models, probes

    monkeypatch.setattr(models, "load_model", lambda _: None)
    monkeypatch.setattr(probes, "load_probes", lambda *_, **__: SimpleNamespace(concepts=["a"]))
    with pytest.raises(SynestheteError, match="has 1 concept") as caught:
        zero_shot.evaluate("mini", "https://host/a.tar?token=secret")
    assert "secret" not in str(caught.value)


def test_templates_are_averaged_and_normalised() -> None:
    class Texts:
        def encode_texts(self, texts: Any) -> Any:
            rows = np.array([[len(t), 1.0] for t in texts], np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    rows = zero_shot.class_embeddings(Texts(), ["a", "bb"], ("{}", "the {}"))  # type: ignore[arg-type]
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    assert rows.shape == (2, 2)
