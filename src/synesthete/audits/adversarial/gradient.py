"""FGSM and PGD: one step, and many steps, up the gradient of the loss within a box around the picture."""

from __future__ import annotations

from collections.abc import Callable

import torch

Classifier = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each picture `[batch]`."""
    return torch.nn.functional.cross_entropy(logits, truth, reduction="none")


def dlr(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Difference of logits ratio of each picture `[batch]`: it does not vanish where the model is sure.

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
        For each picture the first point that was misnamed, or the last point.
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
