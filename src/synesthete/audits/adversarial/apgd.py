"""APGD: projected gradient ascent that sets its own step size (Croce & Hein 2020, arXiv 2003.01690, algorithm 1)."""

from __future__ import annotations

import torch

from synesthete.audits.adversarial.gradient import Classifier, Loss, gradient_of, within

MOMENTUM = 0.75  # α of the paper
LEAST_RISES = 0.75  # ρ of the paper


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
    picture whose loss rose in fewer than three quarters of the steps since the last, or whose step was not halved then
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
        For each picture a point that was misnamed where one was met, else that of the greatest loss.
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
