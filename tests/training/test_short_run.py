"""The whole training, on three icons and for a few steps: build, teach, train, resume, export, load."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from training import corpus as training_corpus  # noqa: E402
from training import (  # noqa: E402
    examples,
    export,
    image_tower,
    loading,
    looks,
    objective,
    pictographs,
    running,
    sources,
    teacher,
    text_tower,
    warping,
    words,
    written,
)

SHAPES = {
    "disc": '<circle cx="8" cy="8" r="6" fill="currentColor"/>',
    "box": '<rect x="3" y="3" width="10" height="10" fill="currentColor"/>',
    "bar": '<rect x="7" y="1" width="2" height="14" fill="currentColor"/>',
}
HEADER = "concept\tfamily\tmodality\tartist\titem\n"


def _packages(root: Path) -> Path:
    for name in ("noto", "mdi"):
        folder = root / "@iconify-json" / name
        folder.mkdir(parents=True)
        icons = {icon: {"body": body} for icon, body in SHAPES.items()}
        (folder / "icons.json").write_text(json.dumps({"icons": icons, "width": 16, "height": 16}))
    (root / "emojibase-data" / "en").mkdir(parents=True)
    (root / "emojibase-data" / "en" / "data.json").write_text("[]")
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("training")
    packages = _packages(root / "packages")
    photos = root / "photos"
    photos.mkdir()
    (photos / "manifest.csv").write_text("path,label\n")
    rows = [
        f"{shape}\tshape\t{modality}\t{name}\tnpm:{name}:{shape}\n"
        for shape in ("disc", "box")
        for modality, name in (("drawing", "noto"), ("symbol", "mdi"))
    ]
    (root / "table.tsv").write_text(HEADER + "".join(rows))
    (root / "candidates.tsv").write_text("concept\tphoto\ndisc\t\nbox\t\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictographs, "FONTS", ())  # the machine's own are no part of this
        count = sources.build(
            packages, photos, root / "data", clip_art=root / "no", stamps=root / "no", scenes=root / "no",
            candidates=root / "candidates.tsv",
        )  # fmt: skip
    assert count == 6
    texts = ["disc", "box", "bar", "ring"]
    targets = np.linalg.qr(np.random.default_rng(0).normal(size=(192, 4)))[0].T.astype(np.float32)
    np.savez(root / "data" / "teacher.npz", texts=np.array(texts),
             kinds=np.array(["names", "names", "captions", "words"]), targets=targets)  # fmt: skip
    return root


@pytest.fixture(scope="module")
def corpus(work: Path) -> training_corpus.Corpus:
    from synesthete.probes.words import load_fonts

    fonts = [str(font.path) for font in load_fonts()]
    return training_corpus.load_corpus(
        work / "data", work / "table.tsv", work / "candidates.tsv", teacher.lookup(work / "data")[0],
        fonts, frozenset(),
    )  # fmt: skip


def test_rendered_icons_are_what_they_are_called(work: Path) -> None:
    tiles = np.load(work / "data" / "tiles.npy")
    lines = (work / "data" / "images.tsv").read_text().splitlines()[1:]
    cover = {line.split("\t")[0]: tiles[i, ..., 3].mean() / 255 for i, line in enumerate(lines)}
    assert cover["npm:noto:disc"] == pytest.approx(np.pi * 36 / 256, abs=0.01)
    assert cover["npm:mdi:box"] == pytest.approx(100 / 256, abs=0.01)
    assert cover["npm:mdi:bar"] == pytest.approx(28 / 256, abs=0.01)


def test_held_out_vendors_are_never_drawn_from() -> None:
    held = frozenset({"photo:a/1.webp"})
    assert training_corpus.is_held_out("npm:emojione:apple", held)
    assert training_corpus.is_held_out("npm:lucide:apple", held)
    assert training_corpus.is_held_out("photo:a/1.webp", held)
    assert not training_corpus.is_held_out("npm:noto:apple", held)
    assert not set(sources.HELD_OUT_SETS) & {*sources.DRAWN, *sources.SYMBOLS}


def test_examples_carry_exactly_one_target(corpus: training_corpus.Corpus) -> None:
    rng = np.random.default_rng(1)
    texts, written_ones = list(corpus.spelt), set()
    for size in (64, 96):
        for _ in range(40):
            image, concept, second, text, spelt, looked = examples.draw(corpus, size, rng)
            assert looked == -1, "nobody looked at these images"
            assert image.shape == (size, size, 3)
            assert image.dtype == np.uint8
            assert (concept >= 0) != (text >= 0)
            assert second < 0 or (size >= 96 and concept >= 0)
            if second >= 0:
                assert texts[spelt] == corpus.names[second]
            elif text >= 0 and spelt >= 0:
                assert texts[spelt] == corpus.bank[text]
            elif spelt >= 0:
                assert texts[spelt] in (corpus.names[concept], *corpus.other_names[concept])
            written_ones.add(spelt)
    assert len(written_ones) > 2


def test_a_image_says_how_it_looks_unless_a_word_is_on_it(corpus: training_corpus.Corpus) -> None:
    shapes = [rows[0] for by in corpus.concepts for rows in by.values()]
    changed = dataclasses.replace(corpus, described=dict.fromkeys(shapes, 7), concept_share=1.0)
    rng = np.random.default_rng(4)
    found = set()
    for _ in range(100):
        _, _, second, _, spelt, looked = examples.draw(changed, 96, rng)
        assert looked == (7 if spelt < 0 else -1)
        found.add((second >= 0, looked))
    assert found == {(True, -1), (False, -1), (False, 7)}


def test_every_artist_of_a_concept_is_drawn_as_often(corpus: training_corpus.Corpus) -> None:
    tiles = np.zeros((5, 128, 128, 4), np.uint8)
    tiles[..., 3] = 255
    tiles[..., 0] = np.array([0, 0, 0, 0, 255])[:, None, None]
    small = training_corpus.Corpus(
        tiles=tiles, modality=["photo"] * 5, names=["disc"], concepts=[{"photo": [0, 1, 2, 3, 4]}],
        others=[], bank=["disc"], bank_of_image={}, vocabulary=[0], fonts=corpus.fonts,
        artist=["a", "a", "a", "a", "b"], concept_share=1.0, photo_share=1.0, sticker_share=0.0,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    red = [examples.draw(small, 32, rng)[0][..., 0].mean() > 100 for _ in range(400)]
    assert 0.4 < np.mean(red) < 0.6


def test_a_word_is_put_on_the_image_and_leaves_most_of_it(corpus: training_corpus.Corpus) -> None:
    rng = np.random.default_rng(5)
    image = np.full((96, 96, 3), 120, np.uint8)
    for _ in range(20):
        changed = (written.sticker(image, "disc", corpus, rng) != image).any(-1).mean()
        assert 0.003 < changed < 0.75


def test_an_empty_label_is_one_colour(corpus: training_corpus.Corpus) -> None:
    rng = np.random.default_rng(8)
    image = np.full((96, 96, 3), 120, np.uint8)
    inside = np.ones((9, 9), np.uint8)  # as far as Lanczos reaches from an edge
    for _ in range(20):
        drawn = written.sticker(image, "disc", corpus, rng, blank=True)
        label = cv2.erode((drawn != image).any(-1).astype(np.uint8), inside).astype(bool)
        assert label.mean() > 0.003
        _, counts = np.unique(drawn[label], axis=0, return_counts=True)
        assert (
            counts.max() / counts.sum() > 0.9
        )  # the rest is where its edge was drawn between two pixels


def test_colours_and_numbers_are_what_they_are_called(corpus: training_corpus.Corpus) -> None:
    rng = np.random.default_rng(6)
    for name, rgb in training_corpus.COLOURS.items():
        patch = examples.swatch(rgb, 64, rng).reshape(-1, 3).astype(float)
        assert (np.abs(patch - rgb).max(1) < 50).mean() > 0.08, name
    tile = np.zeros((128, 128, 4), np.uint8)
    tile[40:88, 40:88, 3] = 255
    for count in range(1, 10):
        drawn = examples.several(count, tile, 96, np.random.default_rng(count))
        parts = cv2.connectedComponents((drawn[..., 0] != drawn[0, 0, 0]).astype(np.uint8))[0] - 1
        assert parts == count


def test_words_held_out_are_never_written(work: Path) -> None:
    kept = training_corpus.load_corpus(
        work / "data", work / "table.tsv", work / "candidates.tsv", teacher.lookup(work / "data")[0],
        [], frozenset(), frozenset({"ring"}),
    )  # fmt: skip
    assert {kept.bank[i] for i in kept.vocabulary} == {"disc", "box", "bar"}


def test_a_image_with_a_word_on_it_is_about_both() -> None:
    import torch

    logits = torch.tensor([[4.0, 0.0, -1.0], [4.0, 0.0, -1.0]])
    first, second = torch.tensor([0, 0]), torch.tensor([-1, 1])
    plain = torch.nn.functional.cross_entropy(logits, first, label_smoothing=0.02)
    word = torch.nn.functional.cross_entropy(logits[:1], torch.tensor([1]), label_smoothing=0.02)
    share = objective.IMAGE_WEIGHT
    expected = (plain + share * plain + (1 - share) * word) / 2
    got = objective.loss_of_concepts(logits, first, second)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


def test_ink_is_always_set_off_from_the_ground() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        ink, ground = warping.ink_and_ground(rng)
        assert abs(float((ink - ground) @ warping.LUMA)) > 80


def test_written_words_fit_the_tile(corpus: training_corpus.Corpus) -> None:
    rng = np.random.default_rng(3)
    for text in ("om", "hot dog", "beaming face with smiling eyes"):
        ink = words.mask(text, corpus.fonts[0], rng)
        assert ink.max() == 255
        assert ink[[0, -1]].max() == 0 or len(text) > 25


def test_whitening_spreads_the_axes_evenly() -> None:
    rng = np.random.default_rng(4)
    bank = rng.normal(size=(4000, 8)) * np.array([9, 5, 3, 2, 1, 1, 1, 1]) + 3
    mean, projection = teacher.whitening(bank, 6, shrink=0.0)
    spread = np.cov(((bank - mean) @ projection).T)
    assert np.allclose(spread, np.eye(6), atol=1e-3)


def test_a_short_run_learns_resumes_and_exports(
    work: Path,
    corpus: training_corpus.Corpus,
    capsys: pytest.CaptureFixture[str],
) -> None:
    open_clip = pytest.importorskip("open_clip")
    import torch

    data = work / "data"
    text_tower.train(data, steps=80, batch=32, threads=1)
    assert "top-1 100.0%" in capsys.readouterr().out
    taught = torch.load(data / "text.pt")
    text_tower.train(data, minutes=0, init=data / "text.pt", threads=1)
    assert all(torch.equal(taught[k], v) for k, v in torch.load(data / "text.pt").items())
    assert "top-1 100.0%" in capsys.readouterr().out
    spelt = work / "spelt"
    spelt.mkdir()
    (spelt / "teacher.npz").write_bytes((data / "teacher.npz").read_bytes())
    text_tower.train(spelt, steps=80, batch=32, spelling=0.5, threads=1)
    assert "top-1 100.0%" in capsys.readouterr().out, (
        "the names are distinguished by their spelling"
    )
    stages = ((0.0, 64), (0.3, 96))
    for samples in (64, 160):
        recipe = running.Recipe(samples=samples, batch=16, bf16=False)
        image_tower.train(corpus, data, recipe, threads=1, stages=stages)
    out = capsys.readouterr().out
    assert "resumed at 64 samples" in out
    saved = torch.load(data / "image.pt")
    assert saved["seen"] >= 160
    assert saved["size"] == 96
    export.export(data, work / "mini")
    model = open_clip.create_model(f"local-dir:{work / 'mini'}")
    model.eval()
    pixels = torch.zeros(2, 3, 128, 128)
    assert model.encode_image(pixels).shape == (2, 192)
    tokens = open_clip.get_tokenizer(f"local-dir:{work / 'mini'}")(["disc", "box"])
    with torch.no_grad():
        texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
    wanted = torch.from_numpy(teacher.lookup(data)[2][:2])
    assert (texts @ wanted.T).argmax(1).tolist() == [0, 1]

    out_of = work / "again"
    out_of.mkdir()
    (out_of / "text.pt").write_bytes((data / "text.pt").read_bytes())
    image_tower.train(
        corpus, out_of, running.Recipe(samples=320, batch=16, parts=2, sparsity=1.0, bf16=False, votes=0.5),
        threads=1, helpers=frozenset({min(os.sched_getaffinity(0))}), init=data / "image.pt",
        stages=((0.0, 64), (0.5, 96)), waking=128,
    )  # fmt: skip
    output = capsys.readouterr().out
    assert "started from image.pt" in output
    assert "woken: " in output
    again = torch.load(out_of / "image.pt")
    assert again["seen"] >= 320
    assert again["size"] == 96
    assert again["earlier"]["samples"] == saved["seen"]
    assert [len(v.shape) for v in again["readers"]["votes"]] == [2, 0]
    before, after = saved["visual"], again["visual"]
    assert torch.equal(before["standardise.running_mean"], after["standardise.running_mean"])
    assert not torch.equal(before["layer4.0.conv1.weight"], after["layer4.0.conv1.weight"])
    everything = list(range(len(corpus.tiles)))

    def coarse(images: np.ndarray) -> np.ndarray:
        return images[:, 8::16, 8::16, 0].reshape(len(images), -1).astype(np.float32)

    looks.describe(corpus.tiles, everything, out_of, coarse, dim=2)
    rows, targets = looks.lookup(out_of)
    described = {row: i for i, row in enumerate(rows)}
    corpus = dataclasses.replace(corpus, described=described, looks=targets)
    image_tower.train(
        corpus, out_of,
        running.Recipe(samples=400, batch=16, bf16=False, votes=0.5, letters=0.1, last_letters=0.1, looks=0.1),
        threads=1, stages=((0.0, 96),),
    )  # fmt: skip
    assert "resumed at" in capsys.readouterr().out
    readers = torch.load(out_of / "image.pt")["readers"]
    assert not torch.equal(readers["votes"][0], again["readers"]["votes"][0])
    assert list(readers) == ["votes", "letters", "last_letters", "looks"]


def test_two_runs_of_one_order_differ_only_in_their_settings(
    work: Path, corpus: training_corpus.Corpus, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    stages = ((0.0, 64), (0.5, 96))
    loading.Order(4, 8, stages).draw(corpus, tmp_path / "batches")
    saved = {}
    for name, votes in (("plain", 0.0), ("again", 0.0), ("votes", 1.0)):
        (out := tmp_path / name).mkdir()
        (out / "teacher.npz").write_bytes((work / "data" / "teacher.npz").read_bytes())
        recipe = running.Recipe(samples=32, batch=8, bf16=False, votes=votes)
        image_tower.train(
            corpus, out, recipe, threads=1, stages=stages, batches=tmp_path / "batches"
        )
        saved[name] = torch.load(out / "image.pt")
        assert (saved[name]["step"], saved[name]["seen"], saved[name]["size"]) == (4, 32, 96)
    weight = {name: one["visual"]["layer4.0.conv1.weight"] for name, one in saved.items()}
    assert torch.equal(weight["plain"], weight["again"])
    assert not torch.equal(weight["plain"], weight["votes"])
    assert (list(saved["plain"]["readers"]), list(saved["votes"]["readers"])) == ([], ["votes"])
