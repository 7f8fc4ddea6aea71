"""Few units at a time, other languages, and gradients from a second process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import helper, languages, objective  # noqa: E402
from training.architecture import EMBED_DIM, create  # noqa: E402


def test_density_counts_the_units_that_an_image_excites() -> None:
    responses = torch.zeros(3, 8)
    responses[0, :4] = 2.0
    responses[1, 5] = 7.0
    responses[2] = 0.3
    size = torch.ones(8)
    each = [float(objective.density(responses[i : i + 1], size)) for i in range(3)]
    assert each == pytest.approx([4 / 8, 1 / 8, 1.0], abs=1e-4)
    assert float(objective.density(responses, size)) == pytest.approx(np.mean(each), abs=1e-4)
    scaled = objective.density(responses * 3, size)
    assert float(scaled) == pytest.approx(np.mean(each), abs=1e-4)


def test_a_loud_unit_counts_no_more_than_a_quiet_one() -> None:
    responses = torch.tensor([[100.0, 1.0, 0.0, 0.0]])
    assert float(objective.density(responses, torch.tensor([100.0, 1, 1, 1]))) == pytest.approx(
        0.5, abs=1e-4
    )


def _votes(units: int, concepts: int) -> objective.Votes:
    pool = torch.nn.Module()
    pool.v_proj = torch.nn.Linear(units, units, bias=False)
    pool.c_proj = torch.nn.Linear(units, 3, bias=False)
    torch.nn.init.eye_(pool.v_proj.weight)
    torch.nn.init.eye_(pool.c_proj.weight)
    return objective.Votes(pool, torch.eye(3)[:concepts])


def test_a_unit_begins_by_voting_for_the_names_it_writes() -> None:
    votes = _votes(4, 3)
    assert votes.weight.argmax(1).tolist() == [0, 1, 2]
    assert votes.weight[:, 3].tolist() == [0, 0, 0]
    cosines = votes(torch.eye(4)[:3]) / votes.log_scale.exp()
    assert torch.allclose(cosines, torch.eye(3), atol=1e-5)


def test_no_unit_votes_against_a_concept() -> None:
    votes = _votes(4, 3)
    votes.weight.data = torch.tensor([[1.0, -9.0, 0, 0], [0, 1.0, 0, -9.0], [0, 0, 1.0, 0]])
    assert float(votes(torch.rand(50, 4)).detach().min()) >= 0
    loud = votes(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert torch.allclose(loud, votes(torch.tensor([[10.0, 20.0, 30.0, 40.0]])), atol=1e-5)


def test_spread_counts_the_units_a_concept_s_votes_come_from() -> None:
    votes = _votes(16, 3)
    votes.weight.data = torch.zeros(3, 16)
    votes.weight.data[0, :4], votes.weight.data[1, :9], votes.weight.data[2, 5] = 0.2, 7.0, 1.0
    assert float(votes.spread().detach()) == pytest.approx((2 + 3 + 1) / 3, abs=1e-5)
    optimiser = torch.optim.SGD([votes.weight], lr=0.5)
    votes.weight.data[0, 0] = 0.3
    for _ in range(60):
        optimiser.zero_grad()
        votes.spread().backward()
        optimiser.step()
    kept = votes.weight.data.relu()
    assert float(votes.spread().detach()) < 1.8
    assert int(kept[0].argmax()) == 0, "the strongest vote is what stays"


def test_voting_turns_a_rotated_code_back_onto_the_units() -> None:
    """Planted: concepts in a rotated, non-negative mixture. A linear reader is content with it; votes separate it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    signal = torch.eye(3)[labels] + 0.05 * torch.rand(300, 3, generator=generator)
    mixed = signal @ torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
    torch.manual_seed(2)
    layer, votes = torch.nn.Linear(3, 16), _votes(16, 3)
    torch.nn.init.constant_(layer.bias, 0.3)
    votes.weight.data = torch.rand(3, 16)
    optimiser = torch.optim.Adam([*layer.parameters(), *votes.parameters], lr=0.02)

    def leaning() -> float:
        """How much more of a unit's response goes to the concept it likes best than to the others, mean over units."""
        units = layer(mixed).relu().detach()
        mean = torch.stack([units[labels == c].mean(0) for c in range(3)])
        return float((mean.amax(0) / mean.sum(0).clamp(min=1e-6))[mean.sum(0) > 1e-3].mean())

    before = leaning()
    for _ in range(400):
        optimiser.zero_grad()
        logits = votes(layer(mixed).relu())
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()
    assert float((logits.argmax(1) == labels).float().mean()) == 1.0
    assert before < 0.5
    assert leaning() > before + 0.1


