"""What the image tower is trained to do: name every image, with few units at a time, and with its units as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.architecture import pixels
from training.letters import Letters
from training.looks import Looks

IMAGE_WEIGHT = 0.3
"""The share of the image in the target of one with another concept's word on it; the word has the rest."""


def loss_of_concepts(logits: Any, first: Any, second: Any) -> Any:
    """Cross-entropy over the names; an image with a word on it (`second` >= 0) is about both."""
    import torch
    from torch.nn.functional import cross_entropy

    loss = cross_entropy(logits, first, label_smoothing=0.02, reduction="none")
    both = second >= 0
    if both.any():
        of_word = cross_entropy(logits[both], second[both], label_smoothing=0.02, reduction="none")
        loss = loss.index_put(
            (torch.nonzero(both)[:, 0],),
            IMAGE_WEIGHT * loss[both] + (1 - IMAGE_WEIGHT) * of_word,
        )
    return loss.mean()


def density(responses: Any, size: Any) -> Any:
    """How many of the units an image excites, as a share: the mean over images of `(Σ a)² / (n Σ a²)`, in 1/n..1.

    `responses` is `[images, units]`, none negative, `size` `[units]` what each is divided by, so that every unit
    counts alike (Treves and Rolls 1991; Hoyer 2004). It does not change when an image's responses are all scaled.
    """
    a = responses / size
    return (a.sum(1) ** 2 / (a.shape[1] * (a**2).sum(1) + 1e-6)).mean()


class Votes:
    """A second reader of the last block, in training only: every unit votes for concepts and none against one.

    Its logits are cosines of an image's responses (none negative, each unit by its own size) and one vector of weights per
    concept, none negative either: what is left to tell concepts apart is which units respond. A linear reader with
    negative weights is as good with any rotation of the units; this one is not, so that training turns them towards
    concepts (Wang et al. 2024, Non-negative Contrastive Learning). No unit is assigned to any concept.
    """

    def __init__(self, attention_pool: Any, names: Any) -> None:
        """Begin with what each unit writes along each name: `attention_pool`'s values and last map, `names` `[concepts, dim]`."""
        import torch

        with torch.no_grad():
            writes = attention_pool.c_proj.weight @ attention_pool.v_proj.weight
            start = ((names - names.mean(0)) @ writes).relu().square()
            start = start / start.norm(dim=1, keepdim=True).clamp(min=1e-6)
        self.weight = torch.nn.Parameter(start.contiguous())
        self.log_scale = torch.nn.Parameter(torch.tensor(np.log(20.0), dtype=torch.float32))

    @property
    def parameters(self) -> list[Any]:
        return [self.weight, self.log_scale]

    def _weights(self) -> Any:
        from torch.nn.functional import normalize

        return normalize(self.weight.relu(), dim=1, eps=1e-6)

    def spread(self) -> Any:
        """From how many units a concept's votes come: the mean over concepts of the sum of its weights, 1 to √units.

        Its square is the number of units where all weights are alike (Hoyer 2004).
        """
        return self._weights().sum(1).mean()

    def __call__(self, responses: Any) -> Any:
        """Logits `[images, concepts]` of `responses` `[images, units]`."""
        from torch.nn.functional import normalize

        cosines = normalize(responses, dim=1, eps=1e-6) @ self._weights().T
        return self.log_scale.exp().clamp(max=100) * cosines


@dataclass(kw_only=True)
class Parts:
    """What one batch measured, besides its loss."""

    concept: float
    top1: float
    other: float
    density: float
    votes: float = 0.0
    spread: float = 0.0
    letters: float = 0.0
    last_letters: float = 0.0
    looks: float = 0.0


