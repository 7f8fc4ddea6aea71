"""Units of the last block that no image excites any more: a ReLU gives them no gradient, so they stay so unless they are woken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from training.architecture import pixels


def silent(visual: Any, batches: Iterable[np.ndarray]) -> Any:
    """Which units of the last block none of the images excites, bool `[units]`.

    `batches` are uint8 `[n, size, size, 3]`. A unit for one concept in hundreds needs many: ten images of each concept or more.
    """
    import torch

    highest: Any = None

    def keep(module: Any, args: Any, output: Any) -> None:
        nonlocal highest
        now = output.float().amax((0, 2, 3))
        highest = now if highest is None else torch.maximum(highest, now)

    hook, training = visual.layer4.register_forward_hook(keep), visual.training
    visual.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for images in batches:
            visual(pixels(images))
    hook.remove()
    visual.train(training)
    return highest <= 0


def wake(visual: Any, asleep: Any, votes: Any = None) -> None:
    """Let these units respond as the others do, and let no response of theirs reach the output until it is learnt.

    Their last normalisation gets the median size of scale and the median shift of the other units, what the attention pool reads
    of them (their part of the positions too) is set to nothing, and each concept's `votes` `[concepts, units]` (`objective.Votes`) get a hundredth of what a
    concept's votes are together, because a vote of nothing cannot grow.
    """
    import torch

    norm, pool = visual.layer4[-1].bn3, visual.attnpool
    with torch.no_grad():
        norm.weight[asleep] = norm.weight[~asleep].abs().median()
        norm.bias[asleep] = norm.bias[~asleep].median()
        for reads in (pool.q_proj, pool.k_proj, pool.v_proj):
            reads.weight[:, asleep] = 0
        if votes is not None:
            whole = votes.relu().norm(dim=1, keepdim=True)
            votes[:, asleep] = (0.01 * whole).expand(-1, int(asleep.sum()))
