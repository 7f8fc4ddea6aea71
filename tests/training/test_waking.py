"""Units that nothing excites: found, and woken so that they respond, are silent to the output at first, and can be learnt."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.architecture import create  # noqa: E402
from training.waking import silent, wake  # noqa: E402

DEAD = [3, 500, 1023]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)


def _tower(images: np.ndarray) -> torch.nn.Module:
    """A tower whose statistics are those of `images`, with three units that cannot respond."""
    torch.manual_seed(0)
    visual = create(64).visual
    visual.train()
    with torch.no_grad():
        for _ in range(30):
            visual(_pixels(images))
        last = visual.layer4[-1].bn3
        last.weight.fill_(0.4)
        last.bias.fill_(0.3)
        last.weight[DEAD], last.bias[DEAD] = 1e-3, -9.0
    return visual


def _pixels(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 70


def test_only_what_nothing_excites_is_found_however_it_is_divided(images: np.ndarray) -> None:
    visual = _tower(images)
    before = {key: value.clone() for key, value in visual.state_dict().items()}
    found = silent(visual, [images])
    assert torch.nonzero(found)[:, 0].tolist() == DEAD
    assert torch.equal(found, silent(visual, [images[:10], images[10:]]))
    assert visual.training
    assert all(torch.equal(before[key], value) for key, value in visual.state_dict().items())


def test_woken_units_respond_and_their_responses_change_nothing_at_first(
    images: np.ndarray,
) -> None:
    visual = _tower(images)
    visual.eval()
    with torch.no_grad():
        visual.attnpool.positional_embedding[:, DEAD] = 0
    before = visual(_pixels(images)).detach()
    asleep = silent(visual, [images])
    votes = torch.rand(5, 1024) - 0.5
    wholes = votes.relu().norm(dim=1)
    wake(visual, asleep, votes)
    assert not silent(visual, [images]).any()
    after = visual(_pixels(images))
    torch.testing.assert_close(after.detach(), before, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(votes[:, DEAD], 0.01 * wholes[:, None].expand(-1, len(DEAD)))
    after.sum().backward()
    assert visual.attnpool.v_proj.weight.grad[:, DEAD].abs().sum() > 0
