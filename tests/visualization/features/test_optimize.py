"""Images from numbers, views of images, the objective, and the run of many at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower
from synesthete.visualization.features import optimize
from synesthete.visualization.features.objective import (
    Objective,
    Robustness,
    Scores,
    look,
    penalty,
    score,
    transforms,
)
from synesthete.visualization.features.optimize import Job, Setup, optimize_images
from synesthete.visualization.features.parameterization import Natural, Spectra
from synesthete.visualization.settings import Settings

LAYER, SIDE = "visual.layer4.0", 64
QUICK = Settings(steps=18, least_steps=6, batch=4)
CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["spectrum", "phase"])
def test_numbers_become_images(kind: str, natural: Natural) -> None:
    spectra = Spectra(SIDE, natural, kind, 1.0, CPU)  # type: ignore[arg-type]
    numbers = torch.stack([spectra.start(torch.Generator().manual_seed(i)) for i in range(2)])
    numbers.requires_grad_()
    images = spectra.images(numbers)
    assert images.shape == (2, 3, SIDE, SIDE)
    assert images.min() >= 0
    assert images.max() <= 1
    (slope,) = torch.autograd.grad(images[0].var(), numbers)
    assert slope[0].abs().sum() > 0
    assert slope[1].abs().sum() == 0, "an image depends on another's numbers"


def test_phases_keep_the_magnitudes_of_natural_images(natural: Natural) -> None:
    spectra = Spectra(SIDE, natural, "phase", 1.0, CPU)
    image = spectra.images(spectra.start(torch.Generator().manual_seed(3))[None])[0]
    plain = torch.logit(image.double()) - torch.as_tensor(natural.centre)[:, None, None]
    back = torch.einsum(
        "cd,dhw->chw", torch.linalg.inv(torch.as_tensor(natural.colour).double()), plain
    )
    found = torch.fft.rfft2(back).abs()[:, 1:, 1:-1]
    expected = torch.as_tensor(natural.magnitude).double()[:, 1:, 1:-1]
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-2)


def test_no_channel_differs_more_than_natural_images_do(natural: Natural) -> None:
    generator = torch.Generator().manual_seed(0)
    held = Spectra(SIDE, natural, "spectrum", 1.0, CPU, 0.5)
    free = Spectra(SIDE, natural, "spectrum", 1.0, CPU)
    strong, faint = torch.randn(2, *free.shape, generator=generator)
    strong, faint = 50 * strong, 1e-4 * faint
    # Zero phases: any other give channels of the same size.
    real = np.fft.irfft2(natural.magnitude, s=(SIDE, SIDE))
    most = 0.5 * np.sqrt((real**2).mean())
    channels = held.channels(strong[None])
    size = (channels * held.share(channels)[..., None, None]).square().mean((2, 3)).sqrt()
    assert (size < most).all()
    assert (size > 0.9 * most).all()
    torch.testing.assert_close(held.images(faint[None]), free.images(faint[None]))
    clipped = [
        ((p < 0.05) | (p > 0.95)).float().mean()
        for p in (held.images(strong[None]), free.images(strong[None]))
    ]
    assert clipped[0] < clipped[1]


def test_a_view_gets_the_colours_of_its_image(natural: Natural) -> None:
    spectra = Spectra(SIDE, natural, "spectrum", 1.0, CPU, 1.0)
    numbers = spectra.start(torch.Generator().manual_seed(1))[None] * 100
    channels = spectra.channels(numbers)
    part = spectra.coloured(channels[..., 8:24, 16:32], spectra.share(channels))
    torch.testing.assert_close(part, spectra.images(numbers)[..., 8:24, 16:32])


def test_colours_are_those_of_the_images(natural: Natural) -> None:
    """Independent channels through the matrix have the covariance of the colours, up to one factor."""
    assert np.linalg.norm(natural.colour, axis=0).max() == pytest.approx(1.0)
    assert np.linalg.matrix_rank(natural.colour) == 3


def test_a_view_of_a_part_is_that_part() -> None:
    image = torch.rand(1, 1, 8, 8)
    # Half a side, moved to the upper left corner: room is 1 - 1/2.
    maps = transforms(torch.tensor([[0.0, 0.0, -1.0, -1.0]]), 0.5, Robustness(0, 0, 0))
    torch.testing.assert_close(look(image, maps, (4, 4)), image[..., :4, :4])


def test_views_never_leave_an_image_further_than_they_may() -> None:
    draws = torch.rand(500, 4) * 2 - 1
    maps = transforms(draws, 0.5, Robustness(0, 0, 0))
    corners = torch.tensor([[-1.0, -1, 1], [1, 1, 1]]).T
    seen = maps @ corners
    assert seen.abs().max() <= 1 + 1e-6


def test_the_objective_is_the_published_one(tower: GradientTower, pixels: torch.Tensor) -> None:
    """Against the formula written out, one image at a time."""
    objective = _objective(tower, facet=[0, 1, -1], strength=[0.5, 2.0, 0.0])
    still = transforms(torch.zeros(3, 4), 1.0, Robustness())
    for variant in ("published", "released"):
        found = score(tower, pixels.requires_grad_(), still, objective, Settings(variant=variant))
        for i in range(3):
            target, facet = _manually(tower, pixels[i : i + 1].detach(), objective, i, variant)
            assert float(found.target[i]) == pytest.approx(target, rel=1e-4, abs=1e-5)
            assert float(found.facet[i]) == pytest.approx(facet, rel=1e-3, abs=1e-5)
            total = target + float(objective.strength[i]) * facet
            assert float(found.total[i]) == pytest.approx(total, rel=1e-3, abs=1e-5)


def test_the_slope_is_that_of_the_whole_way(tower: GradientTower, pixels: torch.Tensor) -> None:
    """The released objective goes back from the target once; here it goes back through everything."""
    objective = _objective(tower, facet=[0, 1, -1], strength=[50.0, 20.0, 0.0])
    still = transforms(torch.zeros(3, 4), 1.0, Robustness())
    given = pixels.clone().requires_grad_()
    total = score(tower, given, still, objective, Settings()).total.sum()
    (found,) = torch.autograd.grad(total, given)
    for i in range(3):
        one = pixels[i : i + 1].clone().requires_grad_()
        seen = tower.run(tower.normalised(one), [LAYER], at=[objective.probe_layer])
        values = (seen.responses[LAYER].patches[0] * objective.directions[i]).sum(1)
        target = (torch.softmax(values.detach(), 0) * values).sum()
        g = seen.raw[objective.probe_layer]
        (slope,) = torch.autograd.grad(target, g, retain_graph=True)
        which = int(objective.facet[i])
        facet = (objective.probes[which] * (g * slope.detach().clamp(min=0))[0]).sum()
        manual = target + (float(objective.strength[i]) * facet if which >= 0 else 0.0)
        (expected,) = torch.autograd.grad(manual, one)
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-3, atol=1e-7)


def _objective(tower: GradientTower, facet: list[int], strength: list[float]) -> Objective:
    before = tower.before(LAYER)
    found = tower.run(tower.normalised(torch.rand(1, 3, SIDE, SIDE)), [LAYER, before])
    units, grid = found.responses[before].patches.shape[2], found.responses[before].grid
    generator = torch.Generator().manual_seed(5)
    width = found.responses[LAYER].patches.shape[2]
    directions = torch.eye(width)[[3, 7, 9]] * torch.tensor([[1.0], [2.0], [-1.0]])
    probes = torch.randn(2, units, *grid, generator=generator)
    return Objective(
        layer=LAYER,
        reduction="max",
        directions=directions,
        probe_layer=before,
        probes=probes,
        facet=torch.tensor(facet),
        strength=torch.tensor(strength),
    )


def _manually(
    tower: GradientTower, image: torch.Tensor, objective: Objective, i: int, variant: str
) -> tuple[float, float]:
    found = tower.run(tower.normalised(image.requires_grad_()), [LAYER], at=[objective.probe_layer])
    values = (found.responses[LAYER].patches[0] * objective.directions[i]).sum(1)
    target = (torch.softmax(values.detach(), 0) * values).sum()
    g = found.raw[objective.probe_layer]
    slope = torch.autograd.grad(target, g)[0]
    if variant == "released":
        slope = slope.clamp(min=0)
    which = int(objective.facet[i])
    return float(target), float(
        (objective.probes[which] * (g * slope)[0]).sum()
    ) if which >= 0 else 0.0


def test_regularisers_manually() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert float(penalty(flat, ["a"], Settings(total_variation=2.0, grey=3.0))) == 0
    flat[:, :, :, 4:] = 1.0
    # One column of seven differences is 0.5; half of the image is 0.5 from grey.
    found = penalty(flat, ["a"], Settings(total_variation=2.0, grey=3.0))
    assert float(found) == pytest.approx(2 * 0.5 / 7 + 3 * 0.125)
    two = torch.rand(1, 3, 8, 8).repeat(2, 1, 1, 1)
    same = penalty(two, ["a", "a"], Settings(diversity=1.0))
    apart = penalty(two, ["a", "b"], Settings(diversity=1.0))
    assert same.tolist() == pytest.approx([1.0, 1.0])
    assert apart.tolist() == [0.0, 0.0]


def _jobs(units: list[int], sign: float = 1.0) -> list[Job]:
    # Responses of this small network are of the order of a thousandth.
    eye = np.eye(256, dtype=np.float32) * 1000 * sign
    return [Job(key=f"{unit}", direction=eye[unit]) for unit in units]


def _reached(
    tower: GradientTower, results: list[optimize.Optimized], units: list[int]
) -> list[float]:
    images = np.stack([one.image for one in sorted(results, key=lambda one: one.job)])
    given = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = tower.run(tower.normalised(given), [f"{LAYER}:pre"]).responses[f"{LAYER}:pre"]
    values = found.patches.amax(1)
    return [float(values[i, unit]) for i, unit in enumerate(units)]


def test_images_excite_and_inhibit(tower: GradientTower, natural: Natural) -> None:
    units, longer = [0, 5, 11], Settings(steps=36, batch=4)
    up, down = (
        Setup(layer=f"{LAYER}:pre", reduction="max"),
        Setup(layer=f"{LAYER}:pre", reduction="max", least=True),
    )
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    between = _reached(tower, [optimize.Optimized(i, grey, 0, 0) for i in range(3)], units)
    most = _reached(tower, [*optimize_images(tower, natural, up, _jobs(units), longer)], units)
    least = _reached(
        tower, [*optimize_images(tower, natural, down, _jobs(units, -1), longer)], units
    )
    assert all(a > c for a, c in zip(most, least, strict=True))
    assert sum(most) > sum(between) > sum(least)


def test_the_same_seed_gives_the_same_images(tower: GradientTower, natural: Natural) -> None:
    setup = Setup(layer=f"{LAYER}:pre", reduction="max")
    runs = [[*optimize_images(tower, natural, setup, _jobs([4, 8]), QUICK)] for _ in range(2)]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(*runs, strict=True))
    other = [*optimize_images(tower, natural, setup, _jobs([4]), Settings(steps=18, seed=1))]
    assert not np.array_equal(other[0].image, runs[0][0].image)


def test_an_image_does_not_depend_on_its_batch(tower: GradientTower, natural: Natural) -> None:
    setup = Setup(layer=f"{LAYER}:pre", reduction="max")
    steps = Settings(steps=6, batch=3, settled=0.0)
    alone = [*optimize_images(tower, natural, setup, _jobs([8]), steps)]
    beside = [*optimize_images(tower, natural, setup, _jobs([4, 8, 9, 10]), steps)]
    mine = next(one for one in beside if one.job == 1)
    difference = np.abs(mine.image.astype(int) - alone[0].image.astype(int))
    assert difference.mean() < 1.0


def test_steps_are_those_of_adam(tower: GradientTower, natural: Natural) -> None:
    settings = Settings(steps=5, rate=0.1)
    run = optimize._Optimizer(
        tower, natural, Setup(layer=LAYER, reduction="max"), _jobs([1, 2]), settings
    )
    run._start([(0, 0), (1, 0)])
    numbers = run.parameters.clone().requires_grad_()
    adam = torch.optim.Adam([numbers], betas=optimize.BETAS, eps=optimize.EPSILON)
    for count in range(1, 6):
        gradient = torch.randn(numbers.shape, generator=torch.Generator().manual_seed(count)) * 1e-6
        adam.param_groups[0]["lr"] = 0.1 * (count / optimize.WARMUP) * (1 - 0.8 * count / 5)
        numbers.grad = gradient
        adam.step()
        run._move(gradient, count)
    torch.testing.assert_close(run.parameters, numbers.detach())


def test_one_that_diverges_restarts_alone(
    tower: GradientTower, natural: Natural, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, steps = (
        Setup(layer=f"{LAYER}:pre", reduction="max"),
        Settings(steps=12, batch=3, settled=0.0),
    )
    clean = {m.job: m for m in optimize_images(tower, natural, setup, _jobs([1, 2, 3]), steps)}
    calls, real = [], optimize.score

    def failing(*args: object) -> Scores:
        found = real(*args)  # type: ignore[arg-type]
        calls.append(len(found.total))
        if len(calls) == 4:
            poison = torch.tensor([0.0, float("nan"), 0.0])
            return Scores(found.total + poison, found.target, found.facet)
        return found

    monkeypatch.setattr(optimize, "score", failing)
    results = {m.job: m for m in optimize_images(tower, natural, setup, _jobs([1, 2, 3]), steps)}
    assert [results[i].restarts for i in range(3)] == [0, 1, 0]
    for other in (0, 2):
        difference = np.abs(results[other].image.astype(int) - clean[other].image.astype(int))
        assert difference.mean() < 1.0
    assert calls[3:5] == [3, 2], "the failed one left its batch at once"


def test_one_that_always_fails_is_given_up(
    tower: GradientTower, natural: Natural, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = optimize.score

    def failing(*args: object) -> Scores:
        found = real(*args)  # type: ignore[arg-type]
        return Scores(found.total * float("nan"), found.target, found.facet)

    monkeypatch.setattr(optimize, "score", failing)
    results = [
        *optimize_images(tower, natural, Setup(layer=LAYER, reduction="max"), _jobs([1]), QUICK)
    ]
    assert [(one.image, one.restarts) for one in results] == [(None, optimize.RESTARTS)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "other"}, "no such variant 'other'"),
        ({"kind": "pixels"}, "no such kind"),
        ({"precision": "fp8"}, "no such precision"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"strengths": ()}, "no facet strength"),
        ({"strengths": (float("nan"),)}, "strengths must be a number"),
        ({"rate": -1.0}, "rate must be a number"),
        ({"parts": 1.5}, "parts is a share"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        Settings(**wrong)  # type: ignore[arg-type]


def test_half_precision_runs(tower: GradientTower, natural: Natural) -> None:
    half = Settings(steps=6, precision="bf16")
    results = [
        *optimize_images(tower, natural, Setup(layer=LAYER, reduction="max"), _jobs([1]), half)
    ]
    assert results[0].image is not None