class Objective:
    """The loss of a batch, from the text tower's fixed outputs `names` and `bank`, each `[texts, dim]`.

    `others` is the share of what belongs to no concept in naming images. `votes`, `letters` (of the third stage),
    `last_letters` and `looks` (of the last block) weigh the readers that exist in training only; `spelt` are the texts that may
    be written, `described` what images look like (`looks`), `[images, dim]`.
    """

    def __init__(
        self,
        visual: Any,
        log_scale: Any,
        names: Any,
        bank: Any,
        *,
        sparsity: float,
        bf16: bool,
        votes: float = 0.0,
        spread: float = 0.0,
        letters: float = 0.0,
        last_letters: float = 0.0,
        looks: float = 0.0,
        others: float = 0.2,
        spelt: Sequence[str] = (),
        described: np.ndarray | None = None,
    ):
        self.visual, self.log_scale, self.names, self.bank = visual, log_scale, names, bank
        self.sparsity, self.bf16 = sparsity, bf16
        self.size: Any = None
        self.share_of_votes, self.share_of_spread = votes, spread
        self.votes = Votes(visual.attnpool, names) if votes else None
        self.share_of_others = others
        third, last = (stage[-1].bn3.num_features for stage in (visual.layer3, visual.layer4))
        self.asking: dict[str, tuple[Any, float, str, str]] = {}
        """Readers by name, each with its weight, the stage that it reads and the column of the labels that it asks for."""
        if letters:
            self.asking["letters"] = Letters(spelt, third), letters, "third", "written"
        if last_letters:
            self.asking["last_letters"] = Letters(spelt, last), last_letters, "last", "written"
        if looks and described is not None:
            self.asking["looks"] = Looks(described, last), looks, "last", "pictured"
        self._responses: Any = None
        self._third: Any = None
        visual.layer4.register_forward_hook(self._keep)
        visual.layer3.register_forward_hook(self._keep_third)

    @property
    def readers(self) -> dict[str, list[Any]]:
        """Parameters of what reads the tower in training only, by its name."""
        asking = {name: reader.parameters for name, (reader, *_) in self.asking.items()}
        return {"votes": self.votes.parameters, **asking} if self.votes else asking

    def _keep(self, module: Any, args: Any, output: Any) -> None:
        self._responses = output.float().amax((2, 3))

    def _keep_third(self, module: Any, args: Any, output: Any) -> None:
        self._third = output.float().amax((2, 3))

    def _size(self) -> Any:
        """Each unit's root mean square over recent batches, `[units]`."""
        now = self._responses.detach().square().mean(0)
        self.size = now if self.size is None else 0.98 * self.size + 0.02 * now
        return (self.size + 1e-4).sqrt()

    def __call__(self, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Parts]:
        """Loss of `images` `[n, size, size, 3]` (RGB, 0 to 255) with `labels` `[n, 5]` as `examples.draw` gives them."""
        import torch
        from torch.nn.functional import cross_entropy, normalize

        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            features = self.visual(pixels(images))
        features = normalize(self.visual.standardise(features.float()), dim=-1)
        scale = self.log_scale.exp().clamp(max=100)
        concepts, seconds, texts, written, pictured = map(torch.from_numpy, labels.T.copy())
        named = concepts >= 0
        zero = features.sum() * 0
        concept, other, top1, voted, vote, share, few = zero, zero, 0.0, 0.0, zero, zero, zero
        size = self._size()
        last = self._responses / size
        if named.any():
            first, second = concepts[named], seconds[named]
            logits = scale * features[named] @ self.names.T
            concept = loss_of_concepts(logits, first, second)
            top1 = _share_right(logits, first)
            if self.votes is not None:
                logits = self.votes(last[named])
                vote = loss_of_concepts(logits, first, second)
                voted = _share_right(logits, first)
            # Images of concepts shall excite few units; a word of none is recognised by its letters, and those are many.
            share = density(self._responses[named], size)
            few = share.sqrt()
        if not named.all():
            soft = torch.softmax(40 * self.bank[texts[~named]] @ self.bank.T, dim=-1)
            other = cross_entropy(scale * features[~named] @ self.bank.T, soft)
        spread = self.votes.spread() if self.votes is not None else zero
        loss = (1 - self.share_of_others) * concept + self.share_of_others * other
        loss = (
            loss + self.sparsity * few + self.share_of_votes * vote + self.share_of_spread * spread
        )
        losses = dict.fromkeys(self.asking, 0.0)
        stages = {"third": self._third, "last": last}
        rows = {"written": written, "pictured": pictured}
        for name, (reader, weight, stage, of) in self.asking.items():
            if (has := rows[of] >= 0).any():
                answer = reader(stages[stage][has], rows[of][has])
                loss, losses[name] = loss + weight * answer, answer.item()
        return loss, Parts(
            concept=concept.item(),
            top1=top1,
            other=other.item(),
            density=share.item(),
            votes=voted,
            spread=spread.item(),
            **losses,
        )


def _share_right(logits: Any, truth: Any) -> float:
    return float((logits.argmax(1) == truth).float().mean())
