"""Dyslexify: it finds the one planted head that reads, takes it away where it writes, and nothing else does that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from synesthete.editing import Edit, Edits, load_edits, plan_edits, save_edits
from synesthete.editing.defence import Typographic, defend, find_defence
from synesthete.editing.defence.find import Defence
from synesthete.editing.defence.heads import keep_heads
from synesthete.editing.defence.search import Tail, candidates
from synesthete.editing.defence.subspace import (
    project_out,
    random_directions,
    written_directions,
)
from synesthete.editing.fold import Unfoldable, fold
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel
from tests.editing.conftest import Family
from tests.editing.planted import READER, attack, reading_model

Splits = tuple[Typographic, Typographic, Typographic]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> ImageTextModel:
    return reading_model(tmp_path_factory.mktemp("planted"), seed=0)


@pytest.fixture(scope="module")
def splits(planted: ImageTextModel) -> Splits:
    fitting, validation, test = (attack(planted, 40, seed) for seed in (1, 2, 3))
    return fitting, validation, test


@pytest.fixture(scope="module")
def found(planted: ImageTextModel, splits: Splits) -> Defence:
    fitting, validation, test = splits
    return find_defence(
        planted, fitting, test, validation=validation, method="dyslexify", most=12, budget=0.0
    )


def test_the_planted_head_is_found_and_takes_the_attack_with_it(found: Defence) -> None:
    layer, head = READER
    assert [edit.address for edit in found.edits.edits] == [f"{layer}:{head}"]
    assert found.before.harm.value == 1.0
    assert found.after.harm.value == 0.0
    assert found.after.kept.value == found.before.kept.value == 1.0
    frontier = found.series[0].points[-1].frontier
    assert frontier is not None
    assert (frontier.gain.value, frontier.kept.value) == (1.0, 0.0)
    assert frontier.gain.low > 0.8
    assert found.attention[0].address == f"{layer}:{head}"
    assert found.attention[0].share > 0.8
    assert found.attention[0].elsewhere < 0.3
    assert found.carriers.strongest[0][0] == f"{layer}:{head}"
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize("seed", [1, 2])
def test_other_weights_and_other_images(tmp_path: Path, seed: int) -> None:
    model = reading_model(tmp_path / "other", seed)
    fitting, validation, test = (attack(model, 30, 10 * seed + part) for part in range(3))
    found = find_defence(
        model, fitting, test, validation=validation, method="dyslexify", budget=0.0, seed=seed
    )
    assert (READER[0], READER[1]) == (found.edits.edits[0].layer, found.edits.edits[0].unit)
    assert found.after.harm.value == 0.0


def test_every_other_head_leaves_the_attack(planted: ImageTextModel, splits: Splits) -> None:
    test = splits[2]
    for site in planted.sites("image"):
        if site.kind != "class heads":
            continue
        others = [head for head in range(site.units) if (site.name, head) != READER]
        with planted.edited(plan_edits(planted, ablate=[f"{site.name}:{head}" for head in others])):
            assert test.evaluate(planted.encode_images(test.pixels)).harm.value > 0.9


def test_only_what_is_written_into_the_class_token_goes(
    planted: ImageTextModel, splits: Splits
) -> None:
    pixels = splits[0].pixels[:6]
    block = "visual.transformer.resblocks.1"
    attention = planted.network.visual.transformer.resblocks[1].attn
    layer, head = READER

    def stream() -> torch.Tensor:
        seen = []
        handle = attention.register_forward_hook(
            lambda module, args, output: seen.append(output[0].clone())
        )
        planted.encode_images(pixels)
        handle.remove()
        return seen[0]

    plain = stream()
    # Both heads, and the reader at all tokens: what one hook changes, the next keeps.
    for addresses, tokens in (
        ([f"{layer}:{head}", f"{layer}:0"], slice(0, 1)),
        ([f"{block}.attn:{head}", f"{block}.attn:0"], slice(None)),
    ):
        with planted.edited(plan_edits(planted, ablate=addresses)):
            moved = stream()
        wide = attention.head_dim
        kept = attention.out_proj.weight.clone()
        for unit in (head, 0):
            attention.out_proj.weight[:, unit * wide : (unit + 1) * wide] = 0
        try:
            wanted = plain.clone()
            wanted[:, tokens] = stream()[:, tokens]
        finally:
            attention.out_proj.weight.copy_(kept)
        torch.testing.assert_close(moved, wanted, atol=1e-5, rtol=0)
        assert float((moved - plain).abs().max()) > 1e-3


def test_the_edits_of_a_class_token_are_a_file_but_no_weights(
    planted: ImageTextModel, splits: Splits, found: Defence, tmp_path: Path
) -> None:
    edits = load_edits(save_edits(found.edits, tmp_path / "edits.json"))
    test = splits[2]
    with planted.edited(edits):
        assert test.evaluate(planted.encode_images(test.pixels)).harm.value == 0.0
    with pytest.raises(Unfoldable, match=r"writes into all tokens.*attn:2, at all tokens"):
        fold(planted, edits)


def test_heads_are_kept_while_they_help_within_the_budget(
    planted: ImageTextModel, splits: Splits
) -> None:
    fitting = splits[0]
    layers = [site.name for site in planted.sites("image") if site.kind == "class heads"]
    among = candidates(planted, layers, fitting.pixels, mean=False)
    tail = Tail(planted, layers, fitting.pixels)
    useless = [unit for unit in among.units if unit != READER][:3]
    kept = keep_heads(tail, fitting, among, [*useless, READER], most=9, budget=0.0)
    assert kept[-1] == READER
    seeing = ("visual.transformer.resblocks.0.attn:cls", 1)
    # Without the head that sees objects clean accuracy is gone.
    embeddings = tail.embed(among.rewrites([READER, seeing])).numpy()
    assert fitting.evaluate(embeddings).kept.value < 0.6
    for order in ([seeing, READER], [READER, seeing]):
        assert keep_heads(tail, fitting, among, order, most=9, budget=0.0) == [READER]


def test_the_written_subspace_is_that_of_the_words(
    planted: ImageTextModel, splits: Splits, found: Defence
) -> None:
    names = [series.name for series in found.series]
    assert names == [
        "dyslexify",
        "attention",
        *["random"] * 5,
        "subspace",
        *["random subspace"] * 5,
    ]
    rng = np.random.default_rng(0)
    base = np.linalg.qr(rng.standard_normal((24, 24)))[0].T.astype(np.float32)
    # Objects in the first dimensions, words in other ones: removing the words' leaves the objects.
    truth = rng.integers(0, 4, 50)
    target = (truth + 1) % 4
    plain = base[truth]
    marked = base[truth] + 2 * base[4 + target]
    objective = replace(
        splits[0],
        pixels=torch.zeros(100, 3, 1, 1),
        truth=truth,
        of=np.arange(50),
        target=target,
        right=np.ones(50, bool),
        classes=base[:4] + 1.5 * base[4:8],
    )
    embeddings = np.concatenate([plain, marked])
    assert not objective.survived(embeddings).any()
    directions = written_directions(objective, embeddings)
    span = directions[:4].T @ directions[:4]
    np.testing.assert_allclose(span, base[4:8].T @ base[4:8], atol=1e-5)
    assert objective.survived(project_out(embeddings, directions[:4])).all()
    other = random_directions(4, 24, rng)
    np.testing.assert_allclose(other @ other.T, np.eye(4), atol=1e-5)
    assert objective.survived(project_out(embeddings, other)).mean() < 0.5


def test_labels_are_where_images_differ(planted: ImageTextModel) -> None:
    """A label in paper's colour on paper is known by its letters' rectangle; half a position counts half."""
    plain = torch.ones(1, 3, 32, 32)
    marked = plain.clone()
    marked[0, :, 8, 4:20] = 0.0
    marked[0, :, 15, 10] = 0.0
    objective = replace(
        attack(planted, 1, 0),
        pixels=torch.cat([plain, marked]),
        truth=np.array([0]),
        of=np.array([0]),
    )
    wanted = torch.zeros(4, 4)
    wanted[1, :3] = torch.tensor([0.5, 1.0, 0.5])
    torch.testing.assert_close(objective.label_shares((4, 4))[0], wanted)


def test_what_has_no_such_heads_is_refused(family: Family, splits: Splits) -> None:
    model = family("convnext")
    with pytest.raises(SynestheteError, match=r"no attention heads .*--method greedy"):
        find_defence(model, splits[0], splits[2], method="dyslexify")
    with pytest.raises(SynestheteError, match="no attention heads"):  # before an image is read
        defend(model, None, method="dyslexify")  # type: ignore[arg-type]
    model = family("vit")
    for layers, message in (
        (["visual.transformer.resblocks.1.mlp"], "no heads that write into the class token"),
        (["visual.transformer.resblocks.9.attn:cls"], "no layer"),
    ):
        with pytest.raises(SynestheteError, match=message):
            find_defence(model, splits[0], splits[2], method="dyslexify", layers=layers)
    with pytest.raises(SynestheteError, match=r"no such method 'dislexify'.*dyslexify"):
        find_defence(model, splits[0], splits[2], method="dislexify")


def test_a_pool_head_is_edited_and_folded(family: Family) -> None:
    model = family("modified-resnet")
    edits = Edits((Edit("visual.attnpool:3", "ablate"),), model.name, model.weights_sha256)
    weights = fold(model, edits)["visual.attnpool.c_proj.weight"]
    assert float(weights[:, 3 * 32 : 4 * 32].abs().max()) == 0.0
