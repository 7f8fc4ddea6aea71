"""Attacks against exact answers for linear models, and against an independent implementation on a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from synesthete.audits.adversarial.attacks import apgd, checkpoints, cross_entropy, dlr, fgsm, pgd
from synesthete.audits.adversarial.audit import (
    PixelClassifier,
    attacks,
    audit_adversarial,
    robust,
    to_pixels,
)
from synesthete.errors import SynestheteError
from tests.audits.fakes import make_image_set

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.models.image_text_model import ImageTextModel


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small convolutional network that tells three patterns apart, and 60 images that it is right about."""
    torch.manual_seed(0)
    patterns = torch.rand(3, 3, 8, 8)
    truth = torch.arange(120) % 3
    pixels = (0.12 * patterns[truth] + 0.3 + 0.35 * torch.rand(120, 3, 8, 8)).clamp(0, 1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels), truth).backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    right = network(pixels).argmax(1) == truth
    assert right.sum() >= 60
    return network, pixels[right][:60], truth[right][:60]


def survived(network: nn.Module, pixels: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return (network(pixels).argmax(1) == truth).numpy()


EPSILONS = (0.02, 0.05, 0.1)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_fgsm_gives_the_same_images_as_torchattacks(trained: Any, epsilon: float) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    network, pixels, truth = trained
    theirs = torchattacks.FGSM(network, eps=epsilon)(pixels, truth)
    torch.testing.assert_close(fgsm(network, pixels, truth, epsilon), theirs)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_apgd_is_as_strong_as_torchattacks(trained: Any, epsilon: float, loss: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    network, pixels, truth = trained
    ours = apgd(network, pixels, truth, epsilon, {"ce": cross_entropy, "dlr": dlr}[loss], steps=50)
    assert (ours - pixels).abs().max() <= epsilon + 1e-6
    assert ours.min() >= 0
    assert ours.max() <= 1
    theirs = torchattacks.APGD(network, eps=epsilon, steps=50, loss=loss)(pixels, truth)
    left = [int(survived(network, x, truth).sum()) for x in (ours, theirs)]
    assert abs(left[0] - left[1]) <= 2, left
    assert left[0] < len(truth) or epsilon < max(EPSILONS)


def test_pgd_is_as_strong_as_torchattacks(trained: Any) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    network, pixels, truth = trained
    for epsilon in EPSILONS:
        ours = pgd(network, pixels, truth, epsilon, steps=40)
        assert (ours - pixels).abs().max() <= epsilon + 1e-6
        theirs = torchattacks.PGD(network, eps=epsilon, alpha=2.5 * epsilon / 40, steps=40)
        left = [int(survived(network, x, truth).sum()) for x in (ours, theirs(pixels, truth))]
        assert abs(left[0] - left[1]) <= 2, left


@pytest.mark.parametrize("classes", [2, 3])
def test_on_a_linear_model_attacks_find_exactly_what_there_is(classes: int) -> None:
    """The margin of a linear model falls by epsilon times the L1 distance of two rows, and by no more."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(classes, 48, generator=generator)
    pixels = 0.5 + 0.1 * torch.rand(50, 3, 4, 4, generator=generator)
    truth = (pixels.flatten(1) @ weights.T).argmax(1)

    def network(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ weights.T

    logits = network(pixels)
    margins = torch.stack([
        (logits.gather(1, truth[:, None])[:, 0] - logits[:, c]) / (weights[truth] - weights[c]).abs().sum(1)
        for c in range(classes)
    ])  # fmt: skip
    margins[truth, torch.arange(50)] = torch.inf
    least = margins.min(0).values.numpy()
    epsilon = float(np.median(least))
    tried = attacks(steps=40, seed=0)
    found = robust(network, pixels, truth, [epsilon * 0.99, epsilon * 1.01], tried)
    for row, size in enumerate((epsilon * 0.99, epsilon * 1.01)):
        assert (found["worst"][row] == (least > size)).mean() >= 0.98
        assert (found["worst"][row] | (least <= size)).all(), "an attack found what there is not"
    assert found["noise"].mean() > 0.8


def test_curves_never_rise_and_worst_is_the_worst(trained: Any) -> None:
    network, pixels, truth = trained
    found = robust(network, pixels, truth, EPSILONS, attacks(steps=10, seed=0))
    for name, rows in found.items():
        assert (np.diff(rows.astype(int), axis=0) <= 0).all(), name
        if name not in ("clean", "noise"):
            assert (found["worst"] <= rows).all(), name
    assert found["noise"][0].mean() > 0.9 > found["worst"][-1].mean()


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(20)[1] == 5


def test_dlr_by_hand() -> None:
    logits = torch.tensor([[4.0, 1.0, 2.0], [4.0, 1.0, 2.0]])
    # Right: -(4 - 2) / (4 - 1). Wrong, the truth being the last: -(2 - 4) / (4 - 1).
    assert dlr(logits, torch.tensor([0, 2])).tolist() == pytest.approx([-2 / 3, 2 / 3])
    assert dlr(torch.tensor([[3.0, 1.0]]), torch.tensor([0])).tolist() == [-2.0]


def test_the_classifier_is_the_model(model: ImageTextModel) -> None:
    images = [model.geometry(image) for image in make_image_set().images[:6]]
    classes = model.encode_texts(["ox", "panda"])
    classifier = PixelClassifier.of(model, classes)
    embeddings = model.encode_images(torch.stack([model.preprocess(image) for image in images]))
    with torch.no_grad():
        logits = classifier(to_pixels(images)).numpy()
    expected = classifier.scale * embeddings @ classes.T
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    gradient = torch.zeros(1, 3, *images[0].size, requires_grad=True)
    classifier(gradient).sum().backward()
    assert gradient.grad is not None
    assert gradient.grad.abs().max() > 0


def test_the_audit_of_a_small_model(model: ImageTextModel, place: Path) -> None:
    found = audit_adversarial(model, place / "images", epsilons=(1.0, 8.0), steps=3)
    assert found["n"] == 36
    assert found["at"] == 1.0
    assert set(found["curves"]) == {"noise", "fgsm", "pgd", "apgd-ce", "apgd-dlr", "worst"}
    assert (
        found["robust_accuracy"] == found["curves"]["worst"][0]["rate"] <= found["clean_accuracy"]
    )
    again = audit_adversarial(model, place / "images", epsilons=(1.0, 8.0), steps=3)
    assert again == found


def test_sizes_that_cannot_be(trained: Any) -> None:
    network, pixels, truth = trained
    for sizes in ([], [0.0], [0.2, 0.1], [-1.0]):
        with pytest.raises(SynestheteError, match="positive and ascending"):
            robust(network, pixels, truth, sizes, {})
