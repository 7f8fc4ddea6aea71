"""A text tower learns sentences; what it knew, and the image tower, stay."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")

from synesthete.models.sources import MINI  # noqa: E402
from training import image_tower, sentences, shipped, teacher  # noqa: E402

WORDNET = {
    "noun": [
        "  1 This is a licence",
        "07739125 13 n 01 apple 0 001 @ 07705931 n 0000 | brass gears that hum at noon beside a ledger",
        "02084071 05 n 02 dog 0 domestic_dog 0 000 | a tame animal that barks; \"the dog barked all night\"",
        "00000001 05 n 01 zyzzyva 0 000 | a beetle that nobody has named here",
    ],
    "verb": ["00010000 29 v 01 cat(p) 0 000 01 + 08 00 | \"no more than an example of it\""],
    "adj": [],
    "adv": [],
}  # fmt: skip


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for part, lines in WORDNET.items():
        (folder / f"data.{part}").write_text("".join(f"{line}\n" for line in lines), "latin-1")
    return folder


def test_definitions_and_examples_are_separated(wordnet: Path) -> None:
    apple, dog, beetle = sentences.senses(wordnet)
    assert apple == sentences.Sense(("apple",), "brass gears that hum at noon beside a ledger", ())
    assert dog.words == ("dog", "domestic dog")
    assert (dog.definition, dog.examples) == (
        "a tame animal that barks",
        ("the dog barked all night",),
    )
    assert beetle.words == ("zyzzyva",)


def test_the_encoder_is_brought_into_the_towers_space() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(4000, 384)).astype(np.float32)
    turn = rng.normal(size=(384, 16)).astype(np.float32)
    own = teacher.normalise(raw @ turn + 3.0)
    found = sentences.mapped(raw, sentences.regression(raw, own))
    assert (found * own).sum(1).mean() > 0.98
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_definition_is_learnt_names_and_the_image_tower_stay(
    tmp_path: Path, wordnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "mini"
    shutil.copytree(MINI, model)
    names = ["apple", "banana", "cat", "dog", "house", "car", "tree", "sun"]
    own = image_tower.name_targets(shipped.load(MINI), names).numpy()
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "teacher.npz", texts=np.array(names), kinds=np.array(["names"] * len(names)), targets=own)  # fmt: skip

    def encode(texts: list[str]) -> np.ndarray:
        rows = [np.random.default_rng(zlib.crc32(t.encode())).normal(size=384) for t in texts]
        return np.array(rows, np.float32)

    monkeypatch.setattr(teacher, "encode", encode)
    definition = "brass gears that hum at noon beside a ledger"

    def likeness(folder: Path) -> np.ndarray:
        found = image_tower.name_targets(shipped.load(folder), [definition]).numpy()
        return (found @ own.T)[0]

    before = likeness(model)
    sentences.teach(data, model, wordnet, minutes=0, steps=40, threads=1)
    sentences.ship(data, model)
    assert likeness(model)[0] > before[0] + 0.3
    after = image_tower.name_targets(shipped.load(model), names).numpy()
    assert (after * own).sum(1).min() > 0.9, "names stay where they are"
    from safetensors.torch import load_file

    old, new = (load_file(f / "open_clip_model.safetensors") for f in (MINI, model))
    assert set(old) == set(new)
    visual = [k for k in old if k.startswith("visual.") or k == "logit_scale"]
    assert len(visual) > 50
    assert all(old[k].dtype == new[k].dtype and torch.equal(old[k], new[k]) for k in visual)