def _parameters(values: list[list[float]]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor(v)) for v in values]


def test_a_helper_s_gradients_reach_the_trainer_once() -> None:
    shared = helper.Shared(5)
    mine, theirs = (_parameters([[1.0, 2.0], [3.0, 4.0, 5.0]]) for _ in range(2))
    shared.publish(mine)
    for p in (*mine, *theirs):
        p.grad = torch.ones_like(p)
    shared.give(theirs, since=1)
    shared.give(theirs, since=1)
    assert shared.given == 2
    assert shared.take(mine) == 2
    assert [p.grad.tolist() for p in mine] == [[3.0, 3.0], [3.0, 3.0, 3.0]]
    assert shared.take(mine) == 0
    assert [p.grad.tolist() for p in mine] == [[3.0, 3.0], [3.0, 3.0, 3.0]]


def test_a_gradient_too_old_is_thrown_away() -> None:
    shared = helper.Shared(2)
    parameters = _parameters([[1.0, 2.0]])
    parameters[0].grad = torch.ones(2)
    for _ in range(helper.STALE + 2):
        shared.publish(parameters)
    shared.give(parameters, since=1)
    assert shared.given == 0
    shared.give(parameters, since=2)
    assert shared.given == 1


def test_weights_travel_in_the_order_of_a_channels_last_tensor() -> None:
    weight = torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    shared = helper.Shared(24)
    shared.publish([torch.nn.Parameter(weight)])
    assert shared.weights.tolist() == list(range(24))


def test_names_in_other_languages(tmp_path: Path) -> None:
    for language in ("en", *languages.LANGUAGES):
        folder = tmp_path / "emojibase-data" / language
        folder.mkdir(parents=True)
        labels = {"en": ["Ant", "Red apple"], "de": ["Ameise", "roter Apfel"]}.get(
            language, ["Ant", "x"]
        )
        emoji = [{"hexcode": str(i), "label": label} for i, label in enumerate(labels)]
        (folder / "data.json").write_text(json.dumps(emoji))
    rows = languages.names(tmp_path, ["ant", "apple"])
    assert rows == [("ant", "de", "ameise")]
    languages.write(tmp_path / "languages.tsv", rows)
    assert languages.read(tmp_path / "languages.tsv") == {"ant": ["ameise"]}
    assert languages.read(tmp_path / "nothing.tsv") == {}


@pytest.mark.parametrize("others", [0.0, 0.2, 0.7])
def test_what_belongs_to_no_concept_has_its_share_and_any_number_of_units(others: float) -> None:
    torch.manual_seed(0)
    visual = create(64).visual
    visual.standardise = torch.nn.BatchNorm1d(EMBED_DIM, affine=False)
    names, bank = (torch.nn.functional.normalize(torch.randn(n, EMBED_DIM), dim=1) for n in (5, 9))
    weighted = objective.Objective(
        visual, torch.zeros(()), names, bank, sparsity=2.0, bf16=False, others=others
    )
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    labels = np.array([[0, -1, -1, -1, -1], [3, *[-1] * 4], *([[-1, -1, 4, -1, -1]] * 4)])
    loss, parts = weighted(images, labels)
    sparse = objective.density(weighted._responses[:2], (weighted.size + 1e-4).sqrt())
    assert parts.density == pytest.approx(float(sparse.detach()), rel=1e-4)
    wanted = (1 - others) * parts.concept + others * parts.other + 2 * parts.density**0.5
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-4)
    loss, parts = weighted(images[2:], labels[2:])
    loss.backward()
    assert parts.density == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in visual.parameters())
