"""The search: its shortcut through the tower is exact, its gradients are right, and it finds what was planted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete._core.intervals import paired_change
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.editing import Edit, Edits
from synesthete.editing.defence import Association, Typographic, defend, find_defence, load_axis
from synesthete.editing.defence.find import objectives
from synesthete.editing.defence.objective import Evaluation, Measured
from synesthete.editing.defence.search import Tail, _block, candidates, greedy, predicted, ranked
from synesthete.editing.defence.typographic import (
    INKS,
    SHARE,
    attacked,
    choose_classes,
    draw_style,
    splits,
)
from synesthete.errors import SynestheteError
from synesthete.models import ImageTextModel, load_model
from synesthete.probes import ProbeSet, load_probes
from tests.editing.conftest import Family, live_unit, pixels

SITES = {
    "modified-resnet": ["visual.layer4.1"],
    "modified-resnet, inner": ["visual.layer4.0.act2", "visual.layer4.1:pre"],
    "vit": ["visual.transformer.resblocks.1.attn", "visual.transformer.resblocks.2.mlp"],
    "siglip": ["visual.trunk.blocks.11.mlp"],
    "convnext": ["visual.trunk.stages.3.blocks.1"],
}


@dataclass(frozen=True)
class Along:
    """Harm: how far embeddings lie along a direction. Kept: along another."""

    pixels: torch.Tensor
    harm: torch.Tensor
    kept: torch.Tensor
    harm_name: str = "harm"
    kept_name: str = "kept"

    def losses(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (embeddings @ self.harm).mean(), -(embeddings @ self.kept).mean()

    def evaluate(self, embeddings: Any) -> Evaluation:
        harm, kept = (float((embeddings @ one.numpy()).mean()) for one in (self.harm, self.kept))
        return Evaluation(Measured(harm, harm, harm, 1), Measured(kept, kept, kept, 1))


def along(model: ImageTextModel, count: int = 5) -> Along:
    draw = torch.Generator().manual_seed(3)
    dim = model.embedding_dim
    directions = torch.randn(2, dim, generator=draw)
    return Along(pixels(model, count), directions[0], directions[1])


@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("mean", [False, True])
def test_the_tail_gives_what_the_whole_edited_model_gives(
    family: Family, case: str, mean: bool
) -> None:
    model, layers = family(case.partition(",")[0]), SITES[case]
    batch = pixels(model, 3)
    among = candidates(model, layers, batch, mean=mean)
    chosen = [(layer, live_unit(model, layer, batch)) for layer in layers]
    found = Tail(model, layers, batch).embed(among.rewrites(chosen)).numpy()
    edits = []
    for layer, unit in chosen:
        value = among.constants[layer][unit].tolist()
        value = tuple(value) if isinstance(value, list) else value
        edits.append(
            Edit(f"{layer}:{unit}", "mean-ablate" if mean else "ablate", value if mean else None)
        )
    with model.edited(Edits(tuple(edits), model.name, model.weights_sha256)):
        wanted = model.encode_images(batch)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - model.encode_images(batch)).max() > 1e-5
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.network.modules())


@pytest.mark.parametrize("case", ["modified-resnet", "vit"])
def test_predictions_are_derivatives(family: Family, case: str) -> None:
    model, layers = family(case), SITES[case]
    objective = along(model)
    tail = Tail(model, layers, objective.pixels)
    among = candidates(model, layers, objective.pixels, mean=False)
    scores = predicted(tail, objective, among, [], 0.5)
    layer, step = layers[-1], 5e-3
    unit = int(scores[layer].abs().argmax())

    def loss(gate: float) -> float:
        gates = {name: torch.ones(len(one)) for name, one in among.constants.items()}
        gates[layer][unit] = gate
        harm, kept = objective.losses(tail.embed(among.rewrites([], gates)))
        return float(harm + 0.5 * kept)

    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert -slope == pytest.approx(float(scores[layer][unit]), rel=0.1, abs=2e-5)


def test_greedy_takes_the_best_unit_of_its_list(family: Family) -> None:
    """Against every unit of the shortlist tried on the whole model."""
    model, layer = family("modified-resnet"), "visual.layer4.1"
    objective = along(model)
    tail = Tail(model, [layer], objective.pixels)
    among = candidates(model, [layer], objective.pixels, mean=False)
    found = greedy(tail, objective, among, most=1, weight=1.0, shortlist=60)
    losses = {}
    tried = ranked(predicted(tail, objective, among, [], 1.0), among, 60)
    for _, unit in tried:
        with model.edited(
            Edits((Edit(f"{layer}:{unit}", "ablate"),), model.name, model.weights_sha256)
        ):
            embeddings = torch.from_numpy(model.encode_images(objective.pixels))
        losses[unit] = float(sum(objective.losses(embeddings)))
    assert losses[found[0][1]] == pytest.approx(min(losses.values()), abs=1e-5)


def test_the_report_adds_up(family: Family) -> None:
    model = family("modified-resnet")
    objective = along(model)
    held = Along(pixels(model, 4, seed=9), objective.harm, objective.kept)
    found = find_defence(
        model, objective, held, layers=["visual.layer4.1"], most=6, budget=1e9, shortlist=4
    )
    assert [one.name for one in found.series] == ["greedy", "gradient", *["random"] * 5]
    first = found.series[0]
    assert [edit.address for edit in found.edits.edits] == sorted(
        first.addresses, key=lambda address: int(address.rpartition(":")[2])
    )
    assert first.points[-1].harm == found.after.harm
    assert first.points[0].harm == found.before.harm == found.series[1].points[0].harm
    # The edits as a file say what the search measured.
    with model.edited(found.edits):
        judged = held.evaluate(model.encode_images(held.pixels))
    assert judged.harm.value == pytest.approx(found.after.harm.value, abs=1e-5)
    assert found.validation_after.harm.value < found.validation_before.harm.value
    json.dumps(found.as_dict(), allow_nan=False)
    nothing = find_defence(
        model, objective, held, layers=["visual.layer4.1"], most=2, budget=0.0, shortlist=1
    )
    assert nothing.validation_after.kept.value >= nothing.validation_before.kept.value


def test_rates_by_hand() -> None:
    """Two classes, three plain images, three attacked; the second is not classified correctly without a word."""
    texts = np.eye(2, dtype=np.float32)
    plain = [[1, 0], [1, 0], [0, 1]]
    marked = [[0, 1], [0, 1], [0, 1]]
    objective = Typographic(
        pixels=torch.zeros(6, 3, 1, 1),
        truth=np.array([0, 1, 1]),
        of=np.arange(3),
        target=np.array([1, 0, 0]),
        right=np.array([True, False, True]),
        classes=texts,
        scale=10.0,
    )
    judged = objective.evaluate(np.array(plain + marked, np.float32))
    assert (judged.harm.value, judged.harm.n) == (0.5, 2)
    assert judged.kept.value == pytest.approx(2 / 3)
    harm, kept = objective.losses(torch.tensor(plain + marked, dtype=torch.float32))
    assert float(harm) == pytest.approx((np.log1p(np.exp(10)) + np.log1p(np.exp(-10))) / 2)
    assert float(kept) == pytest.approx((2 * np.log1p(np.exp(-10)) + np.log1p(np.exp(10))) / 3)


def test_the_effect_of_an_axis_by_hand() -> None:
    embeddings = np.array([[1.0], [3.0], [0.0], [2.0], [1.0]], np.float32)
    objective = Association(
        pixels=torch.zeros(5, 3, 1, 1),
        first=2,
        second=2,
        direction=np.ones(1, np.float32),
        truth=np.array([0]),
        classes=np.array([[1.0], [-1.0]], np.float32),
        scale=1.0,
    )
    wanted = 1.0 / np.std([1, 3, 0, 2], ddof=1)
    assert objective.evaluate(embeddings).harm.value == pytest.approx(wanted)
    harm, _ = objective.losses(torch.from_numpy(embeddings))
    assert float(harm) == pytest.approx(wanted**2)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> ProbeSet:
    """Six concepts, fourteen images each."""
    folder = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for concept in ("apple", "boat", "cat", "drum", "egg", "fish"):
        (folder / concept / "photo").mkdir(parents=True)
        base = rng.integers(0, 255, 3)
        for i in range(14):
            noise = rng.integers(-40, 40, (64, 64, 3))
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(
                folder / concept / "photo" / f"{i}.png"
            )
    return load_probes(folder)


def test_the_splits_share_nothing(coloured: ProbeSet) -> None:
    unseen = np.ones(len(coloured), bool)
    names = choose_classes(coloured, unseen, 100, 0)
    parts = splits(coloured, unseen, names, 0)
    assert [len(part.rows) for part in parts] == [21, 21, 42]
    assert sorted(row for part in parts for row in part.rows) == list(range(84))
    assert sorted(word for part in parts for word in part.words) == names
    fonts = [set(part.fonts) for part in parts]
    assert fonts[0] == fonts[1]
    assert fonts[2]
    assert not fonts[0] & fonts[2]
    # Nothing is searched with, validated or tested on what the model was trained on.
    seen = unseen.copy()
    seen[::4] = False
    used = {row for part in splits(coloured, seen, names, 0) for row in part.rows}
    assert used == set(np.flatnonzero(seen))


def test_from_a_folder_to_edits(family: Family, coloured: ProbeSet) -> None:
    model = family("modified-resnet")
    found = defend(model, coloured, most=3, limit=42, layers=["visual.layer4.1"], shortlist=3)
    assert found.before.kept.n == 42
    assert found.harm_name == "attack success"
    assert len(found.edits) <= 3
    names = [one.name for one in found.series]
    assert names[-6:] == ["subspace", *["random subspace"] * 5]
    frontier = found.series[0].points[0].frontier
    assert frontier is not None
    assert (frontier.gain.value, frontier.kept.value) == (0.0, 0.0)


def test_heads_of_a_pool_from_a_folder(family: Family, coloured: ProbeSet) -> None:
    found = defend(family("modified-resnet"), coloured, limit=42, method="dyslexify", most=4)
    assert found.layers == ["visual.attnpool"]
    assert len(found.attention) == 8
    shares = [one.share for one in found.attention]
    assert shares == sorted(shares, reverse=True)
    # Random weights look at labels no more than elsewhere: at their share of the area.
    assert np.mean(shares) == pytest.approx(SHARE, rel=0.4)


def test_mini_is_defended_on_somebodys_own_images(coloured: ProbeSet) -> None:
    parts = objectives(load_model("mini", device="cpu"), coloured, limit=30)
    for split, count in zip(parts, (21, 21, 30), strict=True):
        assert isinstance(split, Typographic)
        assert len(split.truth) == count


def test_an_axis_from_a_file(family: Family, coloured: ProbeSet, tmp_path: Path) -> None:
    path = tmp_path / "axis.json"
    axis = {
        "groups": {"round": ["apple", "egg"], "long": ["boat", "fish"]},
        "attributes": {
            "good": ["nice", "kind", "fine", "fair"],
            "bad": ["evil", "cruel", "poor", "mean"],
        },
    }
    path.write_text(json.dumps(axis))
    found = defend(
        family("modified-resnet"), coloured, axis=load_axis(path), most=2, layers=["visual.layer4.1"], shortlist=4
    )  # fmt: skip
    assert found.harm_name == "effect size"
    assert found.before.harm.n == 28
    assert found.rank is None
    with pytest.raises(SynestheteError, match="not against an axis"):
        defend(family("modified-resnet"), coloured, axis=load_axis(path), method="dyslexify")
    for change, message in (
        ({"groups": {"a": ["x"]}}, "two groups, not 1"), ({"groups": {"a": ["x"], "b": ["x"]}}, "'x' is in both"),
        ({"attributes": {"a": ["x", "y"], "b": ["z"] * 4}}, "lists 2; at least 4"), ({"groups": []}, "is not an axis"),
        ({"attributes": {"a": list("wxyz"), "b": list("zabc")}}, "in both attributes"),
    ):  # fmt: skip
        path.write_text(json.dumps(axis | change))
        with pytest.raises(SynestheteError, match=message):
            load_axis(path)
    path.write_text(json.dumps(axis | {"groups": {"a": ["yak"], "b": ["egg"]}}))
    with pytest.raises(SynestheteError, match="no images of 'yak'"):
        defend(family("modified-resnet"), coloured, axis=load_axis(path))


def test_too_little_to_search_with(family: Family, coloured: ProbeSet) -> None:
    model = family("modified-resnet")
    with pytest.raises(SynestheteError, match=r"42 images .* at least 60 are needed"):
        defend(model, coloured.select(indices=range(0, 84, 2)))
    with pytest.raises(SynestheteError, match="has 1 classes"):
        defend(model, coloured.select(concepts=["apple"]))
    objective = along(model)
    with pytest.raises(SynestheteError, match="ablate or mean-ablate"):
        find_defence(model, objective, objective, how="scale")
    with pytest.raises(SynestheteError, match="no layer"):
        find_defence(model, objective, objective, layers=["visual.layer9"])


def test_the_attack_writes_words_of_its_own_split(family: Family, coloured: ProbeSet) -> None:
    model = family("modified-resnet")
    names = choose_classes(coloured, np.ones(len(coloured), bool), 100, 0)
    *_, near = splits(coloured, np.ones(len(coloured), bool), names, 0)
    found = attacked(model, coloured, near, names, class_embeddings(model, names), limit=36, seed=0)
    plain, marked = found.pixels[: len(found.truth)], found.pixels[len(found.truth) :]
    assert len(plain) == len(marked) == 36
    assert {names[target] for target in found.target} <= set(near.words)
    assert (found.target != found.truth[found.of]).all()
    # A label covers its share of the image, and leaves the rest as it was.
    covered = (plain[found.of] != marked).any(1).float().mean((1, 2))
    assert float(covered.mean()) == pytest.approx(SHARE, rel=0.15)
    rng = np.random.default_rng(0)
    styles = [draw_style(near.fonts, rng) for _ in range(60)]
    assert {style.font for style in styles} == set(near.fonts)
    assert {style.ink for style in styles} == set(INKS)


def test_changes_are_paired() -> None:
    """Of three attacked images that count one is fooled no more and one is fooled now; nothing else changes."""
    texts = np.eye(2, dtype=np.float32)
    objective = Typographic(
        pixels=torch.zeros(6, 3, 1, 1),
        truth=np.zeros(3, np.int64),
        of=np.arange(3),
        target=np.ones(3, np.int64),
        right=np.ones(3, bool),
        classes=texts,
        scale=10.0,
    )
    yes, no = [1.0, 0.0], [0.0, 1.0]
    before = np.array([yes, yes, yes, no, yes, yes], np.float32)
    after = np.array([yes, yes, yes, yes, no, yes], np.float32)
    changed = objective.change(before, after)
    expected = paired_change([1, 0, 0], [0, 1, 0])
    assert (changed.harm.value, changed.harm.low, changed.harm.high) == expected
    assert (changed.kept.value, changed.kept.n) == (0.0, 3)
    with_less = objective.change(before, np.array([yes] * 6, np.float32))
    assert with_less.harm.value == pytest.approx(-1 / 3)


def test_a_layer_that_is_in_no_block_is_refused(family: Family) -> None:
    model = family("modified-resnet")
    stem = SimpleNamespace(sites=lambda tower: [], site=model.site)
    layer = "visual.layer4.1"
    with pytest.raises(SynestheteError, match=f"{layer} is in no block"):
        _block(stem, layer)  # type: ignore[arg-type]
