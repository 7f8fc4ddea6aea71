"""Attacks by gradients within an L-infinity ball: FGSM, PGD and APGD."""

from __future__ import annotations

from collections.abc import Callable

import torch

Classifier = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
MOMENTUM = 0.75  # α of the paper
LEAST_RISES = 0.75  # ρ of the paper


def cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each image `[batch]`."""
    return torch.nn.functional.cross_entropy(logits, truth, reduction="none")


def dlr(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Difference of logits ratio of each image `[batch]`: it does not vanish where the model is sure.

    Croce & Hein 2020 (arXiv 2003.01690), eq. 6. With two classes there is no third logit to divide by, and
    the difference alone is taken.
    """
    ordered, indices = logits.sort(dim=1, descending=True)
    own = logits.gather(1, truth[:, None])[:, 0]
    best_other = torch.where(indices[:, 0] == truth, ordered[:, 1], ordered[:, 0])
    if logits.shape[1] < 3:
        return best_other - own
    return (best_other - own) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def gradient_of(
    classifier: Classifier, pixels: torch.Tensor, truth: torch.Tensor, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradient `[batch, 3, side, side]`, loss and logits at the pixels."""
    with torch.enable_grad():
        moving = pixels.detach().requires_grad_(True)
        logits = classifier(moving)
        values = loss(logits, truth)
        (gradient,) = torch.autograd.grad(values.sum(), moving)
    return gradient.detach(), values.detach(), logits.detach()


def within(pixels: torch.Tensor, centre: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The nearest point of the box of half-width `epsilon` around `centre`, within 0 to 1."""
    return torch.clamp(
        torch.minimum(torch.maximum(pixels, centre - epsilon), centre + epsilon), 0.0, 1.0
    )


def fgsm(
    classifier: Classifier, pixels: torch.Tensor, truth: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """One step of `epsilon` along the sign of the gradient (Goodfellow et al. 2015, arXiv 1412.6572)."""
    gradient, _, _ = gradient_of(classifier, pixels, truth, cross_entropy)
    return within(pixels + epsilon * gradient.sign(), pixels, epsilon)


def pgd(
    classifier: Classifier,
    pixels: torch.Tensor,
    truth: torch.Tensor,
    epsilon: float,
    *,
    steps: int = 20,
    seed: int = 0,
) -> torch.Tensor:
    """Steps of `2.5 * epsilon / steps` from a random start (Madry et al. 2018, arXiv 1706.06083).

    Returns
    -------
    torch.Tensor
        For each image the first point that was misclassified, or the last point.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = (2 * torch.rand(pixels.shape, generator=generator) - 1).to(pixels.device)
    moving = within(pixels + epsilon * noise, pixels, epsilon)
    kept, fooled = moving.clone(), torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    for _ in range(steps):
        gradient, _, logits = gradient_of(classifier, moving, truth, cross_entropy)
        new = (logits.argmax(1) != truth) & ~fooled
        kept[new], fooled = moving[new], fooled | new
        moving = within(moving + 2.5 * epsilon / steps * gradient.sign(), pixels, epsilon)
    kept[~fooled] = moving[~fooled]
    return kept


def checkpoints(steps: int) -> list[int]:
    """After which steps the step size may be halved.

    `p_0 = 0`, `p_1 = 0.22`, `p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)`, times the number of steps, rounded up.

    Examples
    --------
    >>> checkpoints(100)
    [0, 22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while True:
        following = shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)
        if following > 1:
            # Rounding before rounding up: 0.41 * 100 is a little more than 41.
            return [-int(-round(share * steps, 6) // 1) for share in shares]
        shares.append(following)


def apgd(
    classifier: Classifier,
    pixels: torch.Tensor,
    truth: torch.Tensor,
    epsilon: float,
    loss: Loss,
    *,
    steps: int = 20,
    seed: int = 0,
) -> torch.Tensor:
    """The strongest of the points that an ascent with momentum and halving steps comes by.

    The step starts at `2 * epsilon`. At each checkpoint it is halved, and the ascent goes back to the best point, for a
    image whose loss rose in fewer than three quarters of the steps since the last, or whose step was not halved then
    and whose best loss has not risen since.

    Parameters
    ----------
    pixels
        `[batch, 3, side, side]`, 0 to 1.
    truth
        `[batch]`.
    epsilon
        Largest change of a value.
    loss
        `cross_entropy` or `dlr`.

    Returns
    -------
    torch.Tensor
        For each image a point that was misclassified where one was met, else that of the greatest loss.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = (2 * torch.rand(pixels.shape, generator=generator) - 1).to(pixels.device)
    now = within(pixels + epsilon * noise, pixels, epsilon)
    before = now.clone()
    gradient, value, logits = gradient_of(classifier, now, truth, loss)
    best, best_value, best_gradient = now.clone(), value.clone(), gradient.clone()
    fooled, kept = logits.argmax(1) != truth, now.clone()
    count = len(pixels)
    step = torch.full((count, 1, 1, 1), 2 * epsilon, device=pixels.device)
    rises = torch.zeros(count, device=pixels.device)
    value_at_check, halved_at_check = best_value.clone(), torch.ones_like(fooled)
    checks = checkpoints(steps)
    last_check = 0
    for number in range(1, steps + 1):
        ahead = within(now + step * gradient.sign(), pixels, epsilon)
        if number > 1:
            ahead = within(
                now + MOMENTUM * (ahead - now) + (1 - MOMENTUM) * (now - before), pixels, epsilon
            )
        before, now, previous = now, ahead, value
        gradient, value, logits = gradient_of(classifier, now, truth, loss)
        rises += value > previous
        new = (logits.argmax(1) != truth) & ~fooled
        kept[new], fooled = now[new], fooled | new
        better = value > best_value
        best[better], best_value[better], best_gradient[better] = (
            now[better],
            value[better],
            gradient[better],
        )
        if number in checks:
            few = rises < LEAST_RISES * (number - last_check)
            stuck = ~halved_at_check & (best_value <= value_at_check)
            halve = few | stuck
            step[halve] /= 2
            now[halve], gradient[halve], value[halve] = (
                best[halve],
                best_gradient[halve],
                best_value[halve],
            )
            rises.zero_()
            value_at_check, halved_at_check, last_check = best_value.clone(), halve, number
    return torch.where(fooled[:, None, None, None], kept, best)
